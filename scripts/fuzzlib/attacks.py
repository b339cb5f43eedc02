"""What is done to the server: each attack is one session, from connecting to leaving.

`ATTACKS` names them with their share. An attack ends by itself within `SECONDS`, or is ended.
"""

import random
import zlib
from collections.abc import Awaitable, Callable
from functools import cache

import trio

from . import sessions, streams
from .line import Line
from .streams import BINARY, FIN, PING, PONG, RSV1, TEXT, client_frame

SECONDS = 20.0
MAX_SENT = 2 << 20
"""Bytes after which a flood leaves off."""

Attack = Callable[[Line, random.Random], Awaitable[None]]


async def _enter(line: Line, rng: random.Random, path: str = "", *, deflate: bool = False) -> None:
    """Become a WebSocket."""
    await line.send(sessions.head(rng, path or rng.choice(sessions.PATHS), deflate=deflate))
    await line.read(5, until=b"\r\n\r\n")


async def _send_pieces(line: Line, rng: random.Random, data: bytes) -> None:
    for piece in streams.pieces(rng, data):
        if not await line.send(piece, seconds=2):
            return
        if rng.random() < 0.1:
            await trio.sleep(rng.random() * 0.05)


async def _flood(line: Line, data: bytes, *, reading: bool) -> None:
    """Send ``data`` again and again, until the server has had enough or this has."""
    async with trio.open_nursery() as nursery:
        if reading:
            nursery.start_soon(line.discard)
        sent = 0
        while sent < MAX_SENT and await line.send(data, seconds=2):
            sent += len(data)
        nursery.cancel_scope.cancel()


# --- mutated sessions ---------------------------------------------------


async def frames(line: Line, rng: random.Random) -> None:
    """Random and mutated frames."""
    deflate = rng.random() < 0.5
    await _enter(line, rng, deflate=deflate)
    data = b"".join(streams.stream(rng, deflate=deflate, large=rng.random() < 0.1))
    await _send_pieces(line, rng, streams.mutated(rng, data) if rng.random() < 0.7 else data)
    await line.leave(rng)


async def chat(line: Line, rng: random.Random) -> None:
    """A chat session whose operations are odd, and whose bytes are mutated now and then."""
    await _enter(line, rng, rng.choice(sessions.PATHS[:4]))
    data = b"".join(sessions.chat(rng))
    await _send_pieces(line, rng, streams.mutated(rng, data) if rng.random() < 0.3 else data)
    await line.read(rng.random())
    await line.leave(rng)


async def relay(line: Line, rng: random.Random) -> None:
    """A member of the relay, and what mutation makes of one."""
    await _enter(line, rng, rng.choice(sessions.PATHS[4:6]), deflate=rng.random() < 0.5)
    data = b"".join(frame for _ in range(rng.randint(1, 10)) for frame in streams.message(rng, large=True))
    await _send_pieces(line, rng, streams.mutated(rng, data) if rng.random() < 0.3 else data)
    await line.leave(rng)


async def heads(line: Line, rng: random.Random) -> None:
    """A request head with oddities, mutated or cut, and more bytes behind it."""
    data = sessions.odd_head(rng)
    if rng.random() < 0.5:
        data = streams.mutated(rng, data)
    await _send_pieces(line, rng, data + rng.randbytes(rng.choice((0, 0, 3, 2000))))
    await line.leave(rng)


async def no_http(line: Line, rng: random.Random) -> None:
    """Not HTTP at all."""
    await line.send_raw(rng.choice((
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c" + rng.randbytes(12),
        rng.randbytes(rng.choice((1, 100, 70_000))),
    )))  # fmt: skip
    await line.leave(rng)


async def reset_anywhere(line: Line, rng: random.Random) -> None:
    """A good session that ends with a reset after any of its bytes."""
    head = sessions.head(rng, rng.choice(sessions.PATHS), deflate=rng.random() < 0.3)
    data = head + b"".join(sessions.chat(rng))
    await line.send(data[: rng.randrange(len(data) + 1)])
    if rng.random() < 0.5:
        await trio.sleep(rng.random() * 0.02)
    line.reset()


async def come_and_go(line: Line, rng: random.Random) -> None:
    """Many rooms, then away."""
    await _enter(line, rng, "/ws")
    rooms = [{"op": "join", "room": f"r{rng.randrange(5000)}"} for _ in range(rng.randint(1, 20))]
    await line.send(b"".join(client_frame(rng, FIN | TEXT, sessions.said(rng, room)) for room in rooms))
    await line.read(0.2)
    await line.leave(rng)


# --- what takes no end ---------------------------------------------------


