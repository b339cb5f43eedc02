"""What is read of a room: pages of its history.

Owns the operations that ask for messages. Refuses to know how they are stored.
"""

import msgspec
from msgspec import UNSET

from ..log.base import Event, EventLog
from . import schema
from .operations import Asker, Operations, Waiting
from .refusal import Refusal
from .room import Room

_MESSAGES = ("message",)


async def history(asker: Asker, request: schema.History) -> None:
    """A page of messages."""
    if request.before is not UNSET and request.after is not UNSET:
        raise Refusal("bad_request", "after: not together with before")
    room, log, max_bytes = asker.member(request.room).room, asker.hub.log, asker.hub.page_bytes
    limit = request.limit + 1
    events: list[Event]
    if isinstance(request.after, int):
        events = await log.read(room.name, request.after, limit, max_bytes=max_bytes, kinds=_MESSAGES)
        # What is being committed may be found already; nobody is shown it before it is stored for good.
        events = [event for event in events if event.seq <= room.head]
        more = len(events) == limit or (bool(events) and events[-1].seq < room.head)
        events = events[: request.limit]
    else:
        before = room.head + 1
        if isinstance(request.before, int):
            before = min(request.before, before)
        events = await log.read_before(room.name, before, limit, max_bytes=max_bytes, kinds=_MESSAGES)
        more = len(events) == limit or await _is_before(log, room, events)
        events = events[-request.limit :]
    prefix = schema.event_prefix("message", room.name)
    messages = [
        msgspec.Raw(schema.encode_event(prefix, event.seq, event.at_ms, event.body)) for event in events
    ]
    asker.reply(schema.HistoryPage(re=request.id, room=room.name, messages=messages, more=more))


async def _is_before(log: EventLog, room: Room, events: list[Event]) -> bool:
    """Whether there is anything before a page that is short, as one of long messages may be."""
    if not events or events[0].seq <= room.first:
        return False
    return bool(await log.read_before(room.name, events[0].seq, 1, kinds=_MESSAGES))


OPERATIONS: Operations = {schema.History: Waiting(history)}
