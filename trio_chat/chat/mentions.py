"""Mentions: which users a text names, and whether it names all of them.

Owns what counts as naming somebody. Refuses to know rights and what follows from a mention.

A name is what stands after an ``@`` as far as it is a user's: one who is in the room, or one who said
something there lately. The longest one wins. Between letters of scripts that part words by spaces neither
the ``@`` nor the name's end counts: ``me@ann.example`` and ``@annabel`` don't name ann, but ``@小明你好``
names 小明.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from .guests import fold
from .schema import MAX_NAME_CHARS, User

EVERYBODY: Final = frozenset({"all", "everyone", "所有人", "全体成员"})
"""Names that stand for all who are in the room."""
MAX_MENTIONS: Final = 20
"""Users that one message names, and names in it that are looked at."""

_SPACELESS: Final = "\u2e80"
"""From here on scripts have no spaces between words, but for some."""
_AT = re.compile("[@＠]")


@attrs.frozen
class Mentions:
    """The ids of the users that a text names, in the order of their first naming."""

    users: tuple[str, ...] = ()
    everybody: bool = False


NOBODY: Final = Mentions()


def find(text: str, present: Callable[[str], str | None], lately: Callable[[], Iterable[User]]) -> Mentions:
    """Whom ``text`` names. ``present``: the id of the user in the room whose name, folded, is this;
    ``lately``: who said something there, asked only if somebody isn't present."""
    users: dict[str, None] = {}
    everybody = False
    spoken: dict[str, str] | None = None
    for count, at in enumerate(_AT.finditer(text)):
        if count == MAX_MENTIONS:
            break
        if at.start() and _is_joined(text[at.start() - 1]):
            continue
        candidates = list(_candidates(text[at.end() : at.end() + MAX_NAME_CHARS + 1]))
        user_id = next((found for name in candidates if (found := present(name)) is not None), None)
        if user_id is None and EVERYBODY.intersection(candidates):
            everybody = True
            continue
        if user_id is None and candidates:
            if spoken is None:
                spoken = {fold(user.name): user.id for user in lately()}
            user_id = next((spoken[name] for name in candidates if name in spoken), None)
        if user_id is not None:
            users[user_id] = None
    return Mentions(tuple(users), everybody)


def _candidates(text: str) -> Iterable[str]:
    """What the name could be that ``text`` begins with, folded, the longest first."""
    text, _, _ = text.partition("\n")
    for end in range(min(len(text), MAX_NAME_CHARS), 0, -1):
        name = text[:end]
        if name[-1].isspace() or name[0].isspace():
            continue
        if end == len(text) or not (_is_joined(name[-1]) and _is_joined(text[end])):
            yield fold(name)


def _is_joined(char: str) -> bool:
    """Whether ``char`` is part of a word that ends at a space or a sign."""
    return char < _SPACELESS and (char.isalnum() or char == "_")
