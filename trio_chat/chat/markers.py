"""Read markers: up to where each user has read each room, and what lies beyond.

Owns the marks that are not stored yet, and those of the users who are here. Refuses to know who is told.

Marks are gathered over `limits.MARK_TICK` and stored together: one that a crash takes is read again. Marks of
a room never go back.
"""

import logging
from collections import OrderedDict
from typing import Final

import trio

from ..log.base import EventLog, LogUnavailable, Mark, Unread
from . import limits
from .schema import User, encode

logger = logging.getLogger("trio_chat.hub")

_KEPT_USERS: Final = 10_000
_AT_ONCE: Final = 1000
"""Marks in one transaction."""
_LAST_SECONDS: Final = 2.0
"""How long the last marks may take at the end."""


class Markers:
    """See the module. `run` is its task."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._moved: dict[tuple[str, str], int] = {}
        """By user id and room: what is not stored yet."""
        self._known: OrderedDict[str, dict[str, int]] = OrderedDict()
        """By user id, then by room; the one that was needed last is the last one."""
        self._wake = trio.Event()

    def is_new(self, user: User) -> None:
        """Nobody has been this user before: there are no marks to be read."""
        self._know(user.id, {})

    async def mark_of(self, user: User, room: str) -> int | None:
        """Up to where ``user`` has read ``room``; None: no mark. Raises `LogUnavailable`."""
        known = self._known.get(user.id)
        if known is None:
            known = await self._log.marks(user.id)
            for (user_id, name), seq in self._moved.items():
                if user_id == user.id:
                    known[name] = max(seq, known.get(name, 0))
            if not self._log.shared:  # else the user may read on another node
                self._know(user.id, known)
        return known.get(room)

    def _know(self, user_id: str, marks: dict[str, int]) -> None:
        self._known[user_id] = marks
        self._known.move_to_end(user_id)
        while len(self._known) > _KEPT_USERS:
            self._known.popitem(last=False)

    def move(self, user: User, room: str, seq: int) -> bool:
        """``user`` has read ``room`` up to ``seq``; returns whether that is further than is known."""
        known = self._known.get(user.id, {})
        if seq <= max(known.get(room, 0), self._moved.get((user.id, room), 0)):
            return False
        if user.id in self._known:
            known[room] = seq
        self._moved[user.id, room] = seq
        self._wake.set()
        return True

    async def unread(self, user: User) -> list[Unread]:
        """What lies beyond the marks of ``user``; what mentions the user, is naming. Raises
        `LogUnavailable`."""
        if self._known.get(user.id) == {}:
            return []
        await self.store()
        name = encode(user.id).decode()
        mentions = [f"{before}{name}{after}" for before in "[," for after in ",]"]
        return await self._log.unread(
            user.id, own=f'"user":{{"id":{name},', naming=[*mentions, '"mentions_all":true']
        )

    async def store(self) -> None:
        """Store what has moved. Raises `LogUnavailable`; nothing is lost by that."""
        while self._moved:
            some = list(self._moved.items())[:_AT_ONCE]
            await self._log.mark([Mark(user, room, seq) for (user, room), seq in some])
            for place, seq in some:
                if self._moved.get(place) == seq:
                    del self._moved[place]

    async def run(self) -> None:
        """Store now and again, until cancelled, and then once more."""
        try:
            while True:
                await self._wake.wait()
                await trio.sleep(limits.MARK_TICK)
                self._wake = trio.Event()
                await self._try()
                if self._moved:
                    self._wake.set()
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self._try()

    async def _try(self) -> None:
        try:
            await self.store()
        except LogUnavailable as error:
            logger.warning("read markers can't be stored: %s", error)
