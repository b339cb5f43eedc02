"""What a room does with a member that can't keep up, as the embedding program has chosen."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked
from wire.streams import Gates, nobody_left, until

from trio_chat import LogUnavailable, RoomPolicy
from trio_chat.chat import limits
from trio_chat.chat.policy import OnOverflow, PolicyOf
from trio_chat.log.memory import open_memory_log
from trio_chat.testing import MemoryServer

from .talk import Client, Frame, client, clients, talking

OUTBOX = 8192
TEXT = "x" * 500


def policy(on_overflow: OnOverflow) -> PolicyOf:
    """For the lobby this policy, for the other rooms the default."""
    return lambda name: RoomPolicy(on_overflow=on_overflow) if name == "lobby" else RoomPolicy()


def seqs(frames: list[Frame]) -> list[int]:
    return [frame["seq"] for frame in frames if frame["op"] == "message"]


async def fill(server: MemoryServer, *senders: Client, room: str = "lobby") -> int:
    """Have ``senders`` say more than fits an outbox, all at once; how much of it is stored."""
    for i in range(60):
        for sender in senders:
            await sender.send("say", room=room, id=f"{i}", text=TEXT)
    await trio.sleep(1)
    return (await server.hub.log.position(room)).head


async def head_of(server: MemoryServer) -> int:
    await trio.sleep(1)
    return (await server.hub.log.position("lobby")).head


# --- disconnect -------------------------------------------------------------------------------------------


async def test_a_member_that_cant_keep_up_is_disconnected(autojump_clock: MockClock) -> None:
    """It is told why and closed with 1013, nobody else notices, and with its position it gets the rest."""
    gates = Gates()
    async with talking(outbox=OUTBOX, rooms=policy("disconnect")) as server, clients(server, "ann") as (ann,):
        async with client(server, "/ws?name=slow", wrap=gates) as slow:
            await slow.join()
            gates.gates[-1].shut()
            assert await fill(server, ann) == 60
            assert seqs(await ann.events(60)) == list(range(1, 61))
            gates.gates[-1].open()
            assert await slow.closed() == (1013, "this client reads too slowly for the room")
            had = seqs(slow.heard)
            assert had == list(range(1, len(had) + 1))
            assert slow.heard[-1]["op"] == "bye"
            assert not [frame for frame in slow.heard if frame["op"] == "lagging"]
        async with client(server) as again:
            await again.join(since=len(had))
            assert seqs(await again.quiet()) == list(range(len(had) + 1, 61))


async def test_catching_up_is_not_being_too_slow(autojump_clock: MockClock) -> None:
    """Who joins at an old position, and reads that page by page, is not disconnected for it."""
    async with talking(outbox=OUTBOX, rooms=policy("disconnect")) as server, clients(server, "ann") as (ann,):
        count = limits.MAX_TAIL_EVENTS + 50
        for _ in range(count):
            await ann.say(TEXT)
            await ann.events(1)
        gates = Gates()
        async with client(server, wrap=gates) as late:
            await late.join(since=0)
            for i in range(20):
                gates.gates[-1].shut()
                await ann.say(TEXT)
                await trio.sleep(0.1)
                gates.gates[-1].open()
                await trio.sleep(i % 3)
            assert seqs(await late.quiet()) == list(range(1, count + 21))


async def test_a_member_of_several_rooms_is_disconnected_for_one(autojump_clock: MockClock) -> None:
    """The connection as a whole is closed, and all its rooms are left."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("disconnect")) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join("other")
        await slow.join()
        gates.gates[-1].shut()
        await fill(server, ann)
        await nobody_else(server)
        assert list(server.hub.rooms) == ["lobby"]
        gates.gates[-1].open()


async def nobody_else(server: MemoryServer) -> None:
    with trio.fail_after(60):
        await until(lambda: len(server.server.connections) == 1)


# --- block --------------------------------------------------------------------------------------------------


async def test_senders_wait_for_the_slowest_member(autojump_clock: MockClock) -> None:
    """While a member is full, nothing more that is said is stored or shown; when it reads, all of it is, in
    order and once."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("block")) as server,
        clients(server, "ann", "bob") as (ann, bob),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        gates.gates[-1].shut()
        for i in range(60):
            await ann.send("say", room="lobby", id=f"a{i}", text=TEXT)
            await wait_all_tasks_blocked()
        stored = await head_of(server)
        assert OUTBOX // 600 <= stored < 30
        assert len(server.hub.rooms["lobby"].full) == 1
        await bob.send("say", room="lobby", id="b", text=TEXT)
        assert await head_of(server) == stored
        await trio.sleep(60)
        assert await head_of(server) == stored
        gates.gates[-1].open()
        assert await head_of(server) == 61
        assert not server.hub.rooms["lobby"].full
        for each in (ann, bob, slow):
            assert seqs(await each.quiet()) == list(range(1, 62))
        assert server.hub._senders == {}


async def test_a_blocked_room_goes_at_the_pace_of_its_slowest_member(autojump_clock: MockClock) -> None:
    """A member that takes a little now and then is never far behind, however much is said."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("block")) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
        trio.open_nursery() as nursery,
    ):
        await slow.join()
        (member,) = [each for each in server.hub.rooms["lobby"].members if each.user.name == "slow"]

        async def say() -> None:
            for _ in range(300):
                await ann.say(TEXT)

        nursery.start_soon(say)
        most = 0
        while (room := server.hub.rooms["lobby"]).head < 300:
            gates.gates[-1].shut()
            await trio.sleep(1)
            most = max(most, room.head - member.cursor)
            gates.gates[-1].open()
            await trio.lowlevel.checkpoint()
        assert most <= 2
        assert seqs(await slow.quiet()) == list(range(1, 301))


