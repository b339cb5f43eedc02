"""Bugs put in on purpose: the simulation has to find each of them, or it proves nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from unittest import mock

import trio

from trio_chat.chat import session
from trio_chat.chat.hub import Hub
from trio_chat.chat.pending import Pending
from trio_chat.chat.room import Member, Room
from trio_chat.chat.schema import Join
from trio_chat.log.base import Append, Appended, LogUnavailable


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
def passed_over_in_a_pass() -> Iterator[None]:
    """A member that joined within what a pass delivers is passed over, and never gets the rest."""
    real = Room.deliver

    def deliver(
        room: Room,
        members: list[Member],
        after: int,
        last: int,
        data: bytes,
        packed: dict[int, bytes] | None = None,
    ) -> None:
        real(room, [member for member in members if member.cursor == after], after, last, data, packed)

    with mock.patch.object(Room, "deliver", deliver):
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


PLANTED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    plant.__name__: plant
    for plant in (
        lost_on_overflow,
        duplicate_on_resume,
        shown_before_commit,
        reordered_batch,
        passed_over_in_a_pass,
        keys_are_forgotten,
        secret_stays_secret,
    )
}
