"""What is to be stored when somebody says something, or does something to a message.

Owns the rules of these operations, for sessions and members in process alike: each either gives the event to
append, or the stored one that it comes to, or raises `Refusal`. Refuses to know who is told, and how.
"""

import math
import unicodedata
from collections.abc import Callable
from typing import Final

import attrs
from msgspec import UNSET, Struct, UnsetType

from ..log.base import Append, Appended, EventLog
from . import control, mentions, schema
from .access import MENTION_ALL_USERS, at_least
from .attachments import Files, NoFiles, known
from .guests import Guests
from .listing import topic_listing
from .lookup import Lookup
from .mentions import NOBODY, Mentions
from .pending import idempotency_key
from .present import Change, Present
from .refusal import Refusal, require
from .room import Room
from .schema import User

MAX_EMOJIS: Final = 20
"""Different emojis on one message."""
MAX_CHANGES_BY_ONE: Final = 100
"""Edits and reactions of one user to one message, those taken back included: so what is to be read for it has
a bound."""


@attrs.frozen
class Author:
    """Who does something: ``admin``, as an administrator of the server."""

    user: User
    admin: bool = False


class Changes:
    """See the module. ``clock`` gives Unix time in seconds."""

    def __init__(
        self, log: EventLog, guests: Guests, clock: Callable[[], float], files: Files | None = None
    ) -> None:
        self.files = files or NoFiles()
        self.lookup = Lookup(log)
        self._guests = guests
        self._clock = clock

    # --- saying --------------------------------------------------------------------------------------

    def say(self, room: Room, by: Author, request: schema.Say) -> Append:
        """A message; its files have been looked up, see `trio_chat.chat.attachments`."""
        if room.restricted:
            self._check_restrictions(room, by, request)
        if isinstance(request.reply_to, int) and not room.first <= request.reply_to <= room.head:
            raise Refusal("bad_request", f"reply_to: there is no message {request.reply_to} in this room")
        if not request.text and not request.files:
            raise Refusal("bad_request", f"text: 1 to {schema.MAX_TEXT_CHARS} characters, or files")
        named = self._named(room, by, request.text)
        body = schema.MessageBody(
            by.user,
            request.text,
            request.id,
            request.reply_to,
            list(named.users) if named.users else UNSET,
            named.everybody,
            known(self.files, request.files) if request.files else UNSET,
        )
        return _append(room, "message", body, by.user, request.id)

    def _check_restrictions(self, room: Room, by: Author, request: schema.Say) -> None:
        """Whether the room's state lets the author say something now."""
        state, now = room.state, self._clock()
        require(state, "say", by.user.id, now, admin=by.admin)
        if not state.slow_seconds or at_least(state.role_of(by.user.id, now, admin=by.admin), "moderator"):
            return
        said_at, said_id = room.said.get(by.user.id, (-math.inf, UNSET))
        wait = said_at + state.slow_seconds - now
        if wait > 0 and (request.id is UNSET or request.id != said_id):
            words = f"one message in {state.slow_seconds:g} seconds"
            raise Refusal("slow_mode", f"this room is in slow mode: {words}", retry_after=wait)
        room.has_said(by.user.id, request.id, now)

    def _named(self, room: Room, by: Author, text: str) -> Mentions:
        """Whom the text names; all of them only if the author may."""
        if "@" not in text and "＠" not in text:
            return NOBODY

        def present(name: str) -> str | None:
            return next((each for each in self._guests.holders(name) if each in room.users), None)

        found = mentions.find(text, present, room.speakers)
        if found.everybody and not self._may_name_all(room, by):
            found = attrs.evolve(found, everybody=False)
        return found

    def _may_name_all(self, room: Room, by: Author) -> bool:
        if room.state.sort == "open" and room.count > MENTION_ALL_USERS:
            return False
        return room.state.why_not("mention_all", by.user.id, self._clock(), admin=by.admin) is None

    def topic(self, room: Room, by: Author, request: schema.Topic) -> Append:
        """Another topic."""
        require(room.state, "topic", by.user.id, self._clock(), admin=by.admin)
        body = control.TopicBody(user=by.user, id=request.id, admin=by.admin, text=request.text)
        append = _append(room, "topic", body, by.user, request.id)
        append.listing = topic_listing(room.state, request.text)
        return append

    # --- doing something to a message ----------------------------------------------------------------

    async def edit(self, room: Room, by: Author, request: schema.Edit) -> Append | Appended:
        """Another text. These four raise `LogUnavailable` too."""
        present = await self.lookup.message(room, request.seq)
        if (before := present.stored(by.user.id, request.id)) is not None:
            return before
        require(room.state, "edit", by.user.id, self._clock(), admin=by.admin)
        _check(present, by.user)
        if present.author.id != by.user.id:
            raise Refusal("forbidden", "seq: only its author edits a message")
        named = self._named(room, by, request.text)
        change = Change(
            by.user,
            request.seq,
            text=request.text,
            mentions=list(named.users) if named.users else UNSET,
            mentions_all=named.everybody,
            id=request.id,
        )
        return _append(room, "edited", change, by.user, request.id, request.seq)

    async def delete(self, room: Room, by: Author, request: schema.Delete) -> Append | Appended:
        """The message's end."""
        present = await self.lookup.message(room, request.seq)
        if (before := present.stored(by.user.id, request.id)) is not None:
            return before
        own = present.author.id == by.user.id
        require(room.state, "delete" if own else "delete_other", by.user.id, self._clock(), admin=by.admin)
        _check_there(present)
        change = Change(by.user, request.seq, id=request.id)
        return _append(room, "deleted", change, by.user, request.id, request.seq)

    async def react(self, room: Room, by: Author, request: schema.React) -> Append | Appended:
        """A reaction; if it is there already, that one."""
        emoji = checked_emoji(request.emoji)
        present = await self.lookup.message(room, request.seq)
        if (before := present.stored(by.user.id, request.id)) is not None:
            return before
        require(room.state, "react", by.user.id, self._clock(), admin=by.admin)
        _check(present, by.user)
        by_whom = present.reactions.get(emoji)
        if by_whom is None and len(present.reactions) >= MAX_EMOJIS:
            raise Refusal("too_many", f"emoji: at most {MAX_EMOJIS} different ones on one message")
        if by_whom is not None and by.user.id in by_whom:
            return by_whom[by.user.id]
        change = Change(by.user, request.seq, emoji=emoji, id=request.id)
        return _append(room, "reacted", change, by.user, request.id, request.seq)

    async def unreact(self, room: Room, by: Author, request: schema.Unreact) -> Append | Appended:
        """A reaction taken back."""
        emoji = checked_emoji(request.emoji)
        present = await self.lookup.message(room, request.seq)
        if (before := present.stored(by.user.id, request.id)) is not None:
            return before
        require(room.state, "react", by.user.id, self._clock(), admin=by.admin)
        _check_there(present)
        if by.user.id not in present.reactions.get(emoji, {}):
            raise Refusal("not_found", f"emoji: you have not reacted to message {request.seq} with it")
        change = Change(by.user, request.seq, emoji=emoji, id=request.id)
        return _append(room, "unreacted", change, by.user, request.id, request.seq)


