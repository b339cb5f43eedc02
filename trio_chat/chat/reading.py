"""What is read of a room: pages of its history.

Owns the operations that ask for messages. Refuses to know how they are stored.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from ..log.base import Event, EventLog
from . import schema
from .hub import Hub
from .operations import Asker, Operations, Waiting
from .refusal import Refusal
from .room import Room

_MESSAGES = ("message",)


async def history(asker: Asker, request: schema.History) -> None:
    """A page of messages, as they are now."""
    if request.before is not UNSET and request.after is not UNSET:
        raise Refusal("bad_request", "after: not together with before")
    room, log, max_bytes = asker.member(request.room).room, asker.hub.log, asker.hub.page_bytes
    limit, as_of = request.limit + 1, room.head
    events: list[Event]
    backward = not isinstance(request.after, int)
    if isinstance(request.after, int):
        events = await log.read(room.name, request.after, limit, max_bytes=max_bytes, kinds=_MESSAGES)
        # What is being committed may be found already; nobody is shown it before it is stored for good.
        events = [event for event in events if event.seq <= as_of]
        more = len(events) == limit or await _is_after(log, room, events, as_of)
        events = events[: request.limit]
    else:
        before = as_of + 1
        if isinstance(request.before, int):
            before = min(request.before, before)
        events = await log.read_before(room.name, before, limit, max_bytes=max_bytes, kinds=_MESSAGES)
        more = len(events) == limit or await _is_before(log, room, events)
        events = events[-request.limit :]
    messages = await _shown(asker.hub, room, events, as_of, asker.user.id, backward=backward)
    more = more or len(messages) < len(events)
    page = schema.HistoryPage(re=request.id, room=room.name, messages=messages, more=more, as_of=as_of)
    asker.reply(page)


async def _is_after(log: EventLog, room: Room, events: list[Event], as_of: int) -> bool:
    """Whether there is anything after a page that is short, as one of long messages may be."""
    if not events or events[-1].seq >= as_of:
        return False
    beyond = await log.read(room.name, events[-1].seq, 1, kinds=_MESSAGES)
    return bool(beyond) and beyond[0].seq <= as_of


async def _is_before(log: EventLog, room: Room, events: list[Event]) -> bool:
    """Whether there is anything before a page that is short, as one of long messages may be."""
    if not events or events[0].seq <= room.first:
        return False
    return bool(await log.read_before(room.name, events[0].seq, 1, kinds=_MESSAGES))


async def _shown(
    hub: Hub, room: Room, events: Sequence[Event], as_of: int, me: str, *, backward: bool
) -> list[msgspec.Raw]:
    """``events`` as message objects; the last ones, or the first, if all would be too much for a page."""
    while (changed := await hub.changes.lookup.messages(room, events, as_of)) is None:
        half = len(events) // 2
        events = events[half:] if backward else events[:half]
    prefix = schema.event_prefix("message", room.name)
    shown: list[msgspec.Raw] = []
    space = hub.page_bytes
    for event in reversed(events) if backward else events:
        present = changed.get(event.seq)
        if present is None:
            data = schema.encode_event(prefix, event.seq, event.at_ms, event.body)
        else:
            data = present.shown(room.name, me)
        space -= len(data)
        if shown and space < 0 and changed:
            break
        shown.append(msgspec.Raw(data))
    return shown[::-1] if backward else shown


OPERATIONS: Operations = {schema.History: Waiting(history)}
