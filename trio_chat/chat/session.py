"""A session: one user on one connection of the chat endpoint.

Owns the limits on one connection, its memberships, and the table of the operations (`OPERATIONS`); those that
are about messages are in modules of their own. Refuses to know how frames travel and where events are kept.

Rules: every request that can be answered is answered in order; a wrong one gets an `error` that names the
field and costs one of `limits.MAX_BAD_REQUESTS`; nothing is read from the client while its outbox holds
more than it may.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import trio
from msgspec import UNSET, UnsetType

from ..config import Config
from ..log.base import Append, Appended, LogUnavailable
from ..wire.connection import Connection
from ..wire.frames import TEXT, Message, compressed
from . import limits, membership, messages, reading, rules, schema
from .accounts import Accounts
from .attachments import look_up
from .changes import Author
from .hub import Hub
from .operations import AtOnce, Operations, Waiting
from .pending import Pending
from .refusal import Refusal, unavailable, valid
from .room import Member, Room, text_frame
from .schema import User, encode
from .tokens import BadToken

_COMPRESSED_REPLY_BYTES = 1024
"""Replies longer than this, history above all, are worth compressing for one client."""


@attrs.frozen
class Invitation:
    """What the upgrade request already said: who, which rooms, how many past messages."""

    user: User | None = None
    name: str | None = None
    rooms: tuple[str, ...] = ()
    last: str | None = None
    expires_at: float | None = None
    admin: bool = False


class Session:
    """See the module. It is its connection's handler."""

    __slots__ = (
        "_accounts", "_author", "_bad", "_behind", "_bucket", "_catching_up", "_config", "_connection",
        "_expires_at", "_guest", "_hub", "_invitation", "_members", "_outbox", "_resumable", "_stranger",
        "_throttled_at", "user",
    )  # fmt: skip

    def __init__(
        self, hub: Hub, accounts: Accounts, connection: Connection, config: Config, invitation: Invitation
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._connection = connection
        self._outbox = connection.outbox
        self._config = config
        self._invitation: Invitation | None = invitation
        self._members: dict[str, Member] = {}
        self._behind: deque[Member] | None = None
        self._catching_up: trio.CancelScope | None = None
        self._bucket = limits.Bucket(config.rate, config.burst, at=trio.current_time())
        self._bad = limits.Bucket(1.0, limits.MAX_BAD_REQUESTS, at=trio.current_time())
        self._throttled_at: float | None = None
        self._guest = invitation.user is None
        self._stranger = self._guest and not accounts.takes_guests
        self._expires_at = invitation.expires_at
        self._resumable = False
        if invitation.user is not None:
            self.user = invitation.user
            hub.guests.hold_name(self.user.name, self.user.id)
        else:
            user_id = hub.guests.new_id()
            wanted = f"guest-{user_id[-4:]}"
            if invitation.name is not None:
                with suppress(ValueError):  # `on_open` says what is wrong with it
                    wanted = schema.user_name(invitation.name)
            self.user = User(user_id, hub.guests.claim_name(wanted, user_id))
            hub.markers.is_new(self.user)
        self._author = self._as_author(admin=invitation.admin)
        hub.people.came(self.user, self)
        connection.label.user = self.user.name
        if self._stranger:
            accounts.await_sign_in(connection)

    # --- the connection's handler --------------------------------------------------------------------

    async def on_open(self) -> None:
        """Do what the query of the upgrade request asks for."""
        invitation, self._invitation = self._invitation, None
        assert invitation is not None
        if invitation.name is not None and self._guest:
            try:
                valid(schema.user_name, invitation.name)
            except Refusal as refusal:
                self._error(UNSET, refusal, bad=True)
        for room in invitation.rooms:
            last: int | UnsetType = UNSET
            if invitation.last is not None:
                last = (
                    int(invitation.last) if invitation.last.isdecimal() and len(invitation.last) < 16 else -1
                )
            await self._answer(schema.Join(room=room, last=last), self._join)

    def take(self, received: list[Message]) -> list[Message]:
        """Carry out operations until one has to wait; it and those after it are returned."""
        for index, (opcode, payload) in enumerate(received):
            if self._outbox.crowded or (self._config.rate and not self._bucket.ready(trio.current_time())):
                return received[index:]
            if self._connection.closing:
                return []
            request = self._decode(opcode, payload)
            if request is None:
                continue
            operation = OPERATIONS[type(request)]
            if isinstance(operation, Waiting) or (operation.appends and not self._has_place(request)):
                return received[index:]
            if self._config.rate:
                self._bucket.take(trio.current_time(), schema.cost(len(payload)))
                if self._throttled_at is not None:
                    self._rested()
            self._carry_out(request, operation)
        return []

    async def on_messages(self, received: list[Message]) -> None:
        """Carry out operations, waiting for each as long as it needs."""
        if len(received) == 1:
            self._throttled_at = None  # it waits for the answers: slowing it down is enough
        for opcode, payload in received:
            if self._config.rate:
                await self._pace(schema.cost(len(payload)))
            if self._outbox.crowded:
                await self._outbox.flushed()
            if self._connection.unreachable:
                return
            request = self._decode(opcode, payload)
            if request is None:
                continue
            operation = OPERATIONS[type(request)]
            if isinstance(operation, Waiting):
                await self._answer(request, partial(operation.carry_out, self))
                continue
            if operation.appends and not self._has_place(request):
                await self._answer(request, partial(self._prepare, operation))
            else:
                self._carry_out(request, operation)

    async def _prepare(self, operation: AtOnce, request: Any) -> None:
        """Wait until an append can be carried out, and do it."""
        if files := getattr(request, "files", None):
            await look_up(self._hub.changes.files, files)
        await self._hub.ready(self.member(request.room))
        if not self._outbox.finished:
            self._carry_out(request, operation)

    async def settle(self) -> None:
        """Nothing to wait for: what isn't acknowledged by then, the client sends again."""

    async def on_drained(self) -> None:
        """Have the members that are behind brought up to their rooms' heads."""
        if self._behind and self._catching_up is None:
            self._catching_up = trio.CancelScope()
            self._connection.spawn(self._catch_up)

    async def _catch_up(self) -> None:
        """Offer what was missed, page by page, until the outbox has to drain first.

        In a task of its own, because it may wait for the log: answers and other rooms must not wait with it.
        """
        behind, scope = self._behind, self._catching_up
        assert scope is not None
        try:
            with scope:
                while behind:
                    member = behind.popleft()
                    if not await self._hub.catch_up(member):
                        behind.append(member)
                        break
        finally:
            self._catching_up = None

    def farewell(self, code: int, reason: str, retry_after: float | None) -> bytes | None:
        """``bye``: why, and when to come back."""
        after = UNSET if retry_after is None else round(retry_after, 3)
        return text_frame(encode(schema.Bye(code=code, reason=reason, retry_after=after)))

    def on_closed(self) -> None:
        """Leave every room and give the name back."""
        if self._catching_up is not None:
            self._catching_up.cancel()
        for member in list(self._members.values()):
            self._leave_room(member)
        self._hub.people.went(self.user.id, self)
        # 1000 says that it was meant to end; whoever was lost, or reloads its page (1001), may come back.
        comes_back = self._guest and self._resumable and self._connection.close_code != 1000
        self._hub.guests.free_name(self.user.name, self.user.id, reserve=comes_back)

    # --- answering -----------------------------------------------------------------------------------

    def _decode(self, opcode: int, payload: bytes) -> schema.ClientOp | None:
        """The request in a message; None if there is none, which the client is told."""
        if opcode != TEXT:
            self._connection.close(1003, "this endpoint takes text messages only")
            return None
        try:
            request: schema.ClientOp = schema.decode_client_op(payload)
        except rules.NOT_DECODED as error:
            refusal = Refusal("bad_request", rules.describe(error, payload))
            self._error(schema.request_id(payload), refusal, bad=True)
            return None
        return request

    def _has_place(self, request: Any) -> bool:
        """Whether the hub takes an append to the request's room now; what will be refused needs no place.

        One with files may have to wait for these to be found.
        """
        try:
            return self._hub.takes(self.member(request.room).room) and not getattr(request, "files", None)
        except Refusal:
            return True

    def _carry_out(self, request: schema.ClientOp, operation: AtOnce) -> None:
        """An operation that doesn't wait."""
        if self._stranger and not isinstance(request, schema.Hello):
            self._turn_away()
            return
        try:
            operation.carry_out(self, request)
        except Refusal as refusal:
            self._error(request.id, refusal, bad=refusal.retry_after is None)

    async def _answer(self, request: schema.Request, operation: Callable[..., Awaitable[None]]) -> None:
        """An operation that may wait for the log."""
        if self._stranger:
            self._turn_away()
            return
        try:
            await operation(request)
        except Refusal as refusal:
            self._error(request.id, refusal, bad=refusal.retry_after is None)
        except LogUnavailable as error:
            self._error(request.id, unavailable(str(error)))

    def reply(self, reply: schema.Op) -> None:
        """See `Asker`; so for those that follow."""
        data = text_frame(encode(reply))
        if self._outbox.window_bits and len(data) > _COMPRESSED_REPLY_BYTES:
            data = compressed(data, self._outbox.window_bits)
        self._outbox.force(data)

    def _error(self, re: str | UnsetType, refusal: Refusal, *, bad: bool = False) -> None:
        after = UNSET if refusal.retry_after is None else refusal.retry_after
        self.reply(schema.Error(re=re, code=refusal.code, message=refusal.message, retry_after=after))
        if bad and self._bad.take(trio.current_time()):
            self._connection.close(4510, "too many bad requests")

    async def _pace(self, cost: int) -> None:
        """Delay a client that is faster than its rate; end one that won't slow down."""
        now = trio.current_time()
        delay = self._bucket.take(now, cost)
        if not delay:
            self._rested()
            return
        if self._throttled_at is None:
            self._throttled_at = now
        elif now - self._throttled_at > limits.MAX_THROTTLED_SECONDS:
            shortest, longest = limits.REST_SECONDS
            self._connection.close(
                4029,
                f"more than {self._config.rate:g} operations per second for too long",
                retry_after=min(longest, max(shortest, self._bucket.refill_seconds())),
            )
            return
        await trio.sleep(delay)

    def _rested(self) -> None:
        if self._bucket.tokens + 1 > self._bucket.burst / 2:
            self._throttled_at = None

    @property
    def hub(self) -> Hub:
        return self._hub

    @property
    def guest(self) -> bool:
        return self._guest

    @property
    def author(self) -> Author:
        return self._author

    @property
    def admin(self) -> bool:
        return self._author.admin

    @property
    def rooms(self) -> list[Room]:
        return [member.room for member in self._members.values()]

    def member(self, room: str) -> Member:
        member = self._members.get(room)
        if member is None:
            member = self._members.get(valid(schema.room_name, room))
            if member is None:
                raise Refusal("not_joined", f"room: you have not joined {room!r}")
        return member

    # --- who ---------------------------------------------------------------------------------------------

    def _hello(self, request: schema.Hello) -> None:
        if isinstance(request.token, str):
            try:
                self._sign_in(request.token)
            except Refusal as refusal:
                if not self._stranger:
                    raise
                self._error(request.id, refusal)
                self._connection.close(4501, refusal.message)
                return
        elif self._stranger:
            self._turn_away()
            return
        elif self._guest:
            resumed = self._hub.guests.resumed(request.resume) if isinstance(request.resume, str) else None
            user = resumed or self.user
            name = valid(schema.user_name, request.name) if isinstance(request.name, str) else user.name
            self._become(User(user.id, name))
            self._leave_closed_rooms()
        self._resumable = True
        self.reply(
            schema.Welcome(
                re=request.id,
                session=self._hub.guests.session_token(
                    self.user, signed_in=not self._guest, until=self._expires_at
                ),
                user=self.user,
                limits=schema.Limits(
                    max_message_bytes=self._config.max_message,
                    max_text_chars=schema.MAX_TEXT_CHARS,
                    max_rooms=limits.MAX_ROOMS_PER_SESSION,
                    rate=self._config.rate,
                    burst=self._config.burst,
                    max_file_bytes=self._config.max_file,
                ),
                heartbeat=self._config.heartbeat,
            )
        )

    def _sign_in(self, token: str) -> None:
        """Be who ``token`` speaks of, or stay who that is for longer. Raises `Refusal`."""
        try:
            identity = self._accounts.verify(token)
            if not self._guest and identity.user.id != self.user.id:
                raise BadToken("token: another user is signed in on this connection")
        except BadToken as error:
            raise Refusal("bad_token", str(error)) from None
        self._guest = self._stranger = False
        self._expires_at = identity.expires_at
        self._accounts.end_at(self._connection, identity.expires_at)
        self._become(identity.user)
        self._author = self._as_author(admin=identity.admin)
        self._leave_closed_rooms()

    def _as_author(self, *, admin: bool = False) -> Author:
        return Author(self.user, admin or self._hub.people.administers(self.user.id))

    def _leave_closed_rooms(self) -> None:
        """Leave the rooms in which the user may not be that the client is now."""
        now = self._hub.clock()
        for member in list(self._members.values()):
            room = member.room
            if room.state.why_not("join", self.user.id, now, admin=self.admin) is not None:
                self.removed(room, None, f"{self.user.name} may not be in this room")

    def _turn_away(self) -> None:
        """There are no guests here, and this is one."""
        self._connection.close(4501, "sign in first")

    def _become(self, wanted: User) -> None:
        """Be somebody else, or the same under another name; rooms joined already are told."""
        if wanted == self.user:
            return
        old, guests = self.user, self._hub.guests
        guests.free_name(old.name, old.id)
        if self._guest:
            self.user = User(wanted.id, guests.claim_name(wanted.name, wanted.id))
        else:
            self.user = wanted
            guests.hold_name(wanted.name, wanted.id)
        self._author = self._as_author()
        self._hub.people.went(old.id, self)
        self._hub.people.came(self.user, self)
        self._connection.label.user = self.user.name
        for member in self._members.values():
            if member.room.rename(member, self.user) and old.id != self.user.id:
                self._hub.signals.tell_presence(member.room, old, online=False)
            self._hub.signals.tell_presence(member.room, self.user, online=True)

    # --- rooms -------------------------------------------------------------------------------------------

    async def _join(self, request: schema.Join) -> None:
        name = valid(schema.room_name, request.room)
        if name in self._members:
            raise Refusal("already_joined", f"room: you have joined {name!r} already")
        if len(self._members) >= limits.MAX_ROOMS_PER_SESSION:
            raise Refusal("too_many_rooms", f"room: at most {limits.MAX_ROOMS_PER_SESSION} rooms at once")
        if isinstance(request.last, int) and request.last < 0:
            raise Refusal("bad_request", "last: a number of messages, 0 or more")
        async with self._hub.decisions.opened(name) as room:
            read = await self._hub.markers.mark_of(self.user, name)
            await membership.admit(self, room, request.invitation)
            if isinstance(request.since, int) and self._hub.log.shared:
                await self._hub.catch_up_with(room, request.since, request.epoch)
                await membership.admit(self, room, UNSET)  # the other node may know better
            if not self._connection.closing:  # else nobody would leave the room again
                self._enter(room, request, read)

    def _enter(self, room: Room, request: schema.Join, read: int | None) -> None:
        cursor, recovered = starting_point(room, request)
        member, came = room.join(
            self.user, self._outbox, self._fell_behind, cursor, self._disconnect, self._room_restarted
        )
        self._members[room.name] = member
        if room.on_overflow == "block":
            self._outbox.on_finished = self._let_go
        self.reply(membership.joined(self, room, request, recovered=recovered, read=read))
        if not member.live:
            self._fell_behind(member)
            self._outbox.wake()
        if came:
            self._hub.signals.tell_presence(room, self.user, online=True)

    def _fell_behind(self, member: Member) -> None:
        if self._behind is None:
            self._behind = deque()
        self._behind.append(member)
        self._outbox.wake()

    def _disconnect(self) -> None:
        self._connection.close(1013, "this client reads too slowly for the room", forget=True)

    def _room_restarted(self) -> None:
        """A room's log has lost events: everybody comes back, and learns that by the room's new epoch."""
        after = 0.5 + self._hub.rng.random()
        self._connection.close(1012, "the event log has lost events", retry_after=after)

    def _let_go(self) -> None:
        for member in self._members.values():
            self._hub.let_go(member)

    def leave(self, room: str) -> None:
        if (member := self._members.get(room)) is not None:
            self._leave_room(member)

    def tell(self, frame: bytes) -> None:
        """See `trio_chat.chat.people.Place`."""
        self._outbox.offer_signal(frame)

    def removed(self, room: Room, code: int | None, reason: str) -> None:
        """See `trio_chat.chat.people.Place`. Who is nowhere any more then has nothing left to do here."""
        member = self._members.get(room.name)
        if member is None:
            return
        self._leave_room(member)
        self.reply(schema.Left(room=room.name, code=UNSET if code is None else code, reason=reason))
        if code is not None and not self._members:
            self._connection.close(code, reason)

    def _leave_room(self, member: Member) -> None:
        room = member.room
        del self._members[room.name]
        if room.leave(member):
            self._hub.signals.tell_presence(room, member.user, online=False)
        self._hub.release(room)

    # --- appending ---------------------------------------------------------------------------------------

    def stored(self, pending: Pending, appended: Appended) -> None:
        """Tell the client that its event is in the log."""
        self.acknowledge(pending.room.name, pending.request_id, appended.seq, appended.at_ms)

    def refused(self, pending: Pending, reason: str) -> None:
        """Tell the client that its event is not in the log, and when to try again."""
        self._error(pending.request_id, unavailable(reason))

    def acknowledge(self, room: str, request_id: str | UnsetType, seq: int, at_ms: int) -> None:
        self.reply(schema.Ack(re=request_id, room=room, seq=seq, at=at_ms / 1000))

    def submit(
        self,
        member: Member,
        append: Append,
        request_id: str | UnsetType,
        sent: tuple[User, str, str] | None = None,
    ) -> None:
        self._hub.submit(Pending(append, member.room, self, request_id, member, sent))

    async def store(self, member: Member, append: Append, request_id: str | UnsetType) -> None:
        await self._hub.ready(member)
        if self._outbox.finished:
            return
        if member not in member.room.members:  # put out of it meanwhile
            raise Refusal("not_joined", f"room: you have not joined {member.room.name!r}")
        self.submit(member, append, request_id)

    def _ping(self, request: schema.Ping) -> None:
        self.reply(schema.Pong(re=request.id))


OPERATIONS: Operations = {
    schema.Hello: AtOnce(Session._hello),
    schema.Join: Waiting(Session._join),
    schema.Ping: AtOnce(Session._ping),
    **membership.OPERATIONS,
    **messages.OPERATIONS,
    **reading.OPERATIONS,
}


def starting_point(room: Room, request: schema.Join) -> tuple[int, bool]:
    """Where a join begins (the last seq that counts as seen), and whether that is as ``since`` asked for."""
    if isinstance(request.since, int):
        same_life = request.epoch is UNSET or request.epoch == room.epoch
        if same_life and request.since <= room.head:
            return request.since, True
        return room.head, False
    if isinstance(request.last, int):
        return room.before_last(request.last), False
    return room.head, False
