"""Pages of messages as they are now: of a room's history, and of what a search finds.

Owns what belongs to a page, how large it may be, and who may see it. Refuses to know who is told.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import UNSET

from ..log.base import Event, EventLog, Found
from . import schema
from .changes import Author, Changes
from .decisions import Decisions
from .refusal import Refusal
from .room import Room

_MESSAGES = ("message",)
_MAX_ROUNDS: Final = 4
"""How often the log is asked again because of what the user may not read; the client may go on from there."""


class Hub(Protocol):
    """What is needed of the hub."""

    log: EventLog
    clock: Callable[[], float]

    @property
    def page_bytes(self) -> int: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def decisions(self) -> Decisions: ...


# --- history -------------------------------------------------------------------------------------------


async def history(hub: Hub, room: Room, by: Author, request: schema.History) -> schema.HistoryPage:
    """A page of messages, as they are now. Raises `Refusal`, `LogUnavailable`; so does `search`."""
    if request.before is not UNSET and request.after is not UNSET:
        raise Refusal("bad_request", "after: not together with before")
    log, max_bytes = hub.log, hub.page_bytes
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
    messages = await _shown(hub, room, events, as_of, by.user.id, backward=backward)
    more = more or len(messages) < len(events)
    return schema.HistoryPage(re=request.id, room=room.name, messages=messages, more=more, as_of=as_of)


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


# --- searching -----------------------------------------------------------------------------------------


async def search(hub: Hub, by: Author, request: schema.Search, room: str | None) -> schema.FoundMessages:
    """Messages with some words, as they are now, of ``room`` or of all that the user may read."""
    if not request.text.strip():
        raise Refusal("bad_request", "text: a word at least")
    place = request.before if isinstance(request.before, str) else None
    messages: list[msgspec.Raw] = []
    for _ in range(_MAX_ROUNDS):
        limit = request.limit - len(messages)
        try:
            searched = await hub.log.search(request.text, limit, room=room, user=by.user.id, before=place)
        except ValueError:
            raise Refusal("bad_request", "before: the `next` of what was found before") from None
        messages += await _found(hub, by, searched.found)
        place = searched.more
        if place is None or len(messages) == request.limit:
            break
    more = place is not None
    return schema.FoundMessages(re=request.id, messages=messages, more=more, next=place or UNSET)


async def _found(hub: Hub, by: Author, found: list[Found]) -> list[msgspec.Raw]:
    """Those that the user may see, in the same order."""
    shown: list[msgspec.Raw] = []
    for each in found:
        async with hub.decisions.opened(each.room) as room:
            if each.event.seq > room.head or not _may_see(hub, room, by):
                continue
            changed = await hub.changes.lookup.messages(room, [each.event], room.head)
        event, present = each.event, (changed or {}).get(each.event.seq)
        if present is None:
            prefix = schema.event_prefix("message", room.name)
            shown.append(msgspec.Raw(schema.encode_event(prefix, event.seq, event.at_ms, event.body)))
        elif not present.deleted:
            shown.append(msgspec.Raw(present.shown(room.name, by.user.id)))
    return shown


def _may_see(hub: Hub, room: Room, by: Author) -> bool:
    return room.state.why_not("see", by.user.id, hub.clock(), admin=by.admin) is None
