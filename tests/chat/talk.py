"""What the tests of the chat endpoint share: a server, and clients that keep what they hear."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import trio
import trio_websocket

from trio_chat.chat.policy import PolicyOf
from trio_chat.config import Config
from trio_chat.log.base import EventLog
from trio_chat.log.memory import open_memory_log
from trio_chat.log.seams import in_event_loop
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.testing import MemoryClient, MemoryServer, open_memory_server

Frame = dict[str, Any]

_numbers = count()
"""Ids must differ, or the second message would be the first one sent again."""

EVENTS = ("message", "gap")


def config(**settings: Any) -> Config:
    """In memory, without rate limit and heartbeat, but for ``settings``."""
    return Config(**({"log": "memory:", "rate": 0.0, "heartbeat": 3600.0, "max_per_ip": 10_000} | settings))


@attrs.define
class Faults:
    """Fails commits as told: each entry of ``plan`` is "before", "after" or None for one commit."""

    plan: list[str | None] = attrs.Factory(list)
    down: bool = False

    def __call__(self, commit: Callable[[], None]) -> None:
        when = "before" if self.down else self.plan.pop(0) if self.plan else None
        if when == "before":
            raise OSError(28, "No space left on device")
        commit()
        if when == "after":
            raise OSError(5, "Input/output error")


@asynccontextmanager
async def talking(
    path: Path | None = None,
    *,
    faults: Callable[[Callable[[], None]], None] | None = None,
    log: EventLog | None = None,
    rooms: PolicyOf | None = None,
    **settings: Any,
) -> AsyncIterator[MemoryServer]:
    """A server in memory; with ``path`` on a SQLite file, whose work is done in the event loop."""
    async with AsyncExitStack() as stack:
        through = faults or Faults()
        if log is None and path is not None:
            log = await stack.enter_async_context(
                open_sqlite_log(path, sync="normal", commit_through=through, runner=in_event_loop)
            )
        elif log is None:
            log = await stack.enter_async_context(open_memory_log(commit_through=through))
        yield await stack.enter_async_context(open_memory_server(config(**settings), log=log, rooms=rooms))


class Client:
    """A client of the chat endpoint; what it hears while it waits for something else is kept in ``heard``."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client
        self.websocket = client.websocket
        self.stream = client.stream
        self.heard: list[Frame] = []

    async def send(self, op: str, **fields: object) -> None:
        """Send one operation."""
        await self._client.send(op, **fields)

    async def raw(self, message: str | bytes) -> None:
        """Send one message as it is."""
        await self.websocket.send_message(message)

    async def next(self) -> Frame:
        """The next frame, heard or not."""
        return self.heard.pop(0) if self.heard else await self._client.receive()

    async def until(self, *ops: str) -> Frame:
        """The next frame of one of these operations; others are kept."""
        for index, frame in enumerate(self.heard):
            if frame["op"] in ops:
                return self.heard.pop(index)
        while True:
            frame = await self._client.receive()
            if frame["op"] in ops:
                return frame
            self.heard.append(frame)

    async def ask(self, op: str, **fields: object) -> Frame:
        """Send one operation and return its reply; what comes before it is kept."""
        key = str(fields.pop("id", f"request-{next(_numbers)}"))
        await self.send(op, id=key, **fields)
        while True:
            frame = await self._client.receive()
            if frame.get("re") == key:
                return frame
            self.heard.append(frame)

    async def join(self, room: str = "lobby", **fields: object) -> Frame:
        """Join, and return the reply."""
        reply = await self.ask("join", room=room, **fields)
        assert reply["op"] == "joined", reply
        return reply

    async def say(self, text: str, room: str = "lobby", **fields: object) -> int:
        """Say something, and return its seq once it is stored."""
        reply = await self.ask("say", room=room, text=text, **fields)
        assert reply["op"] == "ack", reply
        seq: int = reply["seq"]
        return seq

    async def events(self, wanted: int) -> list[Frame]:
        """The next ``count`` events; the other frames are kept."""
        return [await self.until(*EVENTS) for _ in range(wanted)]

    async def texts(self, wanted: int) -> list[tuple[int, str]]:
        """The next messages: seq and text."""
        return [(event["seq"], event["text"]) for event in await self.events(wanted)]

    async def quiet(self) -> list[Frame]:
        """What has come, once nothing more comes for some (virtual) seconds."""
        found, self.heard = self.heard, []
        while True:
            with trio.move_on_after(5) as scope:
                found.append(await self._client.receive())
            if scope.cancelled_caught:
                return found

    async def closed(self) -> tuple[int, str | None]:
        """Read until the server has closed; its code and reason. What came before is kept in ``heard``."""
        while True:
            try:
                self.heard.append(await self._client.receive())
            except trio_websocket.ConnectionClosed as error:
                return (error.reason.code, error.reason.reason) if error.reason else (1006, None)


@asynccontextmanager
async def client(server: MemoryServer, path: str = "/ws", **options: Any) -> AsyncIterator[Client]:
    """A connected client; ``options`` as for `MemoryServer.connect`."""
    async with server.connect(path, **options) as connected:
        yield Client(connected)


@asynccontextmanager
async def clients(server: MemoryServer, *names: str, room: str = "lobby") -> AsyncIterator[list[Client]]:
    """Several clients with these names, all of them in ``room``, and told of nobody."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            found.append(await stack.enter_async_context(client(server, f"/ws?name={name}")))
            await found[-1].join(room)
        for each in found:
            await each.quiet()
        yield found
