"""The engines under the contract suite, and the hands that the tests lay on them."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import attrs

from trio_chat.log import open_memory_log, open_sqlite_log
from trio_chat.log.base import Append, Event, EventLog


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
