"""What is to be stored when somebody changes a room: creates it, says who has which role, or how it is.

Owns the rules of these operations, for sessions and members in process alike: each gives the event to append,
or the stored one that it comes to, or raises `Refusal`. Refuses to know who is told, and how.

The rights are those of `trio_chat.chat.access`. What they leave open is decided here: whom something can be
done to, and that a room does not lose its last owner. At last each event is tried on a copy of the state: one
that the fold would not count is not stored.
"""

import base64
import hashlib
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ..log.base import Append, Appended, Event, EventLog
from . import control, limits, schema
from .access import outranks
from .changes import Author
from .control import ControlBody
from .listing import listing
from .pending import idempotency_key
from .people import People
from .refusal import Refusal, require
from .room import Room
from .schema import Role, Standing, User
from .state import decode_state, encode_state

DIRECT_PREFIX: Final = "dm-"
_DIRECT_CHARS: Final = 26
ASK_AGAIN_SECONDS: Final = 600.0
"""How long somebody who has asked to be let in has to wait before asking again."""
_MAX_ASKED: Final = 10_000


def direct_name(one: str, other: str) -> str:
    """The name of the room of two users, by their ids: the same whoever asks."""
    ids = "\n".join(sorted((one, other)))
    digest = base64.b32encode(hashlib.sha256(ids.encode()).digest()).decode().lower()
    return DIRECT_PREFIX + digest[:_DIRECT_CHARS]


def is_direct_name(name: str) -> bool:
    """Whether this could be the name of a direct room: nobody else's room is called so."""
    rest = name.removeprefix(DIRECT_PREFIX)
    return (
        name.startswith(DIRECT_PREFIX)
        and len(rest) == _DIRECT_CHARS
        and all(c in "abcdefghijklmnopqrstuvwxyz234567" for c in rest)
    )


