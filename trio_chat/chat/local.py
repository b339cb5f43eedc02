"""A member in process: a bot or a part of the embedding program that is in a room without a socket.

Owns its cursor and nothing else. It reads events at its own pace from the room's tail or the log, so
however slow it is, it costs no memory and loses nothing.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import trio
from msgspec import UNSET, UnsetType

from ..log.base import Append, Appended, LogUnavailable
from ..wire.frames import payload_of
from . import local_reading, rules, schema
from .attachments import look_up
from .changes import Author
from .local_reading import LocalReading
from .pending import Pending
from .people import People
from .refusal import Refusal
from .room import Member, Room
from .schema import User

T = TypeVar("T")
R = TypeVar("R", bound=schema.Request)


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


class Hub(local_reading.Hub, Protocol):
    """What an in-process member needs of the hub, which makes it."""

    @property
    def ended(self) -> bool: ...
    @property
    def people(self) -> People: ...
    def wake(self, room: Room) -> None: ...
    async def open_room(self, name: str) -> Room: ...
    def release(self, room: Room) -> None: ...
    async def ready(self, member: Member) -> None: ...
    def submit(self, pending: Pending) -> None: ...
    async def grown(self, room: Room) -> None: ...
    async def next_page(self, room: Room, after: int) -> tuple[int, list[bytes]]: ...


class _NoOutbox:
    """Takes nothing: an in-process member is never live, it reads."""

    window_bits = 0
    finished = False

    def offer(self, data: bytes) -> bool:
        return False

    def offer_signal(self, data: bytes) -> None:
        pass

    def force(self, data: bytes) -> None:
        pass


class LocalRoom(LocalReading):
    """A room as its in-process member sees it. Iterating yields every event after the position it joined
    at."""

    _hub: Hub

    def __init__(self, hub: Hub, member: Member, author: Author) -> None:
        self._hub = hub
        self._member = member
        self._author = author
        self._removed: str | None = None
        self._results: dict[Pending, Appended | str | None] = {}
        self._answered = trio.Event()
        self._page: deque[bytes] = deque()

    @property
    def room(self) -> Room:
        """The room; for looking only."""
        return self._member.room

    @property
    def user(self) -> User:
        """Who this member is."""
        return self._member.user

    @property
    def members(self) -> list[User]:
        """The users present."""
        return self.room.listed(len(self.room.users))

    async def say(
        self,
        text: str,
        *,
        id: str | None = None,  # noqa: A002
        reply_to: int | None = None,
        files: Sequence[str] = (),
    ) -> schema.Message:
        """Say ``text`` and return the event once it is stored. With ``id``, saying it again changes nothing.
        ``files``: the hashes of uploaded ones.

        Raises `ValueError` for what a client could not say either (a text that is too long, a ``reply_to``
        that isn't there), `LogUnavailable` when the log can't take it. When cancelled, the event may or may
        not be stored.
        """
        request = rules.checked(
            schema.Say(
                room=self.room.name,
                text=text,
                id=_given(id),
                reply_to=_given(reply_to),
                files=list(files) or UNSET,
            )
        )
        try:
            await look_up(self._hub.changes.files, files)
        except Refusal as refusal:
            raise LogUnavailable(refusal.message) from None
        append = self._decided(self._hub.changes.say, request)
        stored = await self._store(append)
        body = msgspec.json.decode("{" + append.body, type=schema.MessageBody)
        return schema.Message(
            room=self.room.name,
            seq=stored.seq,
            at=stored.at_ms / 1000,
            user=self.user,
            text=text,
            id=request.id,
            reply_to=request.reply_to,
            mentions=body.mentions,
            mentions_all=body.mentions_all,
            files=body.files,
        )

    async def edit(self, seq: int, text: str, *, id: str | None = None) -> int:  # noqa: A002
        """Give message ``seq``, which this member has said, another text; returns the edit's ``seq``.

        This and the following raise what `say` raises, `ValueError` also for what the member may not do.
        """
        request = schema.Edit(room=self.room.name, seq=seq, text=text, id=_given(id))
        return await self._change(self._hub.changes.edit, request)

    async def delete(self, seq: int, *, id: str | None = None) -> int:  # noqa: A002
        """Delete message ``seq``."""
        request = schema.Delete(room=self.room.name, seq=seq, id=_given(id))
        return await self._change(self._hub.changes.delete, request)

    async def react(self, seq: int, emoji: str, *, id: str | None = None) -> int:  # noqa: A002
        """React to message ``seq``; if it has this reaction already, that one's ``seq`` is returned."""
        request = schema.React(room=self.room.name, seq=seq, emoji=emoji, id=_given(id))
        return await self._change(self._hub.changes.react, request)

    async def unreact(self, seq: int, emoji: str, *, id: str | None = None) -> int:  # noqa: A002
        """Take a reaction back."""
        request = schema.Unreact(room=self.room.name, seq=seq, emoji=emoji, id=_given(id))
        return await self._change(self._hub.changes.unreact, request)

    async def set_topic(self, text: str, *, id: str | None = None) -> int:  # noqa: A002
        """Say what the room is about."""
        request = rules.checked(schema.Topic(room=self.room.name, text=text, id=_given(id)))
        return (await self._store(self._decided(self._hub.changes.topic, request))).seq

    # --- the room itself -------------------------------------------------------------------------------

    async def create(
        self,
        kind: Literal["public", "private"] = "public",
        *,
        topic: str = "",
        id: str | None = None,  # noqa: A002
    ) -> int:
        """Make the room, in which nothing has happened yet, one that this member owns.

        This and the following raise what `edit` raises, and return the event's ``seq``.
        """
        return await self._govern(schema.Create(room=self.room.name, kind=kind, topic=topic, id=_given(id)))

    async def invite(self, user: str, *, id: str | None = None) -> int:  # noqa: A002
        """Make the user with this id a member."""
        return await self._govern(schema.Invite(room=self.room.name, user=user, id=_given(id)))

    async def set_role(
        self,
        user: str,
        role: Literal["owner", "moderator", "member"],
        *,
        id: str | None = None,  # noqa: A002
    ) -> int:
        """Give the user another role."""
        return await self._govern(schema.ChangeRole(room=self.room.name, user=user, role=role, id=_given(id)))

    async def kick(self, user: str, *, reason: str = "", id: str | None = None) -> int:  # noqa: A002
        """Remove the user."""
        return await self._govern(schema.Kick(room=self.room.name, user=user, reason=reason, id=_given(id)))

    async def ban(
        self,
        user: str,
        *,
        reason: str = "",
        seconds: float | None = None,
        id: str | None = None,  # noqa: A002
    ) -> int:
        """Keep the user out, for so many seconds or until `unban`."""
        name, until = self.room.name, _given(seconds)
        return await self._govern(
            schema.Ban(room=name, user=user, reason=reason, seconds=until, id=_given(id))
        )

    async def unban(self, user: str, *, id: str | None = None) -> int:  # noqa: A002
        """Keep the user out no longer."""
        return await self._govern(schema.Unban(room=self.room.name, user=user, id=_given(id)))

    async def mute(self, user: str, *, seconds: float | None = None, id: str | None = None) -> int:  # noqa: A002
        """Take the user their say, for so many seconds or until `unmute`."""
        request = schema.Mute(room=self.room.name, user=user, seconds=_given(seconds), id=_given(id))
        return await self._govern(request)

    async def unmute(self, user: str, *, id: str | None = None) -> int:  # noqa: A002
        """Let the user have their say again."""
        return await self._govern(schema.Unmute(room=self.room.name, user=user, id=_given(id)))

    async def set(
        self,
        *,
        slow_seconds: float | None = None,
        archived: bool | None = None,
        private: bool | None = None,
        id: str | None = None,  # noqa: A002
    ) -> int:
        """Change settings of the room, those that are given."""
        return await self._govern(
            schema.ChangeSettings(
                room=self.room.name,
                slow_seconds=_given(slow_seconds),
                archived=_given(archived),
                private=_given(private),
                id=_given(id),
            )
        )

    async def _govern(self, request: schema.Request) -> int:
        self._check_here()
        try:
            stored = await self._hub.decisions.change(self.room, self._author, rules.checked(request))
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        assert stored is not None
        return stored.seq

    # --- how it is done --------------------------------------------------------------------------------

    @property
    def admin(self) -> bool:
        """Whether it acts as an administrator of the server."""
        return self._author.admin

    def tell(self, frame: bytes) -> None:
        """See `trio_chat.chat.people.Place`: events are all that it gets."""

    def removed(self, room: Room, code: int | None, reason: str) -> None:
        """See `trio_chat.chat.people.Place`."""
        if room is self.room and self._removed is None:
            self._removed = reason
            self.leave()

    def leave(self) -> None:
        """Be no member any more."""
        if self.room.leave(self._member):
            self._hub.signals.tell_presence(self.room, self.user, online=False)
        self._hub.wake(self.room)

    def _check_here(self) -> None:
        if self._hub.ended:
            raise LogUnavailable("the server has ended")
        if self._removed is not None:
            raise ValueError(f"this member is not in the room any more: {self._removed}")

    async def _change(
        self, decide: Callable[[Room, Author, Any], Awaitable[Append | Appended]], request: schema.Request
    ) -> int:
        try:
            decided = await decide(self.room, self._author, rules.checked(request))
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        return (await self._store(decided) if isinstance(decided, Append) else decided).seq

    def _decided(self, decide: Callable[[Room, Author, R], Append], request: R) -> Append:
        try:
            return decide(self.room, self._author, request)
        except Refusal as refusal:
            raise ValueError(refusal.message) from None

    async def _store(self, append: Append) -> Appended:
        """Have it stored, and wait until it is."""
        self._check_here()
        pending = Pending(append, self.room, self)
        self._results[pending] = None
        try:
            await self._hub.ready(self._member)
            if self._results[pending] is None:  # else the server has ended meanwhile
                self._hub.submit(pending)
            while (result := self._results[pending]) is None:
                await self._answered.wait()
        finally:
            del self._results[pending]
        if isinstance(result, str):
            raise LogUnavailable(result)
        return result

    def stored(self, pending: Pending, appended: Appended) -> None:
        """The committer's answer."""
        self._answer(pending, appended)

    def refused(self, pending: Pending, reason: str) -> None:
        """The committer's other answer."""
        self._answer(pending, reason)

    def _answer(self, pending: Pending, result: Appended | str) -> None:
        if pending in self._results:
            self._results[pending] = result
            self._answered.set()
            self._answered = trio.Event()

    def __aiter__(self) -> "LocalRoom":
        return self

    async def __anext__(self) -> schema.ServerOp:
        """The next event; ends with the server, or when this member is removed. Cancelling loses nothing."""
        while not self._page:
            while self._member.cursor >= self.room.head and self._removed is None:
                if self._hub.ended:
                    raise StopAsyncIteration
                await self._hub.grown(self.room)
            if self._removed is not None:
                raise StopAsyncIteration
            last, frames = await self._hub.next_page(self.room, self._member.cursor)
            self._member.cursor = last
            self._page.extend(frames)
        event: schema.ServerOp = schema.decode_server_op(payload_of(self._page.popleft()))
        return event

    def end(self) -> None:
        """The server has ended: whoever waits here is told."""
        for pending in self._results:
            self._answer(pending, "the server has ended")


@asynccontextmanager
async def join(
    hub: Hub, room: str, author: Author, since: int | None, last: int | None
) -> AsyncIterator[LocalRoom]:
    """See `Hub.join`."""
    opened = await hub.open_room(schema.room_name(room))
    cursor = opened.head
    if since is not None:
        cursor = min(since, opened.head)
    elif last is not None:
        cursor = opened.before_last(last)
    member, came = opened.join(author.user, _NoOutbox(), lambda member: None, cursor)
    member.live = False
    if came:
        hub.signals.tell_presence(opened, author.user, online=True)
    local = LocalRoom(hub, member, author)
    hub.people.came(author.user, local)
    opened.pins += 1  # though it be removed
    try:
        yield local
    finally:
        hub.people.went(author.user.id, local)
        local.leave()
        opened.pins -= 1
        hub.release(opened)
