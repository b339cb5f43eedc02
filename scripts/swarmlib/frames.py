"""WebSocket frames as a load client needs them: counted in bulk, looked into only when asked.

Owns the frame layout of RFC 6455 section 5.2 in the direction server to client (unmasked), and builds masked
client frames. Knows no sockets and no chat.

How counting gets cheap, in the order in which it is tried:

1. *The same bytes again.* All members of a room get the same bytes, so a stretch of frames that another
   member has had already is recognised by one ``memcmp``: its frames are known.
2. *The same size again.* Frames of one room mostly have one size. If the first has size S, the headers of the
   rest are at multiples of S; one strided slice per header byte shows how many are equal. This is exact: a
   verified header at k*S says that the next one is at (k+1)*S.
3. *Hop* from header to header.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_FIN = 0x80
RSV1 = 0x40
"""The content is compressed (RFC 7692 section 6)."""
_WHOLE = (_FIN | TEXT, _FIN | BINARY)
_CONTROL = (_FIN | CLOSE, _FIN | PING, _FIN | PONG)
_UNMASKED_BYTES = 4096
"""Larger client frames get a masking key of zeros: the same work for the server, none for the swarm."""
_PARTS = (TEXT, BINARY, 0x0, _FIN)  # fragments: first, following, last
_COMPRESSED, _COMPRESSED_PARTS = (_FIN | RSV1 | TEXT, _FIN | RSV1 | BINARY), (RSV1 | TEXT, RSV1 | BINARY)

MAX_REMEMBERED_BYTES = 256 * 1024
REMEMBERED_BLOCKS = 4
"""Stretches kept per room: members lag behind each other by a few writes; each one tried costs 80 ns."""


class FrameError(Exception):
    """The server sent something that isn't a frame which this client may get."""


class Frame(NamedTuple):
    """One frame that isn't a plain delivery: control, a fragment, or a protocol reply."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """The low four bits: `TEXT`, `CLOSE` and so on."""
        return self.first & 0x0F

    @property
    def final(self) -> bool:
        """Whether the message ends with this frame."""
        return self.first >= _FIN


class Block:
    """A stretch of whole delivery frames that follow each other: ``data`` holds them, headers included."""

    __slots__ = ("count", "data", "events", "opened", "plain_bytes", "runs", "span")

    def __init__(self, data: bytes, count: int, runs: list[tuple[int, int, int, int]]) -> None:
        self.data = data
        self.count = count
        self.runs = runs
        """(offset, frame size, header size, number of frames) of each run of equal frames."""
        self.events: list[tuple[Any, ...]] | None = None
        """What a protocol read in it; kept here because all members of a room share the block."""
        self.span: tuple[int, int] | None = None
        """First and last ``seq`` of the events, if they are numbered one by one."""
        self.opened: Block | None = None
        """The same without compression, once somebody wanted to see it."""
        self.plain_bytes = 0
        """Of an opened block: what its frames would take uncompressed."""

    def payloads(self) -> Iterator[bytes]:
        """The frames' payloads, in order."""
        for offset, size, head, count in self.runs:
            for start in range(offset, offset + size * count, size):
                yield self.data[start + head : start + size]


