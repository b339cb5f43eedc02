"""The Redis engine: one log that several nodes share.

Owns the appends, reads and trims. What a node hears of the others is in `trio_chat.log.redis_rooms`, the
connection in `trio_chat.log.redis_link`, what Redis runs and how it keeps things in
`trio_chat.log.redis_scripts`.

Rules:

1. A batch is one script for each of its rooms, sent together: each room's part is atomic, and is numbered,
   stored and published in one step. A batch that fails may be stored in some rooms and not in others.
2. A script stores nothing in a room whose head is before what this node has seen of it: such a room has lost
   events and gets another epoch first.
3. After a failure nobody knows what is stored: the rooms are looked at again.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, cast

import msgspec
import trio

from trio_chat.log import redis_scripts as scripts
from trio_chat.log.base import (
    Append,
    Appended,
    Event,
    Follower,
    Kept,
    Listed,
    LogError,
    LogUnavailable,
    Mark,
    Position,
    Searched,
    Unread,
)
from trio_chat.log.paging import page
from trio_chat.log.redis_link import Argument, Call, Link, Place, Reply, parse_url
from trio_chat.log.redis_rooms import Rooms
from trio_chat.log.search import scan

logger = logging.getLogger("trio_chat.redis")

CommitThrough = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""As `trio_chat.log.seams.CommitThrough`, for a commit that is awaited."""

OPEN_SECONDS: Final = 5.0
"""How long Redis may take to be there when the log is opened."""
_MAX_KNOWN: Final = 100_000
"""Rooms of which a node remembers that they are in the lists."""
_LISTED_AGAIN_MS: Final = 500
"""How soon a room that goes on speaking is put at the top of the list again: it costs a command."""

_encode = msgspec.msgpack.Encoder().encode


async def commit_plainly(commit: Callable[[], Awaitable[None]]) -> None:
    """Commit."""
    await commit()


