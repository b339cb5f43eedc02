"""The client: a user of a chat server from a Trio program, across reconnects.

    async with open_client("http://127.0.0.1:8080", name="ann") as client:
        async with client.join("lobby") as room:
            event = await room.say("hello")
            async for event in room: ...

Owns the requests that wait for an answer, and what happens from one connection to the next;
`trio_chat.client_link` owns a connection, `trio_chat.client_room` a room's position and buffer. Imports
nothing of the server but the protocol's schema.

Rules:

1. Iterating a room gives its events in order and exactly once, whatever happens to connections: the
   position (epoch, seq) moves when an event enters the room's buffer, and what was lost is asked for from
   there. Where the server can't give it, a `Gap` or a `Reset` says so.
2. A request keeps its ``id`` when it is sent again, so `Room.say` stores one event.
3. Memory is bounded. When a room's buffer is full, the client stops reading its socket, and the server feels
   it; but only as long as nobody else needs the socket. When somebody waits for an answer or for another
   room, or nothing moves for `_PATIENCE_SECONDS`, the room *falls behind*: what comes for it is thrown away,
   and asked for again (leave, join ``since``) once its buffer is empty and somebody iterates it. So a room
   that nobody iterates stops nothing, and costs at most its buffer.
4. No task outlives `open_client`'s block. Every method may be cancelled; a cancelled `Room.say` may or may
   not have been stored.
"""

import logging
import math
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, TypeVar

import attrs
import trio
from msgspec import UNSET, Raw, UnsetType

from .chat import schema
from .chat.schema import File, Gap, Message, User
from .client_files import Source, parcel, send
from .client_link import (
    Address,
    CannotConnect,
    ClientError,
    Connect,
    Ended,
    Link,
    Refused,
    decode,
    open_link,
    open_stream,
    parse_url,
)
from .client_rights import RoomRights, given
from .client_room import (
    ChatError,
    Event,
    Hole,
    Inbox,
    Numbered,
    Position,
    Reset,
    Signal,
    Signals,
    UnknownEvent,
    as_event,
)

__all__ = [
    "CannotConnect",
    "ChatError",
    "Client",
    "ClientError",
    "Event",
    "File",
    "Gap",
    "Message",
    "Page",
    "Refused",
    "Reset",
    "Room",
    "Signal",
    "Signals",
    "State",
    "States",
    "UnknownEvent",
    "User",
    "open_client",
]

logger = logging.getLogger("trio_chat.client")

_R = TypeVar("_R", bound=schema.Reply)
Token = str | Callable[[], str] | None
State = Literal["connecting", "open", "reconnecting", "closed"]

_TRANSIENT = ("unavailable", "rate_limited")
_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0
_UPLOAD_TRIES = 6
_PATIENCE_SECONDS = 5.0
"""How long a full room may stop the reading, or half a heartbeat: less than what a server puts up with."""


@attrs.frozen
class Page:
    """Messages by ascending ``seq``, as they were at event ``as_of``; ``more``: there are others in the
    direction asked for."""

    messages: list[Message]
    more: bool
    as_of: int


@attrs.frozen
class Found:
    """Messages as they are now, the newest first; ``next``: search ``before`` that for more, None: no more
    are there."""

    messages: list[Message]
    next: str | None


@attrs.define(eq=False)
class _Request:
    op: schema.Request
    room: Inbox | None
    sent_on: Link | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    reply: schema.Reply | None = None
    error: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done.set()


def _refusal(op: schema.Error) -> ChatError:
    return ChatError(op.code, op.message, None if op.retry_after is UNSET else op.retry_after)


def _closed() -> Exception:
    return trio.ClosedResourceError("this client is closed")