class Scanner:
    """Counts the delivery frames at the start of a shared buffer.

    ``marker`` tells deliveries from other data frames by the payload's byte at ``marker_at``; without one
    every data frame is a delivery. ``inside`` is what every delivery has once, where a frame may hold any
    number of them: a frame without it is none. ``inflate`` gives the content of a compressed payload that
    stands for itself; without it a compressed frame is an error.

    After `scan`, ``used`` is the length of all whole frames (what follows is half a frame, of ``needed``
    bytes if that is known), ``blocks`` the deliveries, and ``others`` the rest, each in order.
    """

    def __init__(
        self,
        buffer: bytearray,
        marker: bytes = b"",
        marker_at: int = 0,
        inflate: Callable[[bytes], bytes] | None = None,
        inside: bytes = b"",
    ) -> None:
        self._inflate = inflate
        self._whole = _WHOLE if inflate is None else _WHOLE + _COMPRESSED
        self._parts = _PARTS if inflate is None else _PARTS + _COMPRESSED_PARTS
        self.buffer = buffer
        self._view = memoryview(buffer)
        self.marker = marker[0] if marker else -1
        self.marker_at = marker_at
        self.inside = inside
        self.used = self.needed = 0
        self.blocks: list[Block] = []
        self.others: list[Frame] = []

    def scan(self, total: int, recent: list[Block], *, keep: bool = True) -> int:
        """The number of deliveries among the whole frames in the buffer's first ``total`` bytes.

        ``recent`` are the stretches last seen in this room, latest first; new ones are put there.
        Without ``keep`` the ``blocks`` may be left empty.
        """
        buffer = self.buffer
        self.blocks = blocks = []
        self.needed = 0
        if self.others:
            self.others = []
        if (
            not keep
            and total > 1
            and buffer[1] == total - 2 < 126
            and self.marker < 0
            and not self.inside
            and buffer[0] in self._whole
        ):
            self.used = total  # one short frame and nothing else, as in an echo
            return 1
        at = deliveries = 0
        while at < total:
            for block in recent:
                if buffer.startswith(block.data, at, total):
                    break
            else:
                fresh = self._block(at, total)
                if fresh is not None:
                    block = fresh
                    if len(block.data) <= MAX_REMEMBERED_BYTES:
                        recent.insert(0, block)
                        del recent[REMEMBERED_BLOCKS:]
                else:
                    step = self._other(at, total)
                    if not step:
                        break
                    at += step
                    continue
            blocks.append(block)
            deliveries += block.count
            at += len(block.data)
        self.used = at
        return deliveries

    def _frame(self, at: int, total: int) -> tuple[int, int]:
        """Size of the header and of the whole frame at ``at``; (0, 0) if it isn't all there yet."""
        left = total - at
        if left < 2:
            return 0, 0
        length = self.buffer[at + 1]
        head = 2
        if length > 127:
            raise FrameError("masked frame from the server")
        if length > 125:
            head = 4 if length == 126 else 10
            if left < head:
                return 0, 0
            length = int.from_bytes(self.buffer[at + 2 : at + head])
        size = head + length
        if left >= size:
            return head, size
        self.needed = size
        return 0, 0

    def _block(self, at: int, total: int) -> Block | None:
        """The stretch of deliveries that begins at ``at``, or None if there is none."""
        start = at
        count = 0
        runs = []
        buffer, marker = self.buffer, self.marker
        while at < total:
            head, size = self._frame(at, total)
            if not size or buffer[at] not in self._whole:
                break
            if marker >= 0 and not self._is_marked(at, head, size):
                break
            if self.inside:
                found = buffer.count(self.inside, at + head, at + size)
                if not found:
                    break
                count += found - 1
            is_hidden = self.inside or (marker >= 0 and buffer[at] & RSV1)
            run = 1 if is_hidden or total - at < 2 * size else self._run(at, size, head, total)
            runs.append((at - start, size, head, run))
            count += run
            at += run * size
        return Block(bytes(self._view[start:at]), count, runs) if count else None

    def _is_marked(self, at: int, head: int, size: int) -> bool:
        """Whether the frame at ``at`` has the marker."""
        if self.buffer[at] & RSV1:
            content = self._content(at, head, size)
            return len(content) > self.marker_at and content[self.marker_at] == self.marker
        mark = head + self.marker_at
        return size > mark and self.buffer[at + mark] == self.marker

    def _content(self, at: int, head: int, size: int) -> bytes:
        payload = bytes(self._view[at + head : at + size])
        return payload if self._inflate is None or not self.buffer[at] & RSV1 else self._inflate(payload)

    def _run(self, at: int, size: int, head: int, total: int) -> int:
        """How many frames in a row have the header (and marker) of the one at ``at``, itself included."""
        count = (total - at) // size
        places = [at + i for i in range(head)]
        if self.marker >= 0:
            places.append(at + head + self.marker_at)
        for place in places:
            column = self.buffer[place : place + (count - 1) * size + 1 : size]
            count = len(column) - len(column.lstrip(column[:1]))
            if count == 1:
                break
        return count

    def _other(self, at: int, total: int) -> int:
        """Take the single frame at ``at`` into ``others``; its size, or 0 if it isn't all there yet."""
        first = self.buffer[at]
        if first not in self._whole and first not in _CONTROL and first not in self._parts:
            raise FrameError(f"frame that begins with byte 0x{first:02x}")
        head, size = self._frame(at, total)
        if size and first in _COMPRESSED:
            self.others.append(Frame(first & ~RSV1, self._content(at, head, size)))
        elif size:
            self.others.append(Frame(first, bytes(self._view[at + head : at + size])))
        return size


def header_size(size: int) -> int:
    """Of a server's frame with so many bytes of payload."""
    return 2 if size < 126 else 4 if size < 65536 else 10


class FrameMaker:
    """Makes masked client frames of one payload size, with one masking key."""

    __slots__ = ("_head", "_mask", "_size")

    def __init__(self, size: int, opcode: int = TEXT, key: bytes = b"") -> None:
        key = key or (os.urandom(4) if size <= _UNMASKED_BYTES else bytes(4))
        if size < 126:
            head = bytes((_FIN | opcode, 0x80 | size))
        elif size < 65536:
            head = bytes((_FIN | opcode, 0x80 | 126)) + size.to_bytes(2)
        else:
            head = bytes((_FIN | opcode, 0x80 | 127)) + size.to_bytes(8)
        self._size = size
        self._head = head + key
        self._mask = int.from_bytes((key * (size // 4 + 1))[:size])

    def frame(self, payload: bytes) -> bytes:
        """``payload`` as one frame."""
        if not self._mask:
            return self._head + payload
        # One big-number XOR instead of a loop over bytes.
        return self._head + (int.from_bytes(payload) ^ self._mask).to_bytes(self._size)


class FragmentMaker(FrameMaker):
    """The same in fragments of a few bytes: three of payload for each nine on the wire."""

    __slots__ = ("_opcode",)
    PIECE = 3

    def __init__(self, size: int, opcode: int = TEXT) -> None:
        super().__init__(size, opcode)
        self._opcode = opcode

    def frame(self, payload: bytes) -> bytes:
        """``payload`` as one message, unmasked in effect: its masking keys are zeros."""
        pieces = [payload[at : at + self.PIECE] for at in range(0, len(payload), self.PIECE)]
        last = len(pieces) - 1
        parts = []
        for number, piece in enumerate(pieces):
            first = (0 if number else self._opcode) | (_FIN if number == last else 0)
            parts.append(bytes((first, 0x80 | len(piece))) + bytes(4) + piece)
        return b"".join(parts)


def client_frame(payload: bytes, opcode: int = TEXT, key: bytes = b"") -> bytes:
    """``payload`` as one masked frame; ``key`` are the four masking bytes, random if left out."""
    return FrameMaker(len(payload), opcode, key).frame(payload)
