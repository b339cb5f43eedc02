"""Control events: what changes a room and not its messages; the part of them that their author determines.

Owns the shapes of their bodies (`trio_chat.log.base.Append.body`), for whoever writes and whoever folds
them. Knows no rights.
"""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..log.base import Event
from .schema import RoomKind, Standing, User


class ControlBody(Struct, omit_defaults=True, kw_only=True):
    """``user`` did it, ``id`` is that of the request; ``admin``: as an administrator of the server."""

    user: User
    id: str | UnsetType = UNSET
    admin: bool = False


class CreatedBody(ControlBody, kw_only=True):
    """The room's first event. Its author is the owner, but in a direct room, of which two are ``members``."""

    kind: RoomKind
    topic: str | UnsetType = UNSET
    members: list[User] | UnsetType = UNSET


class MemberBody(ControlBody, kw_only=True):
    """``target`` is ``role`` from now on; a ban ends ``until`` (Unix seconds).

    ``invited_by``: the id of the user by whose link the target, who is the author, comes in.
    """

    target: User
    role: Standing
    reason: str | UnsetType = UNSET
    until: float | UnsetType = UNSET
    invited_by: str | UnsetType = UNSET


class MutedBody(ControlBody, kw_only=True):
    """``target`` has no say ``until`` then (Unix seconds), or until it is unmuted."""

    target: User
    until: float | UnsetType = UNSET


class UnmutedBody(ControlBody, kw_only=True):
    """``target`` has a say again."""

    target: User


class SettingsBody(ControlBody, kw_only=True):
    """What has changed. ``members``: who is in a room that becomes private, beside those with a role."""

    slow_seconds: float | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    private: bool | UnsetType = UNSET
    members: list[User] | UnsetType = UNSET


class TopicBody(ControlBody, kw_only=True):
    """What the room is about."""

    text: str


BODIES: dict[str, type[ControlBody]] = {
    "created": CreatedBody,
    "member": MemberBody,
    "muted": MutedBody,
    "unmuted": UnmutedBody,
    "settings": SettingsBody,
    "topic": TopicBody,
}
KINDS = tuple(BODIES)
"""The kinds of events that a room's state is made of."""

_DECODERS = {kind: msgspec.json.Decoder(body).decode for kind, body in BODIES.items()}


def decoded(event: Event) -> ControlBody:
    """The body of a control event."""
    body: ControlBody = _DECODERS[event.kind]("{" + event.body)
    return body
