"""A log in memory that many nodes share: what Redis is to them, in virtual time, without Redis.

Each node's `NodeLog` is an `EventLog` of its own over one `Store`. What a node does takes effect in the store
after a while, and the others that follow the room are told later still, each in the store's order. A node can
be cut off: its calls fail, what it should have been told is lost, and when it is back it looks at its rooms.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from trio_chat.log.base import Append, Appended, Event, Follower, LogUnavailable, Position
from trio_chat.log.memory import MemoryLog


@attrs.define(eq=False)
class Store:
    """The one log, and everybody who has it open."""

    log: MemoryLog = attrs.Factory(lambda: MemoryLog(trio.current_time, lambda commit: commit()))
    nodes: "list[NodeLog]" = attrs.Factory(list)
    announced: dict[str, dict[str, bytes]] = attrs.Factory(dict)
    notices: int = 0


class NodeLog(MemoryLog):
    """One node's view of a `Store`. ``seconds`` is how long anything takes on its way there or back."""

    shared = True

    def __init__(self, store: Store, name: str, rng: Any) -> None:
        self._store = store
        self._name = name
        self._rng = rng
        self._followed: set[str] = set()
        self._follower: Follower | None = None
        self._tell, self._told = trio.open_memory_channel[tuple[str, str, Any]](100_000)
        self.cut = False
        store.nodes.append(self)

    @property
    def secret(self) -> bytes:
        return self._store.log.secret

    async def _reach(self) -> None:
        await trio.sleep(self._rng.expovariate(1000))
        if self.cut:
            raise LogUnavailable("cut off")

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        await self._reach()
        done = await self._store.log.append(batch)
        runs: dict[str, list[Event]] = {}
        for append, stored in zip(batch, done, strict=True):
            if not stored.duplicate:
                event = Event(stored.seq, stored.at_ms, append.kind, append.body)
                runs.setdefault(append.room, []).append(event)
        for room, events in runs.items():
            self._notify(room, "grown", events)
        await self._reach()
        return done

    async def position(self, room: str) -> Position:
        await self._reach()
        return await self._store.log.position(room)

    async def read(self, room: str, after: int, limit: int, **options: Any) -> list[Event]:
        await self._reach()
        return await self._store.log.read(room, after, limit, **options)

    async def read_before(self, room: str, before: int | None, limit: int, **options: Any) -> list[Event]:
        await self._reach()
        return await self._store.log.read_before(room, before, limit, **options)

    # --- other nodes -------------------------------------------------------------------------------------

    def _notify(self, room: str, what: str, value: Any) -> None:
        for node in self._store.nodes:
            if node is not self and room in node._followed and not node.cut:
                self._store.notices += 1
                node._tell.send_nowait((room, what, value))

    def subscribe(self, follower: Follower) -> None:
        self._follower = follower

    async def follow(self, room: str) -> None:
        await self._reach()
        self._followed.add(room)

    def unfollow(self, room: str) -> None:
        self.announce(room, b"")
        self._followed.discard(room)

    def announce(self, room: str, data: bytes) -> None:
        announced = self._store.announced.setdefault(room, {})
        if data:
            announced[self._name] = data
        else:
            announced.pop(self._name, None)
        self._notify(room, "announced", self._name)

    def announced(self, room: str) -> Mapping[str, bytes]:
        found = self._store.announced.get(room, {})
        return {node: data for node, data in found.items() if node != self._name}

    def signal(self, room: str, data: bytes) -> None:
        self._notify(room, "signalled", data)

    async def run(self) -> None:
        """Tell the follower what others do, in order, each a while later."""
        async for room, what, value in self._told:
            await trio.sleep(self._rng.expovariate(2000))
            if room in self._followed and not self.cut and self._follower is not None:
                getattr(self._follower, what)(room, value)

    async def heal(self) -> None:
        """Be there again, and look at the rooms that are followed."""
        self.cut = False
        with suppress(trio.WouldBlock):
            while True:
                self._told.receive_nowait()
        assert self._follower is not None
        for room in list(self._followed):
            position = await self._store.log.position(room)
            self._follower.behind(room, position.head)
            for node in list(self._store.announced.get(room, {})):
                self._follower.announced(room, node)
        self._follower.available(None)

    def cut_off(self) -> None:
        """Have no way to the store any more."""
        self.cut = True
        assert self._follower is not None
        self._follower.available("cut off")
