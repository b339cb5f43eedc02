"""A client's end of a WebSocket, in two independent ways.

`Link` reads frames in a few lines of its own: it is what most simulated clients use, because a run moves some
ten thousand frames to them. `StrictLink` has wsproto do it, as a second opinion on every byte that the server
sends, and compresses what it sends. Both refuse what RFC 6455 and RFC 7692 don't allow a server.
"""

import contextlib
import random
import zlib
from collections import deque
from typing import Any

import msgspec
import trio
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from trio_chat.wire.frames import unmask

from .network import End

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LOST = (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError)
_DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

decode = msgspec.json.Decoder(dict[str, Any]).decode
"""The operation in a text message."""


class Gone(Exception):
    """The connection is over, or did not come about. ``code`` is the server's close code, if it sent one."""

    def __init__(self, code: int | None = None, *, refused: int | None = None) -> None:
        super().__init__(code, refused)
        self.code = code
        self.refused = refused
        """The HTTP status of a handshake that the server did not accept."""


class BrokenProtocol(Exception):
    """The server sent what it must not."""


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame of up to 65535 bytes."""
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
    return head + b"mask" + unmask(payload, b"mask")


class Link:
    """See the module. ``compress``: offer permessage-deflate."""

    def __init__(self, end: End, rng: random.Random, *, compress: bool = False) -> None:
        self.end = end
        self.tampered = False
        """Something has happened to this connection that the server can't be blamed for."""
        self._rng = rng
        self._offered = compress
        self._deflate = False
        self._buffer = b""
        self._frames: deque[tuple[int, bytes]] = deque()
        self._sending = trio.StrictFIFOLock()

    async def handshake(self, path: str = "/ws") -> None:
        """Become a WebSocket, or raise `Gone`."""
        offers = f"Sec-WebSocket-Extensions: {self._offer()}\r\n" if self._offered else ""
        await self.end.send_all(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"{offers}\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self.end.receive_some()
            if not data:
                raise Gone
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Gone(refused=int(head[9:12]))
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-extensions":
                self._agree(value.strip())
        if rest:
            self._feed(rest)

    def _offer(self) -> str:
        return _DEFLATE

    def _agree(self, answer: str) -> None:
        if not self._offered or answer != _DEFLATE:
            raise BrokenProtocol(f"the server agreed to {answer!r}")
        self._deflate = True

    # --- sending -------------------------------------------------------------------------------------

    async def send(self, **fields: object) -> None:
        """Send one operation."""
        await self.send_raw(msgspec.json.encode(fields))

    async def send_raw(self, payload: bytes, *, opcode: int = TEXT) -> None:
        """Send one message, now and then in fragments with a ping between them."""
        if self._rng.random() < 0.05:
            cut = self._rng.randrange(len(payload) + 1)
            first, last = masked(opcode, payload[:cut]), masked(0x80, payload[cut:])
            await self._write(first + masked(0x80 | PING, b"hm") + last)
        else:
            await self._write(masked(0x80 | opcode, payload))

    async def close(self) -> None:
        """Begin the closing handshake."""
        await self._write(masked(0x80 | CLOSE, (1000).to_bytes(2, "big")))

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            await self.end.send_all(data)

    # --- receiving -----------------------------------------------------------------------------------

    async def receive(self) -> list[bytes]:
        """The payloads of some whole messages. Raises `Gone`, `BrokenProtocol`, what a stream raises."""
        messages: list[bytes] = []
        while True:
            while self._frames:
                first, payload = self._frames[0]
                if first & 0x0F >= CLOSE and messages:
                    return messages
                self._frames.popleft()
                if first == 0x80 | PING:
                    await self._write(masked(0x80 | PONG, payload))
                elif first == 0x80 | CLOSE:
                    await self._closed(payload)
                elif first in (0x80 | TEXT, 0x80 | BINARY):
                    messages.append(payload)
                elif first in (0xC0 | TEXT, 0xC0 | BINARY) and self._deflate:
                    messages.append(zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff"))
                elif first != 0x80 | PONG:
                    raise BrokenProtocol(f"a frame that begins with {first:#x}")
            if messages:
                return messages
            data = await self.end.receive_some()
            if not data:
                raise Gone
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Take the whole frames out of what has come."""
        data = self._buffer + data
        position, end = 0, len(data)
        while end - position >= 2:
            first, size, start = data[position], data[position + 1], position + 2
            if size > 127 or (first & 0x08 and size > 125):
                raise BrokenProtocol("a frame that is masked, or a long control frame")
            if size > 125:
                start += 2 if size == 126 else 8
                if start > end:
                    break
                size = int.from_bytes(data[position + 2 : start], "big")
                if size < (126 if start == position + 4 else 65536):
                    raise BrokenProtocol("a length that is not in the shortest form")
            if start + size > end:
                break
            position = start + size
            self._frames.append((first, data[start:position]))
        self._buffer = data[position:]

    async def _closed(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if code == 1002:
            raise BrokenProtocol(f"the server complains: {payload[2:].decode()}")
        with contextlib.suppress(*LOST):
            await self._write(masked(0x80 | CLOSE, payload[:2]))
        raise Gone(code)


class StrictLink(Link):
    """See the module."""

    def __init__(self, end: End, rng: random.Random, *, compress: bool = False) -> None:
        super().__init__(end, rng, compress=compress)
        self._extension = PerMessageDeflate()
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._message: list[bytes] = []

    def _offer(self) -> str:
        return f"{self._extension.name}; {self._extension.offer()}"

    def _agree(self, answer: str) -> None:
        self._extension.finalize(answer)
        self._ws = WSConnection(ConnectionType.CLIENT, extensions=[self._extension])

    async def send_raw(self, payload: bytes, *, opcode: int = TEXT) -> None:
        event = TextMessage(payload.decode()) if opcode == TEXT else BytesMessage(payload)
        await self._write_event(event)

    async def close(self) -> None:
        await self._write_event(CloseConnection(1000))

    async def _write_event(self, event: Event) -> None:
        async with self._sending:
            await self.end.send_all(self._ws.send(event))

    def _feed(self, data: bytes) -> None:
        try:
            self._ws.receive_data(data)
        except RemoteProtocolError as error:
            raise BrokenProtocol(str(error)) from error

    async def receive(self) -> list[bytes]:
        while True:
            for event in self._ws.events():
                if isinstance(event, Ping):
                    await self._write_event(event.response())
                elif isinstance(event, CloseConnection):
                    if event.code == 1002:
                        raise BrokenProtocol(f"the server complains: {event.reason}")
                    if self._ws.state.name == "REMOTE_CLOSING":
                        with contextlib.suppress(*LOST):
                            await self._write_event(event.response())
                    raise Gone(int(event.code))
                elif isinstance(event, Message):
                    self._message.append(event.data if isinstance(event.data, bytes) else event.data.encode())
                    if event.message_finished:
                        whole, self._message = b"".join(self._message), []
                        return [whole]
            data = await self.end.receive_some()
            if not data:
                raise Gone
            self._feed(data)
