"""Messages as they are now, read from the log.

Owns the reading: what is read, up to which event it counts, and how much of it at most. Refuses to know what
an edit or a reaction does (`trio_chat.chat.present`) and who asks.

What is being committed may be found in the log already; nothing beyond the room's head counts, because nobody
is shown it before it is stored for good.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ..log.base import Event, EventLog
from . import limits
from .present import Present
from .refusal import Refusal
from .room import Room

MAX_CHANGES: Final = 20_000
"""Events about the messages of one page; a page that has more of them is shorter."""
_KEPT: Final = 64
_WORTH_KEEPING: Final = 50
"""Of messages with so many events about them, that many are kept in memory, so that a thousand people who
react to one message don't have its events read a thousand times."""

_MAX_BODY_BYTES: Final = 80 * 1024
"""No event's body is longer: `schema.MAX_TEXT_CHARS`, each of 6 bytes, and who it is by."""


class Lookup:
    """See the module."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._kept: OrderedDict[tuple[str, str, int], Present] = OrderedDict()

    async def message(self, room: Room, seq: int) -> Present:
        """The message ``seq`` as it is now. Raises `Refusal` if there is none, `LogUnavailable`."""
        place, head = (room.name, room.epoch, seq), room.head
        if not room.first <= seq <= head:
            raise _no_message(seq)
        present = self._kept.get(place)
        if present is None:
            events = await self._log.read(room.name, seq - 1, 1, kinds=("message",))
            if not events or events[0].seq != seq:
                raise _no_message(seq)
            present = Present(events[0])
        after: tuple[int, int] | None = (seq, present.seq)
        while after is not None:
            events, after = await self._about(room, seq, seq, after)
            for event in events:
                if event.seq <= head:
                    present.fold(event)
        if present.changes.total() >= _WORTH_KEEPING:
            self._kept[place] = present
            self._kept.move_to_end(place)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return present

    async def messages(self, room: Room, events: Sequence[Event], as_of: int) -> dict[int, Present] | None:
        """Those of ``events``, messages in ascending order, that something was done to, as they are at
        ``as_of``. None if that is too much for one page. Raises `LogUnavailable`."""
        if not events:
            return {}
        by_seq = {event.seq: event for event in events}
        found: dict[int, Present] = {}
        count = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            changes, after = await self._about(room, events[0].seq, events[-1].seq, after)
            count += len(changes)
            if count > MAX_CHANGES and len(events) > 1:
                return None
            for change in changes:
                if change.target in by_seq and change.seq <= as_of:
                    if change.target not in found:
                        found[change.target] = Present(by_seq[change.target])
                    found[change.target].fold(change)
        return found

    async def _about(
        self, room: Room, first: int, last: int, after: tuple[int, int]
    ) -> tuple[list[Event], tuple[int, int] | None]:
        """The next events about ``first .. last``, and after which one to go on, if there may be more."""
        events = await self._log.read_about(
            room.name, first, last, limits.PAGE_EVENTS, after=after, max_bytes=limits.PAGE_BYTES
        )
        size = sum(len(event.body.encode()) for event in events)
        if not events or (len(events) < limits.PAGE_EVENTS and size < limits.PAGE_BYTES - _MAX_BODY_BYTES):
            return events, None
        return events, (events[-1].target or 0, events[-1].seq)


def _no_message(seq: int) -> Refusal:
    return Refusal("not_found", f"seq: there is no message {seq} in this room")
