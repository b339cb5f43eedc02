"""What was shown of a room's messages lately, and the words for what is done to them.

Owns the memory that commands like ``/edit`` and lines like "ann has edited ..." need. Knows no terminal and
no connection.
"""

from collections import OrderedDict

from .chat import schema
from .chat.schema import Message
from .client_room import Change
from .terminal_editor import visible

_KEPT = 200
_QUOTED = 30
"""Characters of a message that a line about it repeats."""


class Shown:
    """See the module."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, Message] = OrderedDict()

    def add(self, message: Message) -> None:
        """``message`` is the latest one that is shown."""
        self._messages[message.seq] = message
        if len(self._messages) > _KEPT:
            self._messages.popitem(last=False)

    def last(self, user_id: str | None = None) -> int | None:
        """The last message that is still there, of this user or of anybody."""
        found = (message for message in reversed(self._messages.values()) if not message.deleted)
        return next((each.seq for each in found if user_id in (None, each.user.id)), None)

    def told(self, change: Change) -> str:
        """What has been done to a message, in words; its memory changes with it."""
        who = visible(change.user.name)
        message = self._messages.get(change.target)
        which = "an older message" if message is None else quoted(message)
        match change:
            case schema.Edited():
                if message is not None:
                    message.text = change.text
                return f"{who} has edited {which}: {visible(change.text)}"
            case schema.Deleted():
                if message is not None:
                    message.deleted, message.text = True, ""
                return f"{who} has deleted {which}"
            case schema.Reacted():
                return f"{who}: {visible(change.emoji)} to {which}"
            case _:
                return f"{who}: no {visible(change.emoji)} any more to {which}"


def quoted(message: Message) -> str:
    """The beginning of a message, in quotation marks."""
    text = " ".join(message.text.split())
    return f'"{visible(text[:_QUOTED])}{"…" if len(text) > _QUOTED else ""}"'


def marks(message: Message) -> str:
    """What a message's line ends with: what was done to it."""
    parts = ["deleted"] if message.deleted else ["edited"] if message.edited_at else []
    reactions = message.reactions if isinstance(message.reactions, list) else []
    parts += [f"{visible(each.emoji)} {each.count}" for each in reactions]
    return f" ({', '.join(parts)})" if parts else ""
