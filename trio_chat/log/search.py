"""Searching a log: what a text and a question have in common, and a search for engines without an index.

Owns the folding of texts, the text that an event has, and the looking through a log message by message.
Engines with an index of their own (`trio_chat.log.sqlite_search`) use the folding too, so that every engine
finds the same.
"""

import unicodedata
from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

import msgspec

from trio_chat.log.base import Event, Found, Listed, Searched

MESSAGE, EDITED, DELETED = "message", "edited", "deleted"
MAX_SCANNED: Final = 20_000
"""Messages that one search looks at where there is no index; the next goes on from there."""
_FIRST_PAGE, _PAGE = 20, 200
"""Messages of one room read at a time: the first page of many rooms is read in vain."""
_PAGE_BYTES: Final = 256 * 1024


class _Text(msgspec.Struct):
    text: str = ""


_decode = msgspec.json.Decoder(_Text).decode


def text_of(body: str) -> str:
    """The text in an event's body; none if there is none."""
    return _decode("{" + body).text


def folded(text: str) -> str:
    """``text`` without what a search doesn't tell apart: case, and forms that are compatible in Unicode."""
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> list[str]:
    """The words that a search for ``text`` is for, folded."""
    return list(dict.fromkeys(folded(text).split()))


def matches(words: Sequence[str], text: str) -> bool:
    """Whether each of ``words``, folded already, is somewhere in ``text``."""
    text = folded(text)
    return all(word in text for word in words)


class Log(Protocol):
    """What is needed of a log to look through it."""

    async def rooms(self, limit: int = 1000) -> list[Listed]: ...
    async def rooms_of(self, user: str, limit: int = 1000) -> list[Listed]: ...
    async def read_before(
        self,
        room: str,
        before: int | None,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]: ...
    async def read_about(
        self,
        room: str,
        first: int,
        last: int,
        limit: int,
        *,
        after: tuple[int, int] = (0, 0),
        max_bytes: int = 1 << 20,
    ) -> list[Event]: ...


_Key = tuple[int, str, int]
"""Where a message stands among those of all rooms, the newest first: by time, then by room and number."""


def _key(room: str, event: Event) -> _Key:
    return -event.at_ms, room, -event.seq


def _place(key: _Key) -> str:
    return f"{-key[0]}.{-key[2]}.{key[1]}"


def _parsed(place: str) -> _Key:
    at_ms, seq, room = place.split(".", 2)
    return -int(at_ms), room, -int(seq)


class _Descent:
    """A room's messages on the way down from the newest."""

    def __init__(self, log: Log, room: str, start: _Key | None) -> None:
        """``start``: only what comes after it is wanted; in another room that may be passed over."""
        self.room = room
        self._log = log
        self._next = -start[2] if start is not None and start[1] == room else None
        self._size = _FIRST_PAGE
        self._events: deque[Event] = deque()
        self._texts: dict[int, str | None] = {}

    async def key(self) -> _Key | None:
        """Where the next message stands; None: there is none."""
        if not self._events:
            await self._read()
        return _key(self.room, self._events[0]) if self._events else None

    async def _read(self) -> None:
        if self._next is not None and self._next <= 1:
            return
        events = await self._log.read_before(
            self.room, self._next, self._size, max_bytes=_PAGE_BYTES, kinds=(MESSAGE,)
        )
        self._size = _PAGE
        self._events.extend(reversed(events))
        self._texts = {}
        if not events:
            self._next = 0
            return
        self._next = events[0].seq
        after = (0, 0)
        first, last = events[0].seq, events[-1].seq
        while changes := await self._log.read_about(
            self.room, first, last, _PAGE, after=after, max_bytes=_PAGE_BYTES
        ):
            for change in changes:
                assert change.target is not None
                if change.kind == DELETED:
                    self._texts[change.target] = None
                elif change.kind == EDITED and self._texts.get(change.target, "") is not None:
                    self._texts[change.target] = text_of(change.body)
            after = (changes[-1].target or 0, changes[-1].seq)

    def take(self) -> tuple[Event, str | None]:
        """The next message, and its text; None: it is deleted."""
        event = self._events.popleft()
        return event, self._texts[event.seq] if event.seq in self._texts else text_of(event.body)


async def scan(
    log: Log, text: str, limit: int, *, room: str | None, user: str | None, before: str | None
) -> Searched:
    """See `EventLog.search`: message by message, with one page of each room in memory."""
    words, found = words_of(text), list[Found]()
    start = _parsed(before) if before is not None else None
    if not words:
        return Searched([], None)
    heap: list[tuple[_Key, _Descent]] = []
    for name in [room] if room is not None else await _names(log, user):
        descent = _Descent(log, name, start)
        if (key := await descent.key()) is not None:
            heap.append((key, descent))
    heapify(heap)
    looked_at, last = 0, ""
    while heap:
        key, descent = heappop(heap)
        event, says = descent.take()
        if start is None or key > start:
            if looked_at == MAX_SCANNED:
                return Searched(found, last)
            looked_at, last = looked_at + 1, _place(key)
            if says is not None and matches(words, says):
                if len(found) == limit:
                    return Searched(found, found[-1].place)
                found.append(Found(descent.room, event, last))
        if (below := await descent.key()) is not None:
            heappush(heap, (below, descent))
    return Searched(found, None)


async def _names(log: Log, user: str | None) -> list[str]:
    listed = await log.rooms()
    if user is not None:
        listed = [*listed, *await log.rooms_of(user)]
    return list(dict.fromkeys(each.room for each in listed))
