"""A chat client as a Trio program: it says something, and prints what is said in the room.

    python examples/client.py http://127.0.0.1:8080 --room lobby --name ann hello everybody

It goes on across reconnects and restarts of the server without losing or repeating an event.
"""

import argparse
import datetime

import trio

import trio_chat


async def main(url: str, room_name: str, name: str, text: str, count: int | None) -> None:
    """Say ``text`` if there is any; print the last ten messages and new ones, ``count`` in all if given."""
    async with trio_chat.open_client(url, name=name) as client:
        print(f"{client.user.name} is in {room_name}", flush=True)
        async with client.join(room_name, last=10) as room:
            if text:
                await room.say(text)  # returns when the server has stored it
            printed = 0
            while printed != count:
                event = await anext(room)
                if isinstance(event, trio_chat.Message):
                    at = datetime.datetime.fromtimestamp(event.at, datetime.UTC)
                    print(f"{at:%H:%M:%S} {event.user.name}: {event.text}", flush=True)
                    printed += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say something in a room and listen.")
    parser.add_argument("url", help="http://HOST:PORT")
    parser.add_argument("text", nargs="*", default=[], help="what to say")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--name", default="ann")
    parser.add_argument("--count", type=int, help="leave after so many messages")
    arguments = parser.parse_intermixed_args()
    try:
        trio.run(
            main, arguments.url, arguments.room, arguments.name, " ".join(arguments.text), arguments.count
        )
    except* KeyboardInterrupt:
        pass
    except* trio_chat.ClientError as problem:
        parser.exit(1, f"{problem.exceptions[0]}\n")
