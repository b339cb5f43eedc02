"""WebSocket data frames (RFC 6455 section 5) between bytes and messages, without any I/O.

Owns the frame codec of the server side: whole messages out of a client's bytes, in place and in one loop, and
server frames out of payloads. Refuses to know sockets and chat. Control frames are not interpreted here:
they are cut out whole, in their place between the messages, for trio-websocket, which answers them.

Rules: whatever the bytes, `FrameReader.feed` returns messages or raises `WireError` with the close code to
use, as soon as the bytes so far can't be the beginning of anything allowed; it never holds more than one
message of ``max_message_bytes`` plus one header, and the rest of a read after a control frame or a slice of
inflated messages, until it is fed again.
"""

import codecs
import zlib
from typing import Final

from .deflate import MIN_BYTES, TooLong, deflate, inflate

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9

Message = tuple[int, bytes]
"""``(TEXT or BINARY, payload)``; the payload of a text message is valid UTF-8."""

MAX_FRAGMENTS: Final = 1024
"""Fragments of one message, and one more for each 64 bytes that it may have."""
_PIECE_BYTES = 4096
"""Of a long payload, unmasked at a time, with one key for all: it stays in the processor's first cache."""
_MAX_CONTROL_PAYLOAD = 125
_MAX_INFLATED = 256 * 1024
"""Bytes of inflated messages after which `FrameReader.feed` returns: 64 KiB of input can become 64 MiB."""
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""Those below 3000 that may stand in a close frame (RFC 6455 7.4.1 and the IANA registry)."""
_RSV1 = 0x40
"""The message is compressed (RFC 7692 section 6)."""
_SHORT_HEADERS: Final = [[bytes((0x80 | opcode, size)) for size in range(126)] for opcode in range(128)]
"""By the first byte without FIN, and the payload's size."""
_MAX_SHORT_FRAME: Final = 6 + 125
"""Bytes of a client's frame whose length stands in its second byte."""


class WireError(Exception):
    """The peer broke the protocol or a limit: close with ``code``. ``messages`` are those that came before
    it."""

    def __init__(self, code: int, reason: str, messages: list[Message]) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.messages = messages


def _not_utf8(messages: list[Message]) -> WireError:
    return WireError(1007, "text must be valid UTF-8", messages)


