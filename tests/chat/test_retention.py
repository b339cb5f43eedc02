"""Old events go in the background, and everybody is told what is gone."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock
from wire.streams import Gates

from trio_chat import Gap, Message, RoomPolicy, User
from trio_chat.chat import limits, retention
from trio_chat.chat.policy import PolicyOf
from trio_chat.chat.retention import BATCH, MIN_KEPT_SECONDS, SWEEP_SECONDS, Retention
from trio_chat.chat.schema import MessageBody, encode_body
from trio_chat.log.base import Append, Event, EventLog, LogUnavailable
from trio_chat.log.memory import MemoryLog, open_memory_log
from trio_chat.log.seams import in_event_loop
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.testing import MemoryServer, open_memory_server

from .talk import Frame, client, clients, config

DAY = 86_400.0

Errors = Callable[[], list[str]]


@attrs.define
class Clock:
    """Unix time that goes with Trio's, and may be put ahead of it."""

    ahead: float = 1_700_000_000

    def __call__(self) -> float:
        return self.ahead + trio.current_time()


@pytest.fixture
def now() -> Clock:
    return Clock()


async def store(log: EventLog, count: int, room: str = "lobby") -> None:
    """Store ``count`` messages, now."""
    bodies = (encode_body(MessageBody(User("u", "ann"), str(i))) for i in range(count))
    await log.append([Append(room, "message", body) for body in bodies])


async def first(log: EventLog, room: str = "lobby") -> int:
    """The oldest event that is kept."""
    return (await log.position(room)).first


def keeping(log: EventLog, now: Clock, policy_of: PolicyOf | RoomPolicy) -> Retention:
    """A retention of this log that tells nobody."""
    ask = policy_of if callable(policy_of) else lambda name: policy_of
    return Retention(log, ask, now, lambda room, first: None)


# --- what goes, and when --------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "expected"), [
    (RoomPolicy(keep_events=0, keep_days=0.0), 1),
    (RoomPolicy(keep_events=7, keep_days=0.0), 24),
    (RoomPolicy(keep_events=30, keep_days=0.0), 1),
    (RoomPolicy(keep_events=31, keep_days=0.0), 1),
    (RoomPolicy(keep_events=0, keep_days=1.5), 11),
    (RoomPolicy(keep_events=0, keep_days=1.0), 21),
    (RoomPolicy(keep_events=0, keep_days=0.1), 31),
    (RoomPolicy(keep_events=0, keep_days=9.0), 1),
    (RoomPolicy(keep_events=15, keep_days=1.5), 16),
    (RoomPolicy(keep_events=25, keep_days=1.5), 11),
])  # fmt: skip
async def test_events_go_by_number_and_by_age(
    now: Clock, autojump_clock: MockClock, policy: RoomPolicy, expected: int
) -> None:
    """Of three times ten events, one, two and three half days old, stays what neither bound removes."""
    async with open_memory_log(clock=now) as log:
        for _ in range(3):
            await store(log, 10)
            now.ahead += DAY / 2 + 1
        await keeping(log, now, policy).sweep()
        assert await first(log) == expected
        assert (await log.position("lobby")).head == 30


async def test_no_event_goes_before_its_sender_has_done_with_it(
    now: Clock, autojump_clock: MockClock
) -> None:
    """However little a room keeps, an event stays for as long as it may be sent again."""
    async with open_memory_log(clock=now) as log:
        await store(log, 10)
        await trio.sleep(MIN_KEPT_SECONDS / 2)
        await store(log, 10)
        keep = keeping(log, now, RoomPolicy(keep_events=1, keep_days=1e-9))
        await keep.sweep()
        assert await first(log) == 1
        await trio.sleep(MIN_KEPT_SECONDS / 2 + 1)
        await keep.sweep()
        assert await first(log) == 11
        assert keep.events == 10


