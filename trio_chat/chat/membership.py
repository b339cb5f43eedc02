"""The rooms themselves: which there are, who is let in, and who may do what there.

Owns the operations that change rooms and not their messages, as sessions carry them out; their rules are in
`trio_chat.chat.governing`. Refuses to know how events are stored and shown.
"""

import math
from functools import partial
from typing import Any, Final

from msgspec import UNSET, UnsetType

from . import invitations, limits, schema
from .access import at_least
from .governing import direct_name, is_direct_name
from .invitations import Invitation
from .listing import decode_label, label_of
from .operations import Asker, AtOnce, Operations, Waiting
from .refusal import Refusal, require, valid
from .room import Room
from .schema import Role, RoomInfo
from .state import RoomState

# --- coming in -----------------------------------------------------------------------------------------


async def admit(asker: Asker, room: Room, invitation: str | UnsetType) -> None:
    """Let the asker in, perhaps by an invitation, or refuse."""
    state, by, now = room.state, asker.author, asker.hub.clock()
    if is_direct_name(room.name) and state.kind != "direct":
        raise Refusal("private", "room: names like this one are for direct rooms")
    why = state.why_not("join", by.user.id, now, admin=by.admin)
    if why == "private" and isinstance(invitation, str):
        found = _read(asker, room, invitation)
        await asker.hub.decisions.let_in(room, by, found.by, admin=found.admin)
    require(room.state, "join", by.user.id, asker.hub.clock(), admin=by.admin)


def _read(asker: Asker, room: Room, token: str) -> Invitation:
    found = invitations.read(asker.hub.log.secret, token)
    if found is None or found.room != room.name:
        raise Refusal("private", "invitation: not one for this room")
    if found.until <= asker.hub.clock():
        raise Refusal("expired", "invitation: it has expired, ask for another one")
    return found


def joined(
    asker: Asker, room: Room, request: schema.Join, *, recovered: bool, read: int | None
) -> schema.Joined:
    """What the asker is told who is in the room now. ``read``: up to where they have read it before."""
    state, by, now = room.state, asker.author, asker.hub.clock()
    until = state.muted_until(by.user.id, now)
    return schema.Joined(
        re=request.id,
        room=room.name,
        epoch=room.epoch,
        head=room.head,
        recovered=recovered,
        topic=state.topic,
        members=room.listed(limits.MAX_LISTED_MEMBERS),
        count=room.count,
        user=by.user,
        kind=state.kind,
        role=state.role_of(by.user.id, now, admin=by.admin),
        slow_seconds=state.slow_seconds or UNSET,
        archived=state.archived,
        read=UNSET if read is None else read,
        muted_until=UNSET if until is None else 0.0 if until == math.inf else until,
    )


# --- which rooms there are -----------------------------------------------------------------------------


async def rooms(asker: Asker, request: schema.Rooms) -> None:
    """The rooms in which the asker has a part, and then those that are open to everybody."""
    hub, user_id = asker.hub, asker.user.id
    found: dict[str, RoomInfo] = {}
    for listed in await hub.log.rooms_of(user_id, limits.MAX_LISTED_ROOMS):
        state = await hub.decisions.state_of(listed.room, listed.head)
        if user_id in state.entries:
            found[listed.room] = _info(asker, listed.room, listed.head, state)
    for listed in await hub.log.rooms(limits.MAX_LISTED_ROOMS):
        room = hub.rooms.get(listed.room)
        label = decode_label(listed.label) if room is None else label_of(room.state)
        if listed.room not in found and label.kind == "public":
            count, head = (0, listed.head) if room is None else (room.count, room.head)
            found[listed.room] = RoomInfo(
                listed.room, count, head, "public", topic=label.topic, archived=label.archived
            )
    for room in list(hub.rooms.values()):
        if room.users and room.name not in found and not room.head:
            found[room.name] = RoomInfo(room.name, room.count, 0, "public")
    for beyond in await hub.markers.unread(asker.user):
        if (info := found.get(beyond.room)) is not None:
            info.read, info.unread, info.mentions = beyond.seq, beyond.messages, beyond.naming
    asker.reply(schema.RoomList(re=request.id, rooms=list(found.values())[: limits.MAX_LISTED_ROOMS]))


def _info(asker: Asker, name: str, head: int, state: RoomState) -> RoomInfo:
    room = asker.hub.rooms.get(name)
    other = state.other(asker.user.id) if state.kind == "direct" else None
    return RoomInfo(
        name,
        room.count if room else 0,
        room.head if room else head,
        kind=state.kind,
        role=state.entries[asker.user.id].role,
        topic=state.topic,
        archived=state.archived,
        with_=UNSET if other is None else other,
    )


