"""A room's state: its kind, topic and settings, who has which role, who is banned or muted.

Owns the fold that makes the state out of the room's control events, and the answer to who may do what.
Refuses to know members, sockets and the log: it is pure, and what it is folded from is all that it knows.

Rules:

1. The same events give the same state, on every node and at any time: time is that of the events.
2. An event whose author had no right to it at that point changes nothing. It may be in the log, when the
   right was lost just before.
3. An event that the state counts already (``seq``) changes nothing.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct

from ..log.base import Event
from . import control
from .access import NOT_ARCHIVED, NOT_MUTED, Right, Sort, allows, outranks
from .control import ControlBody
from .schema import Role, RoomKind, User

Why = Literal["banned", "private", "archived", "muted", "forbidden"]
"""Why somebody may not: the code of the ``error``."""


class Entry(Struct, frozen=True):
    """Somebody with a role of their own."""

    user: User
    role: Role


class Ban(Struct, frozen=True):
    """Somebody who is kept out, ``until`` (Unix seconds) or for good."""

    user: User
    until: float | None = None


class RoomState(Struct, omit_defaults=True):
    """See the module. As it is created, it is that of a room without control events."""

    seq: int = 0
    """The last event that it counts."""
    kind: RoomKind = "public"
    claimed: bool = False
    """It was created, or somebody was given a role: it is no open room."""
    topic: str = ""
    slow_seconds: float = 0.0
    """Between two messages of one member; 0: nothing."""
    archived: bool = False
    entries: dict[str, Entry] = {}
    """By user id. In a room that isn't private, members need none."""
    bans: dict[str, Ban] = {}
    mutes: dict[str, float | None] = {}
    """By user id, until when (Unix seconds) or for good."""

    # --- asking ------------------------------------------------------------------------------------

    @property
    def sort(self) -> Sort:
        """Which column of `trio_chat.chat.access.TABLE` holds."""
        return self.kind if self.claimed else "open"

    @property
    def restricted(self) -> bool:
        """Somebody who is in the room may perhaps not say something now."""
        return self.archived or self.slow_seconds > 0 or bool(self.mutes)

    def role_of(self, user_id: str, now: float, *, admin: bool = False) -> Role:
        """The role of a user; ``admin``: an administrator of the server."""
        if admin and self.kind != "direct":
            return "admin"
        if self.banned(user_id, now):
            return "none"
        entry = self.entries.get(user_id)
        if entry is not None:
            return entry.role
        return "member" if self.kind == "public" else "none"

    def banned(self, user_id: str, now: float) -> bool:
        """Whether this user is kept out."""
        ban = self.bans.get(user_id)
        return ban is not None and (ban.until is None or now < ban.until)

    def muted_until(self, user_id: str, now: float) -> float | None:
        """Until when (Unix seconds) this user has no say: infinity for good, None if not muted."""
        if user_id not in self.mutes:
            return None
        until = self.mutes[user_id]
        if until is None:
            return float("inf")
        return until if now < until else None

    def why_not(self, right: Right, user_id: str, now: float, *, admin: bool = False) -> Why | None:
        """Why a user may not do something at this time; None: may."""
        role = self.role_of(user_id, now, admin=admin)
        if role == "none" and self.banned(user_id, now):
            return "banned"
        if not allows(right, self.sort, role):
            return "private" if role == "none" else "forbidden"
        if right in NOT_ARCHIVED and self.archived:
            return "archived"
        if right in NOT_MUTED and role != "admin" and self.muted_until(user_id, now) is not None:
            return "muted"
        return None

    def sole_owner(self, user_id: str) -> bool:
        """Whether others would be left without an owner if this one went."""
        owners = [each for each, entry in self.entries.items() if entry.role == "owner"]
        return owners == [user_id] and len(self.entries) > 1

    def other(self, user_id: str) -> User | None:
        """In a direct room, the other one of the two."""
        return next((entry.user for each, entry in self.entries.items() if each != user_id), None)

    # --- folding -----------------------------------------------------------------------------------

    def fold(self, event: Event) -> ControlBody | None:
        """Count a control event; returns its body if it has changed anything, else None."""
        if event.seq <= self.seq:
            return None
        self.seq = event.seq
        body = control.decoded(event)
        return body if _FOLDS[type(body)](self, body, event.at_ms / 1000) else None

    def _created(self, body: control.CreatedBody, at: float) -> bool:
        if self.seq != 1:
            return False
        self.kind, self.claimed = body.kind, True
        self.topic = "" if isinstance(body.topic, msgspec.UnsetType) else body.topic
        if body.kind == "direct":
            self._add(body.members, at)
        else:
            self.entries[body.user.id] = Entry(body.user, "owner")
        return True

    def _topic(self, body: control.TopicBody, at: float) -> bool:
        if not self._may("topic", body, at):
            return False
        self.topic = body.text
        return True

    def _settings(self, body: control.SettingsBody, at: float) -> bool:
        rights: list[Right] = [
            right for right in ("slow_seconds", "archived", "private") if getattr(body, right) is not UNSET
        ]
        if not all(self._may(right, body, at) for right in rights):
            return False
        if not isinstance(body.slow_seconds, msgspec.UnsetType):
            self.slow_seconds = body.slow_seconds
        if not isinstance(body.archived, msgspec.UnsetType):
            self.archived = body.archived
        if not isinstance(body.private, msgspec.UnsetType):
            self.kind, self.claimed = "private" if body.private else "public", True
            self._add(body.members, at)
        return True

    def _add(self, users: list[User] | msgspec.UnsetType, at: float) -> None:
        for user in [] if isinstance(users, msgspec.UnsetType) else users:
            if not self.banned(user.id, at):
                self.entries.setdefault(user.id, Entry(user, "member"))

    def _muted(self, body: control.MutedBody, at: float) -> bool:
        if not self._may("mute", body, at) or not self._above(body, body.target, at):
            return False
        self.mutes = {each: until for each, until in self.mutes.items() if until is None or at < until}
        self.mutes[body.target.id] = None if body.until is UNSET else body.until
        return True

    def _unmuted(self, body: control.UnmutedBody, at: float) -> bool:
        if body.target.id not in self.mutes or not self._may("mute", body, at):
            return False
        del self.mutes[body.target.id]
        return True

    def _member(self, body: control.MemberBody, at: float) -> bool:
        if not self._lawful(body, at):
            return False
        target = body.target
        if body.role == "banned":
            self.bans = {each: ban for each, ban in self.bans.items() if self.banned(each, at)}
            self.bans[target.id] = Ban(target, None if body.until is UNSET else body.until)
        else:
            self.bans.pop(target.id, None)
        if body.role == "none" or body.role == "banned":
            self.entries.pop(target.id, None)
        else:
            self.entries[target.id] = Entry(target, body.role)
            self.claimed = self.claimed or body.role != "member"
        return True

    def _lawful(self, body: control.MemberBody, at: float) -> bool:
        """Whether the author may make the target what the event says."""
        target = body.target.id
        before = self.role_of(target, at)
        if body.user.id == target:
            return self._by_oneself(body, before, at)
        if body.role == "banned":
            return self._may("ban", body, at) and self._above(body, body.target, at)
        if self.banned(target, at):
            return body.role == "none" and self._may("ban", body, at)
        if body.role == "none":
            return self._may("kick", body, at) and self._above(body, body.target, at)
        if body.role == "member" and target not in self.entries:
            return self._may("invite", body, at)
        return before != "none" and self._may("role", body, at) and self._above(body, body.target, at)

    def _by_oneself(self, body: control.MemberBody, before: Role, at: float) -> bool:
        """Whether the author may change what they are themselves: come by a link, step down, leave."""
        user_id = body.user.id
        if isinstance(body.invited_by, str):
            stranger = body.role == "member" and before == "none" and not self.banned(user_id, at)
            return stranger and self.why_not("invite", body.invited_by, at, admin=body.admin) is None
        if body.role == "banned":
            return False
        if body.admin and self.kind != "direct":
            return True
        if before == "none" or self.sole_owner(user_id):
            return False
        return self._may("give_up", body, at) if body.role == "none" else outranks(before, body.role)

    def _may(self, right: Right, body: ControlBody, at: float) -> bool:
        return self.why_not(right, body.user.id, at, admin=body.admin) is None

    def _above(self, body: ControlBody, target: User, at: float) -> bool:
        """Whether the author stands above the target."""
        role = self.role_of(body.user.id, at, admin=body.admin)
        return outranks(role, self.role_of(target.id, at))


_FOLDS: Final[dict[type[ControlBody], Callable[[RoomState, Any, float], bool]]] = {
    control.CreatedBody: RoomState._created,
    control.TopicBody: RoomState._topic,
    control.SettingsBody: RoomState._settings,
    control.MutedBody: RoomState._muted,
    control.UnmutedBody: RoomState._unmuted,
    control.MemberBody: RoomState._member,
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RoomState).decode


def encode_state(state: RoomState) -> str:
    """``state`` as a text, for the log to keep."""
    return _encode(state).decode()


def decode_state(text: str | None) -> RoomState:
    """What `encode_state` made a text of; of None, the state of a room without control events."""
    return RoomState() if text is None else _decode(text)
