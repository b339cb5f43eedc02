"""Streams to put under the server, and a client that knows nothing of the server: bytes and wsproto."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.events import CloseConnection, Event

from trio_chat.testing import MemoryServer, MemoryStream


class Gate(trio.abc.Stream):
    """A stream whose way to the peer can be shut, as by a peer that doesn't read; it counts what passes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._open = trio.Event()
        self._open.set()
        self.sent = 0
        self.received = 0

    def shut(self) -> None:
        """Let nothing more through to the peer."""
        self._open = trio.Event()

    def open(self) -> None:
        """Let everything through again."""
        self._open.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._open.wait()
        self.sent += len(data)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._open.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        self.received += len(data)
        return bytes(data)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Gates:
    """Makes a `Gate` under each connection: pass it as ``wrap``; ``gates[-1]`` is the latest."""

    def __init__(self) -> None:
        self.gates: list[Gate] = []

    def __call__(self, stream: trio.abc.Stream) -> Gate:
        self.gates.append(Gate(stream))
        return self.gates[-1]


def upgrade(path: str) -> bytes:
    """The smallest request that becomes a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


class Peer:
    """A client in terms of wsproto's events and of bytes."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.ended = False

    async def handshake(self, path: str) -> None:
        """Send the upgrade request and read the answer's head."""
        await self.stream.send_all(upgrade(path))
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self.stream.receive_some()
            assert data, head
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        if rest:
            self.ws.receive_data(rest)

    async def send(self, *events: Event) -> None:
        """Send wsproto's events as one write."""
        await self.stream.send_all(b"".join(self.ws.send(event) for event in events))

    def __aiter__(self) -> "Peer":
        return self

    async def __anext__(self) -> Event:
        """The next event; the iteration ends with the server's end of the stream."""
        while True:
            for event in self.ws.events():
                return event
            data = await self.stream.receive_some()
            if not data:
                self.ended = True
                raise StopAsyncIteration
            self.ws.receive_data(data)

    async def next(self) -> Event:
        """The next event, which there has to be."""
        return await anext(self)

    async def rest(self) -> list[Event]:
        """All events up to the server's end of the stream."""
        return [event async for event in self]

    async def rest_answered(self) -> list[Event]:
        """All events up to the server's close frame, which is answered, and the end of the stream."""
        events: list[Event] = []
        async for event in self:
            events.append(event)
            if isinstance(event, CloseConnection):
                with suppress(trio.BrokenResourceError):  # the server's was an answer, and it has gone
                    await self.send(event.response())
        return events

    async def closed(self) -> tuple[int, str]:
        """Read to the end without a word; code and reason of the server's close frame, or 1006."""
        found = (1006, "")
        async for event in self:
            if isinstance(event, CloseConnection):
                found = (event.code, event.reason or "")
                await self.stream.aclose()
                return found
        return found


@asynccontextmanager
async def open_peer(server: MemoryServer, path: str, gates: Gates | None = None) -> AsyncIterator[Peer]:
    """A `Peer` on an open WebSocket; at the end its stream is closed."""
    peer = Peer(server.open_stream(wrap=gates))
    await peer.handshake(path)
    try:
        yield peer
    finally:
        await trio.aclose_forcefully(peer.stream)


async def until(condition: Callable[[], object], step: float = 0.5) -> None:
    """Wait until ``condition()`` is true, looking every ``step`` (virtual) seconds."""
    while not condition():  # noqa: ASYNC110 - the server announces nothing that a test could wait for
        await trio.sleep(step)


async def nobody_left(server: MemoryServer) -> None:
    """Wait until no connection is open."""
    with trio.fail_after(600):
        await until(lambda: not server.server.connections)