class Room(RoomRights):
    """A room that the client is in. Iterate it for its events; see `Client.join`."""

    def __init__(self, client: "Client", inbox: Inbox) -> None:
        assert inbox.info is not None
        assert inbox.start is not None
        self.name = inbox.name
        self.epoch = inbox.start.epoch or inbox.info.epoch
        self.seq = inbox.start.seq
        """The last event that the iteration has handed out; with `epoch` the position to resume from."""
        self.signals = Signals(inbox, client._poke)
        """Presence, typing and what others have read, for a second iteration; the oldest are dropped when
        nobody reads them."""
        self._client = client
        self._inbox = inbox
        self._topic: tuple[schema.Joined, str] | None = None
        """That of the last event that changed it, and after which join."""

    @property
    def topic(self) -> str:
        """The room's topic, as far as the iteration has come; what it was at the last join, at least."""
        info, topic = self._topic or (None, "")
        return topic if info is self._info else self._info.topic

    @property
    def members(self) -> list[User]:
        """Who was there at the last join: at most 100 of them, `count` counts all."""
        return self._info.members

    @property
    def count(self) -> int:
        """How many users were there at the last join."""
        return self._info.count

    @property
    def kind(self) -> schema.RoomKind:
        """``public``, ``private`` or ``direct``, at the last join."""
        return self._info.kind

    @property
    def role(self) -> schema.Role:
        """What this user was in it at the last join: ``member``, ``moderator``, ``owner`` or ``admin``."""
        return self._info.role

    @property
    def _info(self) -> schema.Joined:
        assert self._inbox.info is not None
        return self._inbox.info

    async def say(
        self, text: str, *, reply_to: int | None = None, files: Sequence[File | str] = ()
    ) -> Message:
        """Say something; returns the event when the server has stored it. ``files``: what `Client.upload`
        gave, or hashes.

        Waits across reconnects. Raises `ChatError` if the server refuses. When cancelled, the event may or
        may not have been stored.
        """
        op = schema.Say(
            room=self.name,
            text=text,
            reply_to=UNSET if reply_to is None else reply_to,
            files=[file.hash if isinstance(file, File) else file for file in files] or UNSET,
        )
        ack = await self._client._ask(op, schema.Ack, self._inbox)
        user = self._client.user
        return Message(
            room=self.name, seq=ack.seq, at=ack.at, user=user, text=text, id=op.id, reply_to=op.reply_to,
            files=[file for file in files if isinstance(file, File)] or UNSET,
        )  # fmt: skip

    async def history(
        self, *, before: int | None = None, after: int | None = None, limit: int = schema.DEFAULT_HISTORY
    ) -> Page:
        """A page of messages: the last ones before ``before``, the first after ``after``, or the latest."""
        op = schema.History(
            room=self.name,
            before=UNSET if before is None else before,
            after=UNSET if after is None else after,
            limit=limit,
        )
        page = await self._client._ask(op, schema.HistoryPage, self._inbox)
        return Page(_messages(page.messages), page.more, page.as_of)

    async def edit(self, seq: int, text: str) -> int:
        """Give one's own message ``seq`` another text; returns the ``seq`` of that.

        This and the following wait and raise as `say` does.
        """
        return await self.change(schema.Edit(room=self.name, seq=seq, text=text))

    async def delete(self, seq: int) -> int:
        """Delete message ``seq``: one's own, or another's where one may."""
        return await self.change(schema.Delete(room=self.name, seq=seq))

    async def react(self, seq: int, emoji: str) -> int:
        """React to message ``seq``."""
        return await self.change(schema.React(room=self.name, seq=seq, emoji=emoji))

    async def unreact(self, seq: int, emoji: str) -> int:
        """Take a reaction back."""
        return await self.change(schema.Unreact(room=self.name, seq=seq, emoji=emoji))

    async def set_topic(self, text: str) -> int:
        """Say what the room is about."""
        return await self.change(schema.Topic(room=self.name, text=text))

    def read(self, seq: int) -> None:
        """Note that everything up to ``seq`` is read. Never waits; dropped while there is no connection."""
        link = self._client._link
        if link is not None and self._inbox.live:
            link.send(schema.Read(room=self.name, seq=seq))

    async def search(
        self, text: str, *, before: str | None = None, limit: int = schema.DEFAULT_FOUND
    ) -> Found:
        """See `Client.search`: in this room."""
        return await self._client._search(text, self._inbox, before, limit)

    async def who(self) -> list[User]:
        """Who is in the room now, at most 1,000."""
        return (await self._client._ask(schema.Who(room=self.name), schema.Members, self._inbox)).members

    async def change(self, op: schema.Request) -> int:
        """Have an operation on this room acknowledged; the event's ``seq``. For those of `RoomRights`."""
        return (await self._client._ask(op, schema.Ack, self._inbox)).seq

    async def invitation(self, *, expires_in: float = schema.INVITATION_SECONDS) -> schema.InvitationLink:
        """A ``token`` by which whoever has it can `Client.join` this private room, for so many seconds."""
        op = schema.Invite(room=self.name, link=True, expires_in=expires_in)
        return await self._client._ask(op, schema.InvitationLink, self._inbox)

    def typing(self) -> None:
        """Tell the others that this user is typing. Never waits; dropped when the connection is busy."""
        link = self._client._link
        if link is not None and self._inbox.live and link.idle:
            link.send(schema.Typing(room=self.name))

    def __aiter__(self) -> "Room":
        return self

    async def __anext__(self) -> Event:
        """The next event. Ends when the room is left; raises what ended the client otherwise."""
        if self._inbox.empty:
            self._client._starving(self._inbox)
        event = await self._inbox.take()
        self._client._poke()
        if isinstance(event, Reset):
            self.epoch, self.seq = event.epoch, event.head
        else:
            self.seq = event.to if isinstance(event, Gap) else event.seq
        if isinstance(event, schema.TopicChanged) and event.seq > self._info.head:
            self._topic = self._info, event.text
        return event


