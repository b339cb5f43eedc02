"""A peer to measure against: `websockets` on asyncio, with its own `broadcast`; no compression.

``websockets_asyncio.py [--port N] [--echo]``: everybody gets every message; with ``--echo`` only its sender
does.
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

LISTEN_BACKLOG = 4096

clients: set[ServerConnection] = set()


async def fan_out(connection: ServerConnection) -> None:
    """Serve one client: its messages to all."""
    clients.add(connection)
    try:
        async for message in connection:
            broadcast(clients, message)
    finally:
        clients.discard(connection)


async def echo(connection: ServerConnection) -> None:
    """Serve one client: its messages back to it."""
    async for message in connection:
        await connection.send(message)


async def main(port: int, *, echoes: bool) -> None:
    """Serve until killed."""
    async with serve(
        echo if echoes else fan_out,
        "127.0.0.1",
        port,
        compression=None,
        ping_interval=None,
        backlog=LISTEN_BACKLOG,
    ) as server:
        print(f"peer serving on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(
        main(int(given[given.index("--port") + 1]) if "--port" in given else 0, echoes="--echo" in given)
    )
