"""Any engine against a model of a few lines: random operations, compared answer by answer."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from log.redis_server import RedisServer
from trio_chat.log import open_memory_log, open_sqlite_log
from trio_chat.log.base import Append, Appended, Event, EventLog, Kept, LogUnavailable
from trio_chat.log.seams import in_event_loop

from .engines import Clock, Faults, RedisEngine

ROOMS = ["a", "b", "ü"]
KINDS = ["message", "topic", "reacted"]
KEYS = [None, None, "k1", "k2", "k1\0", "é"]
BODIES = ["}", '"text":"hi"}', '"text":"长长长"}']


@attrs.define
class Model:
    """What a log is, said as plainly as possible."""

    events: dict[str, list[Event]] = attrs.Factory(lambda: {room: [] for room in ROOMS})
    first: dict[str, int] = attrs.Factory(lambda: dict.fromkeys(ROOMS, 1))
    keys: dict[tuple[str, str], Appended] = attrs.Factory(dict)

    def append(self, batch: list[Append], now_ms: int) -> list[Appended]:
        results = []
        for each in batch:
            room = self.events[each.room]
            first = self.keys.get((each.room, each.key)) if each.key is not None else None
            if first is not None and first.seq >= self.first[each.room]:
                results.append(Appended(first.seq, first.at_ms, duplicate=True))
                continue
            at_ms = max([now_ms, *(event.at_ms for event in room[-1:])])
            room.append(Event(len(room) + 1, at_ms, each.kind, each.body, each.target))
            results.append(Appended(len(room), at_ms))
            if each.key is not None:
                self.keys[each.room, each.key] = results[-1]
        return results

    def trim(self, room: str, through: int, limit: int) -> None:
        first = self.first[room]
        self.first[room] = max(first, min(through, len(self.events[room]), first + limit - 1) + 1)

    def kept(self) -> list[Kept]:
        return [
            Kept(room, first, len(self.events[room]), self.events[room][first - 1].at_ms)
            for room, first in sorted(self.first.items())
            if first <= len(self.events[room])
        ]

    def read(
        self, room: str, wanted: Callable[[Event], bool], limit: int, max_bytes: int, step: int
    ) -> list[Event]:
        kept = self.events[room][self.first[room] - 1 :]
        found = [event for event in kept[::step] if wanted(event)]
        return fitting(found, limit, max_bytes)[::step]

    def read_about(
        self, room: str, first: int, last: int, limit: int, after: tuple[int, int], max_bytes: int
    ) -> list[Event]:
        kept = self.events[room][self.first[room] - 1 :]
        about = [((event.target, event.seq), event) for event in kept if event.target is not None]
        found = [
            event
            for place, event in sorted(about, key=lambda each: each[0])
            if first <= place[0] <= last and place > after
        ]
        return fitting(found, limit, max_bytes)


def fitting(found: list[Event], limit: int, max_bytes: int) -> list[Event]:
    """The page that ``found`` begins with."""
    found = found[: max(limit, 0)]
    while len(found) > 1 and sum(len(event.body.encode()) for event in found) > max_bytes:
        found.pop()
    return found


appends = st.builds(
    Append,
    st.sampled_from(ROOMS),
    st.sampled_from(KINDS),
    st.sampled_from(BODIES),
    st.sampled_from(KEYS),
    st.none() | st.integers(1, 5),
)
numbers = st.integers(-1, 12)
reads = st.tuples(
    st.sampled_from(ROOMS),
    numbers,
    numbers,
    st.integers(0, 60),
    st.none() | st.lists(st.sampled_from(KINDS), max_size=3),
)
operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.lists(appends, max_size=6), st.sampled_from([None, None, "before", "after"])
        ),
        st.tuples(st.just("read"), reads),
        st.tuples(st.just("read_before"), reads),
        st.tuples(
            st.just("read_about"),
            st.sampled_from(ROOMS),
            numbers,
            numbers,
            numbers,
            st.tuples(st.integers(0, 4), numbers),
            st.integers(0, 60),
        ),
        st.tuples(
            st.just("trim"),
            st.sampled_from(ROOMS),
            numbers,
            numbers,
            st.sampled_from([None, "before", "after"]),
        ),
        st.tuples(st.just("clock"), st.sampled_from([-5, 1, 90])),
        st.tuples(st.just("reopen")),
    ),
    max_size=30,
)


def memory(path: Path, clock: Clock, faults: Faults) -> AbstractAsyncContextManager[EventLog]:
    return open_memory_log(clock=clock, commit_through=faults)


def sqlite(path: Path, clock: Clock, faults: Faults) -> AbstractAsyncContextManager[EventLog]:
    return open_sqlite_log(path, sync="normal", clock=clock, commit_through=faults, runner=in_event_loop)


@pytest.mark.parametrize("opener", [memory, sqlite])
@settings(deadline=None, max_examples=60)
@given(operations=operations)
async def test_an_engine_does_what_the_model_does(opener: Any, operations: list[Any]) -> None:
    """Whatever is appended, failed, read and reopened, each answer is the model's."""
    await compare(opener, operations)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
