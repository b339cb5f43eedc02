"""Whatever happens to one connection happens to that one: crashes, resets, silence, floods, giants."""

import gc
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trio
import trio.testing

import trio_chat
from trio_chat.chat import schema, session
from trio_chat.chat.operations import AtOnce, Waiting
from trio_chat.chat.session import Session
from trio_chat.wire.connection import Connection

from .peers import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    client_frame,
    connected,
    head,
    lines,
    open_files,
    open_stream,
    reset,
    serving,
    troubles,
    until,
    vanish,
)

MIB = 1024 * 1024


@asynccontextmanager
async def two_who_talk(**settings: Any) -> AsyncIterator[tuple[trio_chat.Server, Callable[[], object]]]:
    """A server where ann and bob talk; they must still be able to when the block ends, and nobody else is
    left there."""
    async with serving(**settings) as server, connected(server) as ann, connected(server) as bob:
        await ann.join("quiet")
        await bob.join("quiet")
        tasks = trio.lowlevel.current_statistics().tasks_living
        files = len(open_files())

        async def check() -> None:
            await ann.say("still here", "quiet")
            while await bob.message() != "still here":
                pass
            await until(lambda: len(server.connections) == 2)
            await until(lambda: server._open == 2)
            await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
            assert len(open_files()) <= files
            assert list(server.hub.rooms) == ["quiet"]
            assert not server.hub.relay.rooms
            assert server._door.places._taken == 2

        yield server, check
        await check()


# --- crashes -----------------------------------------------------------------------------------------------


