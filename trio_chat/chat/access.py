"""Who may do what: one table.

Owns the roles, their order, and the least role that each right needs in each sort of room. Refuses to know
rooms and users: `trio_chat.chat.state` says which role somebody has.

A *role* is somebody's standing in one room. ``none`` are strangers to a private or direct room and those who
are banned. In a room that is not private everybody else is at least ``member``. ``admin`` are the server's
administrators, in every room but direct ones: what two people say to each other is theirs alone.

A *sort* of room is its kind, and ``open`` for a room that nobody has ever been given a role in: somebody
joined a name, and there it was.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from .schema import Role

Sort = Literal["open", "public", "private", "direct"]
Right = Literal[
    "join", "see", "say", "edit", "react", "delete", "delete_other", "topic", "mention_all", "invite", "ask",
    "give_up", "kick", "ban", "mute", "role", "slow_seconds", "archived", "private",
]  # fmt: skip

ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""The lowest first."""
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
_RANKS = {role: rank for rank, role in enumerate(ROLES)}

# The least role that has the right, in a room that is open, public, private, direct; None: nobody has.
_ROWS: Final[dict[Right, tuple[Role | None, Role | None, Role | None, Role | None]]] = {
    # to be in the room
    "join":         ("member",    "member",    "member",    "member"),
    # history, search, who is there, typing, read markers
    "see":          ("member",    "member",    "member",    "member"),
    "say":          ("member",    "member",    "member",    "member"),
    # what one has said oneself
    "edit":         ("member",    "member",    "member",    "member"),
    "react":        ("member",    "member",    "member",    "member"),
    # what one has said oneself
    "delete":       ("member",    "member",    "member",    "member"),
    "delete_other": ("moderator", "moderator", "moderator", None),
    "topic":        ("member",    "moderator", "moderator", "member"),
    # in an open room as long as it is small: `MENTION_ALL_USERS`
    "mention_all":  ("member",    "moderator", "moderator", "member"),
    # a user, or whoever has the link
    "invite":       ("member",    "member",    "moderator", None),
    # to be let in
    "ask":          (None,        None,        "none",      None),
    # one's own role or membership, for good
    "give_up":      ("member",    "member",    "member",    None),
    "kick":         ("moderator", "moderator", "moderator", None),
    # unban too
    "ban":          ("moderator", "moderator", "moderator", None),
    # unmute too
    "mute":         ("moderator", "moderator", "moderator", None),
    # of others below one's own
    "role":         ("owner",     "owner",     "owner",     None),
    # the room's settings, one each
    "slow_seconds": ("moderator", "moderator", "moderator", None),
    "archived":     ("owner",     "owner",     "owner",     None),
    "private":      ("owner",     "owner",     "owner",     None),
}  # fmt: skip

TABLE: Final[Mapping[tuple[Right, Sort], Role | None]] = {
    (right, sort): least for right, row in _ROWS.items() for sort, least in zip(SORTS, row, strict=True)
}
RIGHTS: Final[tuple[Right, ...]] = get_args(Right)

NOT_ARCHIVED: Final[frozenset[Right]] = frozenset(
    {"say", "edit", "react", "topic", "mention_all", "invite", "ask"}
)
"""What nobody does in an archived room."""
NOT_MUTED: Final[frozenset[Right]] = frozenset({"say", "edit", "react", "topic", "ask"})
"""What somebody who is muted doesn't do."""
MENTION_ALL_USERS: Final = 50
"""Users present in an open room up to which everybody may mention all of them."""


def allows(right: Right, sort: Sort, role: Role) -> bool:
    """Whether ``role`` has ``right`` in a room of this sort."""
    least = TABLE[right, sort]
    return least is not None and at_least(role, least)


def at_least(role: Role, least: Role) -> bool:
    """Whether ``role`` is ``least`` or above it."""
    return _RANKS[role] >= _RANKS[least]


def outranks(role: Role, other: Role) -> bool:
    """Whether ``role`` is above ``other``: nobody is removed, silenced or demoted by an equal."""
    return _RANKS[role] > _RANKS[other]


def needed(right: Right, sort: Sort) -> str:
    """Which role it needs, in words, for whoever is refused."""
    least = TABLE[right, sort]
    if least is None:
        return "nobody does that in this room"
    return f"that needs the role {least}" if least != "none" else "that is for people from outside"
