"""The client's tasks and scopes: nothing is left behind, and nothing that the block raises is disguised."""

import random
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from trio_chat.client import open_client

from .peer import Connection, Gone, Peer, open_peer
from .test_client import alone, client_of, take


async def server_that_echoes(peer: Peer) -> None:
    """Acknowledge and show everything that is said, on many connections, until the client leaves."""
    seq = 0
    with suppress(Gone, trio_websocket.ConnectionClosed):
        while True:
            server = await peer.open()
            await server.joined(head=seq)
            for _ in range(5):
                say = await server.receive("say")
                seq += 1
                await server.ack(say, seq)
                await server.messages(seq, seq)
            await server.cut()


async def test_the_block_s_exceptions_come_out_as_they_are(autojump_clock: MockClock) -> None:
    """What the block raises is not wrapped in a group."""
    with trio.fail_after(100):
        async with open_peer() as peer, trio.open_nursery() as nursery:
            nursery.start_soon(server_that_echoes, peer)
            with pytest.raises(KeyError, match="mine"):
                async with open_client("x", connect=peer.connect) as client, client.join("lobby"):
                    raise KeyError("mine")
            nursery.cancel_scope.cancel()


async def test_nothing_works_after_the_block(autojump_clock: MockClock) -> None:
    """Outside its block a client is closed: requests raise, iterations end."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.receive("leave")

    async with client_of(script) as client:
        async with client.join("lobby") as room:
            pass
        with pytest.raises(trio.ClosedResourceError):
            await room.say("x")
        assert [event async for event in room] == []
        assert [signal async for signal in room.signals] == []
    assert client.state == "closed"
    with pytest.raises(trio.ClosedResourceError):
        await client.rooms()
    with pytest.raises(trio.ClosedResourceError):
        async with client.join("lobby"):
            pass


async def test_leaving_says_goodbye(autojump_clock: MockClock) -> None:
    """The end of the block sends what is queued and closes the WebSocket with 1000."""
    closed = []

    async def script(peer: Peer) -> None:
        stream, request = await peer.request()
        websocket = await request.accept()
        server = Connection(stream, websocket)
        await server.welcome()
        await server.joined()
        await server.receive("typing")
        await server.receive("leave")
        with pytest.raises(Exception, match="1000"):
            await websocket.get_message()
        closed.append(websocket.closed)

    async with client_of(script) as client, client.join("lobby") as room:
        room.typing()
    assert closed[0] is not None
    assert closed[0].code == 1000


async def test_a_server_that_ignores_the_goodbye_is_left(autojump_clock: MockClock) -> None:
    """Closing takes two seconds at most."""

    async def script(peer: Peer) -> None:
        stream = await peer.stream()
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            await Connection(stream, await request.accept()).welcome()
            nursery.cancel_scope.cancel()  # nobody reads any more
        await trio.sleep(100)

    async with alone(script):
        await trio.sleep(1)
        ending_at = trio.current_time()
    assert trio.current_time() - ending_at <= 2


async def test_a_cancelled_say_is_not_repeated(autojump_clock: MockClock) -> None:
    """Who stops waiting for an acknowledgement takes the message back as far as it can be taken back."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.receive("say")
        await server.cut()
        server = await peer.open()
        await server.joined()
        assert (await server.receive("say"))["text"] == "second"
        await trio.sleep_forever()

    with trio.move_on_after(100):
        async with client_of(script) as client, client.join("lobby") as room:
            with trio.move_on_after(0):
                await room.say("first")
            await trio.sleep(10)
            await room.say("second")


async def test_a_cancelled_say_leaves_no_half_frame(autojump_clock: MockClock) -> None:
    """Cancelling while the stream is blocked in the middle of a frame harms nothing that follows."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await trio.sleep(10)
        assert (await server.receive("say"))["text"] == "x" * 10_000
        say = await server.receive("say")
        await server.ack(say, 1)

    async with client_of(script, lockstep=True) as client, client.join("lobby") as room:
        with trio.move_on_after(1):
            await room.say("x" * 10_000)
        assert (await room.say("y")).seq == 1


@pytest.mark.parametrize("ticks", range(0, 400, 7))
async def test_it_can_be_cancelled_anywhere(autojump_clock: MockClock, ticks: int) -> None:
    """Cancelling after any number of scheduler ticks ends everything, with no exception of its own."""
    with trio.fail_after(1000):
        async with open_peer() as peer, trio.open_nursery() as nursery:
            nursery.start_soon(server_that_echoes, peer)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:

                    async def cancel_later() -> None:
                        for _ in range(ticks):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    inner.start_soon(cancel_later)
                    async with (
                        open_client("x", connect=peer.connect, rng=random.Random(2)) as client,
                        client.join("lobby") as room,
                    ):
                        for number in range(1000):
                            await room.say(str(number))
                            await anext(room)
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()


async def test_many_breaks_lose_and_double_nothing(autojump_clock: MockClock) -> None:
    """Over connections that break again and again each message is stored once, and seen once in order."""
    stored: list[dict[str, Any]] = []
    rng = random.Random(5)

    async def script(peer: Peer) -> None:
        with suppress(Gone):
            while True:
                await one_connection(peer)

    async def one_connection(peer: Peer) -> None:
        server = await peer.open()
        join = await server.joined(head=len(stored))
        await server.messages(join.get("since", 0) + 1, len(stored))
        for _ in range(rng.randrange(1, 6)):
            say = await server.receive("say")
            seen = [old["id"] for old in stored]
            if say["id"] not in seen:
                stored.append(say)
            if rng.random() < 0.5:
                break  # stored, and the connection breaks before anybody is told
            await server.messages(len(stored), len(stored))
            await server.ack(say, [old["id"] for old in stored].index(say["id"]) + 1)
        await server.cut()

    with trio.fail_after(10_000):
        async with open_peer() as peer, trio.open_nursery() as nursery:
            nursery.start_soon(script, peer)
            async with (
                open_client("x", connect=peer.connect, rng=random.Random(3)) as client,
                client.join("lobby") as room,
            ):
                assert [(await room.say(str(number))).seq for number in range(100)] == list(range(1, 101))
                assert await take(room, 100) == list(range(1, 101))
            nursery.cancel_scope.cancel()
    assert [say["text"] for say in stored] == [str(number) for number in range(100)]
