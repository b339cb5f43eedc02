"""The hub: rooms in memory, the committer, and catching up from the log.

Owns the rooms and the queue of appends. Refuses to know sockets and operations; sessions and in-process
members come to it.

The way of an event: `Hub.submit` -> committer (one batch, one commit) -> `Room.publish` -> a pass of the
fan-out (`trio_chat.chat.fanout`). Rules:

1. Nothing reaches a room, and no sender is acknowledged, before the log has stored it.
2. The queue is bounded: when it is full, whoever has something to submit waits (`Hub.ready`), and the senders
   feel it. So do those of a room that has to wait for a member (``on_overflow="block"``).
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from msgspec import UNSET, UnsetType

from ..log.base import Append, Appended, Event, EventLog, LogUnavailable, Position
from . import control, limits, opening
from .attachments import Files
from .changes import Author, Changes
from .consequences import follow
from .decisions import Decisions
from .elsewhere import Elsewhere
from .fanout import FanOut
from .governing import Governing
from .guests import Guests
from .local import LocalRoom, join
from .markers import Markers
from .pending import Pending
from .people import People
from .policy import PolicyOf, RoomPolicy
from .relay import Relay
from .retention import Retention
from .room import Member, Room, text_frame
from .schema import Gap, User, checked_user, encode, user_name
from .signals import Signals
from .turns import Turns

logger = logging.getLogger("trio_chat.hub")

_RETRY_READ_SECONDS = 1.0


class Hub:
    """See the module. ``clock`` gives Unix time in seconds; ``rng`` makes ids and names (nothing secret).

    ``max_waiting``: bytes that may wait for one member; no page of events is larger. ``policy_of``: what
    holds for a room, see `trio_chat.chat.policy`; without it, everything is kept. ``admins``: ids of users
    who are administrators of the server.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        max_waiting: int = limits.PAGE_BYTES,
        policy_of: PolicyOf | None = None,
        files: Files | None = None,
        admins: Iterable[str] = (),
    ) -> None:
        self.log = log
        self._max_waiting = max_waiting
        self.clock = clock
        self.rng = rng or random.Random()
        self._turns = Turns()
        self.relay = Relay(self._turns)
        self.elsewhere = Elsewhere(self)
        self.people = People(frozenset(admins))
        self.signals: Signals = Signals(self.people, self.elsewhere.tell_others if log.shared else None)
        self.guests = Guests(log.secret, self.rng, clock)
        self._policy_of = policy_of or (lambda name: RoomPolicy())
        self.retention = Retention(log, policy_of, clock, self.trimmed) if policy_of is not None else None
        self.rooms: dict[str, Room] = {}
        self.decisions = Decisions(self, Governing(log, self.people, clock, self.rooms))
        self.changes = Changes(log, self.guests, clock, files)
        self.markers = Markers(log)
        self.fan_out = FanOut(self._turns, self.page_bytes, self.release)
        self.commits = 0
        self.events = 0
        self.log_failing = False
        """The last commit failed: not ready."""
        self._opening: dict[str, trio.Event] = {}
        self._trimmed: dict[str, int] = {}
        self._submit, self._queue = trio.open_memory_channel[Pending](limits.MAX_WAITING_APPENDS)
        self._queued = 0
        self._committing = False
        self._idle: trio.Event | None = None
        self._space: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        self._growth: dict[Room, trio.Event] = {}
        self._senders: dict[Room, trio.Event] = {}
        self._local: dict[LocalRoom, None] = {}
        self.ended = False
        """`run` is over: nothing is stored and nothing happens any more."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The hub's tasks, until cancelled. A commit under way is finished first."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._commit)
            nursery.start_soon(self.signals.run)
            nursery.start_soon(self._turns.run)
            nursery.start_soon(self.markers.run)
            if self.retention is not None:
                nursery.start_soon(self.retention.run)
            self.log.subscribe(self.elsewhere)
            if self.log.shared:
                nursery.start_soon(self.elsewhere.run)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._end()

    def _end(self) -> None:
        """Let the members in process know: what they wait for will not come."""
        self.ended = True
        for event in (*self._growth.values(), *self._senders.values(), self._space):
            if event is not None:
                event.set()
        for room in self._local:
            room.end()
        self.decisions.end()

    # --- rooms -------------------------------------------------------------------------------------

    async def open_room(self, name: str) -> Room:
        """The room of this (valid) name, read from the log if it isn't in memory. Raises `LogUnavailable`.

        The room stays in memory as long as it has members or pins; call `release` after removing one.
        """
        while (room := self.rooms.get(name)) is None:
            under_way = self._opening.get(name)
            if under_way is not None:
                await under_way.wait()
                continue
            self._opening[name] = trio.Event()
            try:
                room = await self._open(name)
                room.trimmed(self._trimmed.get(name, room.first))
                self.rooms[name] = room
                self.elsewhere.opened(room)
            finally:
                self._trimmed.pop(name, None)
                self._opening.pop(name).set()
        return room

    async def _open(self, name: str) -> Room:
        await self.log.follow(name)
        try:
            return await opening.open_room(self.log, name, self._policy_of(name).on_overflow)
        except BaseException:
            self.log.unfollow(name)
            raise

    def release(self, room: Room) -> None:
        """Forget a room that nobody needs any more; else its senders may have waited for who has left."""
        if not room.full:
            self._wake_senders(room)
        if not room.members and not room.pins and not room.pumping and self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            self._growth.pop(room, None)
            self.elsewhere.closed(room)
            self.log.unfollow(room.name)

    def trimmed(self, name: str, first: int) -> None:
        """The log keeps nothing of this room before ``first`` any more."""
        if name in self._opening:
            self._trimmed[name] = first  # what is being read may be gone already
        elif (room := self.rooms.get(name)) is not None:
            room.trimmed(first)

    def behind(self, name: str, head: int) -> None:
        """The log has events up to ``head`` that nobody will bring: members read them."""
        room = self.rooms.get(name)
        if room is not None and head > room.head:
            room.publish(head + 1, [])
            self.wake(room)
            self._read_state(room)

    async def catch_up_with(self, room: Room, since: int, epoch: str | UnsetType) -> None:
        """Look at the log if a client has seen of ``room`` what this node hasn't: another one may have
        shown it.

        Raises `LogUnavailable`, also if the room has begun anew and this node is about to hear of it.
        """
        if since <= room.head and epoch in (room.epoch, UNSET):
            return
        room.pins += 1
        try:
            position = await self.log.position(room.name)
            if position.epoch != room.epoch:
                raise LogUnavailable("the room has lost events and begins anew")
            self.behind(room.name, position.head)
        except BaseException:
            self._unpin(room)
            raise
        room.pins -= 1  # without a release: the client is about to join it

    def restart(self, room: Room, position: Position) -> None:
        """The log has lost events of this room: it begins anew."""
        room.restart(position)
        self.wake(room)
        self._read_state(room)

    def take_in(self, room: Room, events: Sequence[Event]) -> None:
        """Publish what another node has appended, as far as it is new."""
        events = [event for event in events if event.seq > room.head]
        if not events:
            return
        counted = events[0].seq == room.head + 1 and not room.state_is_behind
        uncounted = False
        for event in events:
            if event.kind == "message":
                opening.remember(room, event)
            elif event.kind in control.KINDS:
                uncounted = not counted
                if counted:
                    self._fold(room, event)
        self._publish(room, events[0].seq, [room.encode_event(event) for event in events], uncounted)

    def _publish(self, room: Room, first: int, frames: list[bytes], uncounted: bool) -> None:
        """Hand committed events to a room, whatever of them it has already and whatever is missing before.

        ``uncounted``: a control event among them has not changed the state yet.
        """
        hole = first > room.head + 1
        room.uncounted |= uncounted
        if room.take(first, frames, may_wait=self.log.shared):
            # Only if it must be, because that looks through all messages since the last control event.
            if hole or (room.uncounted and not room.has_hole):
                self._read_state(room)
            self.fan_out.deliver(room)
            self.wake(room)
        if room.has_hole:
            self.elsewhere.has_hole(room)

    def _read_state(self, room: Room) -> None:
        """Have the state brought to the head from the log: something before it was not seen here."""
        if not room.state_is_behind and self._nursery is not None:
            room.state_is_behind = True
            room.uncounted = False
            room.pins += 1
            self._nursery.start_soon(self._fold_to_head, room)

    async def _fold_to_head(self, room: Room) -> None:
        counted = -1
        while counted < room.head:
            head = room.head
            events = await self._reading(
                partial(opening.control_events, self.log, room.name, room.state.seq, head)
            )
            for event in events:
                self._fold(room, event)
            counted = counted if events else head
        room.state_is_behind = False
        self._unpin(room)

    @property
    def page_bytes(self) -> int:
        """Bytes of events in one page."""
        return min(limits.PAGE_BYTES, self._max_waiting)

    # --- appending -----------------------------------------------------------------------------------

    def takes(self, room: Room) -> bool:
        """Whether an append to ``room`` can be submitted now. If not: `ready` before `submit`."""
        return self._queued < limits.MAX_WAITING_APPENDS and not room.full

    async def ready(self, member: Member) -> None:
        """Wait until ``member`` can submit an append (if it is the first to), or till its outbox or the hub
        ends."""
        while not (self.takes(member.room) or member.outbox.finished or self.ended):
            await self._wait_for_place(member.room)

    async def place(self, room: Room) -> None:
        """Wait until an append to ``room`` can be submitted, or till the hub ends."""
        while not (self.takes(room) or self.ended):
            await self._wait_for_place(room)

    async def _wait_for_place(self, room: Room) -> None:
        if room.full:
            if room not in self._senders:
                self._senders[room] = trio.Event()
            await self._senders[room].wait()
        else:
            if self._space is None:
                self._space = trio.Event()
            await self._space.wait()

    def let_go(self, member: Member) -> None:
        """The member's outbox is finished: nobody need wait for it, and it need not wait for anybody."""
        member.room.full.pop(member, None)
        self._wake_senders(member.room)

    def _wake_senders(self, room: Room) -> None:
        if (freed := self._senders.pop(room, None)) is not None:
            freed.set()

    def submit(self, pending: Pending) -> None:
        """Queue an append. Raises `trio.WouldBlock` when too many wait."""
        self._submit.send_nowait(pending)
        self._queued += 1
        pending.room.pins += 1

    async def settled(self) -> None:
        """Wait until every append that was submitted has been stored (or refused) and published."""
        while self._committing or self._queued:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    async def _commit(self) -> None:
        queue = self._queue
        while True:
            batch = [await queue.receive()]
            self._committing = True
            size = len(batch[0].append.body)
            while len(batch) < limits.MAX_BATCH and size < limits.MAX_BATCH_CHARS:
                try:
                    pending = queue.receive_nowait()
                except trio.WouldBlock:
                    break
                batch.append(pending)
                size += len(pending.append.body)
            self._queued -= len(batch)
            if self._space is not None:
                self._space.set()
                self._space = None
            try:
                appended = await self.log.append([pending.append for pending in batch])
            except LogUnavailable as error:
                self._refuse(batch, str(error))
            except Exception:
                logger.exception("the log failed unexpectedly")
                self._refuse(batch, "internal error")
            else:
                if self.log_failing:
                    logger.info("the log takes events again")
                self.log_failing = False
                self.commits += 1
                await self._show(batch, appended)
            self._committing = False
            if self._idle is not None and not self._queued:
                self._idle.set()
                self._idle = None

    def _refuse(self, batch: list[Pending], reason: str) -> None:
        if not self.log_failing:
            logger.error("the log refuses events: %s", reason)
        self.log_failing = True
        for pending in batch:
            self._tell(pending, reason)
            self._unpin(pending.room)

    def _tell(self, pending: Pending, result: Appended | str) -> None:
        """The sender's answer; one that can't take it harms nobody else."""
        try:
            if isinstance(result, str):
                pending.origin.refused(pending, result)
            else:
                pending.origin.stored(pending, result)
        except Exception:
            logger.exception("a sender could not be answered")

    def _unpin(self, room: Room) -> None:
        room.pins -= 1
        self.release(room)

    async def _show(self, batch: list[Pending], appended: list[Appended]) -> None:
        """Acknowledge and publish one stored batch."""
        runs: dict[Room, list[tuple[int, bytes]]] = {}
        stored_before: dict[Room, int] = {}
        uncounted: set[Room] = set()
        for pending, result in zip(batch, appended, strict=True):
            append, room = pending.append, pending.room
            if not result.duplicate:
                if append.kind != "message" and not self._count(room, runs.get(room), append, result):
                    uncounted.add(room)
                data = room.encode(result.seq, result.at_ms, append.kind, append.body)
                runs.setdefault(room, []).append((result.seq, data))
                if pending.sent is not None:
                    user, message_id, text = pending.sent
                    room.remember(user, message_id, text, result.seq, result.at_ms)
                if pending.member is not None:
                    room.authors.append(pending.member)
            elif result.seq > room.head:
                stored_before[room] = max(result.seq, stored_before.get(room, 0))
            self._tell(pending, result)
        writes = 0
        for room, run in runs.items():
            self.events += len(run)
            self._publish(room, run[0][0], [data for _, data in run], room in uncounted)
            writes += len(room.members)
            if writes > 500:
                writes = 0
                await trio.lowlevel.checkpoint()
        for room, seq in stored_before.items():  # by a commit that took effect although it failed
            self.behind(room.name, seq)
        for pending in batch:
            self._unpin(pending.room)

    def _count(
        self, room: Room, run: list[tuple[int, bytes]] | None, append: Append, result: Appended
    ) -> bool:
        """Let an event that is no message change the room's state; False if something before it is missing
        there."""
        if append.kind not in control.KINDS:
            return True
        first = run[0][0] if run else result.seq
        if first != room.head + 1 or room.state_is_behind:
            return False
        self._fold(room, Event(result.seq, result.at_ms, append.kind, append.body))
        return True

    def _fold(self, room: Room, event: Event) -> None:
        """Let an event change the room's state, and act on it."""
        before = set(room.state.entries)
        body = room.fold(event)
        if body is not None:
            follow(room, body, before, self.people, self.clock())

    # --- members -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def join(
        self,
        room: str,
        *,
        name: str = "bot",
        user: User | None = None,
        since: int | None = None,
        last: int | None = None,
        admin: bool = False,
    ) -> AsyncIterator[LocalRoom]:
        """Be a member of ``room`` in process, as ``user`` or as a guest called ``name``.

        Nobody is kept out: the embedding program may be in any room. What the member does there is subject to
        the rights of its user, or, with ``admin``, of an administrator of the server.

        Events from now on are yielded, or those after ``since``, or the ``last`` n and then those from now
        on. Raises `ValueError` for a name or an id that breaks the rules, `LogUnavailable`.
        """
        if user is None:
            user_id = self.guests.new_id()
            who = User(user_id, self.guests.claim_name(user_name(name), user_id))
        else:
            who = checked_user(user)
            self.guests.hold_name(who.name, who.id)
        try:
            async with join(
                self, room, Author(who, admin or self.people.administers(who.id)), since, last
            ) as local:
                self._local[local] = None
                try:
                    yield local
                finally:
                    del self._local[local]
        finally:
            self.guests.free_name(who.name, who.id)

    async def next_page(self, room: Room, after: int) -> tuple[int, list[bytes]]:
        """The next page of frames after ``after``, from the tail or the log, and the last one's seq."""
        page = room.page(after, self.page_bytes)
        return page if page is not None else await self._read_page(room, after)

    async def catch_up(self, member: Member) -> bool:
        """Offer a member that is behind what it has missed. True: it is live. False: its outbox has to
        drain first.

        Cancelling is harmless. While the log can't be read this waits and tries again.
        """
        room = member.room
        while member in room.members and member.cursor < room.head:
            last, frames = await self.next_page(room, member.cursor)
            if member not in room.members:
                return True
            if not member.outbox.offer(b"".join(frames)):
                return False
            member.cursor = last
            self.fan_out.deliveries += len(frames)
            await trio.lowlevel.checkpoint()
        if member in room.members:
            room.caught_up(member)
            if not room.full:
                self._wake_senders(room)
        return True

    async def _read_page(self, room: Room, after: int) -> tuple[int, list[bytes]]:
        """A page of frames after ``after`` from the log; a `Gap` first if some are no longer kept."""
        events = await self.read(room.name, after)
        events = [event for event in events if event.seq <= room.head]
        last = room.head
        frames: list[bytes] = []
        size = 0
        for event in events:
            data = room.encode_event(event)
            size += len(data)
            if frames and size > self.page_bytes:
                break
            frames.append(data)
            last = event.seq
        first = events[0].seq if events else room.head + 1
        if first > after + 1:
            frames.insert(0, text_frame(encode(Gap(room=room.name, from_=after + 1, to=first - 1))))
        return last, frames

    async def read(self, room: str, after: int) -> list[Event]:
        """A page of events after ``after``; tries again while the log is unavailable."""
        return await self._reading(
            partial(self.log.read, room, after, limits.PAGE_EVENTS, max_bytes=self.page_bytes)
        )

    async def _reading(self, read: Callable[[], Awaitable[list[Event]]]) -> list[Event]:
        while True:
            try:
                return await read()
            except LogUnavailable as error:
                logger.warning("the log can't be read: %s", error)
                await trio.sleep(_RETRY_READ_SECONDS)

    def wake(self, room: Room) -> None:
        """Something is new in ``room``: go on with those who wait for that."""
        if (grown := self._growth.pop(room, None)) is not None:
            grown.set()

    async def grown(self, room: Room) -> None:
        """Wait until something is published in ``room``."""
        event = self._growth.get(room)
        if event is None:
            event = self._growth[room] = trio.Event()
        await event.wait()
