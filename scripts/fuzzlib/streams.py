"""Bytes of a WebSocket client, mostly right: random messages in random frames, and what can be done to them.

Everything comes from the `random.Random` that is handed in: the same seed makes the same bytes.
"""

import random
import zlib
from itertools import pairwise

BINARY, CLOSE, PING, PONG, TEXT = 2, 8, 9, 10, 1
FIN, RSV1 = 0x80, 0x40
_ALPHABET = 'abc "\\{}[]:,0189äß€中😀\x00\x7f\ufffd\U0010ffff'
_SIZES = (0, 1, 2, 3, 7, 124, 125, 126, 127, 128, 300, 1000)
_LARGE = (4000, 65535, 65536, 70000)
_INTERESTING = (0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0x88, 0xFD, 0xFE, 0xFF)
_LENGTHS = (0, 125, 126, 65535, 65536, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def masked(rng: random.Random, payload: bytes) -> bytes:
    """A mask and ``payload`` under it."""
    mask = rng.randbytes(4) if rng.random() < 0.9 else bytes(4)
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def client_frame(rng: random.Random, first: int, payload: bytes = b"", *, width: int | None = None) -> bytes:
    """A frame; ``first``: FIN, the reserved bits and the opcode; ``width``: bytes of an extended length."""
    size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    second = {0: size, 2: 126, 8: 127}[width] | 0x80
    return bytes((first, second)) + (size.to_bytes(width, "big") if width else b"") + masked(rng, payload)


def wrong_length(rng: random.Random, first: int) -> bytes:
    """A header that promises more than anybody sends, or has its length in a form that isn't allowed."""
    length = rng.choice(_LENGTHS)
    if length < 65536 and rng.random() < 0.5:
        return bytes((first, 0xFE)) + length.to_bytes(2, "big") + rng.randbytes(4)
    return bytes((first, 0xFF)) + length.to_bytes(8, "big") + rng.randbytes(4)


def text(rng: random.Random, size: int) -> bytes:
    """Some UTF-8 of about ``size`` bytes."""
    return "".join(rng.choices(_ALPHABET, k=size // 2 + size % 2)).encode()


def squeezed(rng: random.Random, payload: bytes) -> bytes:
    """``payload`` as one message of permessage-deflate."""
    compressor = zlib.compressobj(rng.choice((0, 1, 9)), zlib.DEFLATED, -rng.randint(9, 15))
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def message(rng: random.Random, *, deflate: bool = False, large: bool = False) -> list[bytes]:
    """One message as frames, with control frames between them now and then."""
    opcode = rng.choice((TEXT, BINARY))
    size = rng.choice(_SIZES + _LARGE if large else _SIZES)
    payload = text(rng, size) if opcode == TEXT else rng.randbytes(size)
    compress = deflate and rng.random() < 0.5
    if compress:
        payload, opcode = squeezed(rng, payload), opcode | RSV1
    points = [
        0,
        *sorted(rng.randint(0, len(payload)) for _ in range(rng.choice((0, 0, 0, 1, 2, 5)))),
        len(payload),
    ]
    frames = []
    for index in range(len(points) - 1):
        first = (0 if index else opcode) | (FIN if index == len(points) - 2 else 0)
        frames.append(client_frame(rng, first, payload[points[index] : points[index + 1]]))
        if not compress and rng.random() < 0.2:
            frames.append(control(rng))
    return frames


def control(rng: random.Random) -> bytes:
    """A ping or a pong."""
    return client_frame(rng, FIN | rng.choice((PING, PONG)), rng.randbytes(rng.choice((0, 1, 4, 125))))


def close(rng: random.Random) -> bytes:
    """A close frame, with a code that may be sent or not."""
    if rng.random() < 0.2:
        return client_frame(rng, FIN | CLOSE, rng.randbytes(rng.choice((0, 1))))
    code = rng.choice((1000, 1001, 1003, 1005, 1012, 3000, 4999, 5000, rng.randrange(65536)))
    return client_frame(rng, FIN | CLOSE, code.to_bytes(2, "big") + text(rng, rng.choice((0, 3, 60))))


def stream(rng: random.Random, *, deflate: bool = False, large: bool = False) -> list[bytes]:
    """A few messages and control frames, sometimes with something wrong among them, sometimes closed."""
    frames: list[bytes] = []
    for _ in range(rng.randint(0, 6)):
        chance = rng.random()
        if chance < 0.75:
            frames += message(rng, deflate=deflate, large=large)
        elif chance < 0.9:
            frames.append(control(rng))
        elif chance < 0.95:
            frames.append(client_frame(rng, rng.randrange(256), rng.randbytes(rng.choice((0, 1, 130)))))
        else:
            frames.append(wrong_length(rng, rng.choice((FIN | TEXT, BINARY, FIN | PING, 0))))
    if rng.random() < 0.5:
        frames.append(close(rng))
    if rng.random() < 0.2 and frames:
        rng.shuffle(frames)
    return frames


def mutated(rng: random.Random, data: bytes) -> bytes:
    """``data`` with a few things done to it: bytes changed, left out, doubled, moved, put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 10))):
        if not changed:
            return rng.randbytes(rng.randint(0, 20))
        at = rng.randrange(len(changed))
        end = min(len(changed), at + rng.choice((1, 1, 2, 4, 20)))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice(_INTERESTING)
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end] * rng.choice((1, 1, 3))
            case 4:
                changed[at:at] = rng.randbytes(end - at)
            case 5:
                del changed[end:]
            case _:
                changed[at:end] = bytes(end - at)
    return bytes(changed)


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """``data`` in pieces: one, a few, or bytes."""
    if rng.random() < 0.1 and len(data) < 2000:
        return [data[i : i + 1] for i in range(len(data))]
    points = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 1, 3, 20))))
    edges = [0, *points, len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]
