"""A bot in the server's own process: it is a member of a room without a socket, and answers `!time`.

    python examples/bot.py --port 8080

and say `!time` in the room `lobby`, on the page at http://127.0.0.1:8080 or with

    python -m trio_chat connect http://127.0.0.1:8080 --room lobby
"""

import argparse
import contextlib
import datetime

import trio

import trio_chat


async def tell_time(room: trio_chat.LocalRoom) -> None:
    """Answer whoever says `!time`, until cancelled."""
    async for event in room:
        if isinstance(event, trio_chat.Message) and event.text.strip() == "!time":
            now = datetime.datetime.now(datetime.UTC)
            # While the log can't store anything (the disk is full, say), the answer is lost, the bot is not.
            with contextlib.suppress(trio_chat.LogUnavailable):
                await room.say(f"It is {now:%H:%M:%S} UTC.", reply_to=event.seq)


async def main(port: int, room_name: str) -> None:
    """Serve, with the bot in the room, until cancelled."""
    async with trio.open_nursery() as nursery:
        config = trio_chat.Config(port=port, log="memory:")
        server: trio_chat.Server = await nursery.start(trio_chat.serve, config)
        async with server.hub.join(room_name, name="clock") as room:
            print(f"trio_chat serving on {server.url}", flush=True)
            await tell_time(room)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat server with a bot that answers !time.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--room", default="lobby")
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.port, arguments.room)
    except* KeyboardInterrupt:
        pass
