"""A WebSocket endpoint of one's own beside the chat: every message comes back as it came.

    python examples/echo.py --port 8080

and connect any WebSocket client to ws://127.0.0.1:8080/echo. Text comes back as text, binary as binary, up to
16 MiB.
"""

import argparse
from functools import partial

import trio

import trio_chat

MAX_MESSAGE_BYTES = 16 * 1024 * 1024


async def echo(websocket: trio_chat.WebSocket) -> None:
    """Serve one client; when this returns, its WebSocket is closed."""
    async for message in websocket:
        await websocket.send(message)


async def main(host: str, port: int) -> None:
    """Serve until cancelled."""
    config = trio_chat.Config(host=host, port=port, log="memory:", max_message=MAX_MESSAGE_BYTES)
    async with trio.open_nursery() as nursery:
        serve = partial(trio_chat.serve, endpoints={"/echo": echo})
        server: trio_chat.Server = await nursery.start(serve, config)
        print(f"trio_chat serving on {server.url}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server with an echo endpoint at /echo.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.host, arguments.port)
    except* KeyboardInterrupt:
        pass
