"""A server on real sockets, and clients that speak bytes: every good and bad thing a peer may do."""

import ctypes
import json
import logging
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_chat

SECONDS = 30.0
"""More than a loaded machine needs; nothing waits that long unless it is broken."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455's example; its answer is `ACCEPTED`."""
ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@asynccontextmanager
async def serving(
    *,
    upgrade: Callable[[trio_chat.UpgradeRequest], Awaitable[Any]] | None = None,
    endpoints: Mapping[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    **settings: Any,
) -> AsyncIterator[trio_chat.Server]:
    """A server for the time of the block; it is cancelled at the end, and must then be gone at once."""
    defaults: dict[str, Any] = {"port": 0, "log": "memory:", "rate": 0.0, "drain": 2.0}
    config = trio_chat.Config(**(defaults | settings))

    async def run(task_status: trio.TaskStatus[trio_chat.Server]) -> None:
        await trio_chat.serve(
            config, upgrade=upgrade, endpoints=endpoints, ssl_context=ssl_context, task_status=task_status
        )

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(run)
            nursery.cancel_scope.cancel()


@attrs.frozen
class Answer:
    """An HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Answer":
        """From its bytes."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert first, "no answer"
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1", data[:100]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers or name.lower() == "set-cookie", f"{name} twice"
            headers[name.lower()] = value
        return cls(int(status), headers, body)

    @property
    def text(self) -> str:
        """The body, without its line end."""
        return self.body.decode().rstrip("\n")


def head(
    path: str = "/ws",
    headers: Mapping[str, str | None] | Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    upgrade: bool = True,
) -> bytes:
    """A request head; with ``upgrade`` that of RFC 6455's example. A header that is None is left out."""
    fields: list[tuple[str, str | None]] = [("Host", "chat.test")]
    if upgrade:
        fields += [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ]
    if isinstance(headers, Mapping):
        merged = dict(fields) | dict(headers)
        fields = list(merged.items())
    else:
        fields += list(headers)
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def open_stream(server: trio_chat.Server, *, host: str = "127.0.0.1") -> trio.SocketStream:
    """A connection to the server, wherever it listens."""
    if server.config.unix is not None:
        return await trio.open_unix_socket(server.config.unix)
    return await trio.open_tcp_stream(host, server.port)


async def read_all(stream: trio.abc.Stream) -> bytes:
    """Everything until the other side ends."""
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


async def ask(
    server: trio_chat.Server,
    path: str,
    headers: Mapping[str, str | None] | Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    upgrade: bool = False,
) -> Answer:
    """One HTTP request on a connection of its own."""
    return await answer_to(server, head(path, headers, method=method, upgrade=upgrade))


async def answer_to(server: trio_chat.Server, request: bytes) -> Answer:
    """What the server says to these bytes before it hangs up."""
    async with await open_stream(server) as stream:
        await stream.send_all(request)
        return Answer.parse(await read_all(stream))


def client_frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A masked frame."""
    first = (0x80 if final else 0) | opcode
    size = len(payload)
    if size < 126:
        start = bytes((first, 0x80 | size))
    elif size < 65536:
        start = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        start = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    mask = bytes((1, 2, 3, 4))
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return start + mask + masked.to_bytes(size, "big")


class Peer:
    """The client's end of a WebSocket, with nothing done by itself: no pong, no answer to a close."""

    def __init__(self, stream: trio.abc.Stream, answer: Answer, rest: bytes) -> None:
        self.stream = stream
        self.answer = answer
        """The response to the upgrade."""
        self._buffer = bytearray(rest)

    async def __aenter__(self) -> "Peer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.stream)

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket, of a connection without TLS."""
        assert isinstance(self.stream, trio.SocketStream)
        return self.stream.socket

    def reset(self) -> None:
        """Hang up with a TCP reset."""
        assert isinstance(self.stream, trio.SocketStream)
        reset(self.stream)

    async def send(self, op: str, **fields: object) -> None:
        """One operation."""
        await self.send_frame(TEXT, json.dumps({"op": op, **fields}).encode())

    async def send_frame(self, opcode: int, payload: bytes = b"") -> None:
        """One frame."""
        await self.stream.send_all(client_frame(opcode, payload))

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame; None when the connection has ended."""
        while True:
            found = self._cut_frame()
            if found is not None:
                return found
            try:
                more = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not more:
                assert not self._buffer, "half a frame"
                return None
            self._buffer += more

    def _cut_frame(self) -> tuple[int, bytes] | None:
        data = self._buffer
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        assert size < 128, "a server's frame is not masked"
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        opcode = data[0] & 0x0F
        assert data[0] & 0xF0 == 0x80
        payload = bytes(data[start : start + size])
        del data[: start + size]
        return opcode, payload

    async def receive(self) -> dict[str, Any]:
        """The next operation."""
        while True:
            found = await self.frame()
            assert found is not None, "the connection ended"
            assert found[0] != CLOSE, f"closed: {found[1]!r}"
            if found[0] == TEXT:
                operation: dict[str, Any] = json.loads(found[1])
                return operation

    async def receive_until(self, *ops: str) -> dict[str, Any]:
        """The next operation whose ``op`` is one of ``ops``."""
        while True:
            operation = await self.receive()
            if operation["op"] in ops:
                return operation

    async def join(self, room: str = "lobby", **fields: object) -> dict[str, Any]:
        """Join a room."""
        await self.send("join", room=room, **fields)
        return await self.receive_until("joined")

    async def say(self, text: str, room: str = "lobby") -> int:
        """Say something, and wait until it is stored; its ``seq``."""
        await self.send("say", room=room, text=text)
        seq: int = (await self.receive_until("ack"))["seq"]
        return seq

    async def message(self) -> str:
        """The text of the next message."""
        text: str = (await self.receive_until("message"))["text"]
        return text

    async def closed(self) -> tuple[int, str]:
        """Read until the server closes, and answer that: its code and reason, 1006 if it says nothing."""
        ended = await self.ended()
        return ended[1:]

    async def ended(self) -> tuple[list[dict[str, Any]], int, str]:
        """What was said until the end (text frames only), the close code and the reason."""
        said: list[dict[str, Any]] = []
        while (found := await self.frame()) is not None:
            opcode, payload = found
            if opcode == TEXT:
                said.append(json.loads(payload))
            if opcode == CLOSE:
                try:
                    await self.send_frame(CLOSE, payload[:2])
                    if isinstance(self.stream, trio.abc.HalfCloseableStream):
                        await self.stream.send_eof()
                        assert await self.frame() is None
                except trio.BrokenResourceError:
                    pass
                return said, int.from_bytes(payload[:2], "big"), payload[2:].decode()
        return said, 1006, ""


def reset(stream: trio.SocketStream) -> None:
    """Hang up with a TCP reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def vanish(stream: trio.SocketStream) -> None:
    """Be gone without a word, as by a pulled cable: Linux drops whatever arrives, and confirms none of it."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
    stream.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER


class Refused(Exception):
    """The upgrade was answered with something else than 101."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.text}")
        self.answer = answer


@asynccontextmanager
async def connected(
    server: trio_chat.Server,
    path: str = "/ws",
    headers: Mapping[str, str | None] | Iterable[tuple[str, str]] = (),
    *,
    before: bytes = b"",
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Peer]:
    """A WebSocket; `Refused` if it isn't let in. ``before``: bytes that come before anything else."""
    async with await open_stream(server, host=host) as carrier:
        if before:
            await carrier.send_all(before)
        stream: trio.abc.Stream = carrier
        if tls is not None:
            stream = trio.SSLStream(carrier, tls, server_hostname=host, https_compatible=True)
        async with await shake_hands(stream, head(path, headers)) as peer:
            yield peer


async def shake_hands(stream: trio.abc.Stream, request: bytes) -> Peer:
    """The opening handshake on ``stream``."""
    await stream.send_all(request)
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    start, _, rest = data.partition(b"\r\n\r\n")
    answer = Answer.parse(start + b"\r\n\r\n")
    if answer.status != 101:
        raise Refused(Answer.parse(data + await read_all(stream)))
    assert answer.headers["sec-websocket-accept"] == ACCEPTED
    return Peer(stream, answer, rest)


async def until(condition: Callable[[], object]) -> None:
    """Let the server's tasks run until ``condition`` holds, or the test's time is over.

    For what can be seen from inside only: a peer never waits like this, it reads.
    """
    while not condition():
        await trio.testing.wait_all_tasks_blocked(0.001)


def lines(caplog: pytest.LogCaptureFixture, start: str = "") -> list[Any]:
    """The lines of the access log, of level INFO, that begin with ``start``."""
    return [
        record
        for record in caplog.records
        if record.name == "trio_chat.access"
        and record.levelno >= logging.INFO
        and record.getMessage().startswith(start)
    ]


def troubles(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Take out every record from WARNING on: its logger, its text, and what was raised."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return [
        f"{record.name}: {record.getMessage()}" + (f": {record.exc_info[1]!r}" if record.exc_info else "")
        for record in found
    ]


def open_files() -> dict[str, str]:
    """The descriptors of this process and what they are, without the one that lists them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


def has_ipv6() -> bool:
    """Whether this machine has ``::1``."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def sqlite_url(path: Path) -> str:
    """The log in that file."""
    return f"sqlite:///{path}"