@pytest.mark.parametrize("how", ["closes", "is lost", "leaves", "is cut off"])
async def test_senders_are_released_when_the_slow_member_is_gone(autojump_clock: MockClock, how: str) -> None:
    """However it goes, what was waiting for it is then said; one that reads nothing goes by the heartbeat."""
    gates = Gates()
    heartbeat = 5.0 if how == "is cut off" else 3600.0
    async with (
        talking(outbox=OUTBOX, heartbeat=heartbeat, rooms=policy("block")) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        gates.gates[-1].shut()
        assert await fill(server, ann) < 60
        match how:
            case "closes":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(slow.websocket.aclose)
                    assert await head_of(server) == 60
                    nursery.cancel_scope.cancel()
            case "is lost":
                await trio.aclose_forcefully(slow.stream)
                gates.gates[-1].open()
            case "leaves":
                await slow.send("leave", room="lobby")
            case _:
                await trio.sleep(3 * heartbeat + 5)
        assert await head_of(server) == 60
        assert seqs(await ann.events(60)) == list(range(1, 61))
        gates.gates[-1].open()
        if how == "is cut off":
            await end(server, ann, slow)


async def test_a_sender_that_reads_nothing_itself_blocks_nobody_for_ever(autojump_clock: MockClock) -> None:
    """Two members that say much, read nothing and wait for each other are cut off, and the room goes on."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, heartbeat=5.0, rooms=policy("block")) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=one", wrap=gates) as one,
        client(server, "/ws?name=two", wrap=gates) as two,
    ):
        for each in (one, two):
            await each.join()
        for gate in gates.gates[-2:]:
            gate.shut()
        stored = await fill(server, one, two)
        assert stored < 120
        assert len(server.hub.rooms["lobby"].full) == 2
        await ann.send("say", room="lobby", id="mine", text="hello?")
        with trio.fail_after(60):
            assert (await ann.until("ack"))["re"] == "mine"
        assert not server.hub.rooms["lobby"].full
        assert len(await ann.events(stored + 1)) == stored + 1
        for gate in gates.gates:
            gate.open()
        await end(server, ann, one, two)


async def end(server: MemoryServer, *clients: Client) -> None:
    """Have the server close: a client's trio-websocket fails at a ping that comes once it closes itself."""
    server.server.stop()
    for each in clients:
        await each.closed()


@pytest.mark.parametrize("gone", [["one"], ["two"], ["one", "two"]])
async def test_senders_that_wait_for_each_other_may_be_lost(
    autojump_clock: MockClock, gone: list[str]
) -> None:
    """Also when their connections break while they wait, nobody waits for them any more."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("block")) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=one", wrap=gates) as one,
        client(server, "/ws?name=two", wrap=gates) as two,
    ):
        both = {"one": (one, gates.gates[-2]), "two": (two, gates.gates[-1])}
        for each, gate in both.values():
            await each.join()
            gate.shut()
        await fill(server, one, two)
        assert len(server.hub.rooms["lobby"].full) == 2
        for name in gone:
            await trio.aclose_forcefully(both[name][0].stream)
        for _, gate in both.values():
            gate.open()
        await trio.sleep(1)
        assert len(server.hub.rooms["lobby"].members) == 3 - len(gone)
        assert not server.hub.rooms["lobby"].full
        await ann.say("on")


async def test_other_rooms_go_on(autojump_clock: MockClock) -> None:
    """Only what is said in that room waits; a sender of several rooms does wait there, in its own order."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("block")) as server,
        clients(server, "ann") as (ann,),
        clients(server, "bob", room="other") as (bob,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        await ann.join("other")
        gates.gates[-1].shut()
        await fill(server, ann)
        assert await bob.say("hello", "other") == 1
        await ann.send("say", room="other", id="late", text="me too")
        await ann.send("say", room="nowhere", id="wrong", text="me too")
        assert (await server.hub.log.position("other")).head == 1
        gates.gates[-1].open()
        assert (await ann.until("error"))["re"] == "wrong"
        assert [event["text"] for event in await bob.events(2)] == ["hello", "me too"]


async def test_a_member_in_process_waits_like_the_others(autojump_clock: MockClock) -> None:
    """Its `say` returns when there is space, can be cancelled before, and raises when the server ends; that
    it reads nothing itself blocks nobody."""
    gates = Gates()
    async with (
        talking(outbox=OUTBOX, rooms=policy("block")) as server,
        server.hub.join("lobby", name="bot") as bot,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        gates.gates[-1].shut()
        stored = await fill(server, ann)
        assert stored < 60
        with trio.move_on_after(10) as scope:
            await bot.say("cancelled")
        assert scope.cancelled_caught
        results: list[Any] = []

        async def say() -> None:
            results.append(await bot.say("waited"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            await trio.sleep(10)
            assert results == []
            gates.gates[-1].open()
        assert results[0].seq > stored
        assert await head_of(server) == 61


async def test_the_end_of_the_server_ends_the_waiting(autojump_clock: MockClock) -> None:
    """A drain says goodbye to who waits to say something, and a member in process gets its answer."""
    gates = Gates()
    answers: list[str] = []
    async with (
        talking(outbox=OUTBOX, drain=20.0, rooms=policy("block")) as server,
        server.hub.join("lobby", name="bot") as bot,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
        trio.open_nursery() as nursery,
    ):
        await slow.join()
        gates.gates[-1].shut()
        stored = await fill(server, ann)

        async def say() -> None:
            try:
                answers.append(f"seq {(await bot.say('late')).seq}")
            except LogUnavailable as error:
                answers.append(str(error))

        nursery.start_soon(say)
        await trio.sleep(1)
        server.server.stop()
        assert (await ann.closed())[0] == 1012
        assert seqs(ann.heard) == list(range(1, stored + 1))
        await nobody_left(server)
        await trio.sleep(30)
        assert len(answers) == 1


async def test_waiting_is_seen_from_outside(autojump_clock: MockClock) -> None:
    """While senders of a room wait for a member the metric says so; by default a room never blocks."""
    gates = Gates()
    for rooms, blocked in ((policy("block"), 1), (None, 0)):
        async with (
            talking(outbox=OUTBOX, rooms=rooms) as server,
            clients(server, "ann") as (ann,),
            client(server, "/ws?name=slow", wrap=gates) as slow,
        ):
            await slow.join()
            gates.gates[-1].shut()
            assert (await fill(server, ann) < 60) is bool(blocked)
            exposed = server.server._metrics.text().decode()
            assert f"trio_chat_blocked_rooms {blocked}.0\n" in exposed
            gates.gates[-1].open()


def test_a_policy_knows_what_there_is() -> None:
    """Anything else is refused, with the names of what it may be."""
    with pytest.raises(ValueError, match=r"^on_overflow: one of catch_up, disconnect, block, not 'drop'$"):
        RoomPolicy(on_overflow="drop")  # type: ignore[arg-type]


async def test_who_waits_for_a_place_in_the_queue_is_told_of_the_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a log that hangs and a full queue, each member in process has its answer when the server ends."""
    monkeypatch.setattr(limits, "MAX_WAITING_APPENDS", 1)
    monkeypatch.setattr(limits, "MAX_BATCH", 1)

    class Hanging:
        def __getattr__(self, name: str) -> Any:
            return getattr(memory, name)

        async def append(self, batch: object) -> object:
            await trio.sleep_forever()

    async with (
        open_memory_log() as memory,
        talking(log=Hanging(), drain=5.0) as server,  # type: ignore[arg-type]
        server.hub.join("lobby") as bot,
        trio.open_nursery() as nursery,
    ):
        answers: list[str] = []

        async def say() -> None:
            with pytest.raises(LogUnavailable) as caught:
                await bot.say("hello")
            answers.append(str(caught.value))

        for _ in range(4):
            nursery.start_soon(say)
        await trio.sleep(1)
        assert answers == []
        server.server.stop()
        await trio.sleep(10)
        assert answers == ["the server has ended"] * 4


async def test_a_policy_that_fails_ends_only_who_asked_for_the_room(
    autojump_clock: MockClock, errors: Callable[[], list[str]]
) -> None:
    """The connection that wanted the room is closed with 1011; other rooms are as they were."""

    def policy_of(name: str) -> RoomPolicy:
        return {"lobby": RoomPolicy()}[name]

    async with talking(rooms=policy_of) as server, clients(server, "ann") as (ann,):
        for _ in range(2):
            async with client(server) as bob:
                await bob.send("join", room="kitchen")
                assert (await bob.closed())[0] == 1011
        assert await ann.say("fine") == 1
        assert list(server.hub.rooms) == ["lobby"]
    assert errors() == ["handler failed"] * 2
