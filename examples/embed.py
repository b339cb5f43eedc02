"""A chat inside another Trio program: a piece of work that reports to a room, and can be talked about there.

    python examples/embed.py --port 8080 --steps 60

and watch the room `progress` on the page at http://127.0.0.1:8080. When the work is done, the server stops
gracefully and the program ends.
"""

import argparse
import contextlib

import trio

import trio_chat


async def work(server: trio_chat.Server, steps: int, seconds: float) -> None:
    """The program's own business; here it sleeps."""
    async with server.hub.join("progress", name="worker") as room:
        for step in range(1, steps + 1):
            await trio.sleep(seconds)
            # While the log can't store anything (the disk is full, say), a report is lost, the work is not.
            with contextlib.suppress(trio_chat.LogUnavailable):
                await room.say(f"step {step} of {steps} done")


async def main(port: int, steps: int, seconds: float) -> None:
    """Serve as long as the work goes on."""
    async with trio.open_nursery() as nursery:
        config = trio_chat.Config(port=port, log="memory:", drain=5.0)
        server: trio_chat.Server = await nursery.start(trio_chat.serve, config)
        print(f"trio_chat serving on {server.url}", flush=True)
        await work(server, steps, seconds)
        server.stop()  # each client is told goodbye; then `serve` returns, and with it the nursery ends


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A program with a chat in it.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a step takes")
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.port, arguments.steps, arguments.seconds)
    except* KeyboardInterrupt:
        pass
