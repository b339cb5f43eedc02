"""A message as it is now: what was said, and what was done to it since.

Owns the fold of the events about a message (edits, reactions, its deletion). Refuses to know the log and who
asks: it is pure, like `trio_chat.chat.state`, and gives the same on every node.

Rules:

1. Only its author edits a message; an edit by anybody else changes nothing.
2. Who deletes was allowed to, or the event would not be there. A deleted message stays so, whatever follows.
3. One user reacts with one emoji once; that doesn't count again before it is taken back.
"""

from collections import Counter
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..log.base import Appended, Event
from . import schema
from .schema import User

KINDS: Final = ("edited", "deleted", "reacted", "unreacted")
"""The kinds of events that are about a message."""
LISTED_USERS: Final = 10
"""Of those who reacted with one emoji, so many are named."""


class Change(Struct, omit_defaults=True):
    """What the author of an event about a message determines; see `trio_chat.log.base.Append.body`."""

    user: User
    target: int
    text: str | UnsetType = UNSET
    emoji: str | UnsetType = UNSET
    mentions: list[str] | UnsetType = UNSET
    mentions_all: bool = False
    id: str | UnsetType = UNSET


class _Said(Struct):
    user: User


_decode_change = msgspec.json.Decoder(Change).decode
_decode_said = msgspec.json.Decoder(_Said).decode
_decode = msgspec.json.decode


class Present:
    """See the module. Begins with the event that the message is; `fold` the others in their order."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.author = _decode_said("{" + event.body).user
        self.seq = event.seq
        """The last event that it counts."""
        self.deleted = False
        self.edit: Change | None = None
        """The last one that counts."""
        self.edited_at_ms = 0
        self.reactions: dict[str, dict[str, Appended]] = {}
        """By emoji and user id, in the order in which they came."""
        self.changes: Counter[str] = Counter()
        """How many events about it are by whom."""
        self._by_id: dict[tuple[str, str], Appended] = {}

    def fold(self, event: Event) -> None:
        """Count an event about the message; one that is counted already changes nothing."""
        if event.seq <= self.seq or event.kind not in KINDS:
            return
        self.seq = event.seq
        change = _decode_change("{" + event.body)
        who, stored = change.user.id, Appended(event.seq, event.at_ms, duplicate=True)
        self.changes[who] += 1
        if isinstance(change.id, str):
            self._by_id[who, change.id] = stored
        if self.deleted:
            return
        if event.kind == "deleted":
            self.deleted = True
            self.reactions.clear()
        elif event.kind == "edited":
            if who == self.author.id:
                self.edit, self.edited_at_ms = change, event.at_ms
        elif isinstance(change.emoji, str):
            by_whom = self.reactions.setdefault(change.emoji, {})
            if event.kind == "reacted":
                by_whom.setdefault(who, stored)
            else:
                by_whom.pop(who, None)
            if not by_whom:
                del self.reactions[change.emoji]

    def stored(self, user_id: str, request_id: str | UnsetType) -> Appended | None:
        """The event about it that this user's request of that id has become, if it has."""
        return self._by_id.get((user_id, request_id)) if isinstance(request_id, str) else None

    @property
    def text(self) -> str:
        """What it says now; nothing if it is deleted."""
        if self.deleted:
            return ""
        if self.edit is not None and isinstance(self.edit.text, str):
            return self.edit.text
        text: str = _decode("{" + self.event.body)["text"]
        return text

    def shown(self, room: str, me: str) -> bytes:
        """The message object for a page that the user ``me`` reads."""
        event = self.event
        fields: dict[str, Any] = {"op": "message", "room": room, "seq": event.seq, "at": event.at_ms / 1000}
        fields |= _decode("{" + event.body)
        if self.deleted:
            for name in ("mentions", "mentions_all", "files"):
                fields.pop(name, None)
            fields |= {"text": "", "deleted": True}
        elif self.edit is not None:
            for name in ("mentions", "mentions_all"):
                fields.pop(name, None)
            fields["text"] = self.edit.text
            if self.edit.mentions is not UNSET:
                fields["mentions"] = self.edit.mentions
            if self.edit.mentions_all:
                fields["mentions_all"] = True
            fields["edited_at"] = self.edited_at_ms / 1000
        if self.reactions:
            fields["reactions"] = [
                schema.Reaction(emoji, len(by_whom), list(by_whom)[:LISTED_USERS], me in by_whom)
                for emoji, by_whom in self.reactions.items()
            ]
        return schema.encode(fields)
