"""What one client has said and was shown, over all its connections: what the guarantees are checked by.

A `Transcript` checks at once what it can (order, no gap, no duplicate, one answer for one message); what has
to be compared with the file is left to `simulation.checks`.
"""

from collections.abc import Callable
from typing import Any

Shown = tuple[str, str | None, str]
"""An event as somebody was shown it: the user's id, the request's id, the text, or what else it says."""
CHANGES = ("edited", "deleted", "reacted", "unreacted")


def as_shown(event: dict[str, Any]) -> Shown:
    """An event of the wire, or of the log with its kind as ``op``."""
    text = event.get("text", "")
    if event["op"] != "message":
        text = f"{event['op']} {event['target']} {text}{event.get('emoji', '')}"
    return event["user"]["id"], event.get("id"), text


class Transcript:
    """See the module. ``fail`` is told what is wrong. Every text is said once in a run, and by one client.

    ``forgotten``: messages may be so old that they are not known again.
    """

    def __init__(
        self, name: str, kind: str, rooms: list[str], fail: Callable[[str], None], *, forgotten: bool = False
    ) -> None:
        self.name = name
        self.kind = kind
        self.rooms = rooms
        self.user_ids: set[str] = set()
        """As whom it has spoken."""
        self.positions: dict[str, tuple[str, int]] = {}
        """Epoch and last seq by room."""
        self.seen: dict[str, dict[int, Shown]] = {room: {} for room in rooms}
        self.submitted: dict[str, tuple[str, str]] = {}
        """Room and text of all that it said, by key."""
        self.unacked: dict[str, tuple[str, str]] = {}
        """What of that has still to be acknowledged."""
        self.acked: dict[str, int] = {}
        self.gaps: list[tuple[str, int]] = []
        """Rooms of which it was told that nothing is kept up to a seq."""
        self.resent: set[str] = set()
        self.orders: list[list[str]] = []
        """The keys submitted on each connection, in order."""
        self._fail = fail
        self._forgotten = forgotten
        self._number = 0

    def wrong(self, what: str) -> None:
        """Report a broken guarantee."""
        self._fail(f"{self.name} ({self.kind}): {what}")

    def submit(self, room: str, more: str = "") -> str:
        """A new message; returns its key. Its text is in ``submitted``."""
        self._number += 1
        key = f"m{self._number}"
        self.unacked[key] = self.submitted[key] = (room, f"{self.name} {self._number} {more}")
        return key

    def starts(self, room: str, epoch: str, seq: int) -> None:
        """It is a member, and ``seq`` counts as seen."""
        self.positions[room] = (epoch, seq)

    def event(self, room: str, seq: int, shown: Shown) -> None:
        """It was shown an event."""
        if room not in self.positions:
            self.wrong(f"got {seq} of {room} before it had joined")
            return
        epoch, last = self.positions[room]
        if seq != last + 1:
            self.wrong(f"got {seq} of {room} after {last}")
        self.positions[room] = (epoch, seq)
        self.seen[room][seq] = shown

    def gap(self, room: str, first: int, last: int) -> None:
        """It was told that these events are kept no more."""
        epoch, seen = self.positions[room]
        if first != seen + 1 or last < first:
            self.wrong(f"is at {seen} of {room}, and was told of a gap from {first} to {last}")
        self.positions[room] = (epoch, last)
        self.gaps.append((room, last))

    def acknowledged(self, key: str, seq: int) -> None:
        """It was told where its message is stored."""
        if self.acked.setdefault(key, seq) != seq and not self._forgotten:
            self.wrong(f"{key} was acknowledged as {self.acked[key]} and now as {seq}")
        self.unacked.pop(key, None)

    def refused(self, key: str) -> None:
        """It was told that its message can't be stored now."""
        if key in self.unacked:
            self.resent.add(key)
            if key in self.orders[-1]:
                self.orders[-1].remove(key)