def who(asker: Asker, request: schema.Who) -> None:
    """Who is there and who is not, who of them is more than a member, and for moderators who is kept out or
    silent."""
    room, hub, by = asker.member(request.room).room, asker.hub, asker.author
    state, now = room.state, hub.clock()
    here = room.listed(limits.MAX_WHO_MEMBERS)
    absent = [entry.user for each, entry in state.entries.items() if each not in room.users]
    del absent[limits.MAX_WHO_MEMBERS :]
    roles: dict[str, Role] = {}
    for user in (*here, *absent):
        role = state.role_of(user.id, now, admin=hub.people.is_admin(user.id))
        if at_least(role, "moderator"):
            roles[user.id] = role
    answer = schema.Members(
        re=request.id,
        room=room.name,
        members=here,
        count=room.count,
        roles=roles,
        absent=absent,
        away=[user.id for user in here if hub.people.is_away(user.id)],
    )
    if state.why_not("ban", by.user.id, now, admin=by.admin) is None:
        banned = [ban.user for each, ban in state.bans.items() if state.banned(each, now)]
        answer.banned = banned[: limits.MAX_WHO_MEMBERS]
        muted = [each for each in state.mutes if state.muted_until(each, now) is not None]
        answer.muted = muted[: limits.MAX_WHO_MEMBERS]
    asker.reply(answer)


# --- changing them -------------------------------------------------------------------------------------


async def create(asker: Asker, request: schema.Create) -> None:
    """Create a room, and own it."""
    name = valid(schema.room_name, request.room)
    async with asker.hub.decisions.opened(name) as room:
        stored = await asker.hub.decisions.change(room, asker.author, request)
        assert stored is not None
        if stored.seq != 1:  # something was said there in the same moment
            raise Refusal("exists", f"room: there is a room {name!r} already")
        asker.acknowledge(name, request.id, stored.seq, stored.at_ms)


async def direct(asker: Asker, request: schema.Direct) -> None:
    """Say which room that of the asker and another user is, and make it if need be."""
    if request.user == asker.user.id:
        raise Refusal("bad_request", "user: somebody else than you")
    name = direct_name(asker.user.id, request.user)
    async with asker.hub.decisions.opened(name) as room:
        await asker.hub.decisions.change(room, asker.author, request)
        other = room.state.other(asker.user.id)
        if other is None:
            raise Refusal("exists", f"room: {name!r} is taken")
        asker.reply(schema.DirectRoom(re=request.id, room=name, with_=other))


async def invite(asker: Asker, request: schema.Invite) -> None:
    """Invite a user, or hand out a link."""
    if (request.user is UNSET) is not request.link:
        raise Refusal("bad_request", "user: a user, or link: true")
    if not request.link:
        await change(asker, request)
        return
    room, by, now = asker.member(request.room).room, asker.author, asker.hub.clock()
    require(room.state, "invite", by.user.id, now, admin=by.admin)
    until = math.ceil(now + request.expires_in)
    invitation = Invitation(room.name, by.user.id, until, by.admin)
    token = invitations.token_of(asker.hub.log.secret, invitation)
    asker.reply(schema.InvitationLink(re=request.id, room=room.name, token=token, expires_at=until))


async def ask(asker: Asker, request: schema.Ask) -> None:
    """Ask to be let in to a room that the asker is not in."""
    name = valid(schema.room_name, request.room)
    async with asker.hub.decisions.opened(name) as room:
        stored = await asker.hub.decisions.change(room, asker.author, request)
        assert stored is not None
        asker.acknowledge(name, request.id, stored.seq, stored.at_ms)


async def leave(asker: Asker, request: schema.Leave) -> None:
    """Leave a room; for good: give up what one is there."""
    if not request.for_good:
        name = asker.member(request.room).room.name
        asker.leave(name)
    else:
        name = valid(schema.room_name, request.room)
        async with asker.hub.decisions.opened(name) as room:
            leave = partial(asker.leave, name)
            if await asker.hub.decisions.change(room, asker.author, request, decided=leave) is None:
                asker.member(name)
                asker.leave(name)
    asker.reply(schema.Left(re=request.id, room=name))


async def change(asker: Asker, request: Any) -> None:
    """Any of the others: whoever is in the room may ask for it."""
    room = asker.member(request.room).room
    stored = await asker.hub.decisions.change(room, asker.author, request)
    assert stored is not None
    asker.acknowledge(room.name, request.id, stored.seq, stored.at_ms)


OPERATIONS: Final[Operations] = {
    schema.Leave: Waiting(leave),
    schema.Rooms: Waiting(rooms),
    schema.Who: AtOnce(who),
    schema.Create: Waiting(create),
    schema.Direct: Waiting(direct),
    schema.Invite: Waiting(invite),
    schema.Ask: Waiting(ask),
    schema.ChangeRole: Waiting(change),
    schema.Kick: Waiting(change),
    schema.Ban: Waiting(change),
    schema.Unban: Waiting(change),
    schema.Mute: Waiting(change),
    schema.Unmute: Waiting(change),
    schema.ChangeSettings: Waiting(change),
}
