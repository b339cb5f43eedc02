"""Searching: the messages that have some words in them, of the rooms that the asking user may read.

Owns the question and what may be shown of what is found. Refuses to know how messages are found.
"""

from typing import Final

import msgspec
from msgspec import UNSET

from ..log.base import Found
from . import schema
from .operations import Asker, Operations, Waiting
from .refusal import Refusal
from .room import Room

_MAX_ROUNDS: Final = 4
"""How often the log is asked again because of what the user may not read; the client may go on from there."""


async def search(asker: Asker, request: schema.Search) -> None:
    """Find messages, and show them as they are now."""
    if not request.text.strip():
        raise Refusal("bad_request", "text: a word at least")
    room = asker.member(request.room).room.name if isinstance(request.room, str) else None
    place = request.before if isinstance(request.before, str) else None
    messages: list[msgspec.Raw] = []
    for _ in range(_MAX_ROUNDS):
        limit = request.limit - len(messages)
        try:
            searched = await asker.hub.log.search(
                request.text, limit, room=room, user=asker.user.id, before=place
            )
        except ValueError:
            raise Refusal("bad_request", "before: the `next` of what was found before") from None
        messages += await _shown(asker, searched.found)
        place = searched.more
        if place is None or len(messages) == request.limit:
            break
    more = place is not None
    asker.reply(schema.FoundMessages(re=request.id, messages=messages, more=more, next=place or UNSET))


async def _shown(asker: Asker, found: list[Found]) -> list[msgspec.Raw]:
    """Those that the user may see, in the same order."""
    hub, me, shown = asker.hub, asker.user.id, list[msgspec.Raw]()
    for each in found:
        async with hub.decisions.opened(each.room) as room:
            if each.event.seq > room.head or not _may_see(asker, room):
                continue
            changed = await hub.changes.lookup.messages(room, [each.event], room.head)
        event, present = each.event, (changed or {}).get(each.event.seq)
        if present is None:
            prefix = schema.event_prefix("message", room.name)
            shown.append(msgspec.Raw(schema.encode_event(prefix, event.seq, event.at_ms, event.body)))
        elif not present.deleted:
            shown.append(msgspec.Raw(present.shown(room.name, me)))
    return shown


def _may_see(asker: Asker, room: Room) -> bool:
    by = asker.author
    return room.state.why_not("see", by.user.id, asker.hub.clock(), admin=by.admin) is None


OPERATIONS: Operations = {schema.Search: Waiting(search)}
