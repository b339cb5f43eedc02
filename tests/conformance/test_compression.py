"""permessage-deflate through the whole server: every combination of parameters, with two other clients.

Classes 12 (payloads of different kinds) and 13 (parameters), each in 18 sizes and fragmentations.
"""

import json
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import product
from typing import Literal

import pytest
import trio
from trio.testing import MockClock
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri
from wire.streams import upgrade
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.events import BytesMessage, TextMessage
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate

from trio_chat.config import Config
from trio_chat.testing import MemoryServer, MemoryStream, open_memory_server
from trio_chat.wire.endpoint import WebSocket

Offer = ClientPerMessageDeflateFactory

# --- what is sent ---------------------------------------------------

SIZES = [
    *((size, 0) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)),
    *((size, 256) for size in (8192, 16384, 32768, 65536, 131072)),
    *((131072, fragment) for fragment in (1024, 4096, 32768)),
]
"""Bytes of a message and of each of its fragments (0: one frame)."""
REPEATS = 2
"""Messages of each size on one connection: the second must not need the first."""


def records(rng: random.Random) -> str:
    """JSON, as an interface gives it."""
    keys = ("id", "name", "größe", "tags", "position")
    rows = [
        {key: rng.choice((rng.random(), rng.randrange(999), "Zürich", None)) for key in keys}
        for _ in range(2500)
    ]
    return json.dumps(rows, ensure_ascii=False)


def picture(rng: random.Random) -> bytes:
    """Neighbouring bytes are alike."""
    value, pixels = 128, bytearray()
    for _ in range(140_000):
        value = min(255, max(0, value + rng.choice((-2, -1, 0, 0, 1, 2))))
        pixels.append(value)
    return bytes(pixels)


