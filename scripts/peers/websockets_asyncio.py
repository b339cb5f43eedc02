"""A peer to measure against: `websockets` on asyncio (uvloop), with its own `broadcast`; no compression.

``websockets_asyncio.py [--port N] [--echo]``: everybody whose path is the same gets every message; with
``--echo`` only its sender does.
"""

import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

LISTEN_BACKLOG = 4096

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def fan_out(connection: ServerConnection) -> None:
    """Serve one client: its messages to all."""
    assert connection.request is not None
    clients = rooms[connection.request.path]
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
        max_size=2 << 20,
        backlog=LISTEN_BACKLOG,
    ) as server:
        print(f"peer serving on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    uvloop.run(
        main(int(given[given.index("--port") + 1]) if "--port" in given else 0, echoes="--echo" in given)
    )