async def endless_fragments(line: Line, rng: random.Random) -> None:
    """A message that never ends: empty fragments, or of a byte, with pings between them perhaps."""
    await _enter(line, rng)
    payload = rng.choice((b"", b"", b"x"))
    between = client_frame(rng, FIN | PING) if rng.random() < 0.3 else b""
    await line.send(client_frame(rng, rng.choice((TEXT, BINARY)), payload))
    await _flood(line, (client_frame(rng, 0, payload) + between) * 1000, reading=rng.random() < 0.5)
    await line.leave(rng)


async def huge_length(line: Line, rng: random.Random) -> None:
    """A header that promises up to 2^64 - 1 bytes, some of them, and a wait for more."""
    await _enter(line, rng)
    length = rng.choice((65_537, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
    await line.send(
        bytes((FIN | rng.choice((TEXT, BINARY, PING)), 0xFF)) + length.to_bytes(8, "big") + rng.randbytes(4)
    )
    await line.send(rng.randbytes(rng.choice((0, 10, 65_536))))
    await line.read(1)
    await line.leave(rng)


@cache
def bombs() -> tuple[bytes, ...]:
    """Some KiB that want to be many MiB."""
    big = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = (big.compress(bytes(60_000_000)) + big.flush(zlib.Z_SYNC_FLUSH))[:-4]
    just = zlib.compressobj(9, zlib.DEFLATED, -15)
    allowed = (just.compress(b"x" * 65_536) + just.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return zeros, allowed, b"\x03\x00" * 30_000, b"\x00\x00\x00\xff\xff" * 12_000, zeros[:30_000]


async def bomb(line: Line, rng: random.Random) -> None:
    """Compressed messages that become far too long, just not too long, or take their time."""
    await _enter(line, rng, deflate=True)
    data = rng.choice(bombs())
    if rng.random() < 0.5:
        await _flood(line, client_frame(rng, FIN | RSV1 | BINARY, data[:65_000]), reading=True)
    else:
        for at in range(0, len(data), 4000):
            first = 0 if at else RSV1 | TEXT
            await line.send(
                client_frame(rng, first | (FIN if at + 4000 >= len(data) else 0), data[at : at + 4000])
            )
    await line.read(0.5)
    await line.leave(rng)


async def ping_flood(line: Line, rng: random.Random) -> None:
    """Pings (or pongs) as fast as they go, and nobody who reads the answers."""
    await _enter(line, rng)
    ping = client_frame(rng, FIN | rng.choice((PING, PING, PONG)), rng.randbytes(rng.choice((0, 125))))
    await _flood(line, ping * 500, reading=rng.random() < 0.3)
    await line.leave(rng)


async def message_flood(line: Line, rng: random.Random) -> None:
    """Messages as fast as they go, and nobody who reads what comes of them."""
    path = rng.choice(("/ws?room=lobby", "/relay/fuzz", "/echo"))
    await _enter(line, rng, path)
    wanted = rng.choice(
        ({"op": "history", "room": "lobby", "limit": 200}, {"op": "say", "room": "lobby", "text": "x" * 500})
    )
    payload = sessions.said(rng, wanted) if path.startswith("/ws") else b"x" * rng.choice((1, 200, 60_000))
    await _flood(
        line,
        client_frame(rng, FIN | TEXT, payload) * (1 if len(payload) > 9000 else 100),
        reading=rng.random() < 0.3,
    )
    await line.leave(rng)


# --- what takes its time ---------------------------------------------------


async def slow_head(line: Line, rng: random.Random) -> None:
    """A request head, a byte a second."""
    for byte in sessions.head(rng, "/ws"):
        if not await line.send(bytes((byte,))):
            break
        await trio.sleep(1)
    await line.leave(rng)


async def slow_frame(line: Line, rng: random.Random) -> None:
    """A frame, some bytes a second, and pongs to no ping."""
    await _enter(line, rng)
    for byte in client_frame(rng, FIN | TEXT, b"x" * 200)[: rng.randint(1, 40)]:
        await line.send(bytes((byte,)))
        await trio.sleep(0.3)
    await line.leave(rng)


async def silence(line: Line, rng: random.Random) -> None:
    """A WebSocket that says nothing more, not even pong."""
    await _enter(line, rng)
    await line.read(rng.choice((1, 10)))
    await line.leave(rng)


ATTACKS: dict[str, tuple[Attack, int]] = {
    attack.__name__: (attack, share)
    for attack, share in (
        (frames, 30), (chat, 30), (relay, 10), (heads, 20), (no_http, 5), (reset_anywhere, 20),
        (come_and_go, 10),
        (endless_fragments, 3), (huge_length, 5), (bomb, 3), (ping_flood, 2), (message_flood, 4),
        (slow_head, 3), (slow_frame, 3), (silence, 3),
    )
}  # fmt: skip
"""By name: the attack, and its share of all sessions."""
