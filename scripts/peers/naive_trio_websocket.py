"""A peer to measure against: trio-websocket as its users write it, a memory channel per client.

``naive_trio_websocket.py [--port N] [--echo]``: everybody gets every message; with ``--echo`` only its sender
does.
"""

import sys
from contextlib import suppress
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

WAITING_MESSAGES = 1000
"""Per client; a client that is further behind loses messages."""

clients: set[trio.MemorySendChannel[str | bytes]] = set()


async def write(connection: WebSocketConnection, messages: trio.MemoryReceiveChannel[str | bytes]) -> None:
    """Send what comes out of the channel."""
    async for message in messages:
        await connection.send_message(message)


async def handle(request: WebSocketRequest, *, echo: bool) -> None:
    """Serve one client."""
    connection = await request.accept()
    sending, receiving = trio.open_memory_channel[str | bytes](WAITING_MESSAGES)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, connection, receiving)
            clients.add(sending)
            while True:
                message = await connection.get_message()
                for client in (sending,) if echo else clients:
                    with suppress(trio.WouldBlock):
                        client.send_nowait(message)
    except* ConnectionClosed:
        pass
    finally:
        clients.discard(sending)


async def main(port: int, *, echo: bool) -> None:
    """Serve until killed."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, partial(handle, echo=echo), "127.0.0.1", port, ssl_context=None)
        )
        print(f"peer serving on http://127.0.0.1:{server.port}", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    trio.run(
        partial(
            main, int(given[given.index("--port") + 1]) if "--port" in given else 0, echo="--echo" in given
        )
    )
