"""A peer to measure against: `websockets` on Trio, with its own `broadcast`; no compression.

``websockets_trio.py [--port N] [--echo]``: everybody gets every message; with ``--echo`` only its sender
does.
"""

import sys
from functools import partial

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.connection import broadcast
from websockets.trio.server import ServerConnection, serve

LISTEN_BACKLOG = 4096

clients: set[ServerConnection] = set()


async def fan_out(connection: ServerConnection) -> None:
    """Serve one client: its messages to all."""
    clients.add(connection)
    try:
        async for message in connection:
            await broadcast(clients.copy(), message)
    except ConnectionClosed:
        pass
    finally:
        clients.discard(connection)


async def echo(connection: ServerConnection) -> None:
    """Serve one client: its messages back to it."""
    async for message in connection:
        await connection.send(message)


async def main(port: int, *, echoes: bool) -> None:
    """Serve until killed."""
    start = partial(
        serve, echo if echoes else fan_out, port,
        host="127.0.0.1", backlog=LISTEN_BACKLOG, compression=None, ping_interval=None,
        max_size=2 << 20,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        print(f"peer serving on http://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    trio.run(
        partial(
            main, int(given[given.index("--port") + 1]) if "--port" in given else 0, echoes="--echo" in given
        )
    )
