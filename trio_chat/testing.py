"""The whole server in memory: for tests of programs that embed it, and for its own.

Owns no behaviour: the server, its sessions, rooms and wire are the real ones; only the sockets are replaced
by in-memory streams, so that a test can run under Trio's mock clock without a network.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import trio
import trio.testing
import trio_websocket

from .config import Config
from .server import Server, serve

MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class MemoryClient:
    """A client of the chat endpoint that speaks the protocol's frames as dictionaries."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: MemoryStream) -> None:
        self.websocket = websocket
        self.stream = stream
        """The client's end of the in-memory stream: to cut, delay or corrupt."""

    async def send(self, op: str, **fields: object) -> None:
        """Send one operation."""
        await self.websocket.send_message(msgspec.json.encode({"op": op, **fields}).decode())

    async def receive(self) -> dict[str, Any]:
        """The next frame. Raises `trio_websocket.ConnectionClosed`."""
        frame: dict[str, Any] = msgspec.json.decode(await self.websocket.get_message())
        return frame

    async def receive_until(self, *ops: str) -> dict[str, Any]:
        """The next frame whose ``op`` is one of ``ops``; others are passed over."""
        while True:
            frame = await self.receive()
            if frame["op"] in ops:
                return frame

    async def closed(self) -> tuple[int, str | None]:
        """Read until the server has closed; its code and reason."""
        while True:
            try:
                await self.websocket.get_message()
            except trio_websocket.ConnectionClosed as error:
                return (error.reason.code, error.reason.reason) if error.reason else (1006, None)


class MemoryServer:
    """A running server, and a way in."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self.server = server
        self.hub = server.hub
        self._nursery = nursery

    @asynccontextmanager
    async def connect(
        self,
        path: str = "/ws",
        *,
        headers: Mapping[str, str] | None = None,
        peer: str | None = "127.0.0.1",
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
        subprotocols: tuple[str, ...] = (),
    ) -> AsyncIterator[MemoryClient]:
        """Open a WebSocket over in-memory streams; ``wrap`` may put a stream of its own under the server.

        Raises `trio_websocket.ConnectionRejected` for a refused upgrade. At the end the WebSocket is closed.
        """
        stream = self.open_stream(peer=peer, wrap=wrap)
        websocket = await _handshake(self._nursery, stream, path, headers or {}, subprotocols)
        try:
            yield MemoryClient(websocket, stream)
        finally:
            with trio.move_on_after(1, shield=True):
                await websocket.aclose()

    def open_stream(
        self,
        *,
        peer: str | None = "127.0.0.1",
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
    ) -> MemoryStream:
        """The client's end of a new connection, nothing sent yet."""
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.server.serve_stream, wrap(theirs) if wrap is not None else theirs, peer)
        return ours


@asynccontextmanager
async def open_memory_server(config: Config | None = None, **options: Any) -> AsyncIterator[MemoryServer]:
    """A running server without sockets; ``options`` are those of `trio_chat.serve`. It is cancelled at the
    end.

    Without ``config`` everything is kept in memory and nothing is rate limited.
    """
    config = config or Config(log="memory:", rate=0, max_per_ip=1_000_000)
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[Server]) -> None:
            await serve(config, listen=False, task_status=task_status, **options)

        yield MemoryServer(await nursery.start(run), nursery)
        nursery.cancel_scope.cancel()


async def _handshake(
    nursery: trio.Nursery,
    stream: MemoryStream,
    path: str,
    headers: Mapping[str, str],
    subprotocols: tuple[str, ...],
) -> trio_websocket.WebSocketConnection:
    """Open the client's side; a refusal is raised here and not in the reader's task."""
    refused: list[trio_websocket.HandshakeError] = []
    done = trio.Event()

    class Reader:
        """Stands in for the nursery, to see how the reader's task ends."""

        def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
            nursery.start_soon(self._run, reader)

        async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
            try:
                await reader()
            except trio_websocket.HandshakeError as error:
                refused.append(error)
            finally:
                done.set()

    opened: list[trio_websocket.WebSocketConnection] = []

    async def open_client() -> None:
        opened.append(
            await trio_websocket.wrap_client_stream(
                cast(trio.Nursery, Reader()),
                cast(trio.SocketStream, stream),
                "memory",
                path,
                subprotocols=subprotocols,
                extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            )
        )
        done.set()

    nursery.start_soon(_until, done, open_client)
    await done.wait()
    if refused:
        raise refused[0]
    if not opened:
        raise trio_websocket.HandshakeError("the connection ended during the handshake")
    return opened[0]


async def _until(done: trio.Event, function: Callable[[], Awaitable[None]]) -> None:
    """Run ``function``, but not beyond ``done``."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function)
        await done.wait()
        nursery.cancel_scope.cancel()
