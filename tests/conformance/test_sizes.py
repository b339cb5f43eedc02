"""Large messages over TCP: whole, in fragments and in small writes; and many small ones (class 9)."""

from collections.abc import AsyncIterator, Iterator

import attrs
import pytest
from server.peers import Peer, connected, serving
from wire.test_frames import FIN, MASK, client, header, unmask

import trio_chat
from trio_chat.wire.frames import BINARY, TEXT

KIB, MIB = 1 << 10, 1 << 20
SIZES = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
FRAGMENTS = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
WRITES = (64, 128, 256, 512, KIB, 2 * KIB)
SMALL = (0, 16, 64, 256, KIB, 4 * KIB)
ROUNDS = 200
"""Round trips of each small size. The Autobahn test suite makes 1000, to tell a time; we tell none."""


async def echo(websocket: trio_chat.WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


@attrs.frozen
class Large:
    """One message: its size, the size of its fragments, and that of the writes (0: whole)."""

    id: str
    opcode: int
    size: int
    fragment: int = 0
    write: int = 0


def large() -> Iterator[Large]:
    """Classes 9.1 to 9.6: the odd ones are text, the even ones binary."""
    for text, opcode in ((1, TEXT), (2, BINARY)):
        for number, size in enumerate(SIZES, 1):
            yield Large(f"9.{text}.{number}", opcode, size)
        for number, fragment in enumerate(FRAGMENTS, 1):
            yield Large(f"9.{text + 2}.{number}", opcode, 4 * MIB, fragment=fragment)
        for number, write in enumerate(WRITES, 1):
            yield Large(f"9.{text + 4}.{number}", opcode, MIB, write=write)


LARGE = list(large())
ROUND_TRIPS = [
    (f"9.{7 + binary}.{number}", (TEXT, BINARY)[binary], size)
    for binary in (0, 1)
    for number, size in enumerate(SMALL, 1)
]
IDS = [*(each.id for each in LARGE), *(row[0] for row in ROUND_TRIPS)]
"""All of class 9."""


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with (
        serving(endpoints={"/echo": echo}, max_message=16 * MIB) as server,
        connected(server, "/echo") as peer,
    ):
        yield peer


def encode(message: Large, payload: bytes) -> bytes:
    """The message as its client's frames."""
    if not message.fragment:
        return header(FIN | message.opcode, message.size) + MASK + unmask(payload, MASK)
    starts = range(0, message.size, message.fragment)
    return b"".join(
        client(
            (0 if at else message.opcode) | (FIN if at == starts[-1] else 0),
            payload[at : at + message.fragment],
        )
        for at in starts
    )


@pytest.mark.parametrize("message", LARGE, ids=lambda message: message.id)
async def test_a_large_message_comes_back(peer: Peer, message: Large) -> None:
    """Byte for byte, as one frame."""
    unit = "äöü€".encode() if message.opcode == TEXT else bytes(range(255, 0, -1))
    payload = (unit * (message.size // len(unit) + 1))[: message.size]
    if message.opcode == TEXT:  # which a cut in a character must not end
        payload = payload.decode(errors="ignore").encode().ljust(message.size, b"*")
    data = encode(message, payload)
    step = message.write or len(data)
    for at in range(0, len(data), step):
        await peer.stream.send_all(data[at : at + step])
    assert await peer.frame() == (message.opcode, payload)


@pytest.mark.parametrize(("number", "opcode", "size"), ROUND_TRIPS, ids=[row[0] for row in ROUND_TRIPS])
async def test_small_messages_go_to_and_fro(peer: Peer, number: str, opcode: int, size: int) -> None:
    """One at a time, each answered before the next."""
    payload = b"*" * size
    for _ in range(ROUNDS):
        await peer.send_frame(opcode, payload)
        assert await peer.frame() == (opcode, payload)


async def test_one_byte_more_than_allowed(peer: Peer) -> None:
    """Its header alone is refused."""
    await peer.stream.send_all(header(FIN | BINARY, 16 * MIB + 1) + MASK)
    assert (await peer.closed())[0] == 1009


async def test_one_byte_more_than_allowed_in_fragments(peer: Peer) -> None:
    """The last byte is one too many."""
    await peer.stream.send_all(client(BINARY, bytes(16 * MIB)) + client(FIN, b"x"))
    assert (await peer.closed())[0] == 1009
