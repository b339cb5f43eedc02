"""An append on its way from a sender through the committer, and the sender's end of it."""

from typing import Protocol

import attrs
from msgspec import UNSET, UnsetType

from ..log.base import Append, Appended
from .room import Member, Room
from .schema import User


class Origin(Protocol):
    """Whoever submitted an append and learns what became of it."""

    def stored(self, pending: "Pending", appended: Appended) -> None:
        """It is in the log."""
        ...

    def refused(self, pending: "Pending", reason: str) -> None:
        """The log could not take it."""
        ...


@attrs.define(eq=False)
class Pending:
    """An append on its way.

    ``request_id`` is the sender's, ``member`` its membership; ``sent`` is what to remember a guest's
    message by.
    """

    append: Append
    room: Room
    origin: Origin
    request_id: str | UnsetType = UNSET
    member: Member | None = None
    sent: tuple[User, str, str] | None = None


def idempotency_key(message_id: str, user: User) -> str:
    """What makes a message of ``user`` the same one; ids and users may contain anything."""
    return f"{len(message_id)}:{message_id}:{user.id}"