async def test_a_crash_in_a_session_closes_it_with_1011(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In an operation that is done at once, or in one that waits: `bye`, 1011, a traceback in the log."""

    def crash(self: Session, request: schema.Request) -> None:
        raise RuntimeError("crash")

    async def crash_later(self: Session, request: schema.Request) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("crash")

    monkeypatch.setitem(cast("dict[Any, Any]", session.OPERATIONS), schema.Who, AtOnce(crash))
    monkeypatch.setitem(cast("dict[Any, Any]", session.OPERATIONS), schema.Rooms, Waiting(crash_later))
    async with two_who_talk() as (server, _):
        for op in ("who", "rooms"):
            async with connected(server) as peer:
                await peer.join("quiet")
                await peer.send(op, room="quiet")
                said, code, reason = await peer.ended()
                assert (code, reason) == (1011, "internal error")
                assert said[-1] == {"op": "bye", "code": 1011, "reason": "internal error"}
            assert troubles(caplog) == ["trio_chat.wire: handler failed: RuntimeError('crash')"]


@pytest.mark.parametrize("where", ["on_open", "on_drained", "_catch_up"])
async def test_a_crash_elsewhere_in_a_session_harms_nobody(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While it opens, or while it catches up."""

    async def crash(self: Session) -> None:
        raise RuntimeError("crash")

    async with two_who_talk() as (server, _):
        async with connected(server) as author:
            await author.join("quiet")
            for number in range(3):
                await author.say(str(number), "quiet")
        with monkeypatch.context() as patched:
            patched.setattr(Session, where, crash)
            async with connected(server) as peer:
                await peer.send("join", room="quiet", since=0)
                _, code, _ = await peer.ended()
                assert code in (1011, 1006)
            await until(lambda: len(server.connections) == 2)
        assert all("crash" in trouble for trouble in troubles(caplog))
        await trio.testing.wait_all_tasks_blocked()


async def test_a_crash_in_an_endpoint_closes_it_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """An embedder's handler may raise whatever it likes."""

    async def handler(websocket: trio_chat.WebSocket) -> None:
        raise ExceptionGroup("several", [ValueError(await websocket.receive()), KeyError()])

    async with serving(endpoints={"/x": handler}) as server, connected(server) as ann:
        async with connected(server, "/x") as peer:
            await peer.send_frame(TEXT, b"oops")
            assert await peer.closed() == (1011, "internal error")
        assert len(troubles(caplog)) == 1
        await ann.join()


# --- the ends of connections -------------------------------------------------------------------------------


def one_of(server: trio_chat.Server, number: int) -> Connection:
    """The connection with this id."""
    (found,) = [connection for connection in server.connections if connection.label.connection == number]
    return found


async def flood(peer: Peer, data: bytes) -> None:
    """Send ``data`` again and again until nobody takes it for half a second."""
    with trio.move_on_after(10):
        while True:
            with trio.move_on_after(0.5) as stuck:
                await peer.stream.send_all(data)
            if stuck.cancelled_caught:
                return


STATES = {
    "idle": [],
    "in the middle of a frame": [client_frame(TEXT, b"x" * 100)[:50]],
    "in the middle of a message": [client_frame(TEXT, b"x", final=False)],
    "with a request under way": [client_frame(TEXT, b'{"op":"say","room":"lobby","text":"x"}') * 50],
    "with history under way": [client_frame(TEXT, b'{"op":"history","room":"lobby"}') * 50],
    "while catching up": [
        client_frame(TEXT, b'{"op":"leave","room":"lobby"}{"op":"join","room":"lobby","since":0}')
    ],
    "with a ping under way": [client_frame(PING, b"x" * 125) * 50],
    "after a protocol error": [client_frame(3)],
    "after a bad request": [client_frame(TEXT, b"{}") * 40],
    "while closing": [client_frame(CLOSE, b"\x03\xe8")],
    "after closing": [client_frame(CLOSE, b"\x03\xe8"), client_frame(TEXT, b"x") * 10],
    "after half a close frame": [client_frame(CLOSE, b"\x03\xe8")[:4]],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["reset", "end", "half-close"])
async def test_a_peer_may_go_in_any_state(state: str, how: str) -> None:
    """By a reset, a FIN, or half a FIN: nothing stays behind, nobody notices."""
    async with two_who_talk() as (server, _):
        for path in ("/ws?room=lobby", "/relay/lobby"):
            for wait in (False, True):
                async with connected(server, path) as peer:
                    for data in STATES[state]:
                        await peer.stream.send_all(data)
                    if wait:
                        await trio.testing.wait_all_tasks_blocked(0.001)
                    if how == "reset":
                        peer.reset()
                    elif how == "end":
                        await peer.stream.aclose()
                    else:
                        assert isinstance(peer.stream, trio.SocketStream)
                        with suppress(trio.BrokenResourceError):  # it has hung up already
                            await peer.stream.send_eof()
                        while await peer.frame() is not None:
                            pass


async def test_a_server_that_was_told_goodbye_ends_the_connection() -> None:
    """After the closing handshake the server hangs up first (RFC 6455 section 7.1.1), whoever began it."""
    async with serving(heartbeat=10.0) as server, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 5
        async with connected(server) as peer:
            await peer.send_frame(CLOSE, b"\x03\xe8")
            assert await peer.frame() == (CLOSE, b"\x03\xe8")
            assert await peer.frame() is None
        async with connected(server, "/relay/x") as peer:
            await peer.send_frame(3)
            assert (await peer.frame() or (0, b""))[0] == CLOSE
            await peer.send_frame(CLOSE, b"\x03\xea")
            assert await peer.frame() is None
        async with connected(server, "/relay/x") as peer:
            next(iter(server.connections)).close(1012, "test")
            assert (await peer.frame() or (0, b""))[0] == CLOSE
            await peer.send_frame(CLOSE, b"\x03\xf4")
            assert await peer.frame() is None
    assert not nursery.cancel_scope.cancelled_caught


async def test_a_peer_that_does_not_say_goodbye_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers neither a close frame nor hangs up has a few seconds."""
    from trio_chat.wire import connection

    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    async with two_who_talk() as (server, _), connected(server) as peer:
        await peer.send_frame(BINARY, b"x")
        while await peer.frame() is not None:
            pass
        await until(lambda: len(server.connections) == 2)


async def test_silence_is_found_out() -> None:
    """A peer that answers no ping is cut after two heartbeats; one that answers, or only talks, stays."""
    async with (
        serving(heartbeat=0.2) as server,
        connected(server) as silent,
        connected(server) as answering,
        connected(server) as talking,
        trio.open_nursery() as nursery,
    ):

        async def answer() -> None:
            while (found := await answering.frame()) is not None:
                if found[0] == PING:
                    await answering.send_frame(PONG, found[1])

        async def talk() -> None:
            while True:
                await talking.send("ping")
                await talking.receive_until("pong")
                await trio.sleep(0.05)

        nursery.start_soon(answer)
        nursery.start_soon(talk)
        assert await silent.frame() == (PING, b"")
        assert await silent.frame() is None
        with trio.move_on_after(1):
            await until(lambda: len(server.connections) < 2)
        assert len(server.connections) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the peer's system has confirmed")
async def test_a_peer_that_vanishes_is_found_while_data_waits(caplog: pytest.LogCaptureFixture) -> None:
    """It is cut after two heartbeats, sooner than one that is there and only doesn't read."""
    async with (
        serving(heartbeat=0.4, outbox=64 << 20) as server,
        connected(server, "/relay/x?echo=0") as sender,
        connected(server, "/relay/x") as lost,
        trio.open_nursery() as nursery,
    ):

        async def read() -> None:
            while await lost.frame() is not None:
                pass

        nursery.start_soon(read)
        await sender.send_frame(BINARY, b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert isinstance(lost.stream, trio.SocketStream)
        vanish(lost.stream)
        for _ in range(300):  # more than the system keeps for a connection
            await sender.send_frame(BINARY, b"x" * 60_000)
        await until(lambda: bool(lines(caplog, "closed")))  # soon the sender's too, which is silent now
        nursery.cancel_scope.cancel()
    assert lines(caplog, "closed")[0].getMessage() == "closed: 1006 unreachable for two heartbeats"


async def test_a_peer_that_reads_nothing_is_closed_with_4008() -> None:
    """It asks for more and more and takes none of it: bounded memory, then 4008, then nothing is left."""
    async with serving(heartbeat=0.2, outbox=65536) as server:
        async with connected(server) as author:
            await author.join("big")
            for _ in range(30):
                await author.say("x" * 10_000, "big")
        await until(lambda: not server.connections)
        async with connected(server) as peer:
            await peer.join("big")
            (mine,) = server.connections
            await flood(peer, client_frame(TEXT, b'{"op":"history","room":"big","limit":200}') * 20)
            assert mine.outbox.waiting_bytes < 65536 + 2 * MIB
            with trio.fail_after(15):
                await until(lambda: not server.connections)
            assert mine.close_code == 4008
        assert not server.hub.rooms
        assert server._open == server._door.places._taken == 0


@pytest.mark.parametrize("path", ["/ws?room=big", "/echo"])
async def test_a_peer_that_reads_nothing_may_hang_up(path: str) -> None:
    """Reset while its outbox is full and its requests wait for that: the connection is over at once."""

    async def echo(websocket: trio_chat.WebSocket) -> None:
        async for message in websocket:
            await websocket.send(message)

    request = b'{"op":"history","room":"big","limit":200}'
    async with serving(endpoints={"/echo": echo}, outbox=65536) as server:
        async with connected(server) as author:
            await author.join("big")
            for _ in range(30):
                await author.say("x" * 10_000, "big")
        async with connected(server, path) as peer:
            await flood(peer, client_frame(TEXT, request if "ws" in path else b"x" * 10_000) * 20)
            (mine,) = server.connections
            assert mine.outbox.waiting_bytes > 50_000
            peer.reset()
        with trio.fail_after(5):
            await until(lambda: not server.connections)


# --- floods ------------------------------------------------------------------------------------------------


async def test_a_slow_relay_member_is_closed_with_1013_and_nobody_else() -> None:
    """The flood goes on, and arrives whole and in order at the members that read."""
    count = 2000
    got: list[bytes] = []
    async with (
        serving(outbox=65536) as server,
        connected(server, "/relay/x") as slow,
        connected(server, "/relay/x?echo=0") as sender,
        connected(server, "/relay/x") as fast,
    ):

        async def send() -> None:
            for number in range(count):
                await sender.send_frame(BINARY, number.to_bytes(4, "big") + b"x" * 8000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(got) < count:
                found = await fast.frame()
                assert found is not None
                got.append(found[1][:4])
        assert got == [number.to_bytes(4, "big") for number in range(count)]
        _, code, reason = await slow.ended()
        assert (code, "slow" in reason) == (1013, True)


async def test_a_slow_member_of_a_chat_catches_up() -> None:
    """It costs no more than its outbox, and when it reads again it gets every event once and in order."""
    async with serving(outbox=MIB) as server, connected(server) as slow, connected(server) as author:
        await slow.join("busy")
        await author.join("busy")
        mine = one_of(server, 1)
        last = 0
        while not mine.outbox.waiting_bytes:
            last = await author.say("y" * 10_000, "busy")
        # Each is stored alone, and is a piece of its own in the outbox of whoever doesn't read.
        for _ in range(6000):
            last = await author.say("y", "busy")
            assert mine.outbox.waiting_bytes <= MIB
        assert mine in server.connections
        seqs: list[int] = []
        while len(seqs) < last:
            event = await slow.receive_until("message", "lagging")
            if event["op"] == "message":
                seqs.append(event["seq"])
        assert seqs == list(range(1, last + 1))


async def test_pings_without_end_are_answered_within_bounds() -> None:
    """Control frames are served at the pace at which their sender takes the answers."""
    async with two_who_talk() as (server, _):
        for data in (client_frame(PING, b"x" * 125) * 500, client_frame(TEXT, b'{"op":"ping"}') * 500):
            async with connected(server) as peer:
                mine = one_of(server, server._door._ids)
                await flood(peer, data)
                assert mine.outbox.waiting_bytes < MIB
                peer.reset()
            await until(lambda: len(server.connections) == 2)


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws", "/relay/x", "/echo"])
async def test_a_message_that_is_too_big_is_1009(path: str) -> None:
    """One byte more than `max_message`: in one frame, by its length alone, or in pieces."""

    async def echo(websocket: trio_chat.WebSocket) -> None:
        async for message in websocket:
            await websocket.send(message)

    size = 4096
    whole = client_frame(TEXT, b"x" * (size + 1))
    pieces = client_frame(TEXT, b"x" * size, final=False) + client_frame(0, b"x")
    async with serving(max_message=size, endpoints={"/echo": echo}) as server:
        for data in (whole, whole[:8], pieces):
            async with connected(server, path) as peer:
                await peer.stream.send_all(data)
                assert (await peer.closed())[0] == 1009
        if path != "/ws":
            async with connected(server, path) as peer:
                await peer.send_frame(TEXT, b"x" * size)
                assert await peer.frame() == (TEXT, b"x" * size)


async def test_a_mebibyte_passes_where_it_may() -> None:
    """With `max_message` of 1 MiB a message of that size is passed on, in one frame or in many."""
    payload = random.Random(1).randbytes(MIB)
    async with (
        serving(max_message=MIB) as server,
        connected(server, "/relay/x?echo=0") as sender,
        connected(server, "/relay/x") as receiver,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(sender.send_frame, BINARY, payload)
        assert await receiver.frame() == (BINARY, payload)
        pieces = [payload[start : start + 4096] for start in range(0, MIB, 4096)]
        frames = [
            client_frame(0 if number else BINARY, piece, final=number == len(pieces) - 1)
            for number, piece in enumerate(pieces)
        ]
        nursery.start_soon(sender.stream.send_all, b"".join(frames))
        assert await receiver.frame() == (BINARY, payload)


async def test_a_text_that_is_too_long_is_an_error_only() -> None:
    """Within the message's size the connection is kept."""
    async with serving() as server, connected(server) as peer:
        await peer.join()
        await peer.send("say", room="lobby", text="x" * 10_001, id="a")
        error = await peer.receive_until("error")
        assert (error["code"], error["re"]) == ("bad_request", "a")
        assert error["message"].startswith("text: ")
        assert await peer.say("x" * 10_000) == 1


# --- many who come and go ----------------------------------------------------------------------------------


async def test_connections_that_come_and_go_leave_nothing() -> None:
    """A few hundred of every kind, at once and interleaved, ended in every way: all is as before."""
    rng = random.Random(7)
    async with two_who_talk(max_per_ip=10_000) as (server, _):

        async def visit(number: int) -> None:
            path = rng.choice(
                ["/ws?room=lobby&name=ann", "/ws", "/relay/x", "/nothing", "/healthz", "/relay/"]
            )
            stream = await open_stream(server)
            request = head(path)
            cut = rng.randrange(len(request)) if rng.random() < 0.1 else None
            await stream.send_all(request[:cut])
            if cut is None and rng.random() < 0.5:
                await stream.receive_some()
            with trio.move_on_after(1):
                if rng.random() < 0.5:
                    data = client_frame(TEXT, b'{"op":"say","room":"lobby","text":"x"}') * rng.randrange(5)
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(data + rng.randbytes(rng.randrange(3)))
            if rng.random() < 0.5:
                reset(stream)
            else:
                await stream.aclose()

        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(visit, number)


@pytest.mark.parametrize("path", ["/ws?room=lobby", "/relay/x", "/echo"])
@pytest.mark.parametrize("how", ["goodbye", "reset", "protocol error", "too many bad requests"])
async def test_a_connection_that_is_over_is_freed_at_once(path: str, how: str) -> None:
    """It leaves no reference cycles: a garbage collection may be hours away for what has lived long."""

    async def echo(websocket: trio_chat.WebSocket) -> None:
        async for message in websocket:
            await websocket.send(message)

    async def visit() -> None:
        async with connected(server, path) as peer:
            if how == "reset":
                peer.reset()
                return
            opcode, payload, count = {
                "goodbye": (CLOSE, b"\x03\xe8", 1),
                "protocol error": (3, b"", 1),
                "too many bad requests": (TEXT, b"{}", 40),
            }[how]
            await peer.stream.send_all(client_frame(opcode, payload) * count)
            if path == "/ws?room=lobby" or count == 1:
                await peer.closed()

    async with serving(endpoints={"/echo": echo}) as server:
        await visit()
        await until(lambda: server._open == 0)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await visit()
            await until(lambda: server._open == 0)
            await trio.testing.wait_all_tasks_blocked()
            left = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
            assert len(left) <= 1
        finally:
            del visit
            gc.enable()