class RedisLog:
    """An `EventLog` in Redis; see `open_redis_log`."""

    shared = True

    def __init__(
        self, link: Link, rooms: Rooms, clock: Callable[[], float], commit_through: CommitThrough
    ) -> None:
        self._link = link
        self._rooms = rooms
        self._clock = clock
        self._commit_through = commit_through
        self._listed_ms: dict[str, int] = {}
        """When each room was put into the lists of rooms, as long as the log has the epoch
        `_listed_epoch`."""
        self._listed_epoch = ""

    @property
    def secret(self) -> bytes:
        """See `EventLog.secret`."""
        return self._rooms.secret

    # --- changing ----------------------------------------------------------------------------------------

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See `EventLog.append`. Cancelling waits for Redis' answer, or until the call has taken too long.

        Each room's part is stored whole or not at all, for itself.
        """
        await trio.lowlevel.checkpoint()
        results: list[Appended | None] = [None] * len(batch)

        async def commit() -> None:
            await self._append(batch, results)

        try:
            await self._commit(commit)
        except BaseException:
            self._rooms.suspect({append.room for append in batch})
            raise
        return cast("list[Appended]", results)

    async def _commit(self, commit: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._commit_through(commit)
        except LogUnavailable:
            raise
        except OSError as error:
            raise LogUnavailable(f"the log can't store now: {error.strerror or error}") from error

    async def _append(self, batch: Sequence[Append], results: list[Appended | None]) -> None:
        places: dict[str, list[int]] = {}
        for place, append in enumerate(batch):
            places.setdefault(append.room, []).append(place)
        if not places:
            return
        now_ms = int(self._clock() * 1000)
        named: Call | None = None
        if self._listed_epoch != self._rooms.epoch or len(self._listed_ms) > _MAX_KNOWN:
            self._listed_epoch = self._rooms.epoch
            self._listed_ms.clear()
        if fresh := [room for room in places if room not in self._listed_ms]:
            named = self._link.send("ZADD", scripts.NAMES_KEY, *_scores(fresh, 0))
        sent = [
            (room, self._send_part(room, [batch[place] for place in found], now_ms))
            for room, found in places.items()
        ]
        if named is not None:
            await named.reply()
        failure: LogUnavailable | None = None
        shown: list[str] = []
        hidden: list[str] = []
        for room, call in sent:
            try:
                answer = cast("list[bytes | int]", await call.reply())
                is_hidden = await self._take_answer(room, answer, places[room], results)
            except LogUnavailable as error:
                failure = failure or error
            else:
                (hidden if is_hidden else shown).append(room)
        await self._list(batch, shown, hidden, now_ms)
        if failure is not None:
            raise failure

    async def _list(self, batch: Sequence[Append], shown: list[str], hidden: list[str], now_ms: int) -> None:
        """Bring the lists of rooms to what is stored. If that fails, a duplicate of the append makes up for
        it."""
        rested = [room for room in shown if abs(now_ms - self._listed_ms.get(room, 0)) >= _LISTED_AGAIN_MS]
        if rested:
            self._link.send("ZADD", scripts.ROOMS_KEY, "GT", *_scores(rested, now_ms))
        self._listed_ms.update(dict.fromkeys([*rested, *hidden], now_ms))
        listed = dict.fromkeys(append.room for append in batch if append.listing is not None)
        if not listed:
            return
        if hidden:
            await self._link.call("ZREM", scripts.ROOMS_KEY, *hidden)
        if shown_again := [room for room in shown if room in listed and room not in rested]:
            self._link.send("ZADD", scripts.ROOMS_KEY, "GT", *_scores(shown_again, now_ms))
        found = [(room, self._link.send("SMEMBERS", scripts.users_key(room))) for room in listed]
        sent = [
            self._link.send("SADD", scripts.rooms_of_key(user.decode()), room)
            for room, call in found
            for user in cast("set[bytes]", await call.reply())
        ]
        for call in sent:
            await call.reply()

    def _send_part(self, room: str, part: list[Append], now_ms: int) -> Call:
        rooms = self._rooms
        known = rooms.get(room)
        arguments: list[Argument] = [rooms.node, rooms.publish, rooms.channel(room), now_ms, rooms.epoch]
        arguments += [known.epoch, known.head] if known is not None else ["", 0]
        for append in part:
            arguments += (append.kind, append.body, "-" if append.key is None else f"={append.key}")
            arguments.append("" if append.target is None else append.target)
            listing = append.listing
            arguments.append(_encode((listing.label, listing.hidden, listing.users)) if listing else "")
        return self._link.send_script(scripts.APPEND, scripts.keys_of(room), *arguments)

    async def _take_answer(
        self, room: str, answer: list[bytes | int], places: list[int], results: list[Appended | None]
    ) -> bool:
        """Fill in the results of one room's part; returns whether the room is hidden."""
        if not answer[0]:
            await self._rooms.check([room])
            raise LogUnavailable("the room has lost events in Redis and begins anew")
        _, is_hidden, *ids = answer
        for place, stored in zip(places, cast("list[bytes]", ids), strict=True):
            duplicate = stored.startswith(b"d")
            seq, _, at_ms = stored.removeprefix(b"d").partition(b"-")
            results[place] = Appended(int(seq), int(at_ms), duplicate)
            if not duplicate and (known := self._rooms.get(room)) is not None and int(seq) > known.head:
                known.head, known.at_ms = int(seq), int(at_ms)
        return is_hidden == b"1"

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        """See `EventLog.trim`."""
        await trio.lowlevel.checkpoint()
        first = 0
        rooms = self._rooms

        async def commit() -> None:
            nonlocal first
            sender = (rooms.node, rooms.publish, rooms.channel(room))
            told = "-" if state is None else f"={state}"
            answer = await self._link.run_script(
                scripts.TRIM, scripts.keys_of(room), *sender, through, limit, told
            )
            first = cast("int", answer)

        await self._commit(commit)
        return first

    async def compact(self) -> bool:
        """See `EventLog.compact`. Redis gives memory back by itself."""
        await trio.lowlevel.checkpoint()
        return False

    # --- reading -----------------------------------------------------------------------------------------

    async def position(self, room: str) -> Position:
        """See `EventLog.position`."""
        answer = await self._link.call("HMGET", scripts.room_key(room), "epoch", "head", "first", "state")
        epoch, head, first, state = cast("list[bytes | None]", answer)
        found = epoch.decode() if epoch is not None else self._rooms.epoch
        return Position(found, int(head or 0), int(first or 1), None if state is None else state.decode())

    async def read(
        self,
        room: str,
        after: int,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read`."""
        return await self._read(room, "+", max(after, 0) + 1, limit, max_bytes, kinds)

    async def read_before(
        self,
        room: str,
        before: int | None,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read_before`."""
        start = (1 << 53) - 1 if before is None else before - 1
        return (await self._read(room, "-", start, limit, max_bytes, kinds))[::-1]

    async def _read(
        self, room: str, way: str, seq: int, limit: int, max_bytes: int, kinds: Sequence[str] | None
    ) -> list[Event]:
        """The events from ``seq`` on, forward or back, as often as it takes to find ``kinds`` among
        others."""
        await trio.lowlevel.checkpoint()
        found: list[Event] = []
        left = max_bytes
        while seq > 0 and len(found) < limit and (kinds is None or kinds):
            answer = cast(
                "list[bytes]",
                await self._link.run_script(
                    scripts.READ,
                    (scripts.events_key(room),),
                    *(way, seq, limit - len(found), max(left, 0), scripts.MAX_SCANNED),
                    *(kinds or ()),
                ),
            )
            found += _events(answer[1:])
            left -= sum(len(body) for body in answer[3::4])
            seq = int(answer[0])
            if left < 0:
                break
        return page(found, limit, max_bytes)

    async def read_about(
        self,
        room: str,
        first: int,
        last: int,
        limit: int,
        *,
        after: tuple[int, int] = (0, 0),
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        """See `EventLog.read_about`."""
        await trio.lowlevel.checkpoint()
        low = f"({after[0]:016}{max(after[1], 0):016}" if after[0] >= first else f"[{max(first, 0):016}"
        keys = (scripts.events_key(room), scripts.about_key(room))
        if limit < 1 or last < max(first, 0):
            return []
        answer = await self._link.run_script(
            scripts.ABOUT, keys, low, f"({last + 1:016}", min(limit, scripts.MAX_SCANNED), max_bytes
        )
        return page(_events(cast("list[bytes]", answer)), limit, max_bytes)

    # --- marks -------------------------------------------------------------------------------------------

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `EventLog.mark`. Several users' marks are moved one after the other."""
        await trio.lowlevel.checkpoint()

        async def commit() -> None:
            unsure = {mark.room for mark in marks if mark.room not in self._listed_ms}
            asked = [(room, self._link.send("HGET", scripts.room_key(room), "head")) for room in unsure]
            unused = {room for room, call in asked if not await call.reply()}
            moved: dict[str, list[str | int]] = {}
            for mark in marks:
                if mark.room not in unused:
                    moved.setdefault(mark.user, []).extend((mark.room, mark.seq))
            sent = [
                self._link.send_script(scripts.MARK, (scripts.marks_key(user),), *arguments)
                for user, arguments in moved.items()
            ]
            for call in sent:
                await call.reply()

        await self._commit(commit)

    async def marks(self, user: str, limit: int = 1000) -> dict[str, int]:
        """See `EventLog.marks`."""
        answer = cast("dict[bytes, bytes]", await self._link.call("HGETALL", scripts.marks_key(user)))
        return {room.decode(): int(seq) for room, seq in islice(answer.items(), limit)}

    async def unread(self, user: str, *, own: str, naming: Sequence[str], limit: int = 1000) -> list[Unread]:
        """See `EventLog.unread`."""
        marks = await self.marks(user, 1 << 30)
        todo = [(room, seq + 1, limit) for room, seq in sorted(marks.items())]
        found = {room: Unread(room, marks[room], 0, 0) for room, _, _ in todo}
        while todo:
            sent = [
                (
                    room,
                    left,
                    self._link.send_script(
                        scripts.UNREAD,
                        (scripts.events_key(room),),
                        start,
                        left,
                        scripts.MAX_SCANNED,
                        own,
                        *naming,
                    ),
                )
                for room, start, left in todo
            ]
            todo = []
            for room, left, call in sent:
                start, looked, messages, named = map(int, cast("list[int]", await call.reply()))
                found[room].messages += messages
                found[room].naming += named
                if start:
                    todo.append((room, start, left - looked))
        return list(found.values())

    # --- rooms -------------------------------------------------------------------------------------------

    async def search(
        self,
        text: str,
        limit: int,
        *,
        room: str | None = None,
        user: str | None = None,
        before: str | None = None,
    ) -> Searched:
        """See `EventLog.search`: it looks at one message after the other."""
        return await scan(self, text, limit, room=room, user=user, before=before)

    async def find(self, room: str, key: str) -> Appended | None:
        """See `EventLog.find`."""
        answer = cast("bytes | None", await self._link.call("HGET", scripts.keys_key(room), key))
        if answer is None:
            return None
        seq, _, at_ms = answer.partition(b"-")
        return Appended(int(seq), int(at_ms), duplicate=True)

    async def rooms(self, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms`."""
        answer = await self._link.call("ZREVRANGE", scripts.ROOMS_KEY, 0, max(limit, 1) - 1)
        names = [name.decode() for name in cast("list[bytes]", answer)[: max(limit, 0)]]
        return [listed for _, listed in await self._listed(names)]

    async def rooms_of(self, user: str, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms_of`."""
        answer = cast("set[bytes]", await self._link.call("SMEMBERS", scripts.rooms_of_key(user)))
        found = await self._listed(sorted(name.decode() for name in answer))
        found.sort(key=lambda each: each[0], reverse=True)
        return [listed for _, listed in found[: max(limit, 0)]]

    async def _listed(self, names: list[str]) -> list[tuple[int, Listed]]:
        """Rooms that have events, each with the time of its last one."""
        asked = [
            (name, self._link.send("HMGET", scripts.room_key(name), "head", "at", "label")) for name in names
        ]
        found = []
        for name, call in asked:
            head, at_ms, label = cast("list[bytes | None]", await call.reply())
            if head is not None:
                found.append((int(at_ms or 0), Listed(name, int(head), (label or b"").decode())))
        return found

    async def kept(self, after: str = "", limit: int = 1000) -> list[Kept]:
        """See `EventLog.kept`."""
        await trio.lowlevel.checkpoint()
        found: list[Kept] = []
        while len(found) < limit:
            low = f"({after}" if after else "-"
            page_size = limit - len(found)
            names = cast(
                "list[bytes]",
                await self._link.call(
                    "ZRANGEBYLEX", scripts.NAMES_KEY, low, "+", "LIMIT", 0, min(page_size, 1000)
                ),
            )
            if not names:
                break
            after = names[-1].decode()
            asked = []
            for name in (name.decode() for name in names):
                keys = (scripts.room_key(name), scripts.events_key(name))
                asked.append((name, self._link.send_script(scripts.KEPT, keys)))
            for name, call in asked:
                if answer := cast("list[bytes]", await call.reply()):
                    found.append(Kept(name, *map(int, answer)))
        return found

    # --- other nodes -------------------------------------------------------------------------------------

    def subscribe(self, follower: Follower) -> None:
        """See `EventLog.subscribe`."""
        self._rooms.subscribe(follower)

    async def follow(self, room: str) -> None:
        """See `EventLog.follow`."""
        await self._rooms.follow(room)

    def unfollow(self, room: str) -> None:
        """See `EventLog.unfollow`."""
        self._rooms.unfollow(room)

    def announce(self, room: str, data: bytes) -> None:
        """See `EventLog.announce`."""
        self._rooms.announce(room, data)

    def announced(self, room: str) -> Mapping[str, bytes]:
        """See `EventLog.announced`."""
        return self._rooms.announced(room)

    def signal(self, room: str, data: bytes) -> None:
        """See `EventLog.signal`."""
        self._rooms.signal(room, data)


def _scores(members: "Sequence[str] | Mapping[str, object]", score: int) -> list[str | int]:
    """``score`` and member, for each, as ZADD wants them."""
    return [argument for member in members for argument in (score, member)]


def _events(flat: list[bytes]) -> list[Event]:
    """The events of an answer: id, kind, body, target of each."""
    each = iter(flat)
    found = []
    for where, kind, body, target in zip(each, each, each, each, strict=True):
        seq, _, at_ms = where.partition(b"-")
        about = int(target) if target else None
        found.append(Event(int(seq), int(at_ms), kind.decode(), body.decode(), about))
    return found


async def _warn(link: Link) -> None:
    """Say what about this Redis isn't as it should be, where it lets us look."""
    for section, field, expected, told in (
        ("memory", "maxmemory_policy", "noeviction", "it may throw events away when memory gets short"),
        ("persistence", "aof_enabled", "1", "its end may take the last minutes of what was acknowledged"),
    ):
        try:
            reply: Reply = await link.call("INFO", section)
        except LogUnavailable:
            return
        lines = cast("bytes", reply).decode().split()
        found = next((line.partition(":")[2] for line in lines if line.startswith(f"{field}:")), expected)
        if found != expected:
            logger.warning("%s has %s %s: %s", link.place, field, found, told)


@asynccontextmanager
async def open_redis_log(
    url: str,
    *,
    clock: Callable[[], float] = time.time,
    commit_through: CommitThrough = commit_plainly,
) -> AsyncIterator[RedisLog]:
    """The log in the Redis at ``url``, ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`` or ``rediss://``.

    What `RedisLog.append` returned survives what this Redis is set up to survive: see ``docs/scaling.md``.
    ``clock``: the time in seconds since the Unix epoch. ``commit_through`` surrounds each append and trim.

    Raises `LogError` with one line for people when Redis isn't there. Leaving the block waits for what is
    under way, and takes back what this node has announced.
    """
    place: Place = parse_url(url)
    node = secrets.token_hex(8)
    up = trio.Event()

    async def come_up() -> None:
        await rooms.come_up()
        up.set()

    link = Link(place, come_up, lambda message: rooms.notice(message), lambda why: rooms.went_down(why))
    rooms = Rooms(link, place.db, node)
    failed: Exception | None = None
    staying = trio.CancelScope(shield=True)

    async def stay_linked() -> None:
        """Beyond a cancellation, so that the end can be told."""
        with staying:
            await link.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay_linked)
        try:
            with trio.move_on_after(OPEN_SECONDS):
                await up.wait()
            if not up.is_set():
                raise LogError(f"{place}: {link.why}")
            await _warn(link)
            nursery.start_soon(rooms.stay)
            yield RedisLog(link, rooms, clock, commit_through)
        except Exception as error:  # noqa: BLE001 - it leaves the block as it is, without a group around
            failed = error
        finally:
            with trio.move_on_after(1, shield=True):
                await rooms.leave()
            staying.cancel()
            nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed
