"""Slow readers: they lag, are told so, catch up from the tail or the log, and delay nobody."""

from itertools import count

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wire.streams import Gates, open_peer

from trio_chat.chat import limits
from trio_chat.chat.schema import Message
from trio_chat.chat.turns import Turns
from trio_chat.wire.frames import payload_of

from .talk import Client, Frame, client, clients, talking

OUTBOX = 8192


def events_of(frames: list[Frame]) -> list[int]:
    return [frame["seq"] for frame in frames if frame["op"] == "message"]


async def drain(reader: Client, last: int) -> list[Frame]:
    """All frames up to the message ``last``."""
    frames = []
    while not frames or frames[-1].get("seq") != last or frames[-1]["op"] != "message":
        frames.append(await reader.next())
    return frames


@pytest.mark.parametrize("missed", [100, 1500])
async def test_a_frozen_member_catches_up(autojump_clock: MockClock, missed: int) -> None:
    """It costs no more than its outbox, is told that it lags, and then gets every event once and in order,
    from the tail or from the log; the others get theirs at once all the while."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        await ann.quiet()
        (connection,) = [each for each in server.server.connections if each.label.user == "slow"]
        gates.gates[-1].shut()
        most = 0
        for i in range(1, missed + 1):
            began = trio.current_time()
            await ann.say(f"m{i} " + "x" * 100)
            await ann.events(1)
            assert trio.current_time() == began
            most = max(most, connection.outbox.waiting_bytes)
        assert most <= OUTBOX + 100
        (member,) = [m for m in server.hub.rooms["lobby"].members if m.user.name == "slow"]
        assert not member.live
        gates.gates[-1].open()
        frames = await drain(slow, missed)
        assert events_of(frames) == list(range(1, missed + 1))
        (lagging,) = [frame for frame in frames if frame["op"] == "lagging"]
        assert events_of(frames[: frames.index(lagging)]) == list(range(1, lagging["seq"] + 1))
        assert member.live
        await ann.say("live")
        assert events_of(await drain(slow, missed + 1)) == [missed + 1]


async def test_a_member_that_thaws_and_freezes_again(autojump_clock: MockClock) -> None:
    """However often it lags, in whatever rhythm, it gets every event once and in order."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
        trio.open_nursery() as nursery,
    ):
        await slow.join()
        nursery.start_soon(stutter, gates)
        seq = 0
        for i in range(600):
            await ann.send("say", room="lobby", text=f"{i} " + "y" * 200)
            if i % 7 == 0:
                await trio.sleep(0.05)
        while seq < 600:
            frame = await slow.next()
            if frame["op"] == "message":
                seq += 1
                assert frame["seq"] == seq
                assert frame["text"].startswith(f"{seq - 1} ")
        nursery.cancel_scope.cancel()


async def stutter(gates: Gates) -> None:
    for i in count():
        gates.gates[-1].shut()
        await trio.sleep(0.01 * (i % 11))
        gates.gates[-1].open()
        await trio.sleep(0.003 * (i % 5))


async def test_many_laggards_and_the_live_ones(autojump_clock: MockClock) -> None:
    """Fifty frozen members in a room that is served by a pump: the live ones get everything at once, and the
    others everything when they thaw."""
    gates = Gates()
    messages = 300
    async with (
        talking(outbox=OUTBOX) as server,
        clients(server, "ann") as (ann,),
        trio.open_nursery() as nursery,
    ):
        done: list[str] = []
        for i in range(100):
            nursery.start_soon(listen, server, gates if i < 50 else None, messages, done)
        await trio.sleep(1)
        assert len(server.hub.rooms["lobby"].members) == 101
        for gate in gates.gates:
            gate.shut()
        for _ in range(messages):
            await ann.say("z" * 300)
            await ann.events(1)
        await trio.sleep(0.1)
        assert len(done) == 50
        waiting = [each.outbox.waiting_bytes for each in server.server.connections]
        assert max(waiting) <= OUTBOX + 200
        for gate in gates.gates:
            gate.open()
        await trio.sleep(1)
        assert len(done) == 100
        nursery.cancel_scope.cancel()


async def listen(server: object, gates: Gates | None, messages: int, done: list[str]) -> None:
    async with client(server, wrap=gates) as reader:  # type: ignore[arg-type]
        await reader.join()
        assert events_of(await drain(reader, messages)) == list(range(1, messages + 1))
        done.append("")
        await trio.sleep_forever()


async def test_who_joins_a_busy_large_room_misses_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining while a pump is under way and more is committed is followed by every later event."""
    monkeypatch.setattr(Turns, "writes", lambda turns, size: 3)
    messages = 120
    async with talking() as server, clients(server, "ann") as (ann,), trio.open_nursery() as nursery:
        crowd: list[list[int]] = []

        async def member() -> None:
            async with client(server) as reader:
                seqs = crowd_entry(crowd)
                head = (await reader.join())["head"]
                for seq in range(head + 1, messages + 1):
                    event = await reader.until("message")
                    assert event["seq"] == seq
                    seqs.append(seq)
                    reader.heard.clear()
                await reader.quiet()

        for _ in range(70):
            nursery.start_soon(member)
        await trio.sleep(1)
        for i in range(messages):
            await ann.send("say", room="lobby", text=str(i))
            if i % 4 == 0:
                nursery.start_soon(member)
            for _ in range(i % 5):
                await trio.lowlevel.checkpoint()
        await ann.events(messages)
    assert len(crowd) == 70 + messages // 4
    assert all(not seqs or seqs[-1] == messages for seqs in crowd)


def crowd_entry(crowd: list[list[int]]) -> list[int]:
    crowd.append([])
    return crowd[-1]


async def test_leaving_while_lagging(autojump_clock: MockClock) -> None:
    """Nothing more of that room comes after `left`, and joining again begins at its position."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        gates.gates[-1].shut()
        for _ in range(200):
            await ann.say("x" * 100)
            await ann.events(1)
        await slow.send("leave", room="lobby", id="bye")
        await trio.sleep(1)
        gates.gates[-1].open()
        await slow.until("left")
        got = events_of(slow.heard)
        assert got == list(range(1, len(got) + 1))
        slow.heard.clear()
        assert await slow.quiet() == []
        await slow.join(since=len(got))
        assert events_of(await drain(slow, 200)) == list(range(len(got) + 1, 201))


