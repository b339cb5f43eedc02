"""The event log: what an engine promises, and the values that go in and out.

Owns the interface and nothing else: no Trio, no I/O, no members, no sockets.
An engine numbers events, keeps them, and finds them again.

Rules that every engine keeps (the contract suite in ``tests/log`` runs on each):

1. ``seq`` of a room is 1, 2, 3, ... without a hole, in the order of the batches
   and of the appends within one batch.
2. When `EventLog.append` returns, what it returned survives a crash as far as the
   engine promises to survive one. When it raises `LogUnavailable`, each append of the
   batch was either stored whole or not at all; which of the two is not known,
   and sending the same ``key`` again finds out.
3. A ``key`` is stored once per room. An append whose key is there already stores
   nothing and returns the first event's ``seq`` and ``at_ms`` with ``duplicate`` set.
4. ``epoch`` of a room stays as long as its events do. Trimming changes neither it nor ``head``.
5. Events go from a room's old end only, and by `EventLog.trim` only. Their keys go with them: an append with
   such a key is a new one. What was about them (``target``) stays until its own turn comes.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs


class LogError(Exception):
    """Something is wrong with the log (no database, newer version, unreadable): one line for people."""


class LogUnavailable(LogError):
    """The log can't do this now (disk full, connection lost) and may later; the message says why."""


@attrs.frozen
class Listing:
    """What the lists of rooms say about a room from now on.

    ``label``: whatever the chat wants to know of a room without opening it. ``hidden``: it is not in
    `EventLog.rooms`. ``users``: ids for whom it is in `EventLog.rooms_of`, beside those for whom it is
    already: that says who may be concerned, and not who is a member.
    """

    label: str = ""
    hidden: bool = False
    users: tuple[str, ...] = ()


@attrs.define
class Append:
    """One event to be. ``body`` is the tail of its JSON object, without the opening brace.

    ``room``: a valid room name. ``kind``: the event's ``op`` (``message``, ``topic``, ...).
    ``key``: the idempotency key, unique per room, or None. ``body``: UTF-8 JSON text of the fields that
    follow ``op``, ``room``, ``seq`` and ``at``, with the closing brace: ``"text":"hi"}``. ``target``: the
    ``seq`` of the event that this one is about (an edit, a reaction), by which it can be found.
    ``listing``: what changes in the lists of rooms, if the event is stored; None: nothing.
    """

    room: str
    kind: str
    body: str
    key: str | None = None
    target: int | None = None
    listing: Listing | None = None


@attrs.define
class Appended:
    """What became of one append: its ``seq`` in the room, ``at_ms`` (Unix time, milliseconds, UTC)."""

    seq: int
    at_ms: int
    duplicate: bool = False


@attrs.define
class Event:
    """One stored event of a room, as `EventLog.read` returns it."""

    seq: int
    at_ms: int
    kind: str
    body: str
    target: int | None = None


@attrs.define
class Position:
    """Where a room's log ends: ``head`` is the last ``seq`` (0: no event yet), ``first`` the oldest kept one.

    ``first`` is ``head + 1`` when nothing is kept. ``state`` is what the last `EventLog.trim` has left
    instead of the events before ``first``.
    """

    epoch: str
    head: int
    first: int = 1
    state: str | None = None


@attrs.define
class Kept:
    """What is kept of one room: the events ``first`` to ``head``. ``at_ms`` is the time of ``first``."""

    room: str
    first: int
    head: int
    at_ms: int


@attrs.define
class Mark:
    """Up to where ``user`` (an id) has read ``room``."""

    user: str
    room: str
    seq: int


@attrs.define
class Unread:
    """How much lies beyond a user's mark ``seq`` in ``room``: ``messages``, and how many of them ``name``
    that user."""

    room: str
    seq: int
    messages: int
    naming: int


@attrs.define
class Found:
    """A message that a search has found: the event that it was said by. ``place``: to go on from there."""

    room: str
    event: Event
    place: str


@attrs.define
class Searched:
    """What a search has found; ``more``: from where there may be more of it, None if there is not."""

    found: list[Found]
    more: str | None


@attrs.define
class Listed:
    """A room in a list: its last ``seq``, and the ``label`` of its last `Listing`."""

    room: str
    head: int
    label: str = ""


class Follower(Protocol):
    """Whom a log tells what happens elsewhere. Called in the event loop, must not raise; all is about rooms
    that are followed."""

    def grown(self, room: str, events: Sequence[Event]) -> None:
        """Another node has appended ``events``. What comes next may be missing, or come again."""
        ...

    def behind(self, room: str, head: int) -> None:
        """There are events up to ``head`` that were not told; `EventLog.read` has them."""
        ...

    def trimmed(self, room: str, first: int) -> None:
        """Nothing before ``first`` is kept any more."""
        ...

    def restarted(self, room: str, position: Position) -> None:
        """The room has lost events. It is another one now, with another epoch."""
        ...

    def signalled(self, room: str, data: bytes) -> None:
        """Another node has called `EventLog.signal`."""
        ...

    def announced(self, room: str, node: str) -> None:
        """What ``node`` announces of the room has changed, or is nothing any more."""
        ...

    def available(self, reason: str | None) -> None:
        """The log can't be reached, for this reason; or it can again, which ``None`` stands for."""
        ...


