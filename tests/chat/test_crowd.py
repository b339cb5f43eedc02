"""A thousand users come to one room within ten seconds: what each of them is sent because of the others.

``python -m pytest tests/chat/test_crowd.py -s`` prints the figures of docs/performance.md.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from trio_chat.chat import limits
from trio_chat.chat.schema import Presence, User, encode
from trio_chat.testing import MemoryClient, MemoryServer
from trio_chat.wire.frames import TEXT, frame

from .talk import talking

PEOPLE = 1000
SECONDS = 10.0
SIGNALS = ("presence", "count")


@attrs.define
class Heard:
    """What one client was sent."""

    joined_bytes: int = 0
    signals: int = 0
    signal_bytes: int = 0
    last_count: int = 0

    async def listen(self, client: MemoryClient) -> None:
        while True:
            data = str(await client.websocket.get_message()).encode()
            size = len(frame(TEXT, data))
            fields = msgspec.json.decode(data)
            if fields["op"] == "joined":
                self.joined_bytes += size
                self.last_count = fields["count"]
            elif fields["op"] in SIGNALS:
                self.signals += 1
                self.signal_bytes += size
                self.last_count = fields.get("count", self.last_count)


@asynccontextmanager
async def crowd(server: MemoryServer, people: int) -> AsyncIterator[list[Heard]]:
    """So many users who join, each at a moment of its own; the block begins when all is told."""
    rng = random.Random(1)
    heard = [Heard() for _ in range(people)]

    async def come(number: int, one: Heard) -> None:
        await trio.sleep(rng.uniform(0, SECONDS))
        async with server.connect(f"/ws?name=somebody-{number}&room=hall") as client:
            await one.listen(client)

    async with trio.open_nursery() as nursery:
        for number, one in enumerate(heard):
            nursery.start_soon(come, number, one)
        await trio.sleep(SECONDS + 5)
        yield heard
        nursery.cancel_scope.cancel()


def naive(people: int) -> tuple[int, int, int]:
    """Everybody told of everybody who comes, one by one: frames and bytes of the first, frames in all."""
    signal = Presence(room="hall", user=User(f"guest-{0:016x}", "somebody-500"), online=True)
    size = len(frame(TEXT, encode(signal)))
    return people - 1, (people - 1) * size, people * (people - 1) // 2


@pytest.mark.slow
async def test_a_thousand_come_within_ten_seconds(autojump_clock: MockClock) -> None:
    """Nobody is sent more than the names of a small room and a count now and then, however many come; in the
    end everybody knows how many there are."""
    async with talking() as server, crowd(server, PEOPLE) as heard:
        frames, size, all_frames = naive(PEOPLE)
        most = max(heard, key=lambda one: one.signal_bytes)
        total, total_bytes = sum(one.signals for one in heard), sum(one.signal_bytes for one in heard)
        print(
            f"\n{PEOPLE} users within {SECONDS:g} s: each gets {total / PEOPLE:.1f} signals on average, "
            f"{total_bytes / PEOPLE:.0f} bytes; at most {most.signals}, {most.signal_bytes} bytes; "
            f"{total} in all; `joined` at most {max(one.joined_bytes for one in heard)} bytes.\n"
            f"Naive: the first gets {frames}, {size} bytes; {all_frames} in all."
        )
        ticks = (SECONDS + 5) / limits.PRESENCE_TICK
        assert all(one.signals <= limits.MAX_LISTED_MEMBERS + ticks for one in heard)
        assert most.signal_bytes < size / 5
        assert total < all_frames / 10
        assert max(one.joined_bytes for one in heard) < 200 * limits.MAX_LISTED_MEMBERS
        assert {one.last_count for one in heard} == {PEOPLE}
