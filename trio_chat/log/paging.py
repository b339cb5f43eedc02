"""How a page of events ends: shared by the engines, so that they agree to the byte. Pure functions."""

from collections.abc import Iterable

from trio_chat.log.base import Event


def body_bytes(body: str) -> int:
    """The length of ``body`` in UTF-8."""
    return len(body) if body.isascii() else len(body.encode())


def page(events: Iterable[Event], limit: int, max_bytes: int) -> list[Event]:
    """The first events, at most ``limit``, whose bodies fit ``max_bytes`` together; the first always fits."""
    taken: list[Event] = []
    room_left = max_bytes
    for event in events:
        room_left -= body_bytes(event.body)
        if len(taken) >= limit or (taken and room_left < 0):
            break
        taken.append(event)
    return taken