def _messages(raws: list[Raw]) -> list[Message]:
    """The messages of a page."""
    found = [decode(bytes(raw)) for raw in raws]
    return [message for message in found if isinstance(message, Message)]


def _backoff(failures: int) -> float:
    """The longest wait after so many failures, seconds."""
    return min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0 ** min(failures, 16))


class States:
    """See `Client.states`. Ends after ``closed``. A class, so that a loop over it may be left at any time."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._seen: State | None = None

    def __aiter__(self) -> "States":
        return self

    async def __anext__(self) -> State:
        """The next state that differs from the one before."""
        if self._seen == "closed":
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint()
        while self._client.state == self._seen:
            await self._client._state_changed.wait()
        self._seen = self._client.state
        return self._seen


class Client:
    """A signed-in user. Made by `open_client`."""

    def __init__(
        self, address: Address, connect: Connect, name: str | None, token: Token, session: str | None,
        timeout: float, rng: random.Random,
    ) -> None:  # fmt: skip
        self.user = User("", name or "")
        """Who the server says we are."""
        self.limits: schema.Limits | None = None
        self.session = session
        """The secret to come back with, as `open_client`'s ``session``."""
        self.state: State = "connecting"
        self.trouble: str | None = None
        """Why the last connection ended, while there is no other."""
        self._address = address
        self._connect = connect
        self._name = name
        self._token = token
        self._timeout = timeout
        self._rng = rng
        self._id_prefix = f"{rng.getrandbits(64):x}"
        self._ids = 0
        self._link: Link | None = None
        self._requests: dict[str, _Request] = {}
        self._rooms: dict[str, Inbox] = {}
        self._joins: dict[str, tuple[Inbox, schema.Join]] = {}
        self._attention: trio.Event | None = None
        self._state_changed = trio.Event()
        self._failure: Exception | None = None
        self._nursery: trio.Nursery | None = None

    # --- for the user ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def join(
        self,
        room: str,
        *,
        since: int | None = None,
        epoch: str | None = None,
        last: int | None = None,
        buffer: int = 1000,
        invitation: str | None = None,
    ) -> AsyncIterator[Room]:
        """Be in ``room`` for the time of the block.

        Its events begin now, after ``since`` (with the ``epoch`` that it belongs to), or with the ``last`` n.
        ``buffer``: events that may wait for the iteration (see the module's rule 3). ``invitation``: the
        token of a link to a private room. Raises `ChatError`, and `ValueError` for a room that this client is
        in already.
        """
        if since is not None and last is not None:
            raise ValueError("join: since or last, not both")
        try:
            name = schema.room_name(room)
        except ValueError as error:
            raise ChatError("bad_request", str(error)) from None
        if name in self._rooms:
            raise ValueError(f"this client is in {name!r} already")
        self._check_open()
        start = None if since is None else Position(epoch, since)
        inbox = self._rooms[name] = Inbox(name, start, last, buffer)
        inbox.invitation = invitation
        try:
            self._send_join(inbox)
            self._poke()
            await inbox.settled.wait()
            self._check_open()
            if inbox.error is not None:
                raise inbox.error
            yield Room(self, inbox)
        finally:
            del self._rooms[name]
            if self._link is not None and inbox.error is None and not inbox.ended:
                self._link.send(schema.Leave(id=self._next_id(), room=name))
            inbox.end(None)
            for request in self._requests.values():
                if request.room is inbox:
                    request.fail(_closed())
            self._poke()

    async def rooms(self) -> list[schema.RoomInfo]:
        """At most 1,000 rooms: those in which this user has a part, then the other public ones, each with the
        most recently active first."""
        return (await self._ask(schema.Rooms(), schema.RoomList, None)).rooms

    async def create(
        self, room: str, kind: Literal["public", "private"] = "public", *, topic: str = ""
    ) -> None:
        """Create a room that this user owns; join it to be in it. Raises `ChatError` ``exists``."""
        await self._ask(schema.Create(room=room, kind=kind, topic=topic), schema.Ack, None)

    async def direct(self, user: str) -> str:
        """The name of the room of this user and another one (an id), which is made if need be."""
        return (await self._ask(schema.Direct(user=user), schema.DirectRoom, None)).room

    async def ask(self, room: str, text: str | None = None) -> None:
        """Ask the members of a private room to be let in."""
        await self._ask(schema.Ask(room=room, text=given(text)), schema.Ack, None)

    async def leave_for_good(self, room: str) -> None:
        """Give up role and membership. If this client is in the room, its iteration ends."""
        left = await self._ask(schema.Leave(room=room, for_good=True), schema.Left, None)
        if (inbox := self._rooms.get(left.room)) is not None:
            inbox.end(None)
            self._fail_requests(inbox)

    async def search(
        self, text: str, *, before: str | None = None, limit: int = schema.DEFAULT_FOUND
    ) -> Found:
        """Messages of all rooms that this user may read, with all the words of ``text`` in them.

        ``before``: go on from the `Found.next` of the same search. Raises `ChatError`.
        """
        return await self._search(text, None, before, limit)

    async def _search(self, text: str, room: Inbox | None, before: str | None, limit: int) -> Found:
        op = schema.Search(
            text=text,
            room=UNSET if room is None else room.name,
            before=UNSET if before is None else before,
            limit=limit,
        )
        reply = await self._ask(op, schema.FoundMessages, room)
        return Found(_messages(reply.messages), reply.next if isinstance(reply.next, str) else None)

    async def upload(self, source: Source, name: str | None = None) -> File:
        """Send a file to the server, for `Room.say`: bytes with a name, or the path of a file.

        Waits across reconnects, and tries again where that may help. Raises `ChatError` if the server
        refuses it (``too_big``, ``full``), or can't be reached for this in `_UPLOAD_TRIES` tries; `OSError`
        for a file that can't be read; `ValueError` for a name that is none.
        """
        sent = await parcel(source, name)
        if self.limits is not None and sent.size > self.limits.max_file_bytes:
            raise ChatError("too_big", f"at most {self.limits.max_file_bytes} bytes, not {sent.size}")
        for failures in range(_UPLOAD_TRIES):
            self._check_open()
            while self.session is None or self._link is None:
                await self._state_changed.wait()
                self._check_open()
            try:
                with trio.fail_after(self._timeout):
                    stream = await self._connect()
            except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                trouble = Ended(str(error) or "cannot connect")
            else:
                try:
                    return await send(stream, self._address, self.session, sent)
                except Ended as ended:
                    trouble = ended
                finally:
                    await trio.aclose_forcefully(stream)
            await trio.sleep(self._delay(failures, trouble.retry_after))
        raise ChatError("unavailable", f"the file was not taken: {trouble}")

    def url_of(self, file: File) -> str:
        """Where a file of a message is, in full; over a Unix socket, the path."""
        if self._address.unix is not None:
            return file.url
        return f"http{'s' if self._address.tls else ''}://{self._address.authority}{file.url}"

    async def sign_in(self, token: str) -> None:
        """Be signed in by ``token`` from now on: a newer one before the last one expires, or the first.

        Raises `ChatError` (``bad_token``).
        """
        reply = await self._ask(schema.Hello(token=token), schema.Welcome, None)
        self._token = token
        self.user, self.session, self.limits = reply.user, reply.session, reply.limits

    def states(self) -> "States":
        """An iteration of the present state and each new one (the latest, if several pass at once)."""
        return States(self)

    # --- requests --------------------------------------------------------------------------------------

    def _next_id(self) -> str:
        self._ids += 1
        return f"{self._id_prefix}-{self._ids}"

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _ask(self, op: schema.Request, kind: type[_R], room: Inbox | None) -> _R:
        """Send ``op`` until it is answered; passing trouble is waited for. Raises `ChatError`."""
        op.id = self._next_id()
        while True:
            reply = await self._ask_once(op, room)
            if isinstance(reply, kind):
                return reply
            if not isinstance(reply, schema.Error):
                raise ChatError("bad_reply", f"the server answered {type(reply).__name__} to {op.id}")
            if reply.code not in _TRANSIENT or reply.retry_after is UNSET:
                raise _refusal(reply)
            await trio.sleep(reply.retry_after)

    async def _ask_once(self, op: schema.Request, room: Inbox | None) -> schema.Reply | None:
        self._check_open()
        if room is not None:
            if room.error is not None:
                raise room.error
            if self._rooms.get(room.name) is not room:
                raise _closed()
        size = len(schema.encode(op))
        if self.limits is not None and size > self.limits.max_message_bytes:
            raise ChatError("too_big", f"at most {self.limits.max_message_bytes} bytes, not {size}")
        assert isinstance(op.id, str)
        request = _Request(op, room)
        self._requests[op.id] = request
        try:
            if room is None or room.live:
                self._send_request(request)
            self._poke()
            await request.done.wait()
        finally:
            del self._requests[op.id]
        if request.error is not None:
            raise request.error
        return request.reply

    def _send_request(self, request: _Request) -> None:
        if self._link is not None and request.sent_on is not self._link:
            request.sent_on = self._link
            self._link.send(request.op)

    # --- one connection after the other ------------------------------------------------------------------

    async def _run(self, patient: bool, task_status: trio.TaskStatus[None]) -> None:
        """Keep a connection until the server doesn't want us any more. Started once the first one is open."""
        failures = 0
        welcomed = False
        while True:
            opened_at = math.inf
            try:
                async with open_link(self._address, self._connect, timeout=self._timeout) as link:
                    await self._greet(link)
                    opened_at = trio.current_time()
                    self._resume(link)
                    if not welcomed:
                        welcomed = True
                        task_status.started()
                    while True:
                        await self._dispatch(link, decode(await link.receive()))
            except Ended as ended:
                logger.debug("connection ended: %s", ended)
                self._drop_link(str(ended))
                if not welcomed and not patient:
                    raise CannotConnect(str(ended)) from None
                # A connection that outlived the last wait starts the backoff anew: a server that is restarted
                # is found soon, one that welcomes and hangs up is not hammered.
                if trio.current_time() - opened_at >= _backoff(failures):
                    failures = 0
                await trio.sleep(self._delay(failures, ended.retry_after))
                failures += 1
            except ClientError as error:
                self._drop_link(str(error))
                if not welcomed:
                    raise
                self._close(error)
                return

    def _delay(self, failures: int, retry_after: float | None) -> float:
        """Seconds until the next try: the server's (which it spreads), or full jitter up to a bound."""
        if retry_after is not None:
            return retry_after
        return self._rng.uniform(0, _backoff(failures))

    async def _greet(self, link: Link) -> None:
        """Say who we are, and wait to hear it. Raises `ChatError` for a name or token that isn't taken."""
        with trio.move_on_after(self._timeout):
            while True:
                hello = schema.Hello(
                    id=self._next_id(),
                    name=self._name or UNSET,
                    token=(self._token() if callable(self._token) else self._token) or UNSET,
                    resume=self.session or UNSET,
                )
                link.send(hello)
                reply = await self._reply_to(link, hello)
                if isinstance(reply, schema.Welcome):
                    break
                if not isinstance(reply.retry_after, UnsetType):
                    raise Ended(reply.message, retry_after=reply.retry_after)
                if self.session is None:
                    raise ChatError(reply.code, reply.message)
                self.session = None  # perhaps only the session is no good any more
            self.user, self.session, self.limits = reply.user, reply.session, reply.limits
            # From now on the name that we have, not the one that we wanted: nobody is renamed by a reconnect.
            self._name = self._name and reply.user.name
            link.heartbeat = max(reply.heartbeat, 0.1)
            link.pace(reply.limits.rate, reply.limits.burst)
            return
        raise Ended(f"no welcome within {self._timeout:g} seconds")

    async def _reply_to(self, link: Link, hello: schema.Hello) -> schema.Welcome | schema.Error:
        while True:
            op = decode(await link.receive())
            if isinstance(op, schema.Bye):
                link.farewell(op)
            elif isinstance(op, schema.Welcome | schema.Error) and op.re == hello.id:
                return op

    def _resume(self, link: Link) -> None:
        """Go on over a new connection: join the rooms again, ask again what wasn't answered."""
        self._link = link
        self._joins.clear()
        self._set_state("open", None)
        for room in self._rooms.values():
            self._send_join(room)
        for request in self._requests.values():
            if request.room is None:
                self._send_request(request)

    def _drop_link(self, trouble: str) -> None:
        self._link = None
        self._joins.clear()
        for room in self._rooms.values():
            room.live = False
        if self.state == "open":
            self._set_state("reconnecting", trouble)
        else:
            self.trouble = trouble

    def _set_state(self, state: State, trouble: str | None) -> None:
        self.state, self.trouble = state, trouble
        self._state_changed.set()
        self._state_changed = trio.Event()

    def _close(self, error: Exception) -> None:
        """Nothing will come any more: tell everybody who waits."""
        self._failure = error
        self._link = None
        for request in self._requests.values():
            request.fail(error)
        for room in self._rooms.values():
            room.end(error if isinstance(error, ClientError) else None)
        self._set_state("closed", str(error))

    # --- what comes in ---------------------------------------------------------------------------------

    async def _dispatch(self, link: Link, op: object) -> None:
        if isinstance(op, schema.Reply):
            await self._take_reply(op)
        elif isinstance(op, Signal):
            room = self._rooms.get(op.room)
            if room is not None and room.live:
                room.signal(op)
        elif isinstance(op, schema.Bye):
            link.farewell(op)
        else:
            event = as_event(op)
            room = self._rooms.get(event.room) if event is not None else None
            if event is not None and room is not None:
                await self._take_event(room, event)

    async def _take_reply(self, op: schema.Reply) -> None:
        request_id = op.re if isinstance(op.re, str) else ""
        if request := self._requests.get(request_id):
            request.reply = op
            request.done.set()
        elif request_id in self._joins:
            room, asked = self._joins.pop(request_id)
            if self._rooms.get(room.name) is not room:
                return
            if isinstance(op, schema.Joined):
                await self._joined(room, asked, op)
            elif isinstance(op, schema.Error):
                self._join_failed(room, op)
        elif isinstance(op, schema.Error):
            logger.debug("the server complains: %s", op.message)
        elif isinstance(op, schema.Left) and not request_id and (left := self._rooms.get(op.room)):
            reason = op.reason if isinstance(op.reason, str) else f"the server has removed you from {op.room}"
            left.end(ChatError("left", reason))
            self._fail_requests(left)

    async def _joined(self, room: Inbox, asked: schema.Join, op: schema.Joined) -> None:
        lost = room.joined(asked, op)
        if lost is not None:
            await self._hand_over(room, lost, Position(op.epoch, op.head))
        room.settled.set()
        for request in self._requests.values():
            if request.room is room:
                self._send_request(request)
        if room.behind and room.hungry:
            self._ask_again(room)

    def _join_failed(self, room: Inbox, op: schema.Error) -> None:
        if op.retry_after is UNSET or op.code not in _TRANSIENT:
            room.end(_refusal(op))
            self._fail_requests(room)
            return

        async def again(link: Link | None, seconds: float) -> None:
            await trio.sleep(seconds)
            if self._link is link and self._rooms.get(room.name) is room:
                self._send_join(room)

        assert self._nursery is not None
        self._nursery.start_soon(again, self._link, op.retry_after)

    def _fail_requests(self, room: Inbox) -> None:
        for request in self._requests.values():
            if request.room is room:
                request.fail(room.error or _closed())

    # --- events and positions ----------------------------------------------------------------------------

    async def _take_event(self, room: Inbox, event: Numbered) -> None:
        """Let an event into the room's buffer if it is the next one. Raises `Ended` for a hole."""
        try:
            position = room.next_position(event)
        except Hole as hole:
            # Never seen from a server that keeps its word; a new connection asks for what is missing.
            raise Ended(str(hole)) from None
        if position is not None:
            await self._hand_over(room, event, position)

    async def _hand_over(self, room: Inbox, event: Event, position: Position) -> None:
        """Put an event into the room's buffer, its position with it; or wait; or let the room fall behind."""
        while room.live:
            if room.offer(event, position, spare=False):
                return
            if self._is_needed(room):
                if room.offer(event, position, spare=True):
                    return
                break
            self._attention = trio.Event()
            with trio.move_on_after(self._patience) as waiting:
                await self._attention.wait()
            self._attention = None
            if waiting.cancelled_caught:
                break
        room.behind = True

    def _is_needed(self, room: Inbox) -> bool:
        """Somebody waits for something that only reading on can bring, and it isn't an event of ``room``."""
        return bool(self._requests or self._joins) or any(
            len(other.signal_lot) or (other is not room and other.hungry) for other in self._rooms.values()
        )

    @property
    def _patience(self) -> float:
        link = self._link
        return _PATIENCE_SECONDS if link is None else min(_PATIENCE_SECONDS, link.heartbeat / 2)

    def _poke(self) -> None:
        """Have `_hand_over` look again: there is space, or somebody needs the socket."""
        if self._attention is not None:
            self._attention.set()

    def _starving(self, room: Inbox) -> None:
        """Somebody is about to wait for an event of ``room``, and its buffer is empty."""
        if room.behind and room.live:
            self._ask_again(room)
        self._poke()

    def _ask_again(self, room: Inbox) -> None:
        """Get what a room that fell behind has thrown away."""
        if self._link is not None:
            room.behind = False
            self._link.send(schema.Leave(id=self._next_id(), room=room.name))
            self._send_join(room)

    def _send_join(self, room: Inbox) -> None:
        if self._link is not None:
            op = room.join_op(self._next_id())
            assert isinstance(op.id, str)
            self._joins[op.id] = (room, op)
            self._link.send(op)


