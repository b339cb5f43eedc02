"""One WebSocket on the real server, under a clock that jumps: messages, control, closing, limits."""

import gc
from collections.abc import AsyncIterator, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.handshake import H11Handshake

from trio_chat.chat.relay import RelayMember
from trio_chat.config import Config
from trio_chat.testing import MemoryServer, open_memory_server
from trio_chat.wire.connection import CLOSE_SECONDS, MAX_CONTROLS, MAX_DELAYED_CONTROLS, SETTLE_SECONDS
from trio_chat.wire.deflate import deflate
from trio_chat.wire.endpoint import WebSocket
from trio_chat.wire.frames import BINARY, CLOSE, PING, TEXT
from trio_chat.wire.heartbeat import STALL_INTERVALS

from .streams import Gates, Peer, nobody_left, open_peer, until, upgrade
from .test_frames import FIN, MASK, client, header

HEARTBEAT = 20.0


async def echo(websocket: WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


async def crash(websocket: WebSocket) -> None:
    await websocket.receive()
    raise RuntimeError("planted")


@pytest.fixture
async def server() -> AsyncIterator[MemoryServer]:
    config = Config(log="memory:", rate=0, max_per_ip=100_000, max_message=4096, heartbeat=HEARTBEAT)
    async with open_memory_server(config, endpoints={"/echo": echo, "/crash": crash}) as server:
        yield server
        await nobody_left(server)
        assert server.server._open == 0


# --- opening ----------------------------------------------------


def handshakes() -> int:
    """How many of wsproto's opening handshakes are kept by anybody."""
    gc.collect()
    return sum(type(each) is H11Handshake for each in gc.get_objects())


async def test_an_open_connection_has_forgotten_its_handshake(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """Parser and request of the handshake are a fifth of what an idle connection would keep."""
    before = handshakes()
    async with open_peer(server, "/echo") as peer, open_peer(server, "/relay/room"):
        await peer.send(TextMessage("open"))
        await peer.next()
        assert handshakes() == before


# --- messages ---------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4096])
async def test_messages_come_back(autojump_clock: MockClock, server: MemoryServer, size: int) -> None:
    """Text and binary messages of any allowed size arrive whole, at an endpoint and back."""
    async with open_peer(server, "/echo") as peer:
        await peer.send(TextMessage("x" * size))
        assert await peer.next() == TextMessage("x" * size)
        await peer.send(BytesMessage(b"y" * size))
        assert await peer.next() == BytesMessage(bytearray(b"y" * size))


async def test_a_fragmented_message_with_control_frames_between(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """Pings inside a fragmented message are answered in order and before it, and it still arrives whole."""
    async with open_peer(server, "/echo") as peer:
        await peer.stream.send_all(
            client(TEXT, "ä".encode()[:1])
            + client(FIN | PING, b"1")
            + client(0, "ä".encode()[1:])
            + client(FIN | 10, b"unasked for")
            + client(FIN | PING, b"2")
            + client(FIN, b"b")
        )
        events = [await peer.next() for _ in range(3)]
        assert events == [Pong(bytearray(b"1")), Pong(bytearray(b"2")), TextMessage("äb")]


async def test_many_control_frames_at_once_leave_the_others_their_turn(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """A read full of pongs is many turns of the event loop, not one."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_peer(server, "/echo") as peer, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        before = turns
        await peer.stream.send_all(client(FIN | 10, b"x") * 150 + client(FIN | TEXT, b"end"))
        assert await peer.next() == TextMessage("end")
        assert turns - before > 150
        nursery.cancel_scope.cancel()


async def test_a_session_byte_by_byte(autojump_clock: MockClock, server: MemoryServer) -> None:
    """However slowly the bytes come, even those of the request's head, nothing changes."""
    peer = Peer(server.open_stream())
    data = (
        upgrade("/echo")
        + client(FIN | TEXT, b"hi")
        + client(FIN | PING, b"?")
        + client(FIN | CLOSE, b"\x03\xe9")
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drip, peer, data)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await peer.stream.receive_some(1)
        events = await peer.rest()
    assert events == [TextMessage("hi"), Pong(bytearray(b"?")), CloseConnection(1001, "")]


async def _drip(peer: Peer, data: bytes) -> None:
    for i in range(len(data)):
        await peer.stream.send_all(data[i : i + 1])
        await trio.sleep(0.01)


async def test_what_follows_the_head_at_once_is_not_lost(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """Frames in the same write as the upgrade request are read after the handshake, and answered in order."""
    stream = server.open_stream()
    await stream.send_all(upgrade("/echo") + client(FIN | TEXT, b"early") + client(FIN | CLOSE, b"\x03\xe8"))
    data = b""
    while piece := await stream.receive_some():
        data += piece
    frames = data.partition(b"\r\n\r\n")[2]
    assert frames == b"\x81\x05early\x88\x02\x03\xe8"


async def test_compressed_messages_that_become_large_leave_the_others_their_turn(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """One read of them is many turns of the event loop."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    stream = server.open_stream()
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    await stream.send_all(upgrade("/relay/a?echo=0").removesuffix(b"\r\n") + offer)
    assert b"permessage-deflate" in await stream.receive_some()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        before = turns
        bomb = client(FIN | BINARY | 0x40, deflate(bytes(4096), 15))
        await stream.send_all(bomb * 1000 + client(FIN | PING, b"end"))
        assert await stream.receive_some() == b"\x8a\x03end"
        assert turns - before > 10
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)


# --- closing ---------------------------------------------------

CLOSES = [
    pytest.param(b"\x03\xe8", 1000, "", id="1000"),
    pytest.param(b"\x03\xe9going", 1001, "going", id="1001 with a reason"),
    pytest.param(b"\x0b\xb8", 3000, "", id="3000"),
    pytest.param(b"\x13\x87" + b"x" * 123, 4999, "x" * 123, id="4999, longest reason"),
    pytest.param(b"", 1005, "", id="no code"),
    pytest.param(b"\x03", 1002, None, id="half a code"),
    pytest.param(b"\x03\xe7", 1002, None, id="999"),
    pytest.param(b"\x03\xec", 1002, None, id="1004"),
    pytest.param(b"\x03\xed", 1002, None, id="1005 sent"),
    pytest.param(b"\x03\xee", 1002, None, id="1006 sent"),
    pytest.param(b"\x03\xf7", 1002, None, id="1015 sent"),
    pytest.param(b"\x03\xe8\xff", 1007, None, id="reason is not UTF-8"),
]


@pytest.mark.parametrize(("payload", "code", "reason"), CLOSES)
async def test_the_client_closes(
    autojump_clock: MockClock, server: MemoryServer, payload: bytes, code: int, reason: str | None
) -> None:
    """The server answers a close frame with its code, a wrong one with what is wrong, and ends the stream."""
    async with open_peer(server, "/echo") as peer:
        await peer.stream.send_all(client(FIN | TEXT, b"last") + client(FIN | CLOSE, payload))
        events = await peer.rest()
        assert peer.ended
    close = events[-1]
    assert isinstance(close, CloseConnection)
    assert close.code == code
    assert reason is None or (close.reason or "") == reason


async def test_the_endpoint_closes(autojump_clock: MockClock) -> None:
    """`WebSocket.aclose` sends code and reason after what was sent before, and the peer's answer ends it."""

    async def leave(websocket: WebSocket) -> None:
        await websocket.send("one")
        await websocket.aclose(4321, "enough")

    began = trio.current_time()
    async with (
        open_memory_server(endpoints={"/leave": leave}) as server,
        open_peer(server, "/leave") as peer,
    ):
        assert await peer.next() == TextMessage("one")
        close = await peer.next()
        assert close == CloseConnection(4321, "enough")
        await peer.send(close.response())
        assert await peer.rest() == []
        await nobody_left(server)
        assert trio.current_time() - began < 1


ENDS = [
    pytest.param(client(FIN | CLOSE, b"\x03\xe8"), 1000, id="close frame"),
    pytest.param(client(FIN | 3), 1002, id="protocol error"),
]


@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_what_came_before_the_end_is_answered_before_it(
    autojump_clock: MockClock, server: MemoryServer, end: bytes, code: int
) -> None:
    """An endpoint that needs a moment for its answers still gives them, in order; nothing is waited for."""
    began = trio.current_time()
    for count in (0, 1, 40):
        async with open_peer(server, "/echo") as peer:
            await peer.stream.send_all(client(FIN | TEXT, b"x") * count + end)
            *echoes, close = await peer.rest_answered()
            assert echoes == [TextMessage("x")] * count
            assert isinstance(close, CloseConnection)
            assert close.code == code
    assert trio.current_time() == began


@pytest.mark.parametrize("receives", [False, True])
@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_the_end_does_not_wait_for_a_handler_for_long(
    autojump_clock: MockClock, receives: bool, end: bytes, code: int
) -> None:
    """One that is busy, or doesn't receive at all, has `SETTLE_SECONDS`."""

    async def busy(websocket: WebSocket) -> None:
        if receives:
            await websocket.receive()
        await trio.sleep(60)

    async with (
        open_memory_server(endpoints={"/busy": busy}) as server,
        open_peer(server, "/busy") as peer,
    ):
        began = trio.current_time()
        await peer.stream.send_all(client(FIN | TEXT, b"x") * 2 + end)
        (close,) = await peer.rest_answered()
        assert isinstance(close, CloseConnection)
        assert close.code == code
        assert trio.current_time() - began == pytest.approx(SETTLE_SECONDS)


async def test_the_end_does_not_wait_for_a_handler_that_has_ended(autojump_clock: MockClock) -> None:
    """Whatever it left unread."""

    async def short(websocket: WebSocket) -> None:
        await websocket.receive()

    began = trio.current_time()
    async with (
        open_memory_server(endpoints={"/short": short}) as server,
        open_peer(server, "/short") as peer,
    ):
        await peer.stream.send_all(client(FIN | TEXT, b"x") * 5 + client(FIN | CLOSE, b"\x03\xe9"))
        (close,) = await peer.rest_answered()
        assert isinstance(close, CloseConnection)
        assert close.code in (1000, 1001)
    assert trio.current_time() == began


async def test_both_close_at_once(autojump_clock: MockClock) -> None:
    """The peer that has sent its close frame gets one, whoever was first."""

    async def leave(websocket: WebSocket) -> None:
        await websocket.receive()

    async with open_memory_server(endpoints={"/leave": leave}) as server:
        for _ in range(40):  # with Trio's scheduling at random
            async with open_peer(server, "/leave") as peer:
                await peer.stream.send_all(client(FIN | TEXT, b"x") + client(FIN | CLOSE, b"\x03\xe9"))
                (close,) = await peer.rest_answered()
                assert isinstance(close, CloseConnection)
                assert close.code in (1000, 1001)


async def test_nothing_follows_the_answer_to_a_close_frame(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """A room's events and a handler's messages end with the close frame (RFC 6455 5.5.1)."""
    for path, say in (
        ("/echo", b"x"),
        ("/relay/a", b"x"),
        ("/ws?room=a", b'{"op":"say","room":"a","text":"x"}'),
    ):
        async with open_peer(server, path) as other:
            for _ in range(10):  # with Trio's scheduling at random
                stream = server.open_stream()
                await stream.send_all(
                    upgrade(path) + client(FIN | TEXT, say) * 3 + client(FIN | CLOSE, b"\x03\xe8")
                )
                await other.stream.send_all(client(FIN | TEXT, say))
                data = b""
                while piece := await stream.receive_some():
                    data += piece
                assert data.endswith(b"\x88\x02\x03\xe8")


async def test_pings_after_the_server_began_to_close_do_no_harm(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """A client that pings before it has seen the close frame still gets a clean end."""
    began = trio.current_time()
    async with open_peer(server, "/ws") as peer:
        await peer.stream.send_all(client(FIN | BINARY, b"x") + client(FIN | PING, b"same") * 3)
        await wait_all_tasks_blocked()
        await peer.stream.send_all(client(FIN | PING, b"late") + client(FIN | TEXT, b"late"))
        await wait_all_tasks_blocked()
        await peer.stream.send_all(client(FIN | PING) + client(FIN | CLOSE, b"\x03\xeb"))
        codes = [event.code for event in await peer.rest() if isinstance(event, CloseConnection)]
        assert codes == [1003]
        assert trio.current_time() - began < 1


@pytest.mark.parametrize("still_sends", [False, True])
async def test_closing_ends_although_the_peer_does_not_answer(
    autojump_clock: MockClock, server: MemoryServer, still_sends: bool
) -> None:
    """A close frame that is never answered ends the connection after `CLOSE_SECONDS`, whatever else comes."""
    async with open_peer(server, "/ws") as peer:
        await peer.stream.send_all(client(FIN | BINARY, b"x"))
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            if still_sends:
                nursery.start_soon(_keep_sending, peer)
            await peer.rest()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(CLOSE_SECONDS, abs=0.1)


async def _keep_sending(peer: Peer) -> None:
    while True:
        await peer.stream.send_all(client(FIN | TEXT, b'{"op":"ping"}'))
        await trio.sleep(0.5)


# --- violations ---------------------------------------------------

VIOLATIONS = [
    pytest.param(1002, client(FIN | 0x40 | TEXT, b"x"), id="reserved bit"),
    pytest.param(1002, client(FIN | 3, b"x"), id="unknown opcode"),
    pytest.param(1002, b"\x81\x01x", id="unmasked"),
    pytest.param(1002, client(PING, b"x"), id="fragmented ping"),
    pytest.param(1002, client(FIN | PING, b"x" * 126), id="long ping"),
    pytest.param(1002, client(FIN, b"x"), id="continuation of nothing"),
    pytest.param(1009, header(FIN | BINARY, 4097) + MASK, id="too long"),
    pytest.param(1007, client(FIN | TEXT, b"\xff"), id="not UTF-8"),
    pytest.param(1007, client(TEXT, b"\xff"), id="not UTF-8, early"),
]


@pytest.mark.parametrize("path", ["/echo", "/ws", "/relay/a"])
@pytest.mark.parametrize(("code", "data"), VIOLATIONS)
async def test_violations_reach_the_client(
    autojump_clock: MockClock, server: MemoryServer, path: str, code: int, data: bytes
) -> None:
    """The close code arrives, after the answer to what came before, and whatever else the client sends."""
    async with open_peer(server, path) as peer:
        good = b'{"op":"ping"}'
        await peer.stream.send_all(client(FIN | TEXT, good))
        await wait_all_tasks_blocked()
        await peer.stream.send_all(data + b"\xff" * 100)
        events = []
        async for event in peer:
            events.append(event)
            if isinstance(event, CloseConnection):
                await peer.stream.send_all(b"\x88\x80abcd" + b"\xff" * 100)
                await peer.stream.aclose()
                break
        assert isinstance(events[0], TextMessage)
        close = events[-1]
        assert isinstance(close, CloseConnection)
        assert close.code == code
        assert close.reason


async def test_binary_is_not_for_the_chat_endpoint(autojump_clock: MockClock, server: MemoryServer) -> None:
    """A binary message on /ws is answered with a ``bye`` in words and 1003."""
    async with open_peer(server, "/ws") as peer:
        await peer.stream.send_all(client(FIN | TEXT, b'{"op":"ping"}') + client(FIN | BINARY, b"x"))
        pong, bye, close = [await peer.next() for _ in range(3)]
        assert isinstance(pong, TextMessage)
        assert isinstance(bye, TextMessage)
        assert '"op":"bye","code":1003' in bye.data
        assert close == CloseConnection(1003, "this endpoint takes text messages only")


# --- ends without a word ---------------------------------------------------

HALVES = [
    b"",
    client(FIN | TEXT, b'{"op":"ping"}')[:1],
    client(FIN | TEXT, b'{"op":"ping"}')[:5],
    client(FIN | TEXT, b'{"op":"ping"}')[:-1],
    client(TEXT, b'{"op":'),
    client(FIN | PING, b"x")[:-1],
    client(FIN | CLOSE, b"\x03\xe8")[:-1],
]


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_frame_and_the_end(autojump_clock: MockClock, server: MemoryServer, half: bytes) -> None:
    """A peer that ends in the middle of a frame is gone at once, and nothing is logged as an error."""
    began = trio.current_time()
    for path in ("/ws?room=lobby", "/relay/lobby", "/echo"):
        async with open_peer(server, path) as peer:
            await peer.stream.send_all(half)
            await peer.stream.aclose()
    await nobody_left(server)
    assert trio.current_time() - began < 2
    assert not server.hub.rooms
    assert not server.hub.relay.rooms


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(client(FIN | TEXT, b'{"op":"ping"}') * 300, id="operations beyond the rate"),
        pytest.param(client(FIN | PING) * (MAX_CONTROLS + 300), id="pings beyond the rate"),
    ],
)
async def test_who_is_gone_is_not_slowed_down(autojump_clock: MockClock, data: bytes) -> None:
    """What a client sent before it went, and would have to wait, is dropped: nobody waits for answers."""
    config = Config(log="memory:", rate=10)
    async with open_memory_server(config) as server:
        peer = Peer(server.open_stream())
        await peer.handshake("/ws")
        began = trio.current_time()
        await peer.stream.send_all(data)
        await peer.stream.aclose()
        await nobody_left(server)
        assert trio.current_time() - began < 2


async def test_sending_to_who_is_gone_fails(autojump_clock: MockClock) -> None:
    """An endpoint that answers learns it from `send`, whatever it still has to read."""
    answered = 0

    async def count(websocket: WebSocket) -> None:
        nonlocal answered
        async for message in websocket:
            await websocket.send(message)
            answered += 1

    async with open_memory_server(endpoints={"/count": count}) as server:
        peer = Peer(server.open_stream())
        await peer.handshake("/count")
        await peer.stream.send_all(client(FIN | TEXT, b"x") * 10_000)
        await peer.stream.aclose()
        await nobody_left(server)
        await wait_all_tasks_blocked()
        assert answered < 1000


async def test_a_session_cut_at_every_byte(autojump_clock: MockClock, server: MemoryServer) -> None:
    """Wherever a client's bytes end, the connection ends, its room is left, and others go on undisturbed."""
    session = b"".join(
        (
            upgrade("/ws?name=ann"),
            client(FIN | TEXT, b'{"op":"join","room":"lobby"}'),
            client(TEXT, b'{"op":"say","room":"lobby"'),
            client(FIN | PING, b"x"),
            client(FIN, b',"text":"hi","id":"same"}'),
            client(FIN | CLOSE, b"\x03\xe8"),
        )
    )
    async with open_peer(server, "/ws?name=witness&room=lobby") as witness:
        for end in range(len(session) + 1):
            stream = server.open_stream()
            await stream.send_all(session[:end])
            await wait_all_tasks_blocked()
            await stream.aclose()
        await until(lambda: len(server.server.connections) == 1)
        assert list(server.hub.rooms) == ["lobby"]
        assert len(server.hub.rooms["lobby"].members) == 1
        await witness.send(TextMessage('{"op":"ping"}'))
        while (event := await witness.next()) != TextMessage('{"op":"pong"}'):
            assert isinstance(event, TextMessage)


# --- failures ---------------------------------------------------


async def test_a_crash_closes_its_own_connection_only(
    autojump_clock: MockClock, server: MemoryServer, errors: Callable[[], list[str]]
) -> None:
    """A handler that raises is logged once and its client closed with 1011; the others don't notice."""
    async with open_peer(server, "/echo") as other, open_peer(server, "/crash") as peer:
        await peer.send(TextMessage("x"))
        assert await peer.closed() == (1011, "internal error")
        await other.send(TextMessage("still here"))
        assert await other.next() == TextMessage("still here")
    assert errors() == ["endpoint failed"]


async def test_a_handler_that_fails_at_the_end_harms_nobody(
    autojump_clock: MockClock,
    server: MemoryServer,
    errors: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even cleaning up may raise: it is logged, the connection is over, and the others go on."""

    def fail(handler: RelayMember) -> None:
        raise RuntimeError("planted")

    async with open_peer(server, "/echo") as other:
        with monkeypatch.context() as patch:
            patch.setattr(RelayMember, "on_closed", fail)
            async with open_peer(server, "/relay/a"):
                pass
            await until(lambda: len(server.server.connections) == 1)
        await other.send(TextMessage("still here"))
        assert await other.next() == TextMessage("still here")
    assert errors() == ["handler failed at the end"]


# --- control frames ---------------------------------------------------


@pytest.mark.parametrize("kind", [PING, 10], ids=["ping", "pong"])
async def test_a_flood_of_control_frames_is_slowed_down_and_then_closed(
    autojump_clock: MockClock, server: MemoryServer, kind: int
) -> None:
    """So many at once are taken as they come, then so many per second. 10 seconds later the end comes:
    4029, and who goes on is cut."""
    async with open_peer(server, "/relay/a") as peer:
        began = trio.current_time()
        flood = client(FIN | kind, b"x") * (MAX_CONTROLS + 2 * MAX_DELAYED_CONTROLS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.send_all, flood)
            events = await peer.rest()
            nursery.cancel_scope.cancel()
        reason = "more than 100 control frames per second for too long"
        assert events[-1] == CloseConnection(4029, reason)
        assert trio.current_time() - began == pytest.approx(10 + CLOSE_SECONDS, abs=1)
        pongs = sum(isinstance(event, Pong) for event in events)
        answered = MAX_CONTROLS + MAX_DELAYED_CONTROLS if kind == PING else 0
        assert pongs == pytest.approx(answered, abs=2)


async def test_a_busy_server_does_not_forgive_a_flood(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """A turn of the event loop that takes a while makes a control frame late, but not its client patient."""

    async def be_busy() -> None:
        while True:
            await trio.sleep(0.1)
            autojump_clock.jump(0.05)

    async with open_peer(server, "/relay/a") as peer:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_busy)
            nursery.start_soon(peer.stream.send_all, client(FIN | 10) * 20 * MAX_DELAYED_CONTROLS)
            *_, close = await peer.rest()
            nursery.cancel_scope.cancel()
        assert isinstance(close, CloseConnection)
        assert close.code == 4029
        assert trio.current_time() - began < 20


async def test_a_flood_of_pings_is_told_when_to_come_back(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """On the chat endpoint the last word is a `bye` with the time in which what was spent comes back."""
    async with open_peer(server, "/ws") as peer:
        flood = client(FIN | PING, b"x") * (MAX_CONTROLS + 2 * MAX_DELAYED_CONTROLS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.send_all, flood)
            events = await peer.rest()
            nursery.cancel_scope.cancel()
        (bye,) = (event.data for event in events if isinstance(event, TextMessage))
        assert '"op":"bye","code":4029' in bye
        assert '"retry_after":2.0' in bye


async def test_pings_with_pauses_are_no_offence(autojump_clock: MockClock, server: MemoryServer) -> None:
    """A burst is answered at once, however often there is one."""
    async with open_peer(server, "/relay/a") as peer:
        for _ in range(20):
            began = trio.current_time()
            await peer.stream.send_all(client(FIN | PING, b"x") * MAX_CONTROLS)
            pongs = 0
            while pongs < MAX_CONTROLS:
                pongs += isinstance(await peer.next(), Pong)
            assert trio.current_time() == pytest.approx(began, abs=1e-6)
            await trio.sleep(3)


# --- the heartbeat ---------------------------------------------------


@pytest.mark.parametrize("path", ["/ws", "/relay/a", "/echo"])
async def test_a_silent_client_is_pinged_and_then_cut(
    autojump_clock: MockClock, server: MemoryServer, path: str
) -> None:
    """After an interval of silence a ping, after two the end, without a close frame."""
    async with open_peer(server, path) as peer:
        began = trio.current_time()
        assert await peer.next() == Ping(bytearray())
        assert HEARTBEAT * 0.75 <= trio.current_time() - began <= HEARTBEAT * 1.25
        assert await peer.rest() == []
        assert HEARTBEAT * 1.75 <= trio.current_time() - began <= HEARTBEAT * 2.25


@pytest.mark.parametrize("data", [client(FIN | 10), client(FIN | TEXT, b'{"op":"ping"}'), b"\x81"], ids=len)
async def test_any_byte_keeps_a_client_alive(
    autojump_clock: MockClock, server: MemoryServer, data: bytes
) -> None:
    """A pong, a message, even a part of one: who sends is there; without it two intervals are the end."""
    async with open_peer(server, "/ws") as peer:
        pings = 0
        began = trio.current_time()
        async for event in peer:
            if isinstance(event, Ping):
                pings += 1
                if pings == 20:
                    break
                await peer.stream.send_all(data if pings == 1 or len(data) > 1 else b"\x8a")
                if len(data) == 1:
                    break
        assert pings == (20 if len(data) > 1 else 1)
        assert trio.current_time() - began <= pings * HEARTBEAT * 1.3


async def test_who_reads_nothing_is_closed(autojump_clock: MockClock, server: MemoryServer) -> None:
    """While data waits nobody is pinged or cut; after `STALL_INTERVALS` without progress: 4008."""
    gates = Gates()
    async with open_peer(server, "/ws", gates) as peer:
        gates.gates[0].shut()
        await peer.send(TextMessage('{"op":"ping"}'))
        (connection,) = server.server.connections
        began = trio.current_time()
        await until(lambda: connection.closing)
        assert connection.close_code == 4008
        assert trio.current_time() - began == pytest.approx(STALL_INTERVALS * HEARTBEAT, abs=HEARTBEAT / 2)
        gates.gates[0].open()
        events = await peer.rest()
        assert events[0] == TextMessage('{"op":"pong"}')
        assert isinstance(events[1], TextMessage)
        assert '"op":"bye","code":4008' in events[1].data
        assert events[2] == CloseConnection(4008, "read nothing for too long while data was waiting")


async def test_who_reads_nothing_even_then_is_cut(autojump_clock: MockClock, server: MemoryServer) -> None:
    """A stalled client that can't take the close frame either is gone `CLOSE_SECONDS` later."""
    gates = Gates()
    async with open_peer(server, "/ws", gates) as peer:
        gates.gates[0].shut()
        await peer.send(TextMessage('{"op":"ping"}'))
        began = trio.current_time()
        await nobody_left(server)
        assert trio.current_time() - began <= STALL_INTERVALS * HEARTBEAT + HEARTBEAT / 2 + CLOSE_SECONDS
        assert await peer.rest() == []


async def test_a_slow_reader_that_makes_progress_is_kept(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """Reading a little now and then is enough."""
    gates = Gates()
    async with open_peer(server, "/ws", gates) as peer:
        for _ in range(20):
            gates.gates[0].shut()
            await peer.send(TextMessage('{"op":"ping"}'))
            await trio.sleep((STALL_INTERVALS - 0.5) * HEARTBEAT)
            gates.gates[0].open()
            await trio.sleep(0.1)
        events = [await peer.next() for _ in range(20)]
        assert events == [TextMessage('{"op":"pong"}')] * 20


# --- an embedder's endpoint ---------------------------------------------------


async def test_a_busy_endpoint_slows_its_client(autojump_clock: MockClock, server: MemoryServer) -> None:
    """A handler that doesn't receive leaves the client's messages unread beyond a few."""
    release = trio.Event()
    received: list[str | bytes] = []

    async def busy(websocket: WebSocket) -> None:
        await release.wait()
        received.extend([message async for message in websocket])

    gates = Gates()
    async with (
        open_memory_server(endpoints={"/busy": busy}) as busy_server,
        open_peer(busy_server, "/busy", gates) as peer,
    ):
        for i in range(40):
            await peer.send(BytesMessage(bytes([i]) * 60_000))
        await trio.sleep(1)
        assert gates.gates[0].received < 20 * 60_000
        release.set()
        await peer.send(CloseConnection(1000))
        await peer.rest()
        await wait_all_tasks_blocked()
        assert [message[0] for message in received] == list(range(40))


async def test_the_endpoint_sees_how_it_ended(autojump_clock: MockClock) -> None:
    """`receive` raises `ConnectionClosed` after the last message, iteration ends, and `send` raises too."""
    seen: list[object] = []

    async def handler(websocket: WebSocket) -> None:
        with trio.move_on_after(0):
            await websocket.receive()
        try:
            while True:
                seen.append(await websocket.receive())
        except Exception as error:  # noqa: BLE001 - looked at below
            seen.append(error)
        seen.append([message async for message in websocket])
        try:
            await websocket.send("x")
        except Exception as error:  # noqa: BLE001 - looked at below
            seen.append(error)

    async with open_memory_server(endpoints={"/e": handler}) as server:
        async with open_peer(server, "/e") as peer:
            await peer.send(TextMessage("one"), BytesMessage(b"two"), CloseConnection(4001, "so long"))
            await peer.rest()
        await nobody_left(server)
        await wait_all_tasks_blocked()
    one, two, closed, nothing, unsent = seen
    assert (one, two, nothing) == ("one", b"two", [])
    for error in (closed, unsent):
        assert type(error).__name__ == "ConnectionClosed"
        assert error.code == 4001  # type: ignore[attr-defined]
        assert error.reason == "so long"  # type: ignore[attr-defined]


async def test_a_client_that_leaves_is_no_failure_of_a_handler_with_tasks(autojump_clock: MockClock) -> None:
    """`ConnectionClosed` may leave the handler inside an exception group, as out of a nursery."""

    async def handler(websocket: WebSocket) -> None:
        async def forward() -> None:
            while True:
                await websocket.send(await websocket.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(forward)
            nursery.start_soon(forward)

    async with open_memory_server(endpoints={"/e": handler}) as server:
        async with open_peer(server, "/e") as peer:
            await peer.send(TextMessage("x"))
            assert await peer.next() == TextMessage("x")
        await nobody_left(server)
        await wait_all_tasks_blocked()


async def test_sending_waits_for_a_slow_reader(autojump_clock: MockClock) -> None:
    """`send` returns when there is room within the bound; cancelled while waiting, it has sent nothing."""
    sent = 0

    async def flood(websocket: WebSocket) -> None:
        nonlocal sent
        while sent < 10:
            await websocket.send(bytes([sent]) * 1000)
            sent += 1
        with trio.move_on_after(5):
            await websocket.send(b"never")
        await websocket.send(b"end")

    gates = Gates()
    config = Config(log="memory:", outbox=4096)
    async with open_memory_server(config, endpoints={"/flood": flood}) as server:
        stream = server.open_stream(wrap=gates)
        peer = Peer(stream)
        await peer.handshake("/flood")
        gates.gates[0].shut()
        await trio.sleep(1)
        assert sent <= 10
        (connection,) = server.server.connections
        assert connection.outbox.waiting_bytes <= 4096
        gates.gates[0].open()
        events: list[Event] = []
        async for event in peer:
            events.append(event)
            if isinstance(event, CloseConnection):
                await peer.send(event.response())
        messages = [bytes(event.data) for event in events if isinstance(event, Message)]
        assert messages[:10] == [bytes([i]) * 1000 for i in range(10)]
        assert messages[-1] == b"end"


async def test_a_handler_that_does_not_end_is_cancelled(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """After its client is gone an endpoint's handler has ten seconds."""
    ended_at = 0.0

    async def stubborn(websocket: WebSocket) -> None:
        nonlocal ended_at
        try:
            await trio.sleep_forever()
        finally:
            ended_at = trio.current_time()

    async with open_memory_server(endpoints={"/stubborn": stubborn}) as other:
        async with open_peer(other, "/stubborn"):
            began = trio.current_time()
        await trio.sleep(60)
        assert ended_at - began == pytest.approx(10, abs=1)
