"""Simulated members that come another way: in process, through the client library, and of the relay.

A `Bot` is a member without a socket (``hub.join``), in each life of the server from where it was. A
`LibraryUser` is a program that uses `trio_chat.open_client`, and so puts the client's own code to the test.
A `RelayUser` sends numbered messages to a relay room and sees to it that nobody's are skipped or reordered.
"""

import random
from typing import TYPE_CHECKING

import msgspec
import trio

from trio_chat import Gap, Message, open_client
from trio_chat.chat.hub import Hub
from trio_chat.chat.local import LocalRoom
from trio_chat.chat.schema import Deleted, Edited, Reacted, Unreacted, User
from trio_chat.client import Client, Room
from trio_chat.log.base import LogUnavailable

from .link import BINARY, LOST, TEXT, Gone, Link
from .network import End, damage
from .transcript import Transcript, as_shown

if TYPE_CHECKING:
    from .world import World


EVENTS = (Message, Edited, Deleted, Reacted, Unreacted)


class Bot(Transcript):
    """A member in process, in one room. ``live`` is one life of the server's."""

    def __init__(self, world: "World", name: str, room: str, rng: random.Random) -> None:
        super().__init__(name, "bot", [room], world.fail, forgotten=world.climate.keep > 0)
        self.world = world
        self.rng = rng
        self.user_ids.add(name)
        self._nap = trio.CancelScope()

    async def live(self, hub: Hub) -> None:
        """Be a member until the server ends."""
        (room,) = self.rooms
        since = self.positions[room][1] if self.positions else None
        self.orders.append([])
        try:
            async with hub.join(room, user=User(self.name, self.name), since=since) as local:
                if since is None:
                    self.starts(room, local.room.epoch, local.room.head)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._talk, hub, local)
                    async for event in local:
                        if isinstance(event, Gap):
                            self.gap(room, event.from_, event.to)
                            continue
                        if not isinstance(event, EVENTS):
                            self.wrong(f"got {event}")
                            return
                        self.event(room, event.seq, as_shown(msgspec.to_builtins(event)))
                        if self.rng.random() < 0.05 and not self.world.calm:
                            await trio.sleep(self.rng.random())
                    self._nap.cancel()
        except LogUnavailable:
            if not hub.ended:  # it could not be read: try again
                await trio.sleep(0.5)
                await self.live(hub)

    async def _talk(self, hub: Hub, local: LocalRoom) -> None:
        (room,) = self.rooms
        while not hub.ended:
            for key in [*self.unacked]:
                _, text = self.submitted[key]
                try:
                    self.acknowledged(key, (await local.say(text, id=key)).seq)
                except LogUnavailable:
                    break
            with trio.CancelScope() as self._nap:
                await trio.sleep(1 if self.world.calm else self.rng.expovariate(0.5))
            if not self.world.calm and not self.unacked:
                self.submit(room)


class LibraryUser(Transcript):
    """A program that uses the client library, and is itself restarted now and then."""

    def __init__(self, world: "World", name: str, rooms: list[str], rng: random.Random) -> None:
        super().__init__(name, "library", rooms, world.fail, forgotten=world.climate.keep > 0)
        self.world = world
        self.rng = rng
        self._session: str | None = None
        self._slow = rng.random() < 0.5
        self._end: End | None = None

    def cut(self) -> None:
        """Lose the connection, or nearly."""
        if self._end is not None:
            damage(self._end, self.rng, self.world.nursery)

    async def live(self) -> None:
        """Run, stop, and run again; until cancelled."""
        await trio.sleep(self.rng.random() * 2)
        while True:
            self.unacked.clear()  # what it was about to say when it stopped may or may not be stored
            self.orders.append([])
            async with open_client(
                "ws://simulated",
                self.name,
                session=self._session,
                patient=True,
                connect=self._connect,
                rng=random.Random(self.rng.getrandbits(64)),
            ) as client:
                self._session = client.session
                self.user_ids.add(client.user.id)
                with trio.move_on_after(10 + self.rng.random() * 60) as run:
                    async with trio.open_nursery() as nursery:
                        for room in self.rooms:
                            nursery.start_soon(self._be_in, client, room, run)

    async def _connect(self) -> trio.abc.Stream:
        self._end = await self.world.lives.connect(self.rng)
        if self._end is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return self._end

    async def _be_in(self, client: Client, name: str, run: trio.CancelScope) -> None:
        epoch, since = self.positions.get(name, (None, None))
        async with client.join(name, since=since, epoch=epoch, buffer=self.rng.choice((3, 20, 1000))) as room:
            if since is None:
                self.starts(name, room.epoch, room.seq)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._talk, client, room, run)
                async for event in room:
                    if isinstance(event, Gap):
                        self.gap(name, event.from_, event.to)
                        continue
                    if not isinstance(event, EVENTS):
                        self.wrong(f"got {event} at {self.positions[name]}")
                        return
                    self.event(name, event.seq, as_shown(msgspec.to_builtins(event)))
                    if self._slow and not self.world.calm:
                        await trio.sleep(self.rng.random() * 0.3)

    async def _talk(self, client: Client, room: Room, run: trio.CancelScope) -> None:
        while not self.world.calm:
            await trio.sleep(self.rng.expovariate(0.7 * self.world.pace))
            key = self.submit(room.name)
            self.orders[-1].append(key)
            _, text = self.submitted[key]
            self.acknowledged(key, (await room.say(text)).seq)
            self.user_ids.add(client.user.id)
        run.deadline = float("inf")


