"""The fan-out: passes over a room's members with what is new in it.

Owns what a pass is. Refuses to know where events come from.

Rules:

1. A small room is served on the spot, a larger one in steps (`trio_chat.chat.turns`).
2. A pass begins with the members whose events it delivers: they may have more to say, and the next commit
   runs in its thread while the pass goes on.
"""

from collections.abc import Callable

from .room import Room
from .turns import Steps, Turns

AT_ONCE = 64
"""Members up to which a fan-out isn't worth a turn: some 300 us."""
_FIRST_STEP = 32
_TURNS_TO_COMMIT = 3
"""A pass hands the event loop back early once, for what the authors say next: the poller reads it, the
committer takes it, and the log's thread begins with it while the pass goes on. Three turns, at some 20 us."""


class FanOut:
    """See the module. ``page_bytes``: the largest page; ``release`` is told of rooms that are done with."""

    def __init__(self, turns: Turns, page_bytes: int, release: Callable[[Room], None]) -> None:
        self._turns = turns
        self._page_bytes = page_bytes
        self._release = release
        self.deliveries = 0
        """Events handed to members."""

    def deliver(self, room: Room) -> None:
        """Pass what is new to the members: at once if they are few, else when it is the room's turn."""
        if room.pumping:
            return
        if len(room.members) > AT_ONCE:
            room.pumping = True
            self._turns.add(self._pump(room))
            return
        while (page := self._next(room)) is not None:
            last, data, packed = page
            room.deliver(room.members, room.delivered, last, data, packed)
            self._count(room, last)
        room.authors.clear()

    def _pump(self, room: Room) -> Steps:
        """Pass what is new to the members until nothing is new."""
        while (page := self._next(room)) is not None:
            last, data, packed = page
            after = room.delivered
            members = [*room.authors, *room.members]
            room.authors.clear()
            start, size = 0, min(_FIRST_STEP, self._turns.writes(len(data)))
            while start < len(members):
                part = members[start : start + size]
                room.deliver(part, after, last, data, packed)
                yield len(part), len(data)
                if not start:
                    for _ in range(1, _TURNS_TO_COMMIT):
                        yield 0, 0
                start += size
                size = self._turns.writes(len(data))
            if room.delivered == after:  # else a hole was published meanwhile
                self._count(room, last)
        room.pumping = False
        self._release(room)

    def _next(self, room: Room) -> tuple[int, bytes, dict[int, bytes] | None] | None:
        """The next page to deliver: its last ``seq``, the frames joined, and compressed by window."""
        if room.delivered >= room.head:
            return None
        page = room.page(room.delivered, self._page_bytes)
        if page is None:
            room.skip_to_head()
            return None
        last, frames = page
        return last, b"".join(frames), room.compressed(frames)

    def _count(self, room: Room, last: int) -> None:
        self.deliveries += len(room.members) * (last - room.delivered)
        room.delivered = last
