"""What happens on other nodes that share the log, as this node's rooms see it.

Owns what is known of users elsewhere, and what the others are told of those here. Refuses to know how nodes
hear of each other (`trio_chat.log.base.Follower`).

Rules:

1. Events from elsewhere go the way of our own: encoded once, and published in their order. One that comes
   before its turn waits `HOLE_SECONDS` for those before it; then members read the log.
2. A node announces of each room who is there, whole, once in a tick at most. Of a large room it names
   `limits.MAX_LISTED_MEMBERS` and counts the others.
3. The names of users elsewhere are taken here as well, as far as this node has their rooms.
"""

import logging
import random
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import trio

from ..log.base import Event, EventLog, Position
from . import limits
from .guests import Guests
from .room import Room
from .schema import User
from .signals import Signals

logger = logging.getLogger("trio_chat.hub")

HOLE_SECONDS: Final = 0.5


class Hub(Protocol):
    """What this needs of the hub, which makes it."""

    log: EventLog
    rooms: dict[str, Room]
    guests: Guests
    rng: random.Random
    log_failing: bool

    @property
    def signals(self) -> Signals: ...
    def take_in(self, room: Room, events: Sequence[Event]) -> None: ...
    def restart(self, room: Room, position: Position) -> None: ...
    def behind(self, name: str, head: int) -> None: ...
    def trimmed(self, name: str, first: int) -> None: ...


class There(msgspec.Struct, array_like=True):
    """What a node announces of a room: who is there; ``unlisted``: how many more."""

    users: list[User]
    unlisted: int = 0


_there = msgspec.msgpack.Decoder(There).decode
_users = msgspec.msgpack.Decoder(list[User]).decode
_encode = msgspec.msgpack.Encoder().encode


class Elsewhere:
    """See the module. It is the hub's `Follower`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.events = 0
        """Events that other nodes have appended to rooms that are followed here."""
        self._there: dict[Room, dict[str, There]] = {}
        self._missed: dict[str, int] = {}
        self._holes: dict[Room, float] = {}
        self._hole = trio.Event()

    # --- events ------------------------------------------------------------------------------------------

    def grown(self, room: str, events: Sequence[Event]) -> None:
        """See `Follower.grown`."""
        self.events += len(events)
        found = self._hub.rooms.get(room)
        if found is None:  # it is being opened
            self._missed[room] = max(self._missed.get(room, 0), events[-1].seq)
            return
        self._hub.take_in(found, events)

    def behind(self, room: str, head: int) -> None:
        """See `Follower.behind`."""
        if room in self._hub.rooms:
            self._hub.behind(room, head)
        else:
            self._missed[room] = max(self._missed.get(room, 0), head)

    def trimmed(self, room: str, first: int) -> None:
        """See `Follower.trimmed`."""
        self._hub.trimmed(room, first)

    def restarted(self, room: str, position: Position) -> None:
        """See `Follower.restarted`."""
        found = self._hub.rooms.get(room)
        if found is not None:
            self._hub.restart(found, position)

    def has_hole(self, room: Room) -> None:
        """Events have come to ``room`` before their turn."""
        self._holes.setdefault(room, trio.current_time() + HOLE_SECONDS)
        self._hole.set()

    async def run(self) -> None:
        """Give up what doesn't come, until cancelled."""
        while True:
            await self._hole.wait()
            self._hole = trio.Event()
            while self._holes:
                await trio.sleep_until(min(self._holes.values()))
                now = trio.current_time()
                for room in [room for room, due in self._holes.items() if due <= now]:
                    del self._holes[room]
                    if room.has_hole:
                        logger.warning("events of %r did not come and are read from the log", room.name)
                        self._hub.behind(room.name, room.early_head)

    def available(self, reason: str | None) -> None:
        """See `Follower.available`."""
        self._hub.log_failing = reason is not None

    # --- rooms -------------------------------------------------------------------------------------------

    def opened(self, room: Room) -> None:
        """A room is there: give it what came meanwhile."""
        if missed := self._missed.pop(room.name, 0):
            self._hub.behind(room.name, missed)
        for node in self._hub.log.announced(room.name):
            self.announced(room.name, node)

    def closed(self, room: Room) -> None:
        """A room is here no more."""
        self._holes.pop(room, None)
        self._missed.pop(room.name, None)
        for there in self._there.pop(room, {}).values():
            for user in there.users:
                self._hub.guests.free_name(user.name, user.id)

    # --- users -------------------------------------------------------------------------------------------

    def announced(self, room: str, node: str) -> None:
        """See `Follower.announced`."""
        found = self._hub.rooms.get(room)
        if found is None:
            return  # `opened` will ask for it
        data = self._hub.log.announced(room).get(node)
        try:
            there = _there(data) if data else There([])
        except msgspec.MsgspecError:
            logger.exception("what a node announces makes no sense")
            return
        known = self._there.setdefault(found, {})
        before = known.pop(node, There([]))
        if data:
            known[node] = there
        self._change(found, before, there)

    def _change(self, room: Room, before: There, after: There) -> None:
        """The users of one node are others now."""
        guests, signals = self._hub.guests, self._hub.signals
        was, now = ({user.id: user for user in there.users} for there in (before, after))
        gone = [user for user in was.values() if now.get(user.id) != user]
        come = [user for user in now.values() if was.get(user.id) != user]
        for user in come:
            guests.hold_name(user.name, user.id)
            if room.enter(user) or user.id in was:
                signals.tell_presence(room, user, online=True, here=False)
        for user in gone:
            guests.free_name(user.name, user.id)
            if room.exit(user):
                signals.tell_presence(room, user, online=False, here=False)
        if before.unlisted != after.unlisted:
            room.unlisted += after.unlisted - before.unlisted
            signals.tell_count(room)

    def tell_others(self, room: Room, presence: bool, typing: list[User]) -> None:
        """What other nodes should know of ``room``, once in a tick."""
        if self._hub.rooms.get(room.name) is not room:
            return
        if presence:
            here = list(room.here().values())
            listed = here[: limits.MAX_LISTED_MEMBERS]
            there = There(listed, len(here) - len(listed))
            self._hub.log.announce(room.name, _encode(there) if here else b"")
        if typing:
            self._hub.log.signal(room.name, _encode(typing))

    def signalled(self, room: str, data: bytes) -> None:
        """See `Follower.signalled`: somebody is typing."""
        found = self._hub.rooms.get(room)
        if found is None:
            return
        try:
            users = _users(data)
        except msgspec.MsgspecError:
            logger.exception("a signal of another node makes no sense")
            return
        for user in users:
            if user.id in found.users:
                self._hub.signals.tell_typing(found, user, here=False)
