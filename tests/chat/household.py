"""People with ids that are known beforehand, in rooms of every sort: what the tests of rights share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from trio_chat.chat.schema import User
from trio_chat.front.upgrade import Accept, UpgradeRequest
from trio_chat.log.base import EventLog
from trio_chat.log.memory import open_memory_log
from trio_chat.log.seams import in_event_loop
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.testing import MemoryServer, open_memory_server

from .talk import Client, client, config

NOW = 1_700_000_000.0


async def by_query(request: UpgradeRequest) -> Accept:
    """Everybody is who they say they are."""
    return Accept(user=User(f"u-{request.query['as']}", request.query["as"]))


def user(name: str) -> dict[str, str]:
    """A user as a frame has it."""
    return {"id": f"u-{name}", "name": name}


class House:
    """A server whose clock goes with Trio's, and its clients by name."""

    def __init__(self, server: MemoryServer, stack: AsyncExitStack) -> None:
        self.server = server
        self.hub = server.hub
        self._stack = stack

    async def client(self, name: str, *rooms: str) -> Client:
        """One more client of this user, in these rooms."""
        found = await self._stack.enter_async_context(client(self.server, f"/ws?as={name}"))
        for room in rooms:
            await found.join(room)
        await found.quiet()
        return found

    async def clients(self, *names: str, room: str | None = None) -> list[Client]:
        """Several, told of nobody."""
        found = [await self.client(name, *([room] if room else [])) for name in names]
        for each in found:
            await each.quiet()
        return found


@asynccontextmanager
async def house(
    path: Path | None = None, log: EventLog | None = None, **settings: Any
) -> AsyncIterator[House]:
    """A server on which root is an administrator."""
    began_at = trio.current_time()

    def clock() -> float:
        return NOW + trio.current_time() - began_at

    async with AsyncExitStack() as stack:
        if log is None and path is not None:
            opened = open_sqlite_log(path, sync="normal", clock=clock, runner=in_event_loop)
            log = await stack.enter_async_context(opened)
        elif log is None:
            log = await stack.enter_async_context(open_memory_log(clock=clock))
        settings = {"admin": ("u-root",)} | settings
        server = await stack.enter_async_context(
            open_memory_server(config(**settings), log=log, upgrade=by_query, clock=clock)
        )
        yield House(server, await stack.enter_async_context(AsyncExitStack()))