def frame(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked server frame."""
    size = len(payload)
    if size < 126:
        return _SHORT_HEADERS[opcode][size] + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def compressed(data: bytes, window_bits: int) -> bytes:
    """The same message as the frame ``data`` that `frame` made, compressed where that makes it shorter."""
    payload = payload_of(data)
    if len(payload) < MIN_BYTES:
        return data
    shorter = deflate(payload, window_bits)
    return frame(data[0] & 0x0F | _RSV1, shorter) if len(shorter) < len(payload) else data


def payload_of(data: bytes) -> bytes:
    """The payload of one whole server frame that `frame` made."""
    return data[{126: 4, 127: 10}.get(data[1], 2) :]


def close_frame(code: int, reason: str = "") -> bytes:
    """A server's close frame; more than 123 bytes of reason are cut at a character (RFC 6455 5.5)."""
    return frame(CLOSE, code.to_bytes(2, "big") + close_reason(reason).encode())


def close_reason(reason: str) -> str:
    """``reason`` cut to the 123 bytes of UTF-8 that a close frame holds."""
    return reason.encode()[: _MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore")


def unmask(payload: bytes, mask: bytes) -> bytes:
    """``payload`` XOR the repeated 4-byte ``mask`` (RFC 6455 5.3), as one XOR of two long integers."""
    size = len(payload)
    if size > 2 * _PIECE_BYTES:
        return _unmask_long(payload, mask)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _unmask_long(payload: bytes, mask: bytes) -> bytes:
    key = int.from_bytes(mask * (_PIECE_BYTES // 4), "little")
    rest = len(payload) - len(payload) % _PIECE_BYTES
    pieces = [
        (int.from_bytes(payload[at : at + _PIECE_BYTES], "little") ^ key).to_bytes(_PIECE_BYTES, "little")
        for at in range(0, rest, _PIECE_BYTES)
    ]
    pieces.append(unmask(payload[rest:], mask))
    return b"".join(pieces)


class FrameReader:
    """Turns what a client sends into messages. One per connection; bytes in, messages out.

    ``max_message_bytes`` bounds a message over all its fragments, before and after inflating; ``deflate``:
    permessage-deflate was agreed. The number of fragments is bounded too,
    at 1024 and one more for each 64 bytes that a message may have: endless empty fragments would cost time
    for ever.
    """

    __slots__ = (
        "_compressed", "_decoder", "_deflate", "_final", "_fragments", "_mask", "_max_fragments",
        "_max_message", "_missing", "_opcode", "_over", "_partial", "_rest", "_resuming", "_start",
    )  # fmt: skip

    def __init__(self, max_message_bytes: int, *, deflate: bool = False) -> None:
        self._max_message = max_message_bytes
        self._deflate = deflate
        self._max_fragments = MAX_FRAGMENTS + max_message_bytes // 64
        self._resuming = False
        """The next bytes are not the beginning of a frame: one of the following four says what they are."""
        self._over = False
        self._rest = b""
        self._start = 0
        """Where to go on in ``_rest``; 0: it is only the beginning of a header or control frame."""
        self._missing = 0
        """Bytes to come of a data frame whose beginning is in ``_partial`` already."""
        self._mask = b""
        self._final = False
        self._partial: bytearray | None = None
        """A message in fragments, or in a frame that hasn't come whole."""
        self._opcode = 0
        self._compressed = False
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def pending(self) -> bool:
        """Something follows what `feed` returned last: it has more without new bytes."""
        return self._start > 0

    @property
    def held_bytes(self) -> int:
        """How many of the peer's bytes are kept until more come."""
        return len(self._rest) - self._start + (0 if self._partial is None else len(self._partial))

    def feed(self, data: bytes) -> tuple[list[Message], bytes]:
        """The messages that ``data`` completes, and the first control frame in it, whole and as it came.

        The messages are those before that frame (``b""``: there is none). What follows it waits, see
        `pending`; so does what follows `_MAX_INFLATED` bytes of messages that came compressed. Nothing that
        follows a close frame is read, now or later.

        Raises `WireError`; after that the reader must not be fed again.
        """
        end = len(data)
        if (
            6 < end <= _MAX_SHORT_FRAME
            and data[1] == 128 + end - 6
            and (data[0] == 0x81 or data[0] == 0x82)
            and not self._resuming
            and self._partial is None
            and end <= self._max_message
        ):  # one short message and it alone, as nearly always: the same as below in two thirds of the time
            content = unmask(data[6:], data[2:6])
            if data[0] == 0x82 or content.isascii():
                return [(data[0] & 0x0F, content)], b""
        messages: list[Message] = []
        position = inflated = 0
        if self._resuming:
            data, position = self._resume(data, messages)
            end = len(data)
        while end - position >= 2:
            first, length = data[position], data[position + 1]
            if length < 128:
                raise WireError(1002, "a client's frame must be masked", messages)
            length -= 128
            payload = position + 6
            if first & 0x70 and (first & 0x30 or not self._deflate or first & 0x0F not in (TEXT, BINARY)):
                raise WireError(
                    1002, "a reserved bit is set that no agreed extension gives a meaning", messages
                )
            opcode = first & 0x0F
            if opcode > 7:
                self._check_control(first, length, messages)
            elif length > 125:
                width = 2 if length == 126 else 8
                payload += width
                if end < position + 2 + width:
                    self._check_data(first, 0, messages)
                    break
                length = int.from_bytes(data[position + 2 : position + 2 + width], "big")
                if length < (126 if width == 2 else 65536) or length >= 1 << 63:
                    raise WireError(1002, "the length of a frame must be in the shortest form", messages)
            if opcode < 8:
                self._check_data(first, length, messages)
            stop = payload + length
            if stop > end:
                if opcode < 8 and payload <= end:
                    self._begin(first, messages)
                    self._mask, self._missing = data[payload - 4 : payload], length
                    position = payload + self._continue(data[payload:], messages)
                break
            if opcode > 7:
                return messages, self._control(data, position, stop, messages)
            content = unmask(data[payload:stop], data[payload - 4 : payload]) if length else b""
            position = stop
            if first > 0x80 and self._partial is None:  # a whole message in one frame
                if first & _RSV1:
                    content = self._inflate(content, messages)
                if opcode == TEXT and not content.isascii():
                    self._check_text(content, messages)
                messages.append((opcode, content))
                if not first & _RSV1:
                    continue
            else:
                self._begin(first, messages)
                self._add(content, self._final, messages)
                if not (self._compressed and self._final):
                    continue
            inflated += len(messages[-1][1])
            if inflated > _MAX_INFLATED and position < end:
                self._wait_at(position, data)
                return messages, b""
        if position < end:
            self._rest, self._resuming = data[position:], True
        return messages, b""

    def _resume(self, data: bytes, messages: list[Message]) -> tuple[bytes, int]:
        """What is to be parsed now, and from where: after what the last feed left, or with it."""
        if self._over:
            return b"", 0
        self._resuming = False
        if self._missing:
            return data, self._continue(data[: self._missing], messages)
        rest, start = self._rest, self._start
        self._rest, self._start = b"", 0
        return (rest[start:] + data, 0) if data else (rest, start)

    def _control(self, data: bytes, position: int, stop: int, messages: list[Message]) -> bytes:
        """The control frame in ``data`` from ``position`` to ``stop``; remembers where to go on."""
        control = data[position:stop]
        if control[0] & 0x0F == CLOSE:
            self._check_close(unmask(control[6:], control[2:6]), messages)
            self._over = self._resuming = True
        elif stop < len(data):
            self._wait_at(stop, data)
        return control

    def _wait_at(self, position: int, data: bytes) -> None:
        """Go on at ``position`` when fed again."""
        self._rest, self._start, self._resuming = data, position, True

    def _check_control(self, first: int, length: int, messages: list[Message]) -> None:
        """RFC 6455 5.5: close, ping and pong only, in one frame of at most 125 bytes."""
        if not 0x88 <= first <= 0x8A:
            wrong = (
                "a control frame must not be fragmented" if first < 0x80 else f"unknown opcode {first & 0x0F}"
            )
            raise WireError(1002, wrong, messages)
        if length > _MAX_CONTROL_PAYLOAD:
            raise WireError(1002, "a control frame has at most 125 bytes", messages)

    def _check_close(self, payload: bytes, messages: list[Message]) -> None:
        """RFC 6455 5.5.1 and 7.4. trio-websocket would end the stream without a word."""
        if not payload:
            return
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
            raise WireError(1002, "a close frame begins with a code that may be sent", messages)
        self._check_text(payload[2:], messages)

    def _check_data(self, first: int, length: int, messages: list[Message]) -> None:
        """RFC 6455 5.4 and the limits, before a byte of the payload is kept."""
        opcode = first & 0x0F
        if opcode > BINARY:
            raise WireError(1002, f"unknown opcode {opcode}", messages)
        size = length
        if self._partial is None:
            if opcode == 0:
                raise WireError(1002, "a continuation frame without a message to continue", messages)
        elif opcode:
            raise WireError(1002, "a new message began before the last one had ended", messages)
        else:
            size += len(self._partial)
        if size > self._max_message:
            raise WireError(1009, f"a message has at most {self._max_message} bytes", messages)

    def _check_text(self, content: bytes, messages: list[Message]) -> None:
        try:
            content.decode()
        except UnicodeDecodeError:
            raise _not_utf8(messages) from None

    def _begin(self, first: int, messages: list[Message]) -> None:
        """A frame of a message that has several, or that doesn't come whole."""
        self._final = first >= 0x80
        if self._partial is None:
            self._partial = bytearray()
            self._opcode = first & 0x0F
            self._fragments = 0
            self._compressed = bool(first & _RSV1)
            incremental = self._opcode == TEXT and not self._compressed
            self._decoder = codecs.getincrementaldecoder("utf-8")() if incremental else None
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise WireError(1009, f"a message has at most {self._max_fragments} fragments", messages)

    def _continue(self, masked: bytes, messages: list[Message]) -> int:
        """Take ``masked``, some more of the frame that is under way; returns its size."""
        size = len(masked)
        self._missing -= size
        self._resuming = self._missing > 0
        content = unmask(masked, self._mask)
        self._mask = self._mask[size % 4 :] + self._mask[: size % 4]
        self._add(content, self._final and not self._missing, messages)
        return size

    def _add(self, content: bytes, final: bool, messages: list[Message]) -> None:
        """Add ``content`` to the message under way; text is checked as it comes (RFC 6455 8.1)."""
        assert self._partial is not None
        if self._decoder is not None:
            try:
                self._decoder.decode(content, final)
            except UnicodeDecodeError:
                raise _not_utf8(messages) from None
            half = self._decoder.getstate()[0]
            if half[:1] == b"\xed" and half[1:] > b"\x9f":  # a surrogate, at which Python waits for its end
                raise _not_utf8(messages)
        self._partial += content
        if final:
            content = bytes(self._partial)
            self._partial = self._decoder = None
            if self._compressed:
                content = self._inflate(content, messages)
                if self._opcode == TEXT:
                    self._check_text(content, messages)
            messages.append((self._opcode, content))

    def _inflate(self, content: bytes, messages: list[Message]) -> bytes:
        try:
            return inflate(content, self._max_message)
        except TooLong:
            reason = f"a message has at most {self._max_message} bytes when inflated"
            raise WireError(1009, reason, messages) from None
        except zlib.error:
            raise WireError(1007, "a compressed message is not DEFLATE data", messages) from None
