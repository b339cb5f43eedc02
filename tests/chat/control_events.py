"""Control events for tests, and rooms that are made of them."""

from typing import Any

from trio_chat.chat import control
from trio_chat.chat.schema import User, encode_body
from trio_chat.chat.state import RoomState
from trio_chat.log.base import Event

NAMES = ("ann", "bob", "carol", "dave", "eve", "root")
ANN, BOB, CAROL, DAVE, EVE, ROOT = (User(f"u-{name}", name) for name in NAMES)


def body(kind: str, user: User, /, **fields: Any) -> str:
    """The body of a control event."""
    return encode_body(control.BODIES[kind](user=user, **fields))


class Fold:
    """A room's state, made event by event; the clock stands still unless it is set."""

    def __init__(self) -> None:
        self.state = RoomState()
        self.now = 1_700_000_000.0
        self.events: list[Event] = []

    def __call__(self, kind: str, user: User, /, **fields: Any) -> bool:
        """Fold one more event; whether it changed anything."""
        event = Event(len(self.events) + 1, int(self.now * 1000), kind, body(kind, user, **fields))
        self.events.append(event)
        return self.state.fold(event) is not None

    def member(self, user: User, target: User, role: str, **fields: Any) -> bool:
        """Fold a ``member`` event."""
        return self("member", user, target=target, role=role, **fields)

    def role(self, user: User, **fields: Any) -> str:
        """The present role of a user."""
        return self.state.role_of(user.id, self.now, **fields)


def room_of(sort: str) -> Fold:
    """A room of this sort in which, as far as there can be such, ann is owner, bob moderator, carol member,
    eve is banned. dave has no part in it."""
    fold = Fold()
    if sort == "open":
        assert fold.member(ROOT, EVE, "banned", admin=True)
        return fold
    if sort == "direct":
        assert fold("created", BOB, kind="direct", members=[BOB, CAROL])
        return fold
    assert fold("created", ANN, kind=sort)
    for user in (BOB, CAROL):
        assert fold.member(ANN, user, "member")
    assert fold.member(ANN, BOB, "moderator")
    assert fold.member(ANN, EVE, "banned")
    return fold
