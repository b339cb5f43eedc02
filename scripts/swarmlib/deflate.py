"""permessage-deflate (RFC 7692), client side: what is offered, what was agreed, and what frames hold.

What the swarm sends is compressed message by message, without a context: every server must take that. What it
gets is inflated only where somebody looks: once for all members of a room if the server takes no context over
(`Inflater.takes_over`), else for each connection.
"""

import zlib

from swarmlib.frames import RSV1, TEXT, Block, FrameError, FrameMaker, header_size

OFFER = "permessage-deflate; client_max_window_bits"
"""What browsers offer."""
_TAIL = b"\x00\x00\xff\xff"
_LEVEL, _MEMORY = 1, 5
_SMALL_WINDOW = 12
"""For messages of up to 4 KiB a larger one finds nothing more, and costs memory to clear."""
_SMALL_BYTES = 1 << _SMALL_WINDOW
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_BITS = ("server_max_window_bits", "client_max_window_bits")


class Inflater:
    """What one connection's compressed frames hold."""

    __slots__ = ("_context", "window_bits")

    def __init__(self, *, takes_over: bool, window_bits: int = 15) -> None:
        self._context = zlib.decompressobj(-15) if takes_over else None
        self.window_bits = window_bits
        """Of what the client sends."""

    @property
    def takes_over(self) -> bool:
        """Whether a frame can be inflated only after all those before it."""
        return self._context is not None

    def inflate(self, payload: bytes) -> bytes:
        """The content of one message. `FrameError` if that is no DEFLATE data."""
        context = self._context or zlib.decompressobj(-15)
        try:
            return context.decompress(payload + _TAIL)
        except zlib.error as error:
            raise FrameError(f"compressed content that can't be inflated: {error}") from None

    def open(self, block: Block) -> Block:
        """``block`` as it would be without compression, but for the frames' headers."""
        if block.opened is not None and self._context is None:
            return block.opened
        contents = []
        for offset, size, head, count in block.runs:
            for start in range(offset, offset + size * count, size):
                payload = block.data[start + head : start + size]
                contents.append(self.inflate(payload) if block.data[start] & RSV1 else payload)
        runs, at = [], 0
        for content in contents:
            runs.append((at, len(content), 0, 1))
            at += len(content)
        opened = Block(b"".join(contents), len(contents), runs)
        opened.plain_bytes = at + sum(header_size(len(content)) for content in contents)
        if self._context is None:
            block.opened = opened
        return opened


class DeflatingFrameMaker:
    """Makes masked client frames with compressed content."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._makers: dict[int, FrameMaker] = {}

    def frame(self, payload: bytes) -> bytes:
        """``payload`` as one frame."""
        bits = min(self._window_bits, _SMALL_WINDOW) if len(payload) <= _SMALL_BYTES else self._window_bits
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, _MEMORY)
        packed = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]
        maker = self._makers.get(len(packed))
        if maker is None:
            maker = self._makers[len(packed)] = FrameMaker(len(packed), RSV1 | TEXT)
        return maker.frame(packed)


def agreed(extensions: str) -> Inflater:
    """What the server answered to `OFFER` in ``Sec-WebSocket-Extensions``; `ValueError` if it may not."""
    name, *parameters = [part.strip() for part in extensions.split(";")]
    found: dict[str, str] = {}
    for parameter in parameters:
        key, _, value = (part.strip() for part in parameter.partition("="))
        found[key] = value.strip('"')
    bits = {key: found.pop(key) for key in _BITS if key in found}
    flags = {key: found.pop(key) for key in _FLAGS if key in found}
    if name != "permessage-deflate" or found or any(flags.values()) or len(parameters) > len(bits | flags):
        raise ValueError(f"the server chose an extension nobody offered: {extensions}")
    # A window of 8 bits may be asked for, but zlib can't write one.
    if not all(value.isdecimal() and 9 <= int(value) <= 15 for value in bits.values()):
        raise ValueError(f"the server chose a window that can't be had: {extensions}")
    window = int(bits.get("client_max_window_bits", "15"))
    return Inflater(takes_over="server_no_context_takeover" not in flags, window_bits=window)
