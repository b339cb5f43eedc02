"""A room: its members, its tail, and the fan-out of committed events.

Owns who is in the room, how far each member has come, the newest events, encoded once, and the state that
control events have made. Refuses to know sockets (an outbox is all that it sees), the log, and time: every
method is plain and so atomic under Trio.

Rules:

1. A member is an outbox and a cursor, the last ``seq`` that its outbox has taken. A *live* member gets
   events from the fan-out. A member whose outbox refuses is *behind*: its cursor stops, it is told
   ``lagging`` once, and whoever owns it brings it up to the head from the tail or the log (`Hub.catch_up`),
   where it is live again.
2. The fan-out passes over the members with a run of events ``after + 1 .. last`` and offers them to the
   members that are live and whose cursor is ``after``. A member that joins or catches up meanwhile has a
   later cursor and is passed over, so nobody gets an event twice; one whose cursor is within the run is
   behind.
3. A hole in what is published (another writer, a commit that took effect although it failed) makes everyone
   behind.
4. What else a refusal means is the room's ``on_overflow`` (`trio_chat.chat.policy`), and is decided in
   `_overflowed` alone.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import attrs
import msgspec
from msgspec import UnsetType

from ..log.base import Event, Position
from ..wire.frames import TEXT, compressed, frame, payload_of
from . import limits
from .control import ControlBody
from .policy import OnOverflow
from .schema import Lagging, User, encode, encode_event, event_prefix
from .state import RoomState, decode_state

_MAX_SAID = 1000
"""Users remembered for slow mode before those are forgotten who may say something again."""


class Outbox(Protocol):
    """What a room sees of a client. See `trio_chat.wire.outbox`."""

    def offer(self, data: bytes) -> bool: ...
    def offer_signal(self, data: bytes) -> None: ...
    def force(self, data: bytes) -> None: ...

    @property
    def window_bits(self) -> int: ...
    @property
    def finished(self) -> bool: ...


class _Said(msgspec.Struct):
    op: str
    user: User | None = None


_decode_said = msgspec.json.Decoder(_Said).decode


def text_frame(data: bytes) -> bytes:
    """The frame of one encoded operation."""
    return frame(TEXT, data)


@attrs.define(eq=False)
class Member:
    """A session in a room. ``on_behind`` is called when it stops being live, ``disconnect`` to end it."""

    room: "Room"
    user: User
    outbox: Outbox
    on_behind: Callable[["Member"], None]
    disconnect: Callable[[], None]
    cursor: int
    live: bool = False
    on_restart: Callable[[], None] = lambda: None
    """Called when the room begins anew; its cursor is at the new head by then."""

    def fall_behind(self) -> None:
        """Stop live delivery at the cursor."""
        self.live = False
        self.on_behind(self)


@attrs.frozen
class Sent:
    """What is remembered of a recent message, to know it again."""

    user_id: str
    text: str
    seq: int
    at_ms: int


class Room:
    """See the module. Created by the hub with the log's position."""

    def __init__(self, name: str, position: Position, on_overflow: OnOverflow = "catch_up") -> None:
        self.name = name
        self.on_overflow = on_overflow
        self.epoch = position.epoch
        self.head = position.head
        self.first = position.first
        """The oldest ``seq`` that is kept."""
        self.state = RoomState()
        self.restricted = False
        """``state.restricted``, at hand for each message."""
        self.said: dict[str, tuple[float, str | UnsetType]] = {}
        """In slow mode: when each user has said something last (Unix seconds), and with which ``id``."""
        self.state_is_behind = False
        """Events before the head are not counted in ``state`` yet: it is being read up to there."""
        self.uncounted = False
        """A control event has come that ``state`` doesn't count, and nobody reads it yet."""
        self.members: dict[Member, None] = {}
        self.full: dict[Member, None] = {}
        """The members that senders have to wait for."""
        self.users: dict[str, tuple[User, int]] = {}
        self.delivered = position.head
        """The last seq that the fan-out has passed over all members with."""
        self.pumping = False
        self.pins = 0
        """Why the room must stay in memory beside its members: appends under way, followers in process."""
        self.authors: list[Member] = []
        """Members whose events the next pass delivers."""
        self.unlisted = 0
        """Users on other nodes who are not in ``users``."""
        self._early: dict[int, list[bytes]] = {}
        self._windows: Counter[int] = Counter()
        self._prefixes: dict[str, str] = {}
        self._tail: deque[tuple[int, bytes]] = deque()
        self._tail_bytes = 0
        self._recent: OrderedDict[tuple[str, str], Sent] = OrderedDict()

    # --- events ------------------------------------------------------------------------------------

    def encode(self, seq: int, at_ms: int, kind: str, body: str) -> bytes:
        """The frame of one event, the same bytes for everybody at any time."""
        prefix = self._prefixes.get(kind)
        if prefix is None:
            prefix = self._prefixes[kind] = event_prefix(kind, self.name)
        return frame(TEXT, encode_event(prefix, seq, at_ms, body))

    def encode_event(self, event: Event) -> bytes:
        """The frame of an event from the log."""
        return self.encode(event.seq, event.at_ms, event.kind, event.body)

    def recall(self, state: RoomState) -> None:
        """Take what the log says that the room's state is."""
        self.state = state
        self.restricted = state.restricted

    def fold(self, event: Event) -> ControlBody | None:
        """Count a control event; returns its body if it has changed anything."""
        body = self.state.fold(event)
        self.restricted = self.state.restricted
        return body

    def has_said(self, user_id: str, message_id: str | UnsetType, now: float) -> None:
        """Remember that, as long as it keeps the user from saying more."""
        if len(self.said) >= _MAX_SAID:
            recent = now - self.state.slow_seconds
            self.said = {each: said for each, said in self.said.items() if said[0] > recent}
        self.said[user_id] = now, message_id

    def publish(self, first: int, frames: list[bytes]) -> None:
        """Take committed events ``first``, ``first + 1``, ... as the room's new head. They are delivered by
        passes."""
        if first != self.head + 1:
            self._tail.clear()
            self._tail_bytes = 0
            self.delivered = first - 1
            for member in self.members:
                if member.live:
                    member.fall_behind()
            self._early = {early: run for early, run in self._early.items() if early >= first}
        self.head = first - 1
        for data in frames:
            self.head += 1
            self._tail.append((self.head, data))
            self._tail_bytes += len(data)
        self._trim()

    def take(self, first: int, frames: list[bytes], *, may_wait: bool) -> bool:
        """Take committed events that may come again, or before their turn; returns whether any were
        published.

        In a log that several nodes share, an append's answer and what others appended come as they come.
        Those that are early ``may_wait`` for what is missing (`has_hole`), until a later head is published.
        """
        if first <= self.head:
            frames = frames[self.head + 1 - first :]
            first = self.head + 1
        if may_wait and first > self.head + 1:
            self._early[first] = frames
            return False
        if not frames:
            return False
        self.publish(first, frames)
        while self._early and (waiting := self._early.pop(self.head + 1, None)) is not None:
            self.publish(self.head + 1, waiting)
        return True

    @property
    def has_hole(self) -> bool:
        """Whether events are missing before some that came."""
        return bool(self._early)

    @property
    def early_head(self) -> int:
        """The last of the events that came before their turn; 0 if there is none."""
        return max((first + len(frames) - 1 for first, frames in self._early.items()), default=0)

    def restart(self, position: Position) -> None:
        """Be another room: the log has lost events of this one."""
        self.epoch, self.head, self.first = position.epoch, position.head, position.first
        self.delivered = position.head
        self._tail.clear()
        self._tail_bytes = 0
        self._early.clear()
        self._recent.clear()
        self.recall(decode_state(position.state))
        for member in list(self.members):
            member.cursor = position.head
            member.on_restart()

    def prime(self, events: Iterable[tuple[int, bytes]]) -> None:
        """Fill an empty tail with the last events of the log, up to the head."""
        for seq, data in events:
            self._tail.append((seq, data))
            self._tail_bytes += len(data)
        self._trim()

    def trimmed(self, first: int) -> None:
        """The log keeps nothing before ``first`` any more: neither does the tail, once it is delivered."""
        self.first = max(first, self.first)
        self._trim()

    def _trim(self) -> None:
        tail = self._tail
        while tail and (
            len(tail) > limits.MAX_TAIL_EVENTS
            or self._tail_bytes > limits.PAGE_BYTES
            or tail[0][0] < self.first
        ):
            if tail[0][0] > self.delivered and self._tail_bytes <= limits.MAX_TAIL_BYTES_UNDELIVERED:
                return
            self._tail_bytes -= len(tail.popleft()[1])

    def before_last(self, events: int) -> int:
        """The cursor that has the last ``events`` before it, or as many as are kept."""
        return max(self.first - 1, self.head - events)

    def page(self, after: int, max_bytes: int) -> tuple[int, list[bytes]] | None:
        """Frames from ``after + 1``, at least one and up to ``max_bytes``, and the last one's seq.

        None if the tail begins later.
        """
        if not self._tail or self._tail[0][0] > after + 1:
            return None
        start = after + 1 - self._tail[0][0]
        if start == 0 and self._tail_bytes <= max_bytes:
            return self.head, [data for _, data in self._tail]
        frames: list[bytes] = []
        size = 0
        for index in range(start, len(self._tail)):
            data = self._tail[index][1]
            size += len(data)
            if frames and size > max_bytes:
                break
            frames.append(data)
        return after + len(frames), frames

    def compressed(self, frames: list[bytes]) -> dict[int, bytes] | None:
        """What ``frames`` are for each window that members have agreed on, or None if there is none."""
        if not self._windows:
            return None
        return {bits: b"".join([compressed(data, bits) for data in frames]) for bits in self._windows}

    def deliver(
        self,
        members: Iterable[Member],
        after: int,
        last: int,
        data: bytes,
        packed: dict[int, bytes] | None = None,
    ) -> None:
        """One slice of a pass: offer ``data``, the events ``after + 1 .. last``, to those of ``members``
        who wait for it."""
        refused, within = [], []
        for member in members:
            if member.cursor == after and member.live:
                own = packed.get(member.outbox.window_bits, data) if packed else data
                if member.outbox.offer(own):
                    member.cursor = last
                else:
                    refused.append(member)
            elif member.cursor < last and member.live:
                within.append(member)
        for member in within:
            member.fall_behind()
        for member in refused:
            self._overflowed(member)

    def _overflowed(self, member: Member) -> None:
        """The member can't keep up."""
        if self.on_overflow == "disconnect":
            member.live = False
            member.disconnect()
            return
        if self.on_overflow == "block" and not member.outbox.finished:
            self.full[member] = None
        member.outbox.force(text_frame(encode(Lagging(room=self.name, seq=member.cursor))))
        member.fall_behind()

    def caught_up(self, member: Member) -> None:
        """The member has come to the head: it is live (again)."""
        member.live = True
        self.full.pop(member, None)

    def skip_to_head(self) -> None:
        """Give up on delivering what the tail has no more: members get it from the log."""
        self.delivered = self.head
        for member in list(self.members):
            if member.live and member.cursor < self.head:
                member.fall_behind()

    # --- members -----------------------------------------------------------------------------------

    def join(
        self,
        user: User,
        outbox: Outbox,
        on_behind: Callable[[Member], None],
        cursor: int,
        disconnect: Callable[[], None] = lambda: None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> tuple[Member, bool]:
        """Add a member at ``cursor``, live if that is the head; and whether its user was not there before."""
        live = cursor == self.head
        member = Member(self, user, outbox, on_behind, disconnect, cursor, live, on_restart)
        self.members[member] = None
        if outbox.window_bits:
            self._windows[outbox.window_bits] += 1
        return member, self.enter(user)

    def leave(self, member: Member) -> bool:
        """Remove a member; returns whether its user is gone with it."""
        if member not in self.members:
            return False
        del self.members[member]
        self.full.pop(member, None)
        member.live = False
        if bits := member.outbox.window_bits:
            self._windows[bits] -= 1
            if not self._windows[bits]:
                del self._windows[bits]
        return self.exit(member.user)

    def rename(self, member: Member, user: User) -> bool:
        """Have ``member`` be ``user`` from now on; returns whether the old one is gone with that."""
        gone = self.exit(member.user)
        member.user = user
        self.enter(user)
        return gone

    def enter(self, user: User) -> bool:
        """One more session of ``user``, here or on another node; returns whether it is the first."""
        _, sessions = self.users.get(user.id, (user, 0))
        self.users[user.id] = (user, sessions + 1)
        return sessions == 0

    def exit(self, user: User) -> bool:
        """One session of ``user`` less; returns whether it was the last."""
        _, sessions = self.users[user.id]
        if sessions > 1:
            self.users[user.id] = (user, sessions - 1)
            return False
        del self.users[user.id]
        return True

    @property
    def count(self) -> int:
        """How many users are present, on all nodes."""
        return len(self.users) + self.unlisted

    def here(self) -> dict[str, User]:
        """The users present on this node, by id."""
        return {member.user.id: member.user for member in self.members}

    def listed(self, limit: int) -> list[User]:
        """The first ``limit`` users present, in the order in which they came."""
        return [user for user, _ in islice(self.users.values(), limit)]

    def speakers(self) -> list[User]:
        """Who said something lately, as far as the tail goes; the latest last."""
        said = (_decode_said(payload_of(data)) for _, data in self._tail)
        return [each.user for each in said if each.op == "message" and each.user is not None]

    # --- knowing a message again -----------------------------------------------------------------------

    def remember(self, user: User, message_id: str, text: str, seq: int, at_ms: int) -> None:
        """Remember a message with an id, so that its sender is recognised even without a resume token."""
        self._recent[user.name, message_id] = Sent(user.id, text, seq, at_ms)
        if len(self._recent) > limits.MAX_TAIL_EVENTS:
            self._recent.popitem(last=False)

    def resend_of(self, user: User, message_id: str, text: str, now_ms: int) -> Sent | None:
        """The recent message that this one, of a guest who came back as somebody new, is sent again of."""
        sent = self._recent.get((user.name, message_id))
        if sent is None or sent.user_id == user.id or sent.text != text:
            return None
        return sent if now_ms - sent.at_ms <= limits.RESEND_SECONDS * 1000 else None