async def test_redis_does_what_the_model_does(redis_server: RedisServer, operations: list[Any]) -> None:
    """The same, over a real Redis."""

    def redis(path: Path, clock: Clock, faults: Faults) -> AbstractAsyncContextManager[EventLog]:
        return RedisEngine(redis_server.url, clock, faults).open()

    redis_server.ask("FLUSHALL")
    await compare(redis, operations)


async def compare(opener: Any, operations: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        model, clock, faults = Model(), Clock(), Faults()
        todo = list(operations)
        while True:
            async with opener(Path(name) / "log.db", clock, faults) as log:
                await run_until_reopen(log, model, clock, faults, todo)
            if not todo:
                return
            model = Model() if opener is memory else model


async def run_until_reopen(
    log: EventLog, model: Model, clock: Clock, faults: Faults, todo: list[Any]
) -> None:
    """Take operations off ``todo`` and compare, up to the next "reopen"."""
    while todo:
        match todo.pop(0):
            case "append", batch, fault:
                faults.plan = [fault]
                try:
                    done = await log.append(batch)
                except LogUnavailable:
                    done = None
                expected = None if fault == "before" else model.append(batch, int(clock.now * 1000))
                assert done == (expected if fault is None else None)
                faults.plan = []
            case "read", (room, after, limit, max_bytes, kinds):
                found = await log.read(room, after, limit, max_bytes=max_bytes, kinds=kinds)
                assert found == model.read(room, wants(kinds, low=after), limit, max_bytes, 1)
            case "read_before", (room, before, limit, max_bytes, kinds):
                found = await log.read_before(room, before, limit, max_bytes=max_bytes, kinds=kinds)
                assert found == model.read(room, wants(kinds, high=before), limit, max_bytes, -1)
            case "read_about", room, first, last, limit, after, max_bytes:
                found = await log.read_about(room, first, last, limit, after=after, max_bytes=max_bytes)
                assert found == model.read_about(room, first, last, limit, after, max_bytes)
            case "trim", room, through, limit, fault:
                faults.plan = [fault]
                try:
                    first = await log.trim(room, through, limit)
                except LogUnavailable:
                    first = (await log.position(room)).first
                if fault != "before" or faults.plan:  # a trim with nothing to remove meets no fault
                    model.trim(room, through, limit)
                assert first == model.first[room]
                faults.plan = []
            case "clock", seconds:
                clock.now += seconds
            case _:
                return
        for room in ROOMS:
            position = await log.position(room)
            assert (position.first, position.head) == (model.first[room], len(model.events[room]))
        assert await log.kept() == model.kept()


def wants(kinds: list[str] | None, low: int = -9, high: int = 1 << 60) -> Callable[[Event], bool]:
    """Whether an event is of ``kinds`` and between the two numbers."""
    return lambda event: low < event.seq < high and (kinds is None or event.kind in kinds)
