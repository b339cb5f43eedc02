"""Presence and typing: gathered over a tick, bounded in large rooms, never told to oneself."""

import pytest
import trio
from trio.testing import MockClock

from trio_chat.chat import limits
from trio_chat.testing import MemoryServer

from .talk import Frame, client, clients, talking


def told(frames: list[Frame]) -> list[tuple[str, str, object]]:
    """The signals: op, who, and whether online."""
    return [
        (frame["op"], frame["user"]["name"], frame.get("online"))
        for frame in frames
        if frame["op"] in ("presence", "typing")
    ]


async def test_coming_and_going_is_told(autojump_clock: MockClock) -> None:
    """The others hear of it, oneself doesn't; a cut connection goes like one that left."""
    async with (
        talking() as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=bob") as bob,
    ):
        await bob.join()
        assert told(await ann.quiet()) == [("presence", "bob", True)]
        assert told(await bob.quiet()) == []
        await trio.aclose_forcefully(bob.stream)
        assert told(await ann.quiet()) == [("presence", "bob", False)]


async def test_a_user_with_two_sessions_comes_once(autojump_clock: MockClock) -> None:
    """Only the first session's coming and the last one's going is told."""
    async with talking() as server, clients(server, "ann") as (ann,):
        async with client(server, "/ws?name=bob") as one, client(server) as two:
            token = (await one.ask("hello"))["session"]
            await two.ask("hello", resume=token)
            await one.join()
            await two.join()
            assert told(await ann.quiet()) == [("presence", "bob", True)]
            await one.ask("leave", room="lobby")
            assert told(await ann.quiet()) == []
        assert told(await ann.quiet()) == [("presence", "bob", False)]


async def test_a_short_visit_is_not_told(autojump_clock: MockClock) -> None:
    """Who comes and goes within a tick was not there."""
    async with (
        talking() as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=bob") as bob,
    ):
        for _ in range(5):
            await bob.join()
            await bob.ask("leave", room="lobby")
        assert told(await ann.quiet()) == []
        for _ in range(5):
            await bob.join()
            await bob.ask("leave", room="lobby")
        await bob.join()
        assert told(await ann.quiet()) == [("presence", "bob", True)]


async def test_what_happens_in_one_tick_is_one_write(autojump_clock: MockClock) -> None:
    """Ten users who come at once are told together."""
    async with (
        talking() as server,
        clients(server, "ann") as (ann,),
        trio.open_nursery() as nursery,
    ):
        for i in range(10):
            nursery.start_soon(visit, server, f"bob{i}")
        first = await ann.next()
        began = trio.current_time()
        frames = [first, *[await ann.next() for _ in range(9)]]
        assert trio.current_time() == began
        assert {who for _, who, _ in told(frames)} == {f"bob{i}" for i in range(10)}
        nursery.cancel_scope.cancel()


async def visit(server: MemoryServer, name: str) -> None:
    async with client(server, f"/ws?name={name}") as bob:
        await bob.join()
        while True:
            await bob.next()


async def test_typing_is_told_to_the_others(autojump_clock: MockClock) -> None:
    """At most once a tick, not to oneself, and not after the message itself."""
    async with talking() as server, clients(server, "ann", "bob", "eve") as (ann, bob, eve):
        for _ in range(10):
            await ann.send("typing", room="lobby")
        for each in (bob, eve):
            assert told(await each.quiet()) == [("typing", "ann", None)]
        assert await ann.quiet() == []
        await bob.send("typing", room="lobby")
        await bob.send("say", room="lobby", text="said")
        assert [frame["op"] for frame in await eve.quiet()] == ["message"]


async def test_a_large_room_is_told_a_count(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond some users: no names, no typing, a count; the lists are cut and say how many there are."""
    monkeypatch.setattr(limits, "MAX_LISTED_MEMBERS", 5)
    monkeypatch.setattr(limits, "MAX_WHO_MEMBERS", 7)
    names = [f"u{i}" for i in range(9)]
    async with talking() as server, clients(server, *names) as everybody:
        ann = everybody[0]
        async with client(server, "/ws?name=late") as late:
            joined = await late.join()
            assert (len(joined["members"]), joined["count"]) == (5, 10)
            assert await ann.quiet() == [{"op": "count", "room": "lobby", "count": 10}]
            await late.send("typing", room="lobby")
            assert [frame["op"] for frame in await ann.quiet()] == []
            who = await ann.ask("who", room="lobby")
            assert (len(who["members"]), who["count"]) == (7, 10)
        assert [frame["count"] for frame in await ann.quiet()] == [9]


async def test_joins_do_not_cost_the_square(autojump_clock: MockClock) -> None:
    """When many join a room of many, each member hears a bounded number of signals."""
    async with talking() as server, trio.open_nursery() as nursery:
        heard: list[int] = []
        for i in range(150):
            nursery.start_soon(count_signals, server, i, heard)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert len(heard) == 150
    assert max(heard) <= 120


async def count_signals(server: MemoryServer, number: int, heard: list[int]) -> None:
    await trio.sleep(number * 0.01)
    async with client(server) as one:
        await one.join()
        signals = 0
        try:
            with trio.move_on_after(25):
                while True:
                    signals += (await one.next())["op"] in ("presence", "count")
        finally:
            heard.append(signals)


async def test_signals_are_never_reordered(autojump_clock: MockClock) -> None:
    """A user's coming and going is heard in the order in which it happened."""
    async with (
        talking() as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=bob") as bob,
    ):
        for _ in range(5):
            await bob.join()
            await trio.sleep(0.5)
            await bob.ask("leave", room="lobby")
            await trio.sleep(0.5)
        assert [online for _, _, online in told(await ann.quiet())] == [True, False] * 5
