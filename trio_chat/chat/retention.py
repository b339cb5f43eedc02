"""Retention: old events are removed in the background, room by room.

Owns the decision which events may go, and the pace. Refuses to know how a log removes them.

Rules:

1. An event may go when ``keep_events`` newer ones are in its room, or when it is older than ``keep_days``;
   but never before `MIN_KEPT_SECONDS`, because until then its sender may send it again, and only a kept event
   is known again.
2. The log is trimmed a few events at a time (`BATCH`), with a rest of `_REST` times as long after each step:
   appends have their turn in between, and three quarters of the writer's time.
3. The room's state outlives the events that have made it: it is kept with the log's position.
4. What goes wrong is logged and tried again with the next sweep. Nobody is disturbed by it.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import trio

from ..log.base import Event, EventLog, Kept, LogUnavailable
from . import control
from .policy import PolicyOf
from .state import decode_state, encode_state

T = TypeVar("T")

logger = logging.getLogger("trio_chat.retention")

SWEEP_SECONDS: Final = 30.0
"""The pause between two sweeps over all rooms."""
MIN_KEPT_SECONDS: Final = 60.0
BATCH: Final = 100
"""Events in one step: some 0.4 ms of the writer's time where keys begin with the time, 1.2 ms where they are
random, in a log of 300,000 events (see ``scripts/bench_log.py trim``)."""
_PAGE_ROOMS = 200
"""Rooms looked at without a turn for others."""
_REST = 3
_MAX_REST_SECONDS = 1.0
"""After a step that a disk has held up for minutes, too: else nothing more would be done for a long time."""


class Retention:
    """See the module. `run` is its task.

    ``policy_of``: what holds for a room, with numbers in both fields. ``clock`` gives Unix time in seconds.
    ``trimmed`` is told a room and its ``first`` after each step.
    """

    def __init__(
        self,
        log: EventLog,
        policy_of: PolicyOf,
        clock: Callable[[], float],
        trimmed: Callable[[str, int], None],
    ) -> None:
        self._log = log
        self._policy_of = policy_of
        self._clock = clock
        self._trimmed = trimmed
        self.events = 0
        """Events removed so far."""

    async def run(self) -> None:
        """Sweep now and again, until cancelled. A step that has begun is finished."""
        while True:
            try:
                await self.sweep()
            except LogUnavailable as error:
                logger.warning("the log can't be trimmed: %s", error)
            except Exception:
                logger.exception("trimming failed")
            await trio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Remove what may go from every room, and give its storage back. Raises `LogUnavailable`."""
        after = ""
        while page := await self._log.kept(after, _PAGE_ROOMS):
            for kept in page:
                try:
                    may_go = self._rule(kept)
                except Exception:
                    logger.exception("the policy of a room failed")
                else:
                    await self._trim(kept, may_go)
            after = page[-1].room
        while await self._step(self._log.compact):
            pass

    async def _trim(self, kept: Kept, may_go: Callable[[int, int], bool]) -> None:
        first, more = kept.first, may_go(kept.first, kept.at_ms)
        while more:
            events = await self._log.read(kept.room, first - 1, BATCH)
            going = [event.seq for event in events if may_go(event.seq, event.at_ms)]
            more = bool(going) and len(going) == len(events)
            if going:
                before = first
                state = await self._state_after(kept.room, events[: len(going)])
                first = await self._step(partial(self._log.trim, kept.room, going[-1], BATCH, state))
                self.events += first - before
                self._trimmed(kept.room, first)

    async def _state_after(self, room: str, going: list[Event]) -> str | None:
        """What takes the place of events that go: what they make of the room's state; None if nothing."""
        events = [event for event in going if event.kind in control.KINDS]
        if not events:
            return None
        state = decode_state((await self._log.position(room)).state)
        for event in events:
            state.fold(event)
        return encode_state(state)

    def _rule(self, kept: Kept) -> Callable[[int, int], bool]:
        """Whether an event of this room may go, by ``seq`` and ``at_ms``: if one may, all older ones may."""
        policy = self._policy_of(kept.room)
        now_ms = self._clock() * 1000
        surely_ms = now_ms - MIN_KEPT_SECONDS * 1000
        by_count = kept.head - policy.keep_events if policy.keep_events else 0
        by_age_ms = now_ms - policy.keep_days * 86_400_000 if policy.keep_days else 0
        return lambda seq, at_ms: at_ms < surely_ms and (seq <= by_count or at_ms < by_age_ms)

    async def _step(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that appends have to wait for, and then rest."""
        began = trio.current_time()
        result = await work()
        await trio.sleep(min(_REST * (trio.current_time() - began), _MAX_REST_SECONDS))
        return result
