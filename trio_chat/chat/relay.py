"""The relay endpoint: every message goes verbatim to all members of its room, and is forgotten.

Owns the relay rooms and their fan-out. Knows no log and no operations.

Rules: ordered per sender; nothing is skipped: a member whose outbox is full is closed with 1013. What comes
in during one turn of the event loop goes out as one write per member. In small rooms it goes out at once:
there a write costs less than a turn.
"""

from collections import Counter

import trio

from ..wire.connection import Connection
from ..wire.frames import Message, compressed, frame
from .turns import Steps, Turns

_AT_ONCE = 16
"""Members up to which a message is passed on without waiting for others that come in the same turn."""
MAX_PENDING_BYTES = 1024 * 1024
"""Bytes that may wait for the fan-out of one room; then senders wait, and their sockets with them."""

Encoded = dict[int, bytes]
"""The same frames plain (0) and compressed, by window."""


class RelayRoom:
    """The members of one relay room, and what waits for its next fan-out."""

    __slots__ = ("busy", "flushed", "members", "name", "pending", "pending_bytes", "windows")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[RelayMember, None] = {}
        self.windows: Counter[int] = Counter()
        """How many members have agreed to compressed frames, by their window; 0 is all the others."""
        self.pending: list[tuple[RelayMember, Encoded]] = []
        self.pending_bytes = 0
        self.busy = False
        self.flushed: trio.Event | None = None

    def encode(self, messages: list[Message]) -> "Encoded":
        """The frames of ``messages`` joined, for each window in use."""
        if len(messages) == 1 and len(self.windows) == 1 and 0 in self.windows:
            return {0: frame(*messages[0])}
        frames = [frame(opcode, payload) for opcode, payload in messages]
        encoded = {0: frames[0] if len(frames) == 1 else b"".join(frames)}
        for bits in self.windows:
            if bits:
                encoded[bits] = b"".join([compressed(data, bits) for data in frames])
        return encoded

    def take(self) -> tuple["Encoded", dict["RelayMember", bytes]]:
        """All that waits, joined, and for each sender without echo what it should get instead."""
        batch, self.pending, self.pending_bytes = self.pending, [], 0
        if self.flushed is not None:
            self.flushed.set()
            self.flushed = None
        windows = {bits for _, encoded in batch for bits in encoded}
        joined = {bits: b"".join([data.get(bits, data[0]) for _, data in batch]) for bits in windows}
        silent = {sender for sender, _ in batch if not sender.echo}
        others = {
            member: b"".join(data[0] for sender, data in batch if sender is not member) for member in silent
        }
        return joined, others


class Relay:
    """All relay rooms. The larger ones are served in ``turns``."""

    def __init__(self, turns: Turns) -> None:
        self.rooms: dict[str, RelayRoom] = {}
        self._turns = turns
        self.delivered = 0
        """Messages handed to outboxes, counted per write."""

    def member(self, connection: Connection, room: str, *, echo: bool) -> "RelayMember":
        """A member for ``connection``; it is in the room until `RelayMember.on_closed`."""
        return RelayMember(self, connection, self.rooms.setdefault(room, RelayRoom(room)), echo)

    def pass_on(self, sender: "RelayMember", encoded: Encoded) -> None:
        """Have a message go out to ``sender``'s room: at once, if that is quick, or this turn."""
        room = sender.room
        data = encoded[0]
        if len(room.members) <= _AT_ONCE and not room.pending and not room.busy:
            for member in tuple(room.members):
                if sender.echo or member is not sender:
                    outbox = member.outbox
                    if not outbox.offer(encoded.get(outbox.window_bits, data)):
                        member.overflow()
            self.delivered += len(room.members)
            return
        room.pending.append((sender, encoded))
        room.pending_bytes += len(data)
        if not room.busy:
            room.busy = True
            self._turns.add(self._fan_out(room))

    def _fan_out(self, room: RelayRoom) -> Steps:
        """Pass on what waits, and what comes meanwhile."""
        while room.pending:
            joined, others = room.take()
            members = list(room.members)
            start, data_bytes = 0, len(joined[0])
            while start < len(members):
                part = members[start : start + self._turns.writes(data_bytes)]
                _write(part, joined, others)
                yield len(part), data_bytes
                start += len(part)
            self.delivered += len(members)
        room.busy = False


def _write(members: "list[RelayMember]", joined: Encoded, others: "dict[RelayMember, bytes]") -> None:
    data = joined[0]
    if not others and len(joined) == 1:
        for member in members:
            if not member.outbox.offer(data):
                member.overflow()
        return
    for member in members:
        own = others.get(member)
        if own is None:
            own = joined.get(member.outbox.window_bits, data)
        if own and not member.outbox.offer(own):
            member.overflow()


class RelayMember:
    """One connection in a relay room: the connection's handler."""

    __slots__ = ("_connection", "_relay", "echo", "outbox", "room")

    def __init__(self, relay: Relay, connection: Connection, room: RelayRoom, echo: bool) -> None:
        self._relay = relay
        self._connection = connection
        self.outbox = connection.outbox
        self.room = room
        self.echo = echo
        room.members[self] = None
        room.windows[self.outbox.window_bits] += 1

    def overflow(self) -> None:
        """Close: this member can't keep up."""
        self._connection.close(1013, "this client reads too slowly for the relay", forget=True)

    async def on_open(self) -> None:
        """Nothing to do."""

    def take(self, messages: list[Message]) -> list[Message]:
        """Pass the messages on, unless too much waits in the room."""
        if self.room.pending_bytes > MAX_PENDING_BYTES:
            return messages
        self._relay.pass_on(self, self.room.encode(messages))
        return []

    async def on_messages(self, messages: list[Message]) -> None:
        """Pass the messages on when the room has space."""
        room = self.room
        while room.pending_bytes > MAX_PENDING_BYTES:
            if room.flushed is None:
                room.flushed = trio.Event()
            await room.flushed.wait()
        self.take(messages)

    async def settle(self) -> None:
        """Nothing to wait for: what was taken is under way to the others."""

    async def on_drained(self) -> None:
        """Nothing to add."""

    def farewell(self, code: int, reason: str, retry_after: float | None) -> bytes | None:
        """Nothing to say: the relay passes on verbatim and has no words of its own."""
        return None

    def on_closed(self) -> None:
        """Leave the room."""
        if self in self.room.members:
            del self.room.members[self]
            bits = self.outbox.window_bits
            self.room.windows[bits] -= 1
            if not self.room.windows[bits]:
                del self.room.windows[bits]
        if not self.room.members:
            self._relay.rooms.pop(self.room.name, None)