def prose(rng: random.Random) -> bytes:
    """Words, the short ones most often."""
    words = ["".join(rng.choices("enisratdhulcgmobwfkzvüpäßjöyqx", k=1 + i // 9)) for i in range(90)]
    return " ".join(rng.choices(words, weights=[1 / (i + 1) for i in range(90)], k=40_000)).encode()


def markup(rng: random.Random) -> str:
    """Tags and what stands between them."""
    return "".join(
        f'<li class="row" id="n{rng.randrange(9999)}"><a href="/x/{i}">„{i}“</a></li>\n' for i in range(4000)
    )


def noise(rng: random.Random) -> bytes:
    """Nothing to be saved."""
    return rng.randbytes(140_000)


KINDS = {"12.1": records, "12.2": picture, "12.3": prose, "12.4": markup, "12.5": noise}


def portion(data: str | bytes, size: int, at: int) -> str | bytes:
    """About ``size`` bytes of ``data``, from ``at`` on: whole characters of text."""
    start = at * size % (len(data) - size)
    if isinstance(data, bytes):
        return data[start : start + size]
    return data[start : start + size].encode()[:size].decode(errors="ignore")


# --- clients ---------------------------------------------------


async def echo(websocket: WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


@pytest.fixture
async def server() -> AsyncIterator[MemoryServer]:
    config = Config(log="memory:", max_message=1 << 20, max_per_ip=100_000)
    async with open_memory_server(config, endpoints={"/echo": echo}) as server:
        yield server


class Client:
    """A client made of `websockets`' core."""

    def __init__(self, stream: MemoryStream, offers: Iterable[Offer]) -> None:
        self.stream = stream
        self.protocol = ClientProtocol(parse_uri("ws://x/echo"), extensions=list(offers), max_size=None)
        self.received = 0

    async def handshake(self) -> PerMessageDeflate | None:
        """What was agreed."""
        self.protocol.send_request(self.protocol.connect())
        await self._send()
        (response,) = await self._events()
        assert isinstance(response, Response)
        assert self.protocol.handshake_exc is None
        found = self.protocol.extensions[0] if self.protocol.extensions else None
        assert found is None or isinstance(found, PerMessageDeflate)
        return found

    async def _send(self) -> None:
        await self.stream.send_all(b"".join(self.protocol.data_to_send()))

    async def _events(self) -> list[object]:
        events: list[object] = []
        while not events:
            data = await self.stream.receive_some()
            assert data, "the connection ended"
            self.received += len(data)
            self.protocol.receive_data(data)
            assert self.protocol.parser_exc is None
            events = list(self.protocol.events_received())
        return events

    async def comes_back(self, message: str | bytes, fragment: int = 0) -> None:
        """Send ``message``, in fragments perhaps, and have it back."""
        payload = message.encode() if isinstance(message, str) else message
        send = self.protocol.send_text if isinstance(message, str) else self.protocol.send_binary
        step = fragment or len(payload) or 1
        parts = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        for index, part in enumerate(parts):
            (send if index == 0 else self.protocol.send_continuation)(part, index == len(parts) - 1)
        await self._send()
        (frame,) = await self._events()
        assert frame.opcode is (Opcode.TEXT if isinstance(message, str) else Opcode.BINARY)  # type: ignore[attr-defined]
        assert frame.data == payload  # type: ignore[attr-defined]


@asynccontextmanager
async def connected(
    server: MemoryServer, *offers: Offer
) -> AsyncIterator[tuple[Client, PerMessageDeflate | None]]:
    """A client, and what it agreed on."""
    client = Client(server.open_stream(), offers)
    try:
        yield client, await client.handshake()
    finally:
        await trio.aclose_forcefully(client.stream)


# --- class 12: what is compressed ---------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_payload(autojump_clock: MockClock, server: MemoryServer, kind: str) -> None:
    """In every size and fragmentation, with the offer that everybody makes."""
    data = KINDS[kind](random.Random(kind))
    async with connected(server, Offer()) as (client, agreed):
        assert agreed is not None
        for size, fragment in SIZES:
            before = client.received
            for at in range(REPEATS):
                await client.comes_back(portion(data, size, at), fragment)
            saved = client.received - before < 0.9 * REPEATS * size
            assert saved == (size >= 1024 and kind != "12.5") or size in (64, 256)


# --- class 13: parameters ---------------------------------------------------

OFFERS = {
    "13.1": [Offer()],
    "13.2": [Offer(server_no_context_takeover=True)],
    "13.3": [Offer(server_max_window_bits=9)],
    "13.4": [Offer(server_max_window_bits=15)],
    "13.5": [Offer(server_no_context_takeover=True, server_max_window_bits=9)],
    "13.6": [Offer(server_no_context_takeover=True, server_max_window_bits=15)],
    "13.7": [
        Offer(server_no_context_takeover=True, server_max_window_bits=9),
        Offer(server_no_context_takeover=True),
        Offer(),
    ],
}
IDS = [f"{number}.{row}" for number in (*KINDS, *OFFERS) for row in range(1, len(SIZES) + 1)]
"""All of classes 12 and 13."""


@pytest.mark.parametrize("number", OFFERS)
async def test_every_offer_of_the_suite(autojump_clock: MockClock, server: MemoryServer, number: str) -> None:
    """Is agreed to, with the window that was asked for, and serves every size and fragmentation."""
    data = records(random.Random(number))
    wanted = OFFERS[number][0].server_max_window_bits or 15
    async with connected(server, *OFFERS[number]) as (client, agreed):
        assert agreed is not None
        assert agreed.remote_no_context_takeover
        assert agreed.remote_max_window_bits == wanted
        for size, fragment in SIZES:
            for at in range(REPEATS):
                await client.comes_back(portion(data, size, at), fragment)


MESSAGES = ["", "x", "hello " * 100, b"", bytes(3000), random.Random(1).randbytes(500), "日本語" * 2000]
ClientBits = int | Literal[True] | None
CLIENT_BITS: tuple[ClientBits, ...] = (None, True, *range(9, 16))


@pytest.mark.parametrize("server_bits", [None, *range(9, 16)])
async def test_every_combination_of_parameters(
    autojump_clock: MockClock, server: MemoryServer, server_bits: int | None
) -> None:
    """Messages go to and fro whatever was offered. (8 bits, which zlib can't write, are in test_deflate.)"""
    for server_takeover, client_takeover, client_bits in product((False, True), (False, True), CLIENT_BITS):
        offer = Offer(server_takeover, client_takeover, server_bits, client_bits)
        async with connected(server, offer) as (client, agreed):
            assert agreed is not None
            assert agreed.remote_max_window_bits <= (server_bits or 15)
            assert agreed.remote_no_context_takeover
            assert agreed.local_no_context_takeover
            for fragment, message in product((0, 100), MESSAGES):
                await client.comes_back(message, fragment)


BITS = (9, 12, 15)


@pytest.mark.parametrize(("client_bits", "server_bits"), list(product(BITS, BITS)))
async def test_wsproto_agrees(
    autojump_clock: MockClock, server: MemoryServer, client_bits: int, server_bits: int
) -> None:
    """A client made of wsproto takes the answer, and every message comes back, however it is cut."""
    for client_takeover, server_takeover in product((False, True), (False, True)):
        extension = WsprotoDeflate(client_takeover, client_bits, server_takeover, server_bits)
        stream = server.open_stream()
        offer = f"Sec-WebSocket-Extensions: {extension.name}; {extension.offer()}\r\n\r\n"
        await stream.send_all(upgrade("/echo").removesuffix(b"\r\n") + offer.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        answer = next(line for line in head.decode().split("\r\n") if "extensions" in line.lower())
        extension.finalize(answer.partition(": ")[2])
        peer = WSConnection(ConnectionType.CLIENT, extensions=[extension])
        for step, message in product((1 << 20, 7), MESSAGES):
            event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
            data = peer.send(event)
            for at in range(0, len(data), step):
                await stream.send_all(data[at : at + step])
            assert await _next_message(peer, stream) == message
        await trio.aclose_forcefully(stream)


async def _next_message(peer: WSConnection, stream: MemoryStream) -> str | bytes:
    parts: list[str | bytes] = []
    while True:
        for event in peer.events():
            assert isinstance(event, TextMessage | BytesMessage)
            parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
            if event.message_finished:
                return type(parts[0])().join(parts)  # type: ignore[arg-type]
        peer.receive_data(await stream.receive_some())
