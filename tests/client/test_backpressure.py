"""Full buffers: the client neither loses events, nor grows, nor stops what it should not stop."""

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_chat.client import Message, Reset

from .peer import ANN, Connection, Gone, Peer
from .test_client import client_of, take


async def test_a_slow_reader_slows_the_server_down(autojump_clock: MockClock) -> None:
    """The server gets no further ahead than the room's buffer, and no event is asked for twice."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        server = await peer.open()
        await server.joined()
        for seq in range(1, 201):
            await server.messages(seq, seq)
            sent = seq
        assert await server.silent()

    async with client_of(script, lockstep=True) as client, client.join("lobby", buffer=10) as room:
        for seq in range(1, 201):
            await trio.sleep(1)
            assert await take(room, 1) == [seq]
            assert sent - seq < 10 + 5  # the buffer, and what is on its way in trio-websocket
        await trio.sleep(1)


async def _replay(server: Connection, head: int) -> int:
    """Take a leave and a join, and send what was asked for; returns after which event that was."""
    left = await server.receive("leave")
    await server.send("left", re=left["id"], room="lobby")
    join = await server.joined(head=head)
    await server.messages(join["since"] + 1, head)
    return int(join["since"])


async def test_a_room_that_nobody_iterates_stops_no_acknowledgement(autojump_clock: MockClock) -> None:
    """`say` returns although the buffer is full; what didn't fit comes when asked for, once and in order."""
    since = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.messages(1, 200)
        say = await server.receive("say")
        await server.messages(201, 300)
        await server.ack(say, 300)
        with suppress(Gone):
            while True:
                since.append(await _replay(server, 300))

    async with client_of(script, lockstep=True) as client, client.join("lobby", buffer=10) as room:
        assert (await room.say("hi")).seq == 300
        assert await take(room, 300) == list(range(1, 301))
    assert since[0] == 80  # the buffer with its spare part
    assert len(since) < 4


async def test_saying_to_what_one_hears_is_no_deadlock(autojump_clock: MockClock) -> None:
    """A bot that answers each event while the server has many more to send gets its acknowledgements."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        async with trio.open_nursery() as nursery:

            async def acknowledge() -> None:
                with suppress(Gone):
                    for seq in range(501, 551):
                        await server.ack(await server.receive("say"), seq)

            nursery.start_soon(acknowledge)
            with suppress(Gone):
                await server.messages(1, 50)

    async with client_of(script, lockstep=True) as client, client.join("lobby", buffer=2) as room:
        for seq in range(1, 16):
            event = await anext(room)
            assert isinstance(event, Message)
            assert event.seq == seq
            await room.say(event.text)


async def test_a_full_room_does_not_starve_another(autojump_clock: MockClock) -> None:
    """A room that nobody iterates doesn't keep another room's events, or anybody's signals, from arriving."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.joined()
        await server.messages(1, 500, "lobby")
        await server.messages(1, 3, "ops")
        await server.messages(501, 1000, "lobby")
        await server.send("typing", room="lobby", user=ANN)

    async with (
        client_of(script, lockstep=True) as client,
        client.join("lobby", buffer=10) as lobby,
        client.join("ops") as ops,
    ):
        began_at = trio.current_time()
        assert await take(ops, 3) == [1, 2, 3]
        assert await anext(lobby.signals)
        assert trio.current_time() == began_at


async def test_a_room_that_nobody_iterates_keeps_its_connection(autojump_clock: MockClock) -> None:
    """After a while the socket is read on, so that pings are answered; a reconnect asks for nothing old."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        began_at = trio.current_time()
        await server.messages(1, 1000)
        assert trio.current_time() - began_at < 10
        await server.cut()
        server = await peer.open()
        join = await server.joined(head=1000)
        assert "since" not in join
        await server.messages(1001, 2000)
        with suppress(Gone):
            while True:
                await _replay(server, 2000)

    async with client_of(script, lockstep=True) as client, client.join("lobby", buffer=10) as room:
        await trio.sleep(100)
        assert await take(room, 1990) == list(range(1, 1991))


async def test_a_log_that_began_anew_meanwhile_is_noticed(autojump_clock: MockClock) -> None:
    """A room that is behind learns of a new epoch when it asks for what it missed."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.messages(1, 30)
        await trio.sleep(20)
        await server.cut()
        server = await peer.open()
        await server.joined(head=3, epoch="e2")
        await server.messages(4, 4)
        await server.receive("leave")
        join = await server.joined(head=4, epoch="e2", recovered=False)
        assert (join["since"], join["epoch"]) == (10, "e1")
        await server.messages(5, 5)

    async with client_of(script) as client, client.join("lobby", buffer=10) as room:
        await trio.sleep(100)
        assert await take(room, 12) == [*range(1, 11), Reset("lobby", "e2", 4), 5]


async def test_a_say_waits_while_its_room_is_asked_for_again(autojump_clock: MockClock) -> None:
    """Between the leave and the join of a room that catches up nothing is said in it."""
    order = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.messages(1, 30)
        order.append((await server.receive("leave"))["op"])
        join = await server.receive("join")
        assert await server.silent(5)
        order.append(join["op"])
        await server.send(
            "joined", re=join["id"], room="lobby", epoch="e1", head=30, recovered=True, topic="", members=[],
            count=0, user=ANN, kind="public", role="member",
        )  # fmt: skip
        say = await server.receive("say")
        order.append(say["op"])
        await server.ack(say, 31)

    async with client_of(script) as client, client.join("lobby", buffer=10) as room:
        await trio.sleep(20)
        await take(room, 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, room, 0)
            with trio.move_on_after(1):
                await anext(room)
            await room.say("x")
    assert order == ["leave", "join", "say"]


async def test_signals_are_dropped_not_kept(autojump_clock: MockClock) -> None:
    """Of signals that nobody reads the latest 100 are kept."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        for number in range(1000):
            await server.send("count", room="lobby", count=number)
        await server.messages(1, 1)

    async with client_of(script) as client, client.join("lobby") as room:
        await take(room, 1)
        found: list[Any] = [await anext(room.signals) for _ in range(100)]
        assert [signal.count for signal in found] == list(range(900, 1000))
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await anext(room.signals)