async def test_several_rooms_lag_on_their_own(autojump_clock: MockClock) -> None:
    """Every room of a slow session catches up, each in order, whatever the mixture."""
    gates = Gates()
    rooms = ["a", "b", "c"]
    async with (
        talking(outbox=OUTBOX) as server,
        client(server, "/ws?name=ann") as ann,
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        for room in rooms:
            await ann.join(room)
            await slow.join(room)
        gates.gates[-1].shut()
        for i in range(300):
            await ann.say("x" * 100, rooms[i % 3])
            await ann.events(1)
        gates.gates[-1].open()
        seqs: dict[str, list[int]] = {room: [] for room in rooms}
        while sum(map(len, seqs.values())) < 300:
            frame = await slow.until("message")
            seqs[frame["room"]].append(frame["seq"])
        assert seqs == {room: list(range(1, 101)) for room in rooms}


async def test_signals_are_dropped_for_slow_readers(autojump_clock: MockClock) -> None:
    """Presence and typing don't queue behind a backlog."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        gates.gates[-1].shut()
        await ann.say("one")
        for _ in range(20):
            await ann.send("typing", room="lobby")
            await trio.sleep(0.5)
        gates.gates[-1].open()
        assert [frame["op"] for frame in await slow.quiet()] == ["message"]
        await ann.send("typing", room="lobby")
        assert [frame["op"] for frame in await slow.quiet()] == ["typing"]


async def test_nothing_is_read_from_who_reads_nothing(autojump_clock: MockClock) -> None:
    """A client that asks for more and more and takes none of it is not read on: the bound holds, and when it
    thaws it has every answer."""
    gates = Gates()
    async with talking(outbox=OUTBOX) as server, open_peer(server, "/ws", gates) as peer:
        from wire.test_frames import FIN
        from wire.test_frames import client as frame_of

        gates.gates[-1].shut()
        requests = 20_000
        request = frame_of(FIN | 1, b'{"op":"ping"}')
        for _ in range(requests // 100):
            await peer.stream.send_all(request * 100)
            await wait_all_tasks_blocked()
        (connection,) = server.server.connections
        assert connection.outbox.waiting_bytes <= OUTBOX + 100
        assert gates.gates[-1].received < requests * len(request) / 2
        gates.gates[-1].open()
        pongs = 0
        async for _ in peer:
            pongs += 1
            if pongs == requests:
                break


async def test_a_follower_in_process_reads_at_its_own_pace(autojump_clock: MockClock) -> None:
    """However slow, it costs nothing and loses nothing; it may stop iterating and go on."""
    async with (
        talking() as server,
        clients(server, "ann") as (ann,),
        server.hub.join("lobby", name="bot", since=0) as room,
    ):
        total = limits.MAX_TAIL_EVENTS + 100
        for i in range(total):
            await ann.say(f"m{i}")
            await ann.events(1)
        seen = []
        while len(seen) < total:
            async for event in room:
                assert isinstance(event, Message)
                seen.append(event.seq)
                if len(seen) % 3 == 0 or len(seen) == total:
                    break
        assert seen == list(range(1, total + 1))
        said = await room.say("hello", reply_to=1)
        assert (said.seq, said.reply_to) == (total + 1, 1)
        assert (await anext(room)) == said


async def test_a_member_gets_the_same_bytes_however_it_comes_by_them(autojump_clock: MockClock) -> None:
    """Live, from the tail and from the log an event is the same to the byte."""
    async with talking() as server, clients(server, "ann") as (ann,):
        async with client(server, "/ws?name=bob") as bob:
            await bob.join()
            for i in range(limits.MAX_TAIL_EVENTS + 10):
                await ann.say(f"m{i} \u00e9\u0001")
                await ann.events(1)
            live = [await bob.websocket.get_message() for _ in range(limits.MAX_TAIL_EVENTS + 10)]
        async with client(server) as late:
            await late.join(since=0)
            later = [await late.websocket.get_message() for _ in range(limits.MAX_TAIL_EVENTS + 10)]
        room = server.hub.rooms["lobby"]
        page = room.page(room.head - 1, limits.PAGE_BYTES)
        assert page is not None
        assert later == live
        assert payload_of(page[1][0]).decode() == live[-1]


async def test_no_page_is_larger_than_what_may_wait(autojump_clock: MockClock) -> None:
    """With a small outbox the pages are small too, from the tail as from the log, and together complete."""
    count = limits.MAX_TAIL_EVENTS + 50
    async with talking(outbox=4096) as server, clients(server, "ann") as (ann,):
        for i in range(count):
            await ann.say(f"m{i}")
            await ann.events(1)
        room = server.hub.rooms["lobby"]
        for first in (0, count - 100):
            assert (room.page(first, 4096) is None) == (first == 0)
            after = first
            while after < room.head:
                last, frames = await server.hub.next_page(room, after)
                assert 0 < sum(map(len, frames)) <= 4096
                assert last == after + len(frames)
                after = last
