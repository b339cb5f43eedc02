"""Who is here: an index from users to the places where they are, and whom the server has seen lately.

Owns that index. Refuses to know what a place is: a session, or a member in process.
"""

from collections import OrderedDict
from typing import Final, Protocol

from .room import Room
from .schema import User

MAX_SEEN: Final = 10_000
"""Users remembered after they have gone, some 200 bytes each: so that they can be invited and banned."""


class Place(Protocol):
    """Where a user is."""

    @property
    def admin(self) -> bool:
        """Whether the user is an administrator of the server here."""
        ...

    def tell(self, frame: bytes) -> None:
        """Pass a signal on."""
        ...

    def removed(self, room: Room, code: int | None, reason: str) -> None:
        """The user is no member of ``room`` any more. With ``code`` others have decided that."""
        ...


class People:
    """See the module. ``admins``: ids of the server's administrators."""

    def __init__(self, admins: frozenset[str] = frozenset()) -> None:
        self._admins = admins
        self._places: dict[str, list[Place]] = {}
        self._away: set[str] = set()
        self._seen: OrderedDict[str, User] = OrderedDict()

    def came(self, user: User, place: Place) -> None:
        """``user`` is at ``place``, until `went`."""
        self._places.setdefault(user.id, []).append(place)
        self._seen[user.id] = user
        self._seen.move_to_end(user.id)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def went(self, user_id: str, place: Place) -> None:
        """The user is not at ``place`` any more."""
        places = self._places[user_id]
        places.remove(place)
        if not places:
            del self._places[user_id]
            self._away.discard(user_id)

    def set_away(self, user_id: str, *, away: bool) -> bool:
        """The user, who is here, says whether they are away; returns whether that is new."""
        if away == (user_id in self._away):
            return False
        if away:
            self._away.add(user_id)
        else:
            self._away.discard(user_id)
        return True

    def is_away(self, user_id: str) -> bool:
        """Whether the user has said so."""
        return user_id in self._away

    def places(self, user_id: str) -> list[Place]:
        """Where the user is now."""
        return list(self._places.get(user_id, ()))

    def seen(self, user_id: str) -> User | None:
        """Who has this id, if they are here or were lately."""
        return self._seen.get(user_id)

    def administers(self, user_id: str) -> bool:
        """Whether the server's settings make this user an administrator."""
        return user_id in self._admins

    def is_admin(self, user_id: str) -> bool:
        """Whether this user is known to be an administrator of the server."""
        return user_id in self._admins or any(place.admin for place in self._places.get(user_id, ()))
