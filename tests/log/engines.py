"""The engines under the contract suite, and the hands that the tests lay on them."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from trio_chat.log import open_memory_log, open_sqlite_log
from trio_chat.log.base import Append, Event, EventLog, Position


@attrs.define
class Clock:
    """A clock that stands still until it is set."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@attrs.define
class Faults:
    """Fails the next commits as told: each entry of ``plan`` is "before", "after" or None for one commit."""

    plan: list[str | None] = attrs.Factory(list)
    error: Exception = attrs.Factory(lambda: OSError(28, "No space left on device"))

    def __call__(self, commit: Callable[[], None]) -> None:
        when = self.plan.pop(0) if self.plan else None
        if when == "before":
            raise self.error
        commit()
        if when == "after":
            raise self.error


class Engine(Protocol):
    """One engine and its storage, which may outlive a log."""

    persistent: bool
    clock: Clock
    faults: Faults

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        """Open the log over this storage."""
        ...


@attrs.define
class MemoryEngine:
    persistent = False
    clock: Clock = attrs.Factory(Clock)
    faults: Faults = attrs.Factory(Faults)

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        return open_memory_log(clock=self.clock, commit_through=self.faults)


@attrs.define
class SQLiteEngine:
    path: Path
    persistent = True
    clock: Clock = attrs.Factory(Clock)
    faults: Faults = attrs.Factory(Faults)

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        return open_sqlite_log(self.path, sync="normal", clock=self.clock, commit_through=self.faults)


@attrs.define
class RedisEngine:
    """A database of a real Redis of its own, emptied before."""

    url: str
    persistent = True
    clock: Clock = attrs.Factory(Clock)
    faults: Faults = attrs.Factory(Faults)

    async def _commit_through(self, commit: Callable[[], Awaitable[None]]) -> None:
        committed = False

        def check() -> None:
            nonlocal committed
            committed = True

        try:
            self.faults(check)
        except Exception:
            if committed:
                await commit()
            raise
        await commit()

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        from trio_chat.log.redis import open_redis_log

        return open_redis_log(self.url, clock=self.clock, commit_through=self._commit_through)


@attrs.define
class Heard:
    """A follower that keeps what it is told, and can wait for it."""

    heard: list[tuple[Any, ...]] = attrs.Factory(list)
    _news: trio.Event = attrs.Factory(trio.Event)

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        self._news.set()

    def grown(self, room: str, events: Sequence[Event]) -> None:
        self._hear("grown", room, seqs(list(events)))

    def behind(self, room: str, head: int) -> None:
        self._hear("behind", room, head)

    def trimmed(self, room: str, first: int) -> None:
        self._hear("trimmed", room, first)

    def restarted(self, room: str, position: Position) -> None:
        self._hear("restarted", room, position)

    def signalled(self, room: str, data: bytes) -> None:
        self._hear("signalled", room, data)

    def announced(self, room: str, node: str) -> None:
        self._hear("announced", room)

    def available(self, reason: str | None) -> None:
        self._hear("available", reason)

    async def until(self, *what: Any) -> None:
        """Wait until it was told this; a shorter ``what`` is the beginning of it."""
        while not any(each[: len(what)] == what for each in self.heard):
            self._news = trio.Event()
            await self._news.wait()


def said(text: str = "hi", *, room: str = "lobby", key: str | None = None, kind: str = "message") -> Append:
    """An append like those of a session."""
    return Append(room, kind, f'"text":"{text}"}}', key)


def seqs(events: list[Event]) -> list[int]:
    """The numbers of ``events``."""
    return [event.seq for event in events]


def open_descriptors(path: Path) -> list[str]:
    """What this process holds open of ``path`` and its side files."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(str(path)):
            names.append(target)
    return names
