"""Operations: how a session carries out each of them, and what such a handler sees of its session.

Owns the two ways of carrying out, and nothing of what is done: each module of handlers has a table of its
own (``OPERATIONS``), from the type of the request to one of the two. A handler refuses with `Refusal`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
from msgspec import UnsetType

from ..log.base import Append
from . import schema
from .changes import Author
from .hub import Hub
from .room import Member, Room
from .schema import User


class Asker(Protocol):
    """The session that an operation came to."""

    user: User

    @property
    def hub(self) -> Hub: ...
    @property
    def guest(self) -> bool: ...
    @property
    def author(self) -> Author:
        """As whom it does what it asks for."""
        ...

    @property
    def rooms(self) -> list[Room]:
        """The rooms that it has joined."""
        ...

    def member(self, room: str) -> Member:
        """Its membership in ``room``, or a `Refusal`."""
        ...

    def leave(self, room: str) -> None:
        """Be no member of ``room`` any more, if it was."""
        ...

    def reply(self, reply: schema.Op) -> None:
        """Send the answer."""
        ...

    def acknowledge(self, room: str, request_id: str | UnsetType, seq: int, at_ms: int) -> None:
        """Answer that the event is stored."""
        ...

    def submit(
        self,
        member: Member,
        append: Append,
        request_id: str | UnsetType,
        sent: tuple[User, str, str] | None = None,
    ) -> None:
        """Have ``append`` stored; the client is told what becomes of it. For operations that `AtOnce`
        declares to append."""
        ...

    async def store(self, member: Member, append: Append, request_id: str | UnsetType) -> None:
        """Have ``append`` stored as soon as there is a place for it. For `Waiting` operations."""
        ...


@attrs.frozen
class AtOnce:
    """Carried out without waiting for anything. ``appends``: to the request's ``room``; there has to be a
    place for it in the hub before."""

    carry_out: Callable[[Any, Any], None]
    appends: bool = False


@attrs.frozen
class Waiting:
    """Carried out when its turn comes in the connection's task: it may wait for the log."""

    carry_out: Callable[[Any, Any], Awaitable[None]]


Operations = dict[type[schema.Request], AtOnce | Waiting]
