"""What a node knows of the rooms that it follows in Redis, and of the other nodes.

Owns the subscriptions, the notices, the checks whether a room is still the one that was known, and the
lease by which a node counts as alive. Refuses to know how events are stored.

Rules:

1. What Redis tells goes over one connection. So what is asked after a subscription misses nothing of it,
   and a lost connection is the only way to miss a notice: every new one begins with a look at all rooms.
2. A room whose head went back, whose last known event is another one, or whose epoch is another one, has lost
   events (`Follower.restarted`). It is never taken for the one that it was.
3. A node renews its lease three times in `LEASE_SECONDS`. What a node without a lease has announced is
   removed by whoever sees it.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar, cast

import attrs
import msgspec
import trio

from trio_chat.log import redis_scripts as scripts
from trio_chat.log.base import Event, Follower, LogUnavailable, Position
from trio_chat.log.redis_link import Link, Reply

T = TypeVar("T")

logger = logging.getLogger("trio_chat.redis")

LEASE_SECONDS: Final = 10.0
"""After so long without a word, a node is dead, and its members have left."""
_AT_ONCE: Final = 200
"""Rooms asked after in one go."""

_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode


@attrs.define(eq=False)
class Followed:
    """A room that is followed: ``epoch``, ``head`` and its time as far as is known, what is announced."""

    name: str
    channel: str
    epoch: str = ""
    head: int = 0
    at_ms: int = 0
    announced: dict[str, bytes] = attrs.Factory(dict)
    own: bytes = b""


class Rooms:
    """See the module. ``secret`` is what this node knows as the log's."""

    def __init__(self, link: Link, db: int, node: str) -> None:
        self.link = link
        self.node = node
        self.epoch = ""
        """The log's."""
        self.secret = b""
        self.publish = "PUBLISH"
        self._subscribe, self._unsubscribe = "SUBSCRIBE", "UNSUBSCRIBE"
        self._channels = f"{scripts.PREFIX}:{db}:"
        self._followed: dict[str, Followed] = {}
        self._follower: Follower | None = None
        self._alive: set[str] = set()
        self._reason: str | None = ""
        self._suspects: dict[str, None] = {}
        self._look = trio.Event()

    def subscribe(self, follower: Follower) -> None:
        """See `EventLog.subscribe`."""
        self._follower = follower
        if self._reason:
            follower.available(self._reason)

    def channel(self, room: str) -> str:
        """The channel of a room."""
        return f"{self._channels}{{{room}}}"

    def get(self, room: str) -> Followed | None:
        """What is known of a room, if it is followed."""
        return self._followed.get(room)

    def announced(self, room: str) -> Mapping[str, bytes]:
        """See `EventLog.announced`."""
        followed = self._followed.get(room)
        return followed.announced if followed is not None else {}

    # --- following ---------------------------------------------------------------------------------------

    async def follow(self, room: str) -> None:
        """See `EventLog.follow`."""
        if room in self._followed:
            raise ValueError(f"{room!r} is followed already")
        followed = self._followed[room] = Followed(room, self.channel(room))
        try:
            self.link.send_unanswered(self._subscribe, followed.channel)
            position = self.link.send("HMGET", scripts.room_key(room), "epoch", "head", "at")
            nodes = self.link.send("HGETALL", scripts.nodes_key(room))
            epoch, head, at = cast("list[bytes | None]", await position.reply())
            followed.epoch = epoch.decode() if epoch is not None else self.epoch
            followed.head, followed.at_ms = max(int(head or 0), followed.head), int(at or 0)
            await self._take_announced(followed, await nodes.reply())
        except BaseException:
            self.unfollow(room)
            raise

    def unfollow(self, room: str) -> None:
        """See `EventLog.unfollow`."""
        if room in self._followed:
            with suppress(LogUnavailable):
                self.announce(room, b"")
            followed = self._followed.pop(room)
            with suppress(LogUnavailable):
                self.link.send_unanswered(self._unsubscribe, followed.channel)

    def notice(self, message: Sequence[object]) -> None:
        """A push message has come."""
        if message[0] not in (b"message", b"smessage"):
            return
        channel, payload = cast("tuple[bytes, bytes]", (message[1], message[2]))
        followed = self._followed.get(channel.decode()[len(self._channels) + 1 : -1])
        node = payload[:16].decode("ascii", "replace")
        if followed is None or node == self.node or self._follower is None:
            return
        try:
            self._take(followed, self._follower, node, _decode(payload[16:]))
        except Exception:
            logger.exception("a notice of another node makes no sense")

    def _take(self, followed: Followed, follower: Follower, node: str, notice: list[object]) -> None:
        match notice:
            case [scripts.NOTICE_EVENTS, int(first), at, *rest]:
                at_ms = int(cast("float", at))
                events = [
                    Event(first + n, at_ms, kind, body)
                    for n, (kind, body) in enumerate(pairs(cast("list[str]", rest)))
                ]
                if events[-1].seq > followed.head:
                    followed.head, followed.at_ms = events[-1].seq, at_ms
                follower.grown(followed.name, events)
            case [scripts.NOTICE_TRIMMED, int(first)]:
                follower.trimmed(followed.name, first)
            case [scripts.NOTICE_RENEWED, str()]:
                self.suspect([followed.name])
            case [scripts.NOTICE_SIGNAL, bytes(data)]:
                follower.signalled(followed.name, data)
            case [scripts.NOTICE_REMOVED, str(removed)]:
                if removed == self.node and followed.own:
                    self._announce(followed)
            case [scripts.NOTICE_ANNOUNCED, bytes(data)]:
                self._alive.add(node)
                if data:
                    followed.announced[node] = data
                else:
                    followed.announced.pop(node, None)
                follower.announced(followed.name, node)

    # --- announcing --------------------------------------------------------------------------------------

    def signal(self, room: str, data: bytes) -> None:
        """See `EventLog.signal`."""
        with suppress(LogUnavailable):
            self._publish(self.channel(room), [scripts.NOTICE_SIGNAL, data])

    def announce(self, room: str, data: bytes) -> None:
        """See `EventLog.announce`."""
        followed = self._followed[room]
        if followed.own or data:
            followed.own = data
            with suppress(LogUnavailable):
                self._announce(followed)

    def _announce(self, followed: Followed) -> None:
        key = scripts.nodes_key(followed.name)
        if followed.own:
            self.link.send("HSET", key, self.node, followed.own)
        else:
            self.link.send("HDEL", key, self.node)
        self._publish(followed.channel, [scripts.NOTICE_ANNOUNCED, followed.own])

    def _publish(self, channel: str, notice: list[object]) -> None:
        self.link.send(self.publish, channel, self.node.encode() + _encode(notice))

    async def _take_announced(self, followed: Followed, reply: Reply) -> None:
        """Replace what others have announced of a room; whoever is no more is left out."""
        found = cast("dict[bytes, bytes]", reply)
        announced = {node.decode(): data for node, data in found.items() if node != self.node.encode()}
        await self._check_nodes(announced.keys() - self._alive)
        before = followed.announced
        followed.announced = {node: data for node, data in announced.items() if node in self._alive}
        if self._follower is not None:
            for node in before.keys() | followed.announced.keys():
                if before.get(node) != followed.announced.get(node):
                    self._follower.announced(followed.name, node)
        for node in announced.keys() - followed.announced.keys():
            self._remove(followed, node)

    def _remove(self, followed: Followed, node: str) -> None:
        """Remove what a dead node has announced. One that has come back just now hears of it, and repeats
        it."""
        self.link.send("HDEL", scripts.nodes_key(followed.name), node)
        self._publish(followed.channel, [scripts.NOTICE_REMOVED, node])

    async def _check_nodes(self, nodes: Iterable[str]) -> None:
        """Find out which of ``nodes`` live."""
        asked = [(node, self.link.send("EXISTS", scripts.node_key(node))) for node in nodes]
        for node, call in asked:
            if await call.reply():
                self._alive.add(node)
            else:
                self._alive.discard(node)

    # --- staying in touch --------------------------------------------------------------------------------

    async def come_up(self) -> None:
        """Take up everything on a new connection. Raises `LogUnavailable`."""
        sharded = self.link.major_version >= 7
        self.publish = "SPUBLISH" if sharded else "PUBLISH"
        self._subscribe, self._unsubscribe = (
            ("SSUBSCRIBE", "SUNSUBSCRIBE") if sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        )
        # A refusal would be taken for the answer to what comes next: here, where that does no harm.
        self.link.send_unanswered(self._subscribe, self.channel(f"node {self.node}"))
        await self.link.call("PING")
        for followed in self._followed.values():
            self.link.send_unanswered(self._subscribe, followed.channel)
        await self._renew_lease()
        await self.check(list(self._followed))
        for followed in list(self._followed.values()):
            await self._take_announced(
                followed, await self.link.call("HGETALL", scripts.nodes_key(followed.name))
            )
        self.set_available(None)

    def went_down(self, reason: str) -> None:
        """The connection is lost."""
        self.set_available(f"{self.link.place}: {reason}")

    def set_available(self, reason: str | None) -> None:
        """Tell the follower, and the log file, when this changes."""
        if reason == self._reason:
            return
        if (reason is None) != (self._reason is None) and self._reason != "":
            if reason is None:
                logger.info("%s is back", self.link.place)
            else:
                logger.error("%s", reason)
        self._reason = reason
        if self._follower is not None:
            self._follower.available(reason)

    async def stay(self) -> None:
        """Renew the lease, notice who is dead, and look at suspect rooms, until cancelled."""
        while True:
            with trio.move_on_after(LEASE_SECONDS / 3):
                await self._look.wait()
            self._look = trio.Event()
            if not self.link.up:
                continue  # `come_up` will look at everything
            suspects, self._suspects = self._suspects, {}
            try:
                await self.check([room for room in suspects if room in self._followed])
                await self._renew_lease()
                await self._find_dead()
                self.set_available(None)
            except LogUnavailable as error:
                self._suspects |= suspects
                self.set_available(str(error))

    async def _renew_lease(self) -> None:
        milliseconds = int(LEASE_SECONDS * 1000)
        lease = self.link.send("SET", scripts.node_key(self.node), "1", "PX", milliseconds, "GET")
        known = self.link.send("HGET", scripts.LOG_KEY, "epoch")
        was_alive = await lease.reply()
        epoch = await known.reply()
        if epoch is None or cast("bytes", epoch).decode() != self.epoch:
            await self.identify()
        if not was_alive:  # or others have taken this node for dead
            for followed in self._followed.values():
                if followed.own:
                    self._announce(followed)

    async def identify(self) -> None:
        """Take the log's epoch and secret; one that has none gets new ones. Raises `LogUnavailable`."""
        first = not self.epoch
        self.link.send("HSETNX", scripts.LOG_KEY, "epoch", secrets.token_urlsafe(6))
        self.link.send("HSETNX", scripts.LOG_KEY, "secret", self.secret or secrets.token_bytes(32))
        epoch, secret = cast("list[bytes]", await self.link.call("HMGET", scripts.LOG_KEY, "epoch", "secret"))
        if epoch is None or secret is None:
            raise LogUnavailable(f"{self.link.place}: it keeps nothing")
        self.epoch = epoch.decode()
        self.secret = self.secret or secret
        if not first:
            logger.error("%s has lost everything: rooms begin anew", self.link.place)
            await self.check(list(self._followed))

    async def _find_dead(self) -> None:
        nodes = {node for followed in self._followed.values() for node in followed.announced}
        await self._check_nodes(nodes)
        self._alive &= nodes
        for followed in list(self._followed.values()):
            for node in followed.announced.keys() - self._alive:
                del followed.announced[node]
                self._remove(followed, node)
                if self._follower is not None:
                    self._follower.announced(followed.name, node)

    # --- checking ----------------------------------------------------------------------------------------

    def suspect(self, rooms: Iterable[str]) -> None:
        """What is known of these rooms may be wrong: look at them."""
        self._suspects |= dict.fromkeys(room for room in rooms if room in self._followed)
        self._look.set()

    async def check(self, rooms: Sequence[str]) -> None:
        """Compare what is known of followed rooms with Redis, and tell the follower. Raises
        `LogUnavailable`."""
        for start in range(0, len(rooms), _AT_ONCE):
            asked = []
            for room in rooms[start : start + _AT_ONCE]:
                followed = self._followed.get(room)
                if followed is not None and followed.epoch:
                    keys = (scripts.room_key(room), scripts.events_key(room))
                    known = (followed.epoch, followed.head, followed.at_ms)
                    sender = (self.node, self.publish, followed.channel, self.epoch)
                    call = self.link.send_script(
                        scripts.CHECK, keys, *sender, *known, secrets.token_urlsafe(6)
                    )
                    asked.append((followed, call))
            for followed, call in asked:
                self._checked(followed, cast("list[bytes | int | None]", await call.reply()))

    def _checked(self, followed: Followed, answer: list[bytes | int | None]) -> None:
        same, epoch, head, first, at, state = answer
        if self._followed.get(followed.name) is not followed:
            return
        head, first, at_ms = (int(cast("bytes", number)) for number in (head, first, at))
        if not same:
            logger.error("%r has lost events and begins anew", followed.name)
            followed.epoch, followed.head, followed.at_ms = cast("bytes", epoch).decode(), head, at_ms
            if self._follower is not None:
                left = state.decode() if isinstance(state, bytes) else None
                self._follower.restarted(followed.name, Position(followed.epoch, head, first, left))
        elif head > followed.head:
            followed.head, followed.at_ms = head, at_ms
        if same and self._follower is not None:
            self._follower.behind(followed.name, head)

    async def leave(self) -> None:
        """Be gone, as far as Redis can be told."""
        with suppress(LogUnavailable):
            for room in list(self._followed):
                self.unfollow(room)
            await self.link.call("DEL", scripts.node_key(self.node))


def pairs(flat: Sequence[T]) -> Iterator[tuple[T, T]]:
    """The first with the second, the third with the fourth, ..."""
    each = iter(flat)
    return zip(each, each, strict=True)
