"""Opening a room: its tail and its state, read from the log.

Owns what is read, in which order, and what makes it whole. Refuses to know who is in the room.
"""

import msgspec

from ..log.base import Event, EventLog, Position
from . import control, limits
from .policy import OnOverflow
from .room import Room
from .schema import MessageBody
from .state import RoomState, decode_state


async def open_room(log: EventLog, name: str, on_overflow: OnOverflow) -> Room:
    """The room as the log has it. Raises `LogUnavailable`."""
    while True:
        position = await log.position(name)
        room = Room(name, position, on_overflow)
        if not position.head:
            return room
        tail = await _prime(room, log)
        is_all = bool(tail) and tail[0].seq <= position.first
        room.recall(await _fold(log, name, position, tail if is_all else None))
        if await _is_still(log, name, position):
            return room


async def read_state(log: EventLog, name: str) -> tuple[int, RoomState]:
    """Head and state of a room that isn't opened. Raises `LogUnavailable`."""
    while True:
        position = await log.position(name)
        state = await _fold(log, name, position, None)
        if await _is_still(log, name, position):
            return position.head, state


async def _fold(log: EventLog, room: str, position: Position, events: list[Event] | None) -> RoomState:
    """The state at this position, with ``events`` if those are all that are kept."""
    state = decode_state(position.state)
    while found := await control_events(log, room, state.seq, position.head) if events is None else events:
        for event in found:
            if event.kind in control.KINDS:
                state.fold(event)
        if events is not None:
            break
    return state


async def _is_still(log: EventLog, room: str, position: Position) -> bool:
    """Whether nothing that was to be read has been trimmed meanwhile."""
    return (await log.position(room)).first == position.first


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
