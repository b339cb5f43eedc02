"""Several WebSocket endpoints on one port, each with its own upgrade handler.

    python examples/two_endpoints.py --port 8080

- /ticks sends the time every second, to programs with the right token:
  wscat -H "Authorization: Bearer sesame" -c ws://127.0.0.1:8080/ticks
- /shout answers in capitals, to pages of two sites and to programs:
  wscat -c ws://127.0.0.1:8080/shout

The chat is beside them, at /ws and on the page, open to everybody.
"""

import argparse
import time
from functools import partial

import trio

import trio_chat


async def ticks(websocket: trio_chat.WebSocket) -> None:
    """Send the time every second. When the client is gone, `send` raises and the endpoint ends."""
    while True:
        await websocket.send(f"{time.time():.0f}")
        await trio.sleep(1)


async def shout(websocket: trio_chat.WebSocket) -> None:
    """Answer texts in capitals; anything else is a mistake."""
    async for message in websocket:
        if isinstance(message, bytes):
            await websocket.aclose(1003, "this endpoint takes text messages only")
        else:
            await websocket.send(message.upper())


ENDPOINTS = {
    "/ticks": trio_chat.Endpoint(ticks, upgrade=trio_chat.require_header("Authorization", "Bearer sesame")),
    "/shout": trio_chat.Endpoint(
        shout, upgrade=trio_chat.allow_origins("https://one.example", "https://two.example")
    ),
}


async def main(port: int) -> None:
    """Serve until cancelled."""
    # The server's own origin policy comes first, for every endpoint: here it leaves the decision to them.
    config = trio_chat.Config(port=port, log="memory:", origin=("*",))
    async with trio.open_nursery() as nursery:
        serve = partial(trio_chat.serve, upgrade=trio_chat.same_origin(), endpoints=ENDPOINTS)
        server: trio_chat.Server = await nursery.start(serve, config)
        print(f"trio_chat serving on {server.url}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server with endpoints of its own at /ticks and /shout.")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.port)
    except* KeyboardInterrupt:
        pass
