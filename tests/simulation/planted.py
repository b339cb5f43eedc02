"""Bugs put in on purpose: the simulation has to find each of them, or it proves nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from unittest import mock

import trio

from trio_chat.chat import retention, session
from trio_chat.chat.hub import Hub
from trio_chat.chat.pending import Pending
from trio_chat.chat.relay import RelayMember
from trio_chat.chat.room import Member, Room
from trio_chat.chat.schema import Join
from trio_chat.chat.session import Session
from trio_chat.client_room import Inbox
from trio_chat.log.base import Append, Appended, LogUnavailable
from trio_chat.log.sqlite import SQLiteLog
from trio_chat.server import Server
from trio_chat.wire.connection import Connection
from trio_chat.wire.outbox import Outbox


class _Deaf:
    """An origin that doesn't hear what became of its append."""

    def stored(self, pending: Pending, appended: Appended) -> None:
        pass

    def refused(self, pending: Pending, reason: str) -> None:
        pass


@contextmanager
def lost_on_overflow() -> Iterator[None]:
    """What doesn't fit an outbox is forgotten, and the member goes on as if it had it."""

    def fall_behind(member: Member) -> None:
        member.cursor = member.room.head

    with mock.patch.object(Member, "fall_behind", fall_behind):
        yield


@contextmanager
def duplicate_on_resume() -> Iterator[None]:
    """A join with a position gets the event at that position once more."""
    real = session.starting_point

    def starting_point(room: Room, request: Join) -> tuple[int, bool]:
        cursor, recovered = real(room, request)
        return (max(0, cursor - 1) if recovered else cursor), recovered

    with mock.patch.object(session, "starting_point", starting_point):
        yield


@contextmanager
def shown_before_commit() -> Iterator[None]:
    """Events are shown and acknowledged at once, and stored a moment later."""
    real = Hub._commit

    class Early:
        """A log that numbers a batch, says that it is stored, and stores it then."""

        def __init__(self, hub: Hub) -> None:
            self._hub = hub
            self._log = hub.log
            self._heads: dict[str, int] = {}

        def __getattr__(self, name: str) -> object:
            return getattr(self._log, name)

        async def append(self, batch: Sequence[Append]) -> list[Appended]:
            await trio.lowlevel.checkpoint()
            results = []
            for append in batch:
                head = max(self._heads.get(append.room, 0), self._hub.rooms[append.room].head)
                self._heads[append.room] = head + 1
                results.append(Appended(head + 1, int(self._hub.clock() * 1000)))
            assert self._hub._nursery is not None
            self._hub._nursery.start_soon(self._store, batch)
            return results

        async def _store(self, batch: Sequence[Append]) -> None:
            await trio.sleep(0.01)
            with suppress(LogUnavailable):
                await self._log.append(batch)

    async def commit(hub: Hub) -> None:
        hub.log = Early(hub)  # type: ignore[assignment]
        await real(hub)

    with mock.patch.object(Hub, "_commit", commit):
        yield


@contextmanager
def reordered_batch() -> Iterator[None]:
    """The first two events of a batch for one room change places when they are shown."""
    real = Hub._show

    async def show(hub: Hub, batch: list[Pending], appended: list[Appended]) -> None:
        if len(batch) > 1 and batch[0].room is batch[1].room:
            batch = [batch[1], batch[0], *batch[2:]]
        await real(hub, batch, appended)

    with mock.patch.object(Hub, "_show", show):
        yield


@contextmanager
def keys_are_forgotten() -> Iterator[None]:
    """A message that is sent again is another message."""
    real = Pending

    def pending(append: Append, *rest: object, **more: object) -> Pending:
        append.key = None
        return real(append, *rest, **more)  # type: ignore[arg-type]

    with mock.patch.object(session, "Pending", pending):
        yield


@contextmanager
def secret_stays_secret() -> Iterator[None]:
    """A hole in what is published is not noticed."""
    real = Room.publish

    def publish(room: Room, first: int, frames: list[bytes]) -> None:
        if first != room.head + 1:
            for member in room.members:
                member.cursor = max(member.cursor, first - 1) if member.live else member.cursor
            room._tail.clear()
            room._tail_bytes = 0
            room.head = room.delivered = first - 1
        real(room, first, frames)

    with mock.patch.object(Room, "publish", publish):
        yield


@contextmanager
def acknowledged_before_commit() -> Iterator[None]:
    """The sender is told the seq that its message will have, if all goes well."""
    real = Hub.submit
    promised: dict[tuple[Hub, str], int] = {}

    def submit(hub: Hub, pending: Pending) -> None:
        real(hub, pending)
        place = hub, pending.room.name
        promised[place] = max(promised.get(place, 0), pending.room.head) + 1
        pending.origin.stored(pending, Appended(promised[place], int(hub.clock() * 1000)))
        pending.origin = _Deaf()

    with mock.patch.object(Hub, "submit", submit):
        yield


@contextmanager
def keys_die_with_the_server() -> Iterator[None]:
    """A message that is sent again after a crash or a restart is another message."""
    real = Hub.submit
    lives: dict[Hub, int] = {}
    numbers = count()

    def submit(hub: Hub, pending: Pending) -> None:
        if pending.append.key is not None:
            life = lives.setdefault(hub, next(numbers)) if hub not in lives else lives[hub]
            pending.append.key = f"{life} {pending.append.key}"
        real(hub, pending)

    with mock.patch.object(Hub, "submit", submit):
        yield