class EventLog(Protocol):
    """An engine. Opened by its module's ``open_*`` async context manager, which also closes it."""

    @property
    def secret(self) -> bytes:
        """32 random bytes that live as long as the log does: the key that signs resume tokens."""
        ...

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Store a batch, all or nothing, and return one `Appended` for each append, in order.

        Cancelling waits for the commit's end: a batch is never half known.
        Raises `LogUnavailable`.
        """
        ...

    async def position(self, room: str) -> Position:
        """The room's position; a room that has no events yet has head 0. Raises `LogUnavailable`."""
        ...

    async def read(
        self,
        room: str,
        after: int,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """Up to ``limit`` events with ``seq > after``, ascending; only of ``kinds`` if given.

        Stops early once the bodies exceed ``max_bytes`` (UTF-8 bytes), but returns at least one event if
        there is one. Raises `LogUnavailable`.
        """
        ...

    async def read_before(
        self,
        room: str,
        before: int | None,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """The last ``limit`` events with ``seq < before`` (None: the latest), ascending; else like `read`.

        Stopping early for ``max_bytes`` leaves out the oldest. Raises `LogUnavailable`.
        """
        ...

    async def read_about(
        self,
        room: str,
        first: int,
        last: int,
        limit: int,
        *,
        after: tuple[int, int] = (0, 0),
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        """Up to ``limit`` events whose ``target`` lies in ``first .. last``, ascending by (target, seq).

        Only those beyond ``after``, such a pair: the last one of the page before. A target need not be kept
        (any more). Ends early for ``max_bytes`` like `read`. Raises `LogUnavailable`.
        """
        ...

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Move marks forward; those that would go back, or are in a room that had no event, change nothing.

        A power cut may undo the last moments of it. Appends wait meanwhile: so gather them. Cancelling
        waits for the end of what has begun. Raises `LogUnavailable`; how many are moved is not known then.
        """
        ...

    async def marks(self, user: str, limit: int = 1000) -> dict[str, int]:
        """The marks of ``user`` by room, in no order. Raises `LogUnavailable`."""
        ...

    async def unread(self, user: str, *, own: str, naming: Sequence[str], limit: int = 1000) -> list[Unread]:
        """What lies beyond each of the marks of ``user``, by the names of the rooms.

        Looked at are the first ``limit`` events of kind ``message`` beyond the mark, so that is the most that
        is counted. Those whose body begins with ``own`` don't count; ``naming`` those whose body has one of
        these strings in it. Raises `LogUnavailable`.
        """
        ...

    async def search(
        self,
        text: str,
        limit: int,
        *,
        room: str | None = None,
        user: str | None = None,
        before: str | None = None,
    ) -> Searched:
        """Messages that have each word of ``text`` somewhere in theirs, the newest first (by time): at most
        ``limit``, beyond the place ``before``. A word is what stands between blanks, however short; case and
        compatible forms of characters don't matter. Without any, nothing is found.

        A message is an event of kind ``message``; its text is ``text`` in its body, or in that of the last
        event of kind ``edited`` about it. One that an event of kind ``deleted`` is about is not found. What
        was appended before is found. Looked at are those of ``room``, or of all rooms that are not hidden
        and those in which a `Listing` has named ``user`` (an id). It may end early, with fewer than there
        are: ``more`` says so. Raises `LogUnavailable`, `ValueError` for a ``before`` that is no place.
        """
        ...

    async def find(self, room: str, key: str) -> Appended | None:
        """The event that is stored under this key, as a duplicate of it would be answered; None: there is
        none (any more). Raises `LogUnavailable`."""
        ...

    async def rooms(self, limit: int = 1000) -> list[Listed]:
        """Rooms that had events and are not hidden, most recently active first. Raises `LogUnavailable`."""
        ...

    async def rooms_of(self, user: str, limit: int = 1000) -> list[Listed]:
        """The rooms, hidden or not, in which a `Listing` has named ``user`` (an id), most recently active
        first. Raises `LogUnavailable`."""
        ...

    async def kept(self, after: str = "", limit: int = 1000) -> list[Kept]:
        """The rooms of which events are kept, by name, from beyond ``after``. Raises `LogUnavailable`."""
        ...

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        """Remove a room's oldest events, up to ``through`` and at most ``limit``; returns ``first`` as it is
        now.

        With them ``state`` takes the place of the one before (None: that one stays), if any event goes: a
        text that says of the events before ``first``, and perhaps of some more, what has to be known of them.
        They go all or not at all. Appends wait meanwhile: that bounds ``limit``. Cancelling waits for the
        end of what has begun. Raises `LogUnavailable`; whether they are gone is not known then.
        """
        ...

    async def compact(self) -> bool:
        """Give back some of the storage that trimmed events have left, in a moment; True: call it again.

        What new events will soon need may be kept. Appends wait meanwhile. Raises `LogUnavailable`.
        """
        ...

    # What follows is for a log that several nodes share. For others `trio_chat.log.single` does it.

    @property
    def shared(self) -> bool:
        """Whether other nodes may have this log open."""
        ...

    def subscribe(self, follower: Follower) -> None:
        """Have ``follower`` told what happens elsewhere, in rooms that are followed."""
        ...

    async def follow(self, room: str) -> None:
        """Hear what others do in a room from now on: what is read after this, misses nothing before it.

        Once for each room, until `unfollow`. Cancelled or failed, the room is not followed.
        Raises `LogUnavailable`.
        """
        ...

    def unfollow(self, room: str) -> None:
        """Hear no more of a room that is followed, and announce nothing of it any more."""
        ...

    def announce(self, room: str, data: bytes) -> None:
        """Have other nodes know ``data`` of a followed room as long as this node lives, or until it announces
        something else; ``b""``: nothing. It may come late, but will not be lost."""
        ...

    def announced(self, room: str) -> Mapping[str, bytes]:
        """What other nodes have announced of a followed room, by node."""
        ...

    def signal(self, room: str, data: bytes) -> None:
        """Tell the other nodes that follow a room something that may be lost."""
        ...