@asynccontextmanager
async def open_client(
    url: str,
    name: str | None = None,
    *,
    token: Token = None,
    session: str | None = None,
    patient: bool = False,
    timeout: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Client]:
    """Connect to the chat server at ``url`` and stay connected for the time of the block.

    ``url``: ``ws``, ``wss``, ``http`` or ``https``, with or without a path, or ``unix:PATH``. ``name``: as a
    guest; the server may add a number (`Client.user`). ``token``: to sign in, or a function that gives one,
    which is asked for each connection. ``session``: a `Client.session` had before, to be the same user
    again. ``patient``: keep trying for the first connection too. ``timeout``: seconds for one connection to
    be made. ``connect``: makes the stream instead of TCP or TLS to the host of ``url``. ``rng``: for ids and
    backoff.

    Raises `CannotConnect`, `Refused` or `ChatError` if the first connection fails, `ValueError` for a
    bad ``url``. What the block raises comes out as it is.
    """
    address = parse_url(url)
    client = Client(
        address,
        connect or partial(open_stream, address, ssl_context),
        name,
        token,
        session,
        timeout,
        rng or random.Random(),
    )
    try:
        async with trio.open_nursery() as nursery:
            client._nursery = nursery
            await nursery.start(client._run, patient)
            try:
                yield client
            finally:
                link = client._link
                client._close(_closed())
                if link is not None:
                    await link.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Our own tasks raise nothing, so a group of one is what the block raised, or the first connection.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