@contextmanager
def laggard_forgotten() -> Iterator[None]:
    """A member that has to wait for its outbox once more while it catches up is not thought of again."""
    real = Hub.catch_up

    async def catch_up(hub: Hub, member: Member) -> bool:
        await real(hub, member)
        return True

    with mock.patch.object(Hub, "catch_up", catch_up):
        yield


@contextmanager
def live_too_early() -> Iterator[None]:
    """A member that catches up counts as live after its first page."""

    async def catch_up(hub: Hub, member: Member) -> bool:
        last, frames = await hub.next_page(member.room, member.cursor)
        if member in member.room.members:
            if not member.outbox.offer(b"".join(frames)):
                return False
            member.cursor = max(last, member.cursor)
            member.live = True
        return True

    with mock.patch.object(Hub, "catch_up", catch_up):
        yield


@contextmanager
def no_bound() -> Iterator[None]:
    """Whatever waits, an outbox takes more."""
    real = Outbox.__init__

    def init(
        outbox: Outbox, try_send: Callable[[bytes], int], start: Callable[[], None], size: int, bits: int
    ) -> None:
        real(outbox, try_send, start, 1 << 40, bits)

    with mock.patch.object(Outbox, "__init__", init):
        yield


@contextmanager
def writers_stay() -> Iterator[None]:
    """A writer that has nothing more to write does not end."""
    real = Outbox.run

    async def run(outbox: Outbox, *rest: object) -> None:
        await real(outbox, *rest)  # type: ignore[arg-type]
        await trio.sleep_forever()

    with mock.patch.object(Outbox, "run", run):
        yield


@contextmanager
def ghosts_stay() -> Iterator[None]:
    """A connection that is cut stays a member of its rooms."""
    real = Session.on_closed

    def on_closed(closed: Session) -> None:
        if closed._connection.close_code != 1006:
            real(closed)

    with mock.patch.object(Session, "on_closed", on_closed):
        yield


@contextmanager
def control_frames_jump_the_queue() -> Iterator[None]:
    """The answer to a ping is written at once, also between the halves of another frame."""

    async def send_all(connection: Connection, data: bytes) -> None:
        await connection._write(bytes(data))

    with mock.patch.object(Connection, "send_all", send_all):
        yield


@contextmanager
def frozen_reader_delays_all() -> Iterator[None]:
    """A batch is shown when its rooms' members have read what came before."""
    real = Hub._show

    async def show(hub: Hub, batch: list[Pending], appended: list[Appended]) -> None:
        for pending in batch:
            for member in list(pending.room.members):
                flushed = getattr(member.outbox, "flushed", trio.lowlevel.checkpoint)
                await flushed()
        await real(hub, batch, appended)

    with mock.patch.object(Hub, "_show", show):
        yield


@contextmanager
def no_goodbye() -> Iterator[None]:
    """A server that stops cuts its clients off."""

    def say_goodbye(server: Server, connection: Connection, leaving: int) -> None:
        connection.cut(1012, "the server restarts")

    with mock.patch.object(Server, "_say_goodbye", say_goodbye):
        yield


@contextmanager
def relay_skips() -> Iterator[None]:
    """A relay member whose outbox is full misses a message, and stays."""
    with mock.patch.object(RelayMember, "overflow", autospec=True):
        yield


@contextmanager
def client_drops_its_buffer() -> Iterator[None]:
    """The client library throws away what its room had buffered when it joins again."""
    real = Inbox.join_op

    def join_op(inbox: Inbox, request_id: str) -> Join:
        while not inbox.empty:
            inbox._receive.receive_nowait()
        return real(inbox, request_id)

    with mock.patch.object(Inbox, "join_op", join_op):
        yield


@contextmanager
def acknowledged_before_sync() -> Iterator[None]:
    """What is committed counts as stored before it is on the disk."""
    with mock.patch.object(SQLiteLog, "_sync", autospec=True):
        yield


@contextmanager
def gaps_are_not_told() -> Iterator[None]:
    """Who comes back too late for what was removed is given the rest, and not told."""
    real = Hub._read_page

    async def read_page(hub: Hub, room: Room, after: int) -> tuple[int, list[bytes]]:
        last, frames = await real(hub, room, after)
        return last, [frame for frame in frames if b'"op":"gap"' not in frame]

    with mock.patch.object(Hub, "_read_page", read_page):
        yield


@contextmanager
def removed_too_early() -> Iterator[None]:
    """A message may be removed while its sender may still send it again."""
    with mock.patch.object(retention, "MIN_KEPT_SECONDS", 0.0):
        yield


@contextmanager
def blocked_for_ever() -> Iterator[None]:
    """Senders that had to wait for a slow member are not woken when it has caught up."""
    with mock.patch.object(Hub, "_wake_senders", autospec=True):
        yield


PLANTED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    plant.__name__: plant
    for plant in (
        lost_on_overflow,
        duplicate_on_resume,
        shown_before_commit,
        acknowledged_before_commit,
        acknowledged_before_sync,
        reordered_batch,
        live_too_early,
        laggard_forgotten,
        keys_are_forgotten,
        keys_die_with_the_server,
        secret_stays_secret,
        no_bound,
        frozen_reader_delays_all,
        control_frames_jump_the_queue,
        writers_stay,
        ghosts_stay,
        no_goodbye,
        relay_skips,
        client_drops_its_buffer,
        gaps_are_not_told,
        removed_too_early,
        blocked_for_ever,
    )
}
