"""Malicious clients: they break every rule they can think of, and must harm nobody else."""

import random
from typing import TYPE_CHECKING

import msgspec
import trio

from .link import LOST, Gone, Link, masked
from .network import End

if TYPE_CHECKING:
    from .world import World

_PATHS = ("/ws", "/ws", "/ws?room=lobby&last=50&name=vandal", "/relay/dump", "/relay/dump?echo=0")
_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    b"GET /nowhere HTTP/1.0\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"",
)


class Vandal:
    """See the module. Sends what nobody should; reads or doesn't; goes without a word."""

    def __init__(self, world: "World", rng: random.Random) -> None:
        self.name = "vandal"
        self.world = world
        self.rng = rng

    async def live(self) -> None:
        """Until the world is calm."""
        while not self.world.calm:
            await trio.sleep(self.rng.random() * 3)
            end = await self.world.lives.connect(self.rng)
            if end is None:
                continue
            with trio.move_on_after(self.rng.random() * 40):
                try:
                    await self._rage(end)
                except* (Gone, *LOST):
                    pass
            end.reset()

    async def _rage(self, end: End) -> None:
        if self.rng.random() < 0.8:
            await Link(end, self.rng).handshake(self.rng.choice(_PATHS))
        else:
            await end.send_all(self.rng.choice(_REQUESTS))
        async with trio.open_nursery() as nursery:
            if self.rng.random() < 0.5:
                nursery.start_soon(self._swallow, end)
            while not self.world.calm:
                await end.send_all(self._rubbish())
                await trio.sleep(self.rng.random() * 2)
            raise Gone

    async def _swallow(self, end: End) -> None:
        while await end.receive_some():
            pass
        raise Gone

    def _rubbish(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(9)
        if kind == 0:
            return rng.randbytes(rng.randrange(1, 200))
        if kind == 1:  # a frame of any kind
            return masked(rng.randrange(256), rng.randbytes(rng.randrange(0, 130)))
        if kind == 2:
            return masked(
                0x81, rng.choice((b"{", b"[]", b'{"op":"fly"}', b'{"op":7}', b"\xff", b"null", b""))
            )
        if kind == 3:  # half a frame
            return masked(0x81, b'{"op":"ping"}')[: rng.randrange(1, 12)]
        if kind == 4:
            return masked(0x89, rng.randbytes(4)) * rng.randrange(1, 300)
        if kind == 5:
            return masked(0x81, b'{"op":"rooms"}') * rng.randrange(1, 300)
        if kind == 6:  # joins, says, names itself, all at once
            return b"".join(masked(0x81, self._operation()) for _ in range(20))
        if kind == 7:  # longer than a message may be
            return masked(0x82, bytes(rng.randrange(8000, 20_000)))
        return masked(0x01, b'{"op":') + masked(0x00, b"") * rng.randrange(2000)

    def _operation(self) -> bytes:
        rng = self.rng
        room = rng.choice((*self.world.rooms, f"hide-out {rng.randrange(50)}", f"den-{rng.randrange(50)}"))
        return msgspec.json.encode(
            rng.choice(
                (
                    {"op": "hello", "name": "vandal", "resume": "x.y"},
                    {"op": "join", "room": room, "since": rng.randrange(5)},
                    {
                        "op": "say",
                        "room": room,
                        "text": "v" * rng.randrange(1, 900),
                        "id": str(rng.randrange(9)),
                    },
                    {"op": "history", "room": room, "limit": 200},
                    {"op": "who", "room": room},
                    {"op": "leave", "room": room},
                )
            )
        )