class RelayUser:
    """A member of a relay room. What it sends is ``name number count``, counted over one connection."""

    def __init__(self, world: "World", name: str, room: str, rng: random.Random) -> None:
        self.world = world
        self.name = name
        self.room = room
        self.rng = rng
        self.link: Link | None = None
        self.heard: dict[str, int] = {}
        """The last count of each connection that it has heard of, on its own present one."""
        self._connections = 0
        self._slow = rng.random() < 0.3

    def cut(self) -> None:
        """Lose the connection, or nearly."""
        if self.link is not None:
            damage(self.link.end, self.rng, self.world.nursery)

    async def live(self) -> None:
        """Connect, send and listen; until cancelled."""
        await trio.sleep(self.rng.random() * 2)
        while True:
            end = await self.world.lives.connect(self.rng, narrow=self._slow)
            if end is not None:
                await self._be_connected(end)
            await trio.sleep(self.rng.random() * 2)

    async def _be_connected(self, end: End) -> None:
        link = Link(end, self.rng, compress=self.rng.random() < 0.5)
        self.world.links[link] = None
        echo = self.rng.random() < 0.7
        self._connections += 1
        self.heard = {}
        try:
            with trio.fail_after(120):
                await link.handshake(f"/relay/{self.room}?echo={echo:d}")
            self.link = link
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, link)
                await self._listen(link, echo)
        except* (Gone, trio.TooSlowError, *LOST):
            pass
        finally:
            self.link = None
            del self.world.links[link]
        end.close()

    @property
    def label(self) -> str:
        """How its present connection names itself."""
        return f"{self.name}/{self._connections}"

    async def _send(self, link: Link) -> None:
        for count in range(1, 1_000_000):
            size = self.rng.choice((0, 50, 2000, 7000))
            text = f"{self.label} {count} {'x' * size}"
            await link.send_raw(text.encode(), opcode=self.rng.choice((TEXT, BINARY)))
            self.world.report.relayed += 1
            if self.world.calm:
                await trio.sleep(2)
            elif self.rng.random() < 0.7:
                await trio.sleep(self.rng.expovariate(0.7))

    async def _listen(self, link: Link, echo: bool) -> None:
        while True:
            if self._slow and not self.world.calm and self.rng.random() < 0.2:
                await trio.sleep(self.rng.random() * 10)
            for payload in await link.receive():
                label, count, _ = payload.decode().split(" ", 2)
                last = self.heard.get(label)
                if last is not None and int(count) != last + 1:
                    self.world.fail(f"{self.name}: got {count} of {label} after {last} through the relay")
                if label == self.label and not echo:
                    self.world.fail(f"{self.name}: the relay sent it its own message")
                self.heard[label] = int(count)

    def at_rest(self, others: list["RelayUser"]) -> bool:
        """It is connected and has heard of everybody."""
        return self.link is not None and all(
            other.label in self.heard for other in others if other is not self and other.room == self.room
        )