def _append(
    room: Room, kind: str, body: Struct, user: User, request_id: str | UnsetType, target: int | None = None
) -> Append:
    key = idempotency_key(request_id, user) if isinstance(request_id, str) else None
    return Append(room.name, kind, schema.encode_body(body), key, target)


def _check_there(present: Present) -> None:
    if present.deleted:
        raise Refusal("deleted", f"seq: message {present.event.seq} is deleted")


def _check(present: Present, user: User) -> None:
    """Whether the user may still do something to the message, beside deleting it and taking back."""
    _check_there(present)
    if present.changes[user.id] >= MAX_CHANGES_BY_ONE:
        raise Refusal("too_many", f"seq: you have changed this message {MAX_CHANGES_BY_ONE} times")


_JOINERS: Final = frozenset("\u200d\ufe0e\ufe0f\u20e3")
"""Zero width joiner, text and emoji style, the key around a digit."""
_TAGS: Final = ("\U000e0020", "\U000e007f")
"""Of the letters in the flags of regions."""
_SYMBOLS: Final = frozenset("‼⁉〰〽ℹ")
"""Emojis that are no symbols to Unicode's general categories."""


def checked_emoji(emoji: str) -> str:
    """``emoji`` as it is, or a `Refusal`: symbols, and what joins them or says how they look; no words."""
    symbols = [c for c in emoji if c not in _JOINERS and not _TAGS[0] <= c <= _TAGS[1]]
    keys = "\u20e3" in emoji and all(c in "0123456789#*" for c in symbols)
    if not symbols or not (keys or all(unicodedata.category(c)[0] == "S" or c in _SYMBOLS for c in symbols)):
        raise Refusal("bad_request", "emoji: one emoji")
    return emoji
