"""The memory engine: a log that lives as long as it is open. For tests, demonstrations and relays.

Owns nothing outside the process. Every operation is one checkpoint followed by plain code, so that appends
and reads are atomic and a cancelled append has stored nothing.
"""

import secrets
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from heapq import merge
from itertools import islice

import attrs
import trio

from trio_chat.log.base import (
    Append,
    Appended,
    Event,
    Kept,
    Listed,
    LogUnavailable,
    Mark,
    Position,
    Searched,
    Unread,
)
from trio_chat.log.paging import page
from trio_chat.log.seams import CommitThrough, commit_plainly
from trio_chat.log.search import scan
from trio_chat.log.single import SingleNode


@attrs.define
class _Room:
    """The events from ``first`` on, and where to find them by key and by kind."""

    first: int = 1
    at_ms: int = 0
    """The last event's time, though it be trimmed."""
    events: list[Event] = attrs.Factory(list)
    seq_by_key: dict[str, int] = attrs.Factory(dict)
    key_by_seq: dict[int, str] = attrs.Factory(dict)
    seqs_by_kind: dict[str, list[int]] = attrs.Factory(dict)
    about: dict[int, list[int]] = attrs.Factory(dict)
    """The events about each target."""
    state: str | None = None
    label: str = ""
    hidden: bool = False
    users: set[str] = attrs.Factory(set)

    @property
    def head(self) -> int:
        return self.first + len(self.events) - 1

    def add(self, append: Append, now_ms: int) -> Appended:
        if append.key is not None and (stored := self.find(append.key)) is not None:
            return stored
        self.at_ms = max(now_ms, self.at_ms)
        event = Event(self.head + 1, self.at_ms, append.kind, append.body, append.target)
        self.events.append(event)
        if append.key is not None:
            self.seq_by_key[append.key] = event.seq
            self.key_by_seq[event.seq] = append.key
        if event.target is not None:
            self.about.setdefault(event.target, []).append(event.seq)
        self.seqs_by_kind.setdefault(append.kind, []).append(event.seq)
        if append.listing is not None:
            self.label, self.hidden = append.listing.label, append.listing.hidden
            self.users.update(append.listing.users)
        return Appended(event.seq, self.at_ms)

    def find(self, key: str) -> Appended | None:
        seq = self.seq_by_key.get(key)
        return None if seq is None else Appended(seq, self.events[seq - self.first].at_ms, duplicate=True)

    def remove_before(self, first: int, state: str | None) -> None:
        if state is not None:
            self.state = state
        for seq in range(self.first, first):
            if (key := self.key_by_seq.pop(seq, None)) is not None:
                del self.seq_by_key[key]
        for seqs in self.seqs_by_kind.values():
            del seqs[: bisect_left(seqs, first)]
        for event in self.events[: first - self.first]:
            if event.target is not None:
                del self.about[event.target][0]
                if not self.about[event.target]:
                    del self.about[event.target]
        del self.events[: first - self.first]
        self.first = first

    def after(self, seq: int, kinds: Sequence[str] | None) -> Iterator[Event]:
        """The events beyond ``seq``, ascending."""
        seqs: Iterable[int] = range(max(seq + 1, self.first), self.head + 1)
        if kinds is not None:
            lists = (self.seqs_by_kind.get(kind, []) for kind in dict.fromkeys(kinds))
            seqs = merge(*(_upward(found, bisect_right(found, seq)) for found in lists))
        return (self.events[each - self.first] for each in seqs)

    def on(self, first: int, last: int, after: tuple[int, int]) -> Iterator[Event]:
        """The events about ``first .. last`` beyond ``after``, by (target, seq)."""
        begin = max(first, after[0])
        if last - begin < len(self.about):
            targets = [target for target in range(begin, last + 1) if target in self.about]
        else:
            targets = sorted(target for target in self.about if begin <= target <= last)
        for target in targets:
            for seq in self.about[target]:
                if (target, seq) > after:
                    yield self.events[seq - self.first]

    def before(self, seq: int, kinds: Sequence[str] | None) -> Iterator[Event]:
        """The events before ``seq``, descending."""
        seqs: Iterable[int] = range(min(seq - 1, self.head), self.first - 1, -1)
        if kinds is not None:
            lists = (self.seqs_by_kind.get(kind, []) for kind in dict.fromkeys(kinds))
            seqs = merge(*(_downward(found, bisect_left(found, seq)) for found in lists), reverse=True)
        return (self.events[each - self.first] for each in seqs)


def _upward(found: list[int], start: int) -> Iterator[int]:
    return (found[i] for i in range(start, len(found)))


def _downward(found: list[int], end: int) -> Iterator[int]:
    return (found[i] for i in range(end - 1, -1, -1))


