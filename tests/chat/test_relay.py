"""The relay endpoint: verbatim, ordered per sender, bounded; nothing is skipped."""

from contextlib import AsyncExitStack

import pytest
import trio
import trio_websocket
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import WebSocketConnection
from wire.streams import Gates, open_peer
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from trio_chat.chat import relay
from trio_chat.testing import MemoryServer

from .talk import talking


async def hear(websocket: WebSocketConnection, count: int) -> list[str | bytes]:
    return [await websocket.get_message() for _ in range(count)]


async def members(
    stack: AsyncExitStack, server: MemoryServer, count: int, path: str = "/relay/a"
) -> list[WebSocketConnection]:
    return [(await stack.enter_async_context(server.connect(path))).websocket for _ in range(count)]


@pytest.mark.parametrize("size", [2, 40])
async def test_messages_go_to_everybody(autojump_clock: MockClock, size: int) -> None:
    """Text stays text and binary binary, empty messages included; the sender hears itself too."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(talking())
        everybody = await members(stack, server, size)
        sent = ["text", b"binary \xff\x00", "", b"", "\u00e9\U0001f600", b"x" * 65535]
        for message in sent:
            await everybody[0].send_message(message)
        for each in everybody:
            assert await hear(each, len(sent)) == sent


@pytest.mark.parametrize("size", [2, 40])
async def test_without_echo_the_sender_hears_the_others_only(autojump_clock: MockClock, size: int) -> None:
    """``echo=0`` is the sender's own choice; others hear everything."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(talking())
        (silent,) = await members(stack, server, 1, "/relay/a?echo=0")
        everybody = await members(stack, server, size)
        for i in range(5):
            await silent.send_message(f"silent {i}")
            await everybody[0].send_message(f"loud {i}")
        assert sorted(await hear(silent, 5)) == [f"loud {i}" for i in range(5)]  # type: ignore[type-var]
        for each in everybody:
            assert sorted(await hear(each, 10)) == sorted(  # type: ignore[type-var]
                [f"silent {i}" for i in range(5)] + [f"loud {i}" for i in range(5)]
            )


@pytest.mark.parametrize("size", [3, 40])
async def test_each_sender_is_heard_in_order(autojump_clock: MockClock, size: int) -> None:
    """However the messages of many interleave, each one's come in the order in which it sent them."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(talking())
        everybody = await members(stack, server, size)

        async def send(number: int) -> None:
            for i in range(20):
                await everybody[number].send_message(f"{number} {i}")

        async def check(websocket: WebSocketConnection) -> None:
            seen = [0] * size
            for message in await hear(websocket, 20 * size):
                number, i = map(int, message.split())
                assert seen[number] == i
                seen[number] += 1

        async with trio.open_nursery() as nursery:
            for number, each in enumerate(everybody):
                nursery.start_soon(send, number)
                nursery.start_soon(check, each)


async def test_rooms_do_not_hear_each_other(autojump_clock: MockClock) -> None:
    """A room is its name; one that is empty is forgotten, and chat rooms are others."""
    async with talking() as server:
        async with AsyncExitStack() as stack:
            (a,) = await members(stack, server, 1, "/relay/a")
            (b,) = await members(stack, server, 1, "/relay/b%C3%A4")
            await a.send_message("a")
            await b.send_message("b")
            assert (await a.get_message(), await b.get_message()) == ("a", "b")
            assert set(server.hub.relay.rooms) == {"a", "bä"}
            assert not server.hub.rooms
        await wait_all_tasks_blocked()
        assert not server.hub.relay.rooms


@pytest.mark.parametrize("size", [2, 40])
async def test_who_cannot_keep_up_is_closed_and_nobody_delayed(autojump_clock: MockClock, size: int) -> None:
    """1013 when its outbox is full; whole messages up to there, nothing skipped; the others hear all."""
    gates = Gates()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(talking(outbox=10_000))
        everybody = await members(stack, server, size)
        slow = await stack.enter_async_context(open_peer(server, "/relay/a", gates))
        gates.gates[-1].shut()
        for i in range(50):
            began = trio.current_time()
            await everybody[0].send_message(bytes([i]) * 1000)
            for each in everybody:
                assert (await each.get_message()) == bytes([i]) * 1000
            assert trio.current_time() == began
        waiting = [each.outbox.waiting_bytes for each in server.server.connections]
        assert max(waiting) <= 10_100
        gates.gates[-1].open()
        events = []
        async for event in slow:
            events.append(event)
            if isinstance(event, CloseConnection):
                await slow.send(event.response())
        got = [bytes(event.data) for event in events if isinstance(event, BytesMessage)]
        assert got == [bytes([i]) * 1000 for i in range(len(got))]
        close = events[-1]
        assert isinstance(close, CloseConnection)
        assert (close.code, close.reason) == (1013, "this client reads too slowly for the relay")


async def test_senders_wait_for_a_fan_out_that_is_behind(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a room's fan-out is bounded, and nothing of it is lost."""
    monkeypatch.setattr(relay, "MAX_PENDING_BYTES", 2000)
    most = 0
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(talking())
        everybody = await members(stack, server, 30)

        async def send(number: int) -> None:
            nonlocal most
            for i in range(20):
                await everybody[number].send_message(f"{number:3} {i:3}" + "x" * 500)
                most = max(most, server.hub.relay.rooms["a"].pending_bytes)

        async def check(websocket: WebSocketConnection) -> None:
            messages = await hear(websocket, 600)
            assert len(set(messages)) == 600

        async with trio.open_nursery() as nursery:
            for number, each in enumerate(everybody):
                nursery.start_soon(send, number)
                nursery.start_soon(check, each)
    assert most <= 2000 + 30 * 600


BAD = [("/relay/", 404), ("/relay/a%20b", 404), ("/relay/a/b", 404), ("/relay/a?echo=2", 400)]


@pytest.mark.parametrize(("path", "status"), BAD)
async def test_bad_rooms_are_refused_before_the_upgrade(
    autojump_clock: MockClock, path: str, status: int
) -> None:
    """A room that can't be, or an option that isn't one, is an HTTP status."""
    async with talking() as server:
        with pytest.raises(trio_websocket.ConnectionRejected) as caught:
            async with server.connect(path):
                pass
        assert caught.value.status_code == status


async def test_the_relay_has_no_operations(autojump_clock: MockClock) -> None:
    """What looks like an operation is passed on like anything else."""
    async with talking() as server, open_peer(server, "/relay/a") as peer:
        await peer.send(TextMessage('{"op":"join","room":"a"}'))
        assert await peer.next() == TextMessage('{"op":"join","room":"a"}')
        assert not server.hub.rooms
