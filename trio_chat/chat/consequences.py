"""What follows from a control event for those who are here.

Owns who is told of an invitation, and who is put out of a room. Refuses to know how.
"""

from collections.abc import Collection

from .control import ControlBody, CreatedBody, MemberBody, SettingsBody
from .people import People
from .room import Room, text_frame
from .schema import Invited, User, encode

REMOVED = 4503


def follow(room: Room, body: ControlBody, before: Collection[str], people: People, now: float) -> None:
    """Act on an event that has changed the room's state; ``before``: the ids of those who had a role."""
    if isinstance(body, MemberBody):
        _member(room, body, before, people)
    elif isinstance(body, CreatedBody):
        for other in room.state.entries.values():
            if other.user.id != body.user.id:
                _invited(room, other.user, body.user, people)
        _strangers(room, people, now, "the room is private now")
    elif isinstance(body, SettingsBody) and body.private is True:
        _strangers(room, people, now, "the room is private now")


def _member(room: Room, body: MemberBody, before: Collection[str], people: People) -> None:
    target = body.target
    if body.role in ("none", "banned"):
        by_others = body.user.id != target.id
        if not by_others:
            reason = "you have left for good"
        else:
            what = "banned" if body.role == "banned" else "removed"
            words = f": {body.reason}" if isinstance(body.reason, str) and body.reason else ""
            reason = f"{body.user.name} has {what} you{words}"
        for place in people.places(target.id):
            place.removed(room, REMOVED if by_others else None, reason)
    elif target.id != body.user.id and target.id not in before:
        _invited(room, target, body.user, people)


def _invited(room: Room, target: User, by: User, people: People) -> None:
    if target.id in room.users:
        return
    frame = text_frame(encode(Invited(room=room.name, kind=room.state.kind, user=by)))
    for place in people.places(target.id):
        place.tell(frame)


def _strangers(room: Room, people: People, now: float, reason: str) -> None:
    """Put those out who have no place in the room any more."""
    for user_id in list(room.users):
        for place in people.places(user_id):
            if room.state.role_of(user_id, now, admin=place.admin) == "none":
                place.removed(room, REMOVED, reason)