class Governing:
    """See the module. ``clock`` gives Unix time in seconds; ``rooms`` are those in memory."""

    def __init__(
        self, log: EventLog, people: People, clock: Callable[[], float], rooms: Mapping[str, Room]
    ) -> None:
        self._log = log
        self._rooms = rooms
        self._people = people
        self._clock = clock
        self._asked: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def decide(self, room: Room, by: Author, request: schema.Request) -> Append | Appended | None:
        """What ``request`` comes to; None: there is nothing to do. Raises `Refusal`, `LogUnavailable`."""
        try:
            return await RULES[type(request)](self, room, by, request)
        except Refusal:
            if isinstance(request.id, str):  # it may be refused because it was carried out before
                stored = await self._log.find(room.name, idempotency_key(request.id, by.user))
                if stored is not None:
                    return stored
            raise

    # --- rooms -----------------------------------------------------------------------------------------

    async def create(self, room: Room, by: Author, request: schema.Create) -> Append:
        """A room with an owner."""
        if is_direct_name(room.name):
            raise Refusal("bad_request", "room: names like this one are for direct rooms")
        if room.head:
            raise Refusal("exists", f"room: there is a room {room.name!r} already")
        body = control.CreatedBody(
            user=by.user, id=request.id, kind=request.kind, topic=request.topic or UNSET
        )
        return self._append(room, by, "created", body)

    async def direct(self, room: Room, by: Author, request: schema.Direct) -> Append | Appended:
        """The room of two; if it is there already, its first event."""
        if room.head:
            return Appended(1, 0, duplicate=True)
        other = self._present(request.user)
        if other is None:
            raise _nobody()
        body = control.CreatedBody(user=by.user, id=request.id, kind="direct", members=[by.user, other])
        return self._append(room, by, "created", body)

    async def settings(self, room: Room, by: Author, request: schema.ChangeSettings) -> Append:
        """Other settings."""
        members: list[User] | UnsetType = UNSET
        if request.slow_seconds is UNSET and request.archived is UNSET and request.private is UNSET:
            raise Refusal("bad_request", "settings: give slow_seconds, archived or private")
        if request.slow_seconds is not UNSET:
            self._require(room, by, "slow_seconds")
        if request.archived is not UNSET:
            self._require(room, by, "archived")
        if request.private is not UNSET:
            self._require(room, by, "private")
            if request.private:
                members = room.listed(limits.MAX_WHO_MEMBERS)
        body = control.SettingsBody(
            user=by.user,
            id=request.id,
            admin=by.admin,
            slow_seconds=request.slow_seconds,
            archived=request.archived,
            private=request.private,
            members=members,
        )
        return self._append(room, by, "settings", body)

    # --- coming and going ------------------------------------------------------------------------------

    async def invite(self, room: Room, by: Author, request: schema.Invite) -> Append:
        """Another member, who is told."""
        self._require(room, by, "invite")
        assert isinstance(request.user, str)
        target = await self._find(room, request.user)
        if target.id in room.state.entries:
            raise Refusal("exists", f"user: {target.name} is a member already")
        if room.state.banned(target.id, self._clock()):
            raise Refusal("banned", f"user: {target.name} is banned from this room")
        return self._member(room, by, target, "member", request.id)

    def come_in(self, room: Room, by: Author, inviter: str, *, admin: bool) -> Append | None:
        """Membership by a link that ``inviter`` has made, ``admin``: as an administrator; None: it is there
        already."""
        state, now = room.state, self._clock()
        if by.user.id in state.entries:
            return None
        if state.banned(by.user.id, now):
            raise Refusal("banned", "you are banned from this room")
        if state.why_not("invite", inviter, now, admin=admin) is not None:
            raise Refusal("private", "invitation: whoever has made it may not invite any more")
        body = control.MemberBody(
            user=by.user, admin=admin, target=by.user, role="member", invited_by=inviter
        )
        return self._append(room, Author(by.user, admin), "member", body)

    async def ask(self, room: Room, by: Author, request: schema.Ask) -> Append:
        """A wish to be let in, for the members to see."""
        self._require(room, by, "ask")
        if room.state.role_of(by.user.id, self._clock(), admin=by.admin) != "none":
            raise Refusal("exists", "ask: you are a member already")
        place, now = (room.name, by.user.id), self._clock()
        again_at = self._asked.get(place, -math.inf) + ASK_AGAIN_SECONDS
        if now < again_at:
            raise Refusal("slow_mode", "ask: you have asked already", retry_after=again_at - now)
        self._asked[place] = now
        if len(self._asked) > _MAX_ASKED:
            self._asked.popitem(last=False)
        body = AskedBody(user=by.user, id=request.id, text=request.text)
        return _event(room, by, "asked", body)

    async def give_up(self, room: Room, by: Author, request: schema.Leave) -> Append | None:
        """The end of a membership, or of a role; None if there is none that could end."""
        entry = room.state.entries.get(by.user.id)
        if entry is None and room.state.kind == "public":
            return None
        self._require(room, by, "give_up")
        if entry is None:
            return None
        self._keep_an_owner(room, by.user)
        return self._member(room, Author(by.user), by.user, "none", request.id)

    async def kick(self, room: Room, by: Author, request: schema.Kick) -> Append:
        """A member removed, who may come back if the room is public."""
        self._require(room, by, "kick")
        target = await self._find(room, request.user)
        if target.id not in room.state.entries and target.id not in room.users:
            raise Refusal("not_found", f"user: {target.name} is not in this room")
        self._above(room, by, target)
        return self._member(room, by, target, "none", request.id, request.reason)

    async def ban(self, room: Room, by: Author, request: schema.Ban) -> Append:
        """Somebody kept out."""
        self._require(room, by, "ban")
        target = await self._find(room, request.user)
        self._above(room, by, target)
        until = self._until(request.seconds)
        return self._member(room, by, target, "banned", request.id, request.reason, until)

    async def unban(self, room: Room, by: Author, request: schema.Unban) -> Append:
        """Somebody no longer kept out."""
        self._require(room, by, "ban")
        ban = room.state.bans.get(request.user)
        if ban is None or not room.state.banned(request.user, self._clock()):
            raise Refusal("not_found", "user: is not banned")
        return self._member(room, by, ban.user, "none", request.id)

    # --- roles and mutes -------------------------------------------------------------------------------

    async def role(self, room: Room, by: Author, request: schema.ChangeRole) -> Append:
        """Another role of somebody below, or a lower one of one's own."""
        now = self._clock()
        oneself = request.user == by.user.id and not by.admin
        if not oneself:
            self._require(room, by, "role")
        target = await self._find(room, request.user)
        before = room.state.role_of(target.id, now)
        if before == "none":
            raise Refusal("not_found", f"user: {target.name} is no member: invite them first")
        if before == request.role:
            raise Refusal("exists", f"user: {target.name} is {request.role} already")
        if oneself:
            if not outranks(before, request.role):
                raise Refusal("forbidden", "role: nobody raises their own role")
            self._keep_an_owner(room, target)
        elif target.id != by.user.id:
            self._above(room, by, target)
        return self._member(room, by, target, request.role, request.id)

    async def mute(self, room: Room, by: Author, request: schema.Mute) -> Append:
        """Somebody without a say."""
        self._require(room, by, "mute")
        target = await self._find(room, request.user)
        self._above(room, by, target)
        body = control.MutedBody(
            user=by.user,
            id=request.id,
            admin=by.admin,
            target=target,
            until=self._until(request.seconds),
        )
        return self._append(room, by, "muted", body)

    async def unmute(self, room: Room, by: Author, request: schema.Unmute) -> Append:
        """Somebody with a say again."""
        self._require(room, by, "mute")
        if room.state.muted_until(request.user, self._clock()) is None:
            raise Refusal("not_found", "user: is not muted")
        target = await self._find(room, request.user)
        body = control.UnmutedBody(user=by.user, id=request.id, admin=by.admin, target=target)
        return self._append(room, by, "unmuted", body)

    # --- what they share -------------------------------------------------------------------------------

    def _require(self, room: Room, by: Author, right: Any) -> None:
        require(room.state, right, by.user.id, self._clock(), admin=by.admin)

    def _above(self, room: Room, by: Author, target: User) -> None:
        """Nothing is done to an equal, nor to somebody above."""
        now = self._clock()
        own = room.state.role_of(by.user.id, now, admin=by.admin)
        theirs: Role = room.state.role_of(target.id, now, admin=self._people.is_admin(target.id))
        if target.id == by.user.id:
            raise Refusal("forbidden", "user: that is you")
        if not outranks(own, theirs):
            raise Refusal("forbidden", f"user: {target.name} is {theirs}, and you are {own}")

    def _keep_an_owner(self, room: Room, user: User) -> None:
        if room.state.sole_owner(user.id):
            raise Refusal("forbidden", "make somebody else owner first: you are the only one")

    def _until(self, seconds: float | UnsetType) -> float | UnsetType:
        return UNSET if isinstance(seconds, UnsetType) else round(self._clock() + seconds, 3)

    def _present(self, user_id: str) -> User | None:
        """Who has this id, if they are here or were lately, or are in some room on another node."""
        if (user := self._people.seen(user_id)) is not None:
            return user
        return next((room.users[user_id][0] for room in self._rooms.values() if user_id in room.users), None)

    async def _find(self, room: Room, user_id: str) -> User:
        """Who has this id: somebody with a role or a ban here, somebody present, or who spoke here lately."""
        if (entry := room.state.entries.get(user_id)) is not None:
            return entry.user
        if (ban := room.state.bans.get(user_id)) is not None:
            return ban.user
        if (user := self._present(user_id)) is not None:
            return user
        events = await self._log.read_before(
            room.name, room.head + 1, limits.PAGE_EVENTS, max_bytes=limits.PAGE_BYTES, kinds=("message",)
        )
        for event in reversed(events):
            author = msgspec.json.decode("{" + event.body, type=schema.MessageBody).user
            if author.id == user_id:
                return author
        raise _nobody()

    def _member(
        self,
        room: Room,
        by: Author,
        target: User,
        role: Standing,
        request_id: str | UnsetType,
        reason: str | UnsetType = UNSET,
        until: float | UnsetType = UNSET,
    ) -> Append:
        body = control.MemberBody(
            user=by.user,
            id=request_id,
            admin=by.admin,
            target=target,
            role=role,
            reason=reason or UNSET,
            until=until,
        )
        return self._append(room, by, "member", body)

    def _append(self, room: Room, by: Author, kind: str, body: ControlBody) -> Append:
        """The event, with what it changes in the lists of rooms."""
        append = _event(room, by, kind, body)
        after = decode_state(encode_state(room.state))
        event = Event(room.head + 1, int(self._clock() * 1000), kind, append.body)
        if after.fold(event) is None:
            raise Refusal("forbidden", "you may not do that")
        append.listing = listing(room.state, after)
        return append


class AskedBody(ControlBody, kw_only=True):
    """What somebody who asks to be let in says. It changes nothing, so it is no control event."""

    text: str | UnsetType = UNSET


def _event(room: Room, by: Author, kind: str, body: ControlBody) -> Append:
    key = idempotency_key(body.id, by.user) if isinstance(body.id, str) else None
    return Append(room.name, kind, schema.encode_body(body), key)


def _nobody() -> Refusal:
    return Refusal("not_found", "user: nobody with this id is known here")


RULES: Final[dict[type[schema.Request], Callable[..., Awaitable[Append | Appended | None]]]] = {
    schema.Create: Governing.create,
    schema.Direct: Governing.direct,
    schema.ChangeSettings: Governing.settings,
    schema.Invite: Governing.invite,
    schema.Ask: Governing.ask,
    schema.Leave: Governing.give_up,
    schema.Kick: Governing.kick,
    schema.Ban: Governing.ban,
    schema.Unban: Governing.unban,
    schema.ChangeRole: Governing.role,
    schema.Mute: Governing.mute,
    schema.Unmute: Governing.unmute,
}