async def test_each_room_has_its_own_policy(
    now: Clock, autojump_clock: MockClock, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rooms are looked at page by page; one whose policy fails keeps everything and disturbs no other."""
    monkeypatch.setattr(retention, "_PAGE_ROOMS", 2)

    def policy_of(name: str) -> RoomPolicy:
        return RoomPolicy(keep_events={"a": 1, "c": 5, "d": 0, "e": 2}[name], keep_days=0.0)

    async with open_memory_log(clock=now) as log:
        for room in "abcde":
            await store(log, 10, room)
        now.ahead += DAY
        await keeping(log, now, policy_of).sweep()
        assert [await first(log, room) for room in "abcde"] == [10, 1, 6, 1, 9]
    assert errors() == ["the policy of a room failed"]


# --- how --------------------------------------------------------------------------------------------------


@attrs.define
class Slow:
    """A log whose trims take a while, and that can be down."""

    log: MemoryLog
    seconds: float = 0.002
    trims: list[tuple[float, int]] = attrs.Factory(list)
    compactions: int = 3
    down: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def kept(self, after: str, limit: int) -> object:
        if self.down:
            raise LogUnavailable("lost")
        return await self.log.kept(after, limit)

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        before = await first(self.log, room)
        await trio.sleep(self.seconds)
        done = await self.log.trim(room, through, limit, state)
        self.trims.append((trio.current_time(), done - before))
        return done

    async def compact(self) -> bool:
        self.compactions -= 1
        return self.compactions > 0


async def test_a_large_room_is_trimmed_in_small_steps_with_rests(
    now: Clock, autojump_clock: MockClock
) -> None:
    """No step removes more than its share, each is followed by a rest three times as long as it took, and
    compaction follows when all is done."""
    async with open_memory_log(clock=now) as memory:
        log = Slow(memory)
        await store(memory, 1050)
        now.ahead += DAY
        await keeping(log, now, RoomPolicy(keep_events=10, keep_days=0.0)).sweep()  # type: ignore[arg-type]
        assert [count for _, count in log.trims] == [BATCH] * 10 + [40]
        ends = [at for at, _ in log.trims]
        assert all(later - earlier == pytest.approx(0.008) for earlier, later in pairwise(ends))
        assert await first(memory) == 1041
        assert log.compactions == 0


async def test_a_step_that_takes_very_long_is_followed_by_a_short_rest(
    now: Clock, autojump_clock: MockClock
) -> None:
    """A disk that stands still for minutes holds the rest of the work up no longer than that."""
    async with open_memory_log(clock=now) as memory:
        log = Slow(memory, seconds=300)
        await store(memory, 250)
        now.ahead += DAY
        began = trio.current_time()
        await keeping(log, now, RoomPolicy(keep_events=10, keep_days=0.0)).sweep()  # type: ignore[arg-type]
        assert trio.current_time() - began == pytest.approx(3 * (300 + 1))


async def test_nothing_is_done_where_nothing_may_go(now: Clock, autojump_clock: MockClock) -> None:
    """A sweep over rooms that are within their bounds reads no events and removes none."""
    async with open_memory_log(clock=now) as memory:
        log = Slow(memory)
        await store(memory, 50)
        now.ahead += DAY
        await keeping(log, now, RoomPolicy(keep_events=50, keep_days=2.0)).sweep()  # type: ignore[arg-type]
        assert log.trims == []


async def test_it_goes_on_after_failures(
    now: Clock, autojump_clock: MockClock, errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    """While the log is down each sweep says so, and when it is back what is due goes; a bug is
    logged, and stops nothing."""
    async with open_memory_log(clock=now) as memory, trio.open_nursery() as nursery:
        log = Slow(memory, down=True, compactions=10**9)
        await store(memory, 50)
        now.ahead += DAY
        keep = keeping(log, now, RoomPolicy(keep_events=10, keep_days=0.0))  # type: ignore[arg-type]
        nursery.start_soon(keep.run)
        await trio.sleep(SWEEP_SECONDS * 2.5)
        assert [record.getMessage() for record in caplog.records] == ["the log can't be trimmed: lost"] * 3
        log.down = False
        log.compactions = 1
        log.log = None  # type: ignore[assignment]
        await trio.sleep(SWEEP_SECONDS)
        assert errors() == ["trimming failed"]
        log.log = memory
        await trio.sleep(SWEEP_SECONDS)
        assert await first(memory) == 41
        nursery.cancel_scope.cancel()


# --- what members see -------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    path: Path | None = None, *, rooms: PolicyOf | None = None, **settings: Any
) -> AsyncIterator[MemoryServer]:
    """A server whose log's time goes with the mock clock; it keeps 20 events unless told otherwise."""
    now = Clock()
    opener = (
        open_memory_log(clock=now)
        if path is None
        else open_sqlite_log(path, sync="normal", clock=now, runner=in_event_loop)
    )
    settings = {"keep_events": 20} | settings
    async with (
        opener as log,
        open_memory_server(config(**settings), log=log, clock=now, rooms=rooms) as server,
    ):
        yield server


async def trimmed(server: MemoryServer, expected: int, room: str = "lobby") -> None:
    """Let time pass until what is old is gone."""
    await trio.sleep(MIN_KEPT_SECONDS + SWEEP_SECONDS + 1)
    assert await first(server.hub.log, room) == expected


def seqs(frames: list[Frame]) -> list[Any]:
    """Seqs of messages, and the bounds of gaps."""
    return [
        (frame["from"], frame["to"]) if frame["op"] == "gap" else frame["seq"]
        for frame in frames
        if frame["op"] in ("gap", "message")
    ]


async def said(server: MemoryServer, count: int) -> None:
    """Have somebody say so many things in the lobby, who leaves."""
    async with server.hub.join("lobby") as room:
        for i in range(count):
            await room.say(str(i))


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_position_before_what_is_kept_gives_a_gap_and_the_rest(
    autojump_clock: MockClock, in_memory: bool
) -> None:
    """Whether the room is in memory or not, a resume is told once what is missing, and gets what is not."""
    async with serving() as server, clients(server, "ann", room="lobby" if in_memory else "other"):
        await said(server, 50)
        await trimmed(server, 31)
        for since, gaps in ((0, [(1, 30)]), (29, [(30, 30)]), (30, []), (40, [])):
            async with client(server) as bob:
                joined = await bob.join(since=since)
                assert (joined["head"], joined["recovered"]) == (50, True)
                assert seqs(await bob.quiet()) == [*gaps, *range(max(since, 30) + 1, 51)]


@pytest.mark.parametrize("in_memory", [True, False])
async def test_who_asks_for_more_of_the_past_than_is_kept_has_missed_nothing(
    autojump_clock: MockClock, in_memory: bool
) -> None:
    """`last` gives what is there, without a gap: on the chat endpoint and in process."""
    async with serving() as server, clients(server, "ann", room="lobby" if in_memory else "other"):
        await said(server, 50)
        await trimmed(server, 31)
        async with client(server) as bob:
            await bob.join(last=45)
            assert seqs(await bob.quiet()) == list(range(31, 51))
        async with server.hub.join("lobby", last=45) as room:
            assert [(await anext(room)).seq for _ in range(20)] == list(range(31, 51))  # type: ignore[union-attr]


async def test_history_ends_where_the_log_begins(autojump_clock: MockClock) -> None:
    """`more` is true as long as there is something before the page, and false at the oldest event kept."""
    async with serving() as server, clients(server, "ann") as (ann,):
        await said(server, 50)
        await trimmed(server, 31)
        for before, limit, expected, more in (
            (None, 10, range(41, 51), True),
            (41, 9, range(32, 41), True),
            (41, 10, range(31, 41), False),
            (41, 50, range(31, 41), False),
            (32, 50, range(31, 32), False),
            (31, 50, (), False),
            (10, 50, (), False),
        ):
            bounds = {} if before is None else {"before": before}
            page = await ann.ask("history", room="lobby", limit=limit, **bounds)
            assert ([each["seq"] for each in page["messages"]], page["more"]) == (list(expected), more)
        page = await ann.ask("history", room="lobby", after=0, limit=5)
        assert ([each["seq"] for each in page["messages"]], page["more"]) == (list(range(31, 36)), True)


async def test_a_room_of_which_nothing_is_kept_lives_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Head and epoch stay, with members and without, through a restart; the numbers go on."""
    epochs = set()
    for head in (5, 6):
        async with serving(tmp_path / "log.db", keep_events=0, keep_days=0.0005) as server:
            async with client(server) as ann:
                if head == 5:
                    await said(server, 5)
                await trimmed(server, head + 1)
                joined = await ann.join(since=head - 1)
                epochs.add(joined["epoch"])
                assert (joined["head"], joined["recovered"]) == (head, True)
                assert seqs(await ann.quiet()) == [(head, head)]
                assert await ann.say("on") == head + 1
                (page,) = (await ann.ask("rooms"))["rooms"]
                assert page == {"room": "lobby", "count": 1, "head": head + 1, "kind": "public"}
                await ann.quiet()
                await trimmed(server, head + 2)
                page = await ann.ask("history", room="lobby")
                assert (page["messages"], page["more"]) == ([], False)
                async with client(server) as bob:
                    assert (await bob.join(last=10))["head"] == head + 1
                    assert await bob.quiet() == []
            async with server.hub.join("lobby") as room:
                if head == 5:
                    assert room.room.head == 6
    assert len(epochs) == 1


async def test_a_member_that_is_behind_a_trim_gets_a_gap_and_the_rest(autojump_clock: MockClock) -> None:
    """Frozen while the events that it waits for are removed, it is told once what is missing; the live
    member and what waited in the outbox already are not touched."""
    gates = Gates()
    async with (
        serving(outbox=8192, heartbeat=86_400) as server,
        clients(server, "ann") as (ann,),
        client(server, "/ws?name=slow", wrap=gates) as slow,
    ):
        await slow.join()
        await ann.quiet()
        gates.gates[-1].shut()
        for _ in range(400):
            await ann.say("x" * 100)
        assert seqs(await ann.events(400)) == list(range(1, 401))
        await trimmed(server, 381)
        gates.gates[-1].open()
        got = seqs(await slow.quiet())
        had = len(got) - 21
        assert had > 10
        assert got == [*range(1, had + 1), (had + 1, 380), *range(381, 401)]
        await ann.say("live")
        assert seqs(await slow.quiet()) == [401]


async def test_a_member_that_reads_while_the_log_is_trimmed_misses_nothing_silently(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However pages and trims alternate, gaps and events together are everything, once and in order."""
    monkeypatch.setattr(limits, "PAGE_EVENTS", 7)
    async with serving() as server:
        await said(server, limits.MAX_TAIL_EVENTS + 500)
        hub, head = server.hub, limits.MAX_TAIL_EVENTS + 500
        async with hub.join("lobby", since=0) as room:
            at = 0
            while at < head:
                event = await anext(room)
                if isinstance(event, Gap):
                    assert (event.from_, event.to > at) == (at + 1, True)
                    at = event.to
                else:
                    assert isinstance(event, Message)
                    assert event.seq == at + 1
                    at += 1
                if at % 10 == 0:
                    hub.trimmed("lobby", await hub.log.trim("lobby", at + 15, 1000))


async def test_an_id_is_known_as_long_as_its_event_is_kept(autojump_clock: MockClock) -> None:
    """Sent again within a minute it changes nothing, however little the room keeps; once its event is
    gone it is a new one."""
    async with serving(keep_events=1) as server, clients(server, "ann") as (ann,):
        assert await ann.say("once", id="m1") == 1
        for _ in range(5):
            await ann.say("more")
        await trio.sleep(MIN_KEPT_SECONDS - 1)
        assert await ann.say("once", id="m1") == 1
        await trimmed(server, 6)
        assert await ann.say("once", id="m1") == 7


async def test_a_trim_while_a_room_is_opened_is_not_overlooked(now: Clock, autojump_clock: MockClock) -> None:
    """What was read just before it was removed is not shown from the room's memory."""

    class Opening:
        """A log that trims the room while its end is being read."""

        def __init__(self, log: MemoryLog) -> None:
            self._log = log
            self.after_reading: Callable[[], Any] | None = None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        async def read_before(self, *args: Any, **more: Any) -> list[Event]:
            events = await self._log.read_before(*args, **more)
            if self.after_reading is not None:
                await self.after_reading()
            return events

    async with open_memory_log(clock=now) as memory:
        log = Opening(memory)
        await store(memory, 30)
        async with open_memory_server(config(), log=log) as server:

            async def trim() -> None:
                server.hub.trimmed("lobby", await memory.trim("lobby", 20, 100))

            log.after_reading = trim
            async with server.hub.join("lobby", last=30) as room:
                log.after_reading = None
                assert room.room.first == 21
                assert room.room.page(19, 10**6) is None
                assert [(await anext(room)).seq for _ in range(10)] == list(range(21, 31))  # type: ignore[union-attr]
            assert server.hub._trimmed == {}


async def test_a_server_that_keeps_everything_looks_at_nothing(autojump_clock: MockClock) -> None:
    """Without a setting or a policy there is no task for it."""
    async with serving(keep_events=0) as server:
        assert server.hub.retention is None
    async with serving(keep_events=0, rooms=lambda name: RoomPolicy()) as server:
        await said(server, 30)
        await trimmed(server, 1)


async def test_a_program_says_what_each_room_keeps(autojump_clock: MockClock) -> None:
    """What its policy leaves open is as in the settings."""

    def policy_of(name: str) -> RoomPolicy:
        return {"lobby": RoomPolicy(keep_events=3), "all": RoomPolicy(keep_events=0)}.get(name, RoomPolicy())

    async with serving(rooms=policy_of) as server:
        for name in ("lobby", "all", "other"):
            async with server.hub.join(name) as room:
                for i in range(30):
                    await room.say(str(i))
        await trimmed(server, 28)
        assert [await first(server.hub.log, room) for room in ("all", "other")] == [1, 11]


@pytest.mark.parametrize("wrong", [{"keep_events": -1}, {"keep_days": -0.5}, {"keep_days": float("nan")}])
def test_a_policy_checks_itself(wrong: dict[str, Any]) -> None:
    """A number below 0 is refused, and the field named."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: 0 or more"):
        RoomPolicy(**wrong)
