"""Opening a room: its tail and its state, read from the log.

Owns what is read, in which order, and what makes it whole. Refuses to know who is in the room.
"""

import msgspec

from ..log.base import Event, EventLog
from . import control, limits
from .policy import OnOverflow
from .room import Room
from .schema import MessageBody
from .state import decode_state


async def open_room(log: EventLog, name: str, on_overflow: OnOverflow) -> Room:
    """The room as the log has it. Raises `LogUnavailable`."""
    while True:
        position = await log.position(name)
        room = Room(name, position, on_overflow)
        if not position.head:
            return room
        tail = await _prime(room, log)
        state = decode_state(position.state)
        if tail and tail[0].seq <= position.first:
            for event in tail:
                if event.kind in control.KINDS:
                    state.fold(event)
        else:
            while events := await control_events(log, name, state.seq, position.head):
                for event in events:
                    state.fold(event)
        room.recall(state)
        if (await log.position(name)).first == position.first:
            return room
        # What was to be read has been trimmed meanwhile.


async def _prime(room: Room, log: EventLog) -> list[Event]:
    events = await log.read_before(
        room.name, room.head + 1, limits.MAX_TAIL_EVENTS, max_bytes=limits.PAGE_BYTES
    )
    room.prime((event.seq, room.encode_event(event)) for event in events)
    for event in events:
        if event.kind == "message":
            remember(room, event)
    return events


def remember(room: Room, event: Event) -> None:
    """Know a message again that its sender sends again."""
    body = msgspec.json.decode("{" + event.body, type=MessageBody)
    if isinstance(body.id, str):
        room.remember(body.user, body.id, body.text, event.seq, event.at_ms)


async def control_events(log: EventLog, room: str, after: int, head: int) -> list[Event]:
    """Control events after ``after``, up to ``head``: a page of them. Raises `LogUnavailable`.

    What is being committed may be found already, and counts only when it is stored for good.
    """
    events = await log.read(room, after, limits.PAGE_EVENTS, max_bytes=limits.PAGE_BYTES, kinds=control.KINDS)
    return [event for event in events if event.seq <= head]
