"""A chat server that does what a test tells it, over in-memory streams.

`Peer.connect` is what the client gets instead of TCP; each call gives the test one `Connection`. The
WebSocket is real (trio-websocket's server side), the operations are plain dicts.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
import trio_websocket

ANN = {"id": "u1", "name": "ann"}
LIMITS = {"max_message_bytes": 65536, "max_text_chars": 10000, "max_rooms": 100, "rate": 0, "burst": 20}


class Gone(Exception):
    """The client has left, in the middle of the script."""


class Connection:
    """The server's end of one connection."""

    def __init__(self, stream: trio.abc.Stream, websocket: trio_websocket.WebSocketConnection) -> None:
        self._stream = stream
        self._websocket = websocket

    async def receive(self, op: str) -> dict[str, Any]:
        """The next operation, which has to be an ``op``; pings are answered."""
        while True:
            try:
                found = json.loads(await self._websocket.get_message())
            except trio_websocket.ConnectionClosed as closed:
                raise Gone from closed
            if found["op"] == op:
                return found
            if found["op"] == "leave":
                raise Gone
            assert found["op"] == "ping", f"wanted {op}: {found}"
            await self.send("pong")

    async def silent(self, seconds: float = 1.0) -> bool:
        """The client sends nothing for that long, but pings."""
        with trio.move_on_after(seconds):
            await self.receive("something else")
        return True

    async def send(self, op: str, **fields: Any) -> None:
        """Send an operation."""
        try:
            await self._websocket.send_message(json.dumps({"op": op, **fields}))
        except trio_websocket.ConnectionClosed as closed:
            raise Gone from closed

    async def send_raw(self, text: str) -> None:
        """Send a text frame."""
        await self._websocket.send_message(text)

    async def welcome(self, **fields: Any) -> dict[str, Any]:
        """Take the client's hello and welcome it; returns the hello."""
        hello = await self.receive("hello")
        welcome = {"session": "s1", "user": ANN, "limits": LIMITS, "heartbeat": 20.0, **fields}
        await self.send("welcome", re=hello["id"], **welcome)
        return hello

    async def joined(self, head: int = 0, *, epoch: str = "e1", recovered: bool = True) -> dict[str, Any]:
        """Take a join and grant it; returns the join."""
        join = await self.receive("join")
        await self.send(
            "joined", re=join["id"], room=join["room"], epoch=epoch, head=head, recovered=recovered, topic="",
            members=[ANN], count=1, user=ANN, kind="public", role="member",
        )  # fmt: skip
        return join

    async def messages(self, first: int, last: int, room: str = "lobby") -> None:
        """Send the events ``first`` to ``last``; the text of each is its number."""
        for seq in range(first, last + 1):
            await self.send("message", room=room, seq=seq, at=1.5, user=ANN, text=str(seq))

    async def ack(self, say: dict[str, Any], seq: int) -> None:
        """Acknowledge a say."""
        await self.send("ack", re=say["id"], room=say["room"], seq=seq, at=2.5)

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a code."""
        await self._websocket.aclose(code, reason)

    async def cut(self) -> None:
        """Let the connection break, without a word."""
        await trio.aclose_forcefully(self._stream)


class Peer:
    """Where the client's connections arrive."""

    def __init__(self, nursery: trio.Nursery, *, lockstep: bool = False) -> None:
        self._nursery = nursery
        self._pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        self._arrived, self._arrivals = trio.open_memory_channel[trio.abc.Stream](100)
        self.connected_at: list[float] = []
        self.refuse_next = 0

    async def connect(self) -> trio.abc.Stream:
        """For the client: a new stream to this server, or `OSError` while ``refuse_next`` isn't 0."""
        await trio.lowlevel.checkpoint()
        self.connected_at.append(trio.current_time())
        if self.refuse_next:
            self.refuse_next -= 1
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = self._pair()
        self._arrived.send_nowait(ours)
        return theirs

    async def stream(self) -> trio.abc.Stream:
        """The next connection, before any handshake."""
        return await self._arrivals.receive()

    async def request(self) -> tuple[trio.abc.Stream, trio_websocket.WebSocketRequest]:
        """The next connection's upgrade request."""
        stream = await self.stream()
        return stream, await trio_websocket.wrap_server_stream(self._nursery, stream)

    async def accept(self) -> Connection:
        """The next connection, upgraded."""
        stream, request = await self.request()
        return Connection(stream, await request.accept())

    async def open(self) -> Connection:
        """The next connection, upgraded and welcomed."""
        connection = await self.accept()
        await connection.welcome()
        return connection


@asynccontextmanager
async def open_peer(*, lockstep: bool = False) -> AsyncIterator[Peer]:
    """A peer for the time of the block."""
    async with trio.open_nursery() as nursery:
        yield Peer(nursery, lockstep=lockstep)
        nursery.cancel_scope.cancel()
