"""What a member in process reads beside the events: pages of history, searches, and how far it has come.

Owns these methods of `trio_chat.chat.local.LocalRoom`.
"""

from typing import Protocol

import attrs
import msgspec
from msgspec import UNSET

from . import pages, rules, schema
from .changes import Author
from .markers import Markers
from .refusal import Refusal
from .room import Room
from .schema import Message
from .signals import Signals


class Hub(pages.Hub, Protocol):
    """What is needed of the hub."""

    @property
    def markers(self) -> Markers: ...
    @property
    def signals(self) -> Signals: ...


@attrs.frozen
class Page:
    """Messages by ascending ``seq``, as they were at event ``as_of``; ``more``: others lie beyond."""

    messages: list[Message]
    more: bool
    as_of: int


@attrs.frozen
class Found:
    """Messages as they are now, the newest first; ``next``: search ``before`` that for more."""

    messages: list[Message]
    next: str | None


class LocalReading:
    """See the module."""

    _hub: Hub
    _author: Author

    @property
    def room(self) -> Room:
        """The room; for looking only."""
        raise NotImplementedError

    def read(self, seq: int) -> None:
        """Note that everything up to ``seq`` is read."""
        user, room = self._author.user, self.room
        seq = min(seq, room.head)
        if self._hub.markers.move(user, room.name, seq):
            self._hub.signals.tell_read(room, user, seq)

    async def history(
        self, *, before: int | None = None, after: int | None = None, limit: int = schema.DEFAULT_HISTORY
    ) -> Page:
        """A page of messages as they are now: the last ones before ``before``, the first after ``after``, or
        the latest. Raises `ValueError`, `LogUnavailable`; so does `search`."""
        request = schema.History(
            room=self.room.name,
            before=UNSET if before is None else before,
            after=UNSET if after is None else after,
            limit=limit,
        )
        try:
            page = await pages.history(self._hub, self.room, self._author, rules.checked(request))
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        return Page(_messages(page.messages), page.more, page.as_of)

    async def search(
        self, text: str, *, before: str | None = None, limit: int = schema.DEFAULT_FOUND
    ) -> Found:
        """Messages of this room with all the words of ``text``; ``before``: go on from a `Found.next`."""
        request = schema.Search(
            text=text, room=self.room.name, before=UNSET if before is None else before, limit=limit
        )
        try:
            found = await pages.search(self._hub, self._author, rules.checked(request), self.room.name)
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        return Found(_messages(found.messages), found.next if isinstance(found.next, str) else None)


def _messages(raws: list[msgspec.Raw]) -> list[Message]:
    found = [schema.decode_server_op(bytes(raw)) for raw in raws]
    return [message for message in found if isinstance(message, Message)]
