"""permessage-deflate (RFC 7692): what is agreed in the handshake, and one message's way through it.

Owns negotiation and the codec. Knows neither sockets nor rooms; the room decides what to compress for whom.

Rules:

1. No context is taken over, in either direction: so one compressed frame serves every member of a room, and
   an idle connection keeps no window. The client is told so in the answer, which RFC 7692 7.1.1.2 allows
   without its offer.
2. The server compresses with one of two windows, 15 or 9 bits (`WINDOWS`): a room needs each event in at
   most two compressed forms, whatever its members offered. The client may use any window.
3. Inflating stops at the message limit, while it inflates.
"""

import zlib
from typing import Final

import attrs

WINDOWS: Final = (15, 9)
MIN_BYTES: Final = 64
"""Shorter payloads are sent as they are: the header of a DEFLATE block and its codes eat what would be
saved."""

_TAIL = b"\x00\x00\xff\xff"
_LEVEL = 1
"""Chat messages are short and alike: higher levels cost more than twice the time for 2 % fewer bytes."""
_MAX_STREAMS = 16
"""Streams ended by a final block in one message. Nobody sends more than one; of empty ones 64 KiB would hold
as many as take 0.2 s."""
_FLAGS = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_BITS = frozenset({"server_max_window_bits", "client_max_window_bits"})


class TooLong(Exception):
    """A message inflates to more than it may."""


@attrs.frozen
class Agreement:
    """What was agreed: ``answer`` for ``Sec-WebSocket-Extensions``, and the window of what the server
    sends."""

    answer: str
    window_bits: int


def negotiate(offers: str) -> Agreement | None:
    """The first acceptable offer in a ``Sec-WebSocket-Extensions`` header (RFC 7692 5.1 and 7.1), or None.

    An offer with an unknown or repeated parameter or a bad value is passed over, as section 7.1 demands.
    """
    for offer in offers.split(","):
        name, *parameters = [part.strip() for part in offer.split(";")]
        if name.lower() != "permessage-deflate":
            continue
        found = _parse(parameters)
        if found is None:
            continue
        wanted = int(found.get("server_max_window_bits") or 15)
        if wanted < min(WINDOWS):  # zlib can't write a window of 8 bits
            continue
        answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        bits = max(window for window in WINDOWS if window <= wanted)
        if "server_max_window_bits" in found:
            answer += f"; server_max_window_bits={bits}"
        return Agreement(answer, bits)
    return None


def _parse(parameters: list[str]) -> dict[str, str] | None:
    """The parameters of one offer by name, or None if it must be declined."""
    found: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if name in found:
            return None
        if name in _FLAGS:
            if equals:
                return None
        elif name in _BITS:
            needs_value = bool(equals) or name == "server_max_window_bits"
            if needs_value and value not in ("8", "9", "10", "11", "12", "13", "14", "15"):
                return None
        else:
            return None
        found[name] = value
    return found


def deflate(payload: bytes, window_bits: int) -> bytes:
    """``payload`` compressed, without a context and without the empty block at its end (RFC 7692 7.2.1)."""
    if len(payload) <= 4096:  # a larger window would find nothing more, and costs memory to clear
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -min(window_bits, 12), 5)
    else:
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits, 8)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """What ``payload`` was compressed from (RFC 7692 7.2.2).

    Raises `TooLong` when it becomes more than ``max_bytes``, ``zlib.error`` when it isn't DEFLATE data.
    """
    inflated = b""
    rest = payload + _TAIL
    for _ in range(_MAX_STREAMS):
        decompressor = zlib.decompressobj(-15)
        inflated += decompressor.decompress(rest, max_bytes + 1 - len(inflated))
        if len(inflated) > max_bytes:
            raise TooLong
        # A final block ends the stream, but not the message (section 7.2.3.4): go on behind it.
        rest = decompressor.unused_data if decompressor.eof else b""
        if not rest:
            return inflated
    raise zlib.error("too many final blocks")