class MemoryLog(SingleNode):
    """An `EventLog` in memory; see `open_memory_log`."""

    def __init__(self, clock: Callable[[], float], commit_through: CommitThrough) -> None:
        self._clock = clock
        self._commit_through = commit_through
        self._epoch = secrets.token_urlsafe(6)
        self._secret = secrets.token_bytes(32)
        self._rooms: dict[str, _Room] = {}  # the most recently active one last
        self._marks: dict[str, dict[str, int]] = {}

    @property
    def secret(self) -> bytes:
        """See `EventLog.secret`."""
        return self._secret

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See `EventLog.append`. Cancelled at its only checkpoint, it has stored nothing."""
        await trio.lowlevel.checkpoint()
        done: list[Appended] = []

        def commit() -> None:
            now_ms = int(self._clock() * 1000)
            for append in batch:
                room = self._rooms.pop(append.room, None) or _Room()
                self._rooms[append.room] = room
                done.append(room.add(append, now_ms))

        self._commit(commit)
        return done

    def _commit(self, commit: Callable[[], None]) -> None:
        try:
            self._commit_through(commit)
        except OSError as error:
            raise LogUnavailable(f"the log can't store now: {error.strerror or error}") from error

    async def position(self, room: str) -> Position:
        """See `EventLog.position`."""
        await trio.lowlevel.checkpoint()
        found = self._rooms.get(room) or _Room()
        return Position(self._epoch, found.head, found.first, found.state)

    async def read(
        self,
        room: str,
        after: int,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read`."""
        await trio.lowlevel.checkpoint()
        found = self._rooms.get(room)
        return page(found.after(after, kinds), limit, max_bytes) if found else []

    async def read_before(
        self,
        room: str,
        before: int | None,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read_before`."""
        await trio.lowlevel.checkpoint()
        found = self._rooms.get(room)
        if found is None:
            return []
        return page(found.before(found.head + 1 if before is None else before, kinds), limit, max_bytes)[::-1]

    async def read_about(
        self,
        room: str,
        first: int,
        last: int,
        limit: int,
        *,
        after: tuple[int, int] = (0, 0),
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        """See `EventLog.read_about`."""
        await trio.lowlevel.checkpoint()
        found = self._rooms.get(room)
        return page(found.on(first, last, after), limit, max_bytes) if found else []

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `EventLog.mark`."""
        await trio.lowlevel.checkpoint()
        self._commit(partial(self._move, marks))

    def _move(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            if mark.room in self._rooms:
                own = self._marks.setdefault(mark.user, {})
                own[mark.room] = max(mark.seq, own.get(mark.room, 0))

    async def marks(self, user: str, limit: int = 1000) -> dict[str, int]:
        """See `EventLog.marks`."""
        await trio.lowlevel.checkpoint()
        return dict(islice(self._marks.get(user, {}).items(), limit))

    async def unread(self, user: str, *, own: str, naming: Sequence[str], limit: int = 1000) -> list[Unread]:
        """See `EventLog.unread`."""
        await trio.lowlevel.checkpoint()
        found = []
        for name, seq in sorted(self._marks.get(user, {}).items()):
            beyond = islice(self._rooms[name].after(seq, ["message"]), limit)
            bodies = [event.body for event in beyond if not event.body.startswith(own)]
            named = sum(any(each in body for each in naming) for body in bodies)
            found.append(Unread(name, seq, len(bodies), named))
        return found

    async def search(
        self,
        text: str,
        limit: int,
        *,
        room: str | None = None,
        user: str | None = None,
        before: str | None = None,
    ) -> Searched:
        """See `EventLog.search`: it looks at one message after the other."""
        return await scan(self, text, limit, room=room, user=user, before=before)

    async def find(self, room: str, key: str) -> Appended | None:
        """See `EventLog.find`."""
        await trio.lowlevel.checkpoint()
        return (self._rooms.get(room) or _Room()).find(key)

    async def rooms(self, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms`."""
        await trio.lowlevel.checkpoint()
        return self._latest(limit, lambda room: not room.hidden)

    async def rooms_of(self, user: str, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms_of`."""
        await trio.lowlevel.checkpoint()
        return self._latest(limit, lambda room: user in room.users)

    def _latest(self, limit: int, wanted: Callable[[_Room], bool]) -> list[Listed]:
        found = ((name, room) for name, room in reversed(self._rooms.items()) if wanted(room))
        return [Listed(name, room.head, room.label) for name, room in islice(found, limit)]

    async def kept(self, after: str = "", limit: int = 1000) -> list[Kept]:
        """See `EventLog.kept`."""
        await trio.lowlevel.checkpoint()
        names = sorted(name for name, room in self._rooms.items() if room.events and name > after)
        rooms = ((name, self._rooms[name]) for name in names[: max(limit, 0)])
        return [Kept(name, room.first, room.head, room.events[0].at_ms) for name, room in rooms]

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        """See `EventLog.trim`. Cancelled at its only checkpoint, it has removed nothing."""
        await trio.lowlevel.checkpoint()
        found = self._rooms.get(room) or _Room()
        first = min(through, found.head, found.first + limit - 1) + 1
        if first > found.first:
            self._commit(partial(found.remove_before, first, state))
        return found.first

    async def compact(self) -> bool:
        """See `EventLog.compact`: there is nothing to do."""
        await trio.lowlevel.checkpoint()
        return False


@asynccontextmanager
async def open_memory_log(
    *, clock: Callable[[], float] = time.time, commit_through: CommitThrough = commit_plainly
) -> AsyncIterator[MemoryLog]:
    """A new, empty log with an epoch of its own; closing it forgets everything.

    ``clock``: the time in seconds since the Unix epoch. ``commit_through``: see `trio_chat.log.seams`.
    """
    await trio.lowlevel.checkpoint()
    yield MemoryLog(clock, commit_through)
