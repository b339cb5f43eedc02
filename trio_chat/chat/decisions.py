"""Changes of rooms, one at a time in each room: decided, stored, and counted before the next one is decided.

Owns the turns, the waiting for what becomes of an event, and rooms that are needed for a moment only. So what
is acknowledged here has happened: the state that it was decided on is the one that it changes. (Other nodes
may get between; then the fold has the last word.)
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import trio

from ..log.base import Append, Appended, EventLog, LogUnavailable
from . import opening, schema
from .changes import Author
from .governing import Governing
from .pending import Pending
from .room import Room
from .state import RoomState

_MAX_STATES: Final = 2_000
"""States kept of rooms that aren't in memory, for the lists of those who are members."""


class Hub(Protocol):
    """What is needed of the hub."""

    log: EventLog
    rooms: dict[str, Room]
    ended: bool

    async def open_room(self, name: str) -> Room: ...
    def release(self, room: Room) -> None: ...
    async def place(self, room: Room) -> None: ...
    def submit(self, pending: Pending) -> None: ...


class _Answer:
    """What became of an append, for the task that waits for it."""

    def __init__(self) -> None:
        self.result: Appended | str | None = None
        self.known = trio.Event()

    def stored(self, pending: Pending, appended: Appended) -> None:
        self._is(appended)

    def refused(self, pending: Pending, reason: str) -> None:
        self._is(reason)

    def _is(self, result: Appended | str) -> None:
        self.result = result
        self.known.set()


class Decisions:
    """See the module."""

    def __init__(self, hub: Hub, governing: Governing) -> None:
        self._hub = hub
        self.governing = governing
        self._turns: WeakKeyDictionary[Room, trio.Lock] = WeakKeyDictionary()
        self._answers: dict[_Answer, None] = {}
        self._states: OrderedDict[str, tuple[int, RoomState]] = OrderedDict()

    async def change(
        self,
        room: Room,
        by: Author,
        request: schema.Request,
        *,
        decided: Callable[[], None] = lambda: None,
    ) -> Appended | None:
        """Carry out ``request``; None if there is nothing to do. Raises `Refusal`, `LogUnavailable`.

        ``decided`` is called when it is not refused, before it is stored. When cancelled, it may or may
        not be carried out.
        """
        async with self._turns.setdefault(room, trio.Lock()):
            found = await self.governing.decide(room, by, request)
            if not isinstance(found, Append):
                return found
            decided()
            return await self._store(room, found)

    async def let_in(self, room: Room, by: Author, inviter: str, *, admin: bool) -> None:
        """Make ``by`` a member by a link of ``inviter``; see `change`."""
        async with self._turns.setdefault(room, trio.Lock()):
            append = self.governing.come_in(room, by, inviter, admin=admin)
            if append is not None:
                await self._store(room, append)

    async def _store(self, room: Room, append: Append) -> Appended:
        answer = _Answer()
        self._answers[answer] = None
        try:
            await self._hub.place(room)
            if self._hub.ended:
                raise LogUnavailable("the server has ended")
            self._hub.submit(Pending(append, room, answer))
            await answer.known.wait()
        finally:
            del self._answers[answer]
        if not isinstance(answer.result, Appended):
            raise LogUnavailable(str(answer.result))
        return answer.result

    def end(self) -> None:
        """The server has ended: whoever waits here is told."""
        for answer in self._answers:
            answer._is("the server has ended")

    @asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator[Room]:
        """The room of this (valid) name, in memory for the time of the block. Raises `LogUnavailable`."""
        room = await self._hub.open_room(name)
        room.pins += 1
        try:
            yield room
        finally:
            room.pins -= 1
            self._hub.release(room)

    async def state_of(self, name: str, head: int) -> RoomState:
        """The state of a room whose log has this head; it need not be in memory. Raises `LogUnavailable`."""
        if (room := self._hub.rooms.get(name)) is not None:
            return room.state
        known = self._states.get(name)
        if known is None or known[0] != head:
            known = self._states[name] = await opening.read_state(self._hub.log, name)
            if len(self._states) > _MAX_STATES:
                self._states.popitem(last=False)
        self._states.move_to_end(name)
        return known[1]
