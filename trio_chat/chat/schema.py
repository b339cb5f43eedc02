"""The protocol's operations, as types: what the wire carries, decoded and validated in one step.

Owns the names and shapes of every frame in both directions and the rules for room and user names.
Knows no Trio, no sockets, no rooms. The server, the client and the tests all use these types, so the
documentation in ``docs/protocol.md`` has one thing to be tested against.

Rules: ``op`` comes first; a field that is absent is left out, never ``null``; a room event's bytes are the
same for every member, whether they come from the live room or from the log (`encode_event`).
"""

import re
import unicodedata
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

SUBPROTOCOL = "trio-chat.v1"

MAX_ID_CHARS = 64
MAX_NAME_CHARS = 32
MAX_USER_ID_CHARS = 128
MAX_ROOM_CHARS = 64
MAX_FILE_NAME_CHARS = 128
MAX_FILES = 10
"""Of one message."""
MAX_TEXT_CHARS = 10_000
"""Even with every character escaped as ``\\uXXXX`` such a text fits the default message limit of 64 KiB."""
MAX_TOPIC_CHARS = 250
MAX_EMOJI_CHARS = 16
"""Code points: a kiss of two people with a skin tone each has ten."""
OPERATION_BYTES = 4096
"""What one operation may have in bytes before it counts as several against the rate."""
MAX_HISTORY = 200
DEFAULT_HISTORY = 50
MAX_FOUND = 50
DEFAULT_FOUND = 20
MAX_SEARCH_CHARS = 200
MAX_PLACE_CHARS = 200

MAX_REASON_CHARS = 250
MAX_SLOW_SECONDS = 3600
MAX_SECONDS = 31_536_000
"""A year: how long a ban, a mute or an invitation may last that ends by itself."""
INVITATION_SECONDS = 7 * 86_400

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Target = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Emoji = Annotated[str, Meta(min_length=1, max_length=MAX_EMOJI_CHARS)]
UserId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_CHARS)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
Seconds = Annotated[float, Meta(ge=1, le=MAX_SECONDS)]
RoomKind = Literal["public", "private", "direct"]
Role = Literal["none", "member", "moderator", "owner", "admin"]
"""What somebody is in a room; ``admin``: an administrator of the server."""
Standing = Literal["owner", "moderator", "member", "none", "banned"]
"""What an event says that its target is from now on."""
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]


FileHash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Op(Struct, tag_field="op", tag=str.lower, omit_defaults=True):
    """Anything with an ``op``."""


class Request(Op):
    """A client's operation; its ``id`` comes back as ``re``."""

    id: Id | UnsetType = UNSET


# --- client to server -------------------------------------------------------------------------------


class Hello(Request):
    """Say who you are: ``name`` for a guest, ``token`` to sign in, ``resume`` a ``session`` had before."""

    name: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    resume: str | UnsetType = UNSET


class Join(Request, kw_only=True):
    """Become a member of ``room``: from now on, after ``since``, or with the ``last`` n events."""

    room: str
    since: Seq | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    last: Seq | UnsetType = UNSET
    invitation: str | UnsetType = UNSET


class Leave(Request, kw_only=True):
    """Stop being a member of ``room``, ``for_good``: of a private one until somebody invites you again."""

    room: str
    for_good: bool = False


class Say(Request, kw_only=True):
    """Say ``text`` in ``room``; ``id`` makes sending it again harmless. ``files``: hashes of uploaded ones,
    beside which the text may be empty."""

    room: str
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
    reply_to: Target | UnsetType = UNSET
    files: Annotated[list[FileHash], Meta(max_length=MAX_FILES)] | UnsetType = UNSET


class Edit(Request, kw_only=True):
    """Give one's own message ``seq`` another ``text``."""

    room: str
    seq: Target
    text: Text


class Delete(Request, kw_only=True):
    """Delete message ``seq``: one's own, or another's where one may."""

    room: str
    seq: Target


class React(Request, kw_only=True):
    """React to message ``seq`` with ``emoji``."""

    room: str
    seq: Target
    emoji: Emoji


class Unreact(Request, kw_only=True):
    """Take such a reaction back."""

    room: str
    seq: Target
    emoji: Emoji


class Topic(Request, kw_only=True):
    """Say what the room is about; nothing, if ``text`` is empty."""

    room: str
    text: Annotated[str, Meta(max_length=MAX_TOPIC_CHARS)]


class Typing(Request, kw_only=True):
    """Tell the room that this user is typing; nothing comes back."""

    room: str


class History(Request, kw_only=True):
    """Ask for a page of the room's messages."""

    room: str
    before: Seq | UnsetType = UNSET
    after: Seq | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY)] = DEFAULT_HISTORY


class Search(Request, kw_only=True):
    """Find messages with the words of ``text``, in ``room`` or in all; beyond ``before``, a ``next``."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_SEARCH_CHARS)]
    room: str | UnsetType = UNSET
    before: Annotated[str, Meta(min_length=1, max_length=MAX_PLACE_CHARS)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = DEFAULT_FOUND


class Away(Request, kw_only=True):
    """Say that this user is away, or is not; nothing comes back."""

    away: bool


class Read(Request, kw_only=True):
    """Everything in ``room`` up to ``seq`` is read; nothing comes back."""

    room: str
    seq: Seq


class Who(Request, kw_only=True):
    """Ask who is in the room."""

    room: str


class Rooms(Request):
    """Ask which rooms there are."""


class Create(Request, kw_only=True):
    """Create ``room``, of which you are the owner."""

    room: str
    kind: Literal["public", "private"] = "public"
    topic: Annotated[str, Meta(max_length=MAX_TOPIC_CHARS)] = ""


class Direct(Request, kw_only=True):
    """Ask for the room of you and ``user`` (an id), which is made if need be."""

    user: UserId


class Invite(Request, kw_only=True):
    """Make ``user`` (an id) a member, or ask for a ``link`` by which whoever has it can become one."""

    room: str
    user: UserId | UnsetType = UNSET
    link: bool = False
    expires_in: Annotated[float, Meta(ge=60, le=MAX_SECONDS)] = INVITATION_SECONDS


class Ask(Request, kw_only=True):
    """Ask to be let in to a private room."""

    room: str
    text: Reason | UnsetType = UNSET


class ChangeRole(Request, kw_only=True, tag="role"):
    """Give ``user`` another role."""

    room: str
    user: UserId
    role: Literal["owner", "moderator", "member"]


class Kick(Request, kw_only=True):
    """Remove ``user`` from the room."""

    room: str
    user: UserId
    reason: Reason | UnsetType = UNSET


class Ban(Request, kw_only=True):
    """Remove ``user`` and keep them out, for so many ``seconds`` or until they are unbanned."""

    room: str
    user: UserId
    reason: Reason | UnsetType = UNSET
    seconds: Seconds | UnsetType = UNSET


class Unban(Request, kw_only=True):
    """Keep ``user`` out no longer."""

    room: str
    user: UserId


class Mute(Request, kw_only=True):
    """Take ``user`` their say, for so many ``seconds`` or until they are unmuted."""

    room: str
    user: UserId
    seconds: Seconds | UnsetType = UNSET


class Unmute(Request, kw_only=True):
    """Let ``user`` have their say again."""

    room: str
    user: UserId


class ChangeSettings(Request, kw_only=True, tag="settings"):
    """Change how the room is: the seconds between two messages of a member, archived, private."""

    room: str
    slow_seconds: Annotated[float, Meta(ge=0, le=MAX_SLOW_SECONDS)] | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    private: bool | UnsetType = UNSET


class Ping(Request):
    """Ask for a ``pong``."""


ClientOp = (
    Hello | Join | Leave | Say | Edit | Delete | React | Unreact | Topic | Typing | Away | Read | History
    | Search | Who | Rooms | Create | Direct | Invite | Ask | ChangeRole | Kick | Ban | Unban | Mute | Unmute
    | ChangeSettings | Ping
)  # fmt: skip

# --- server to client -------------------------------------------------------------------------------


class User(Struct, frozen=True):
    """Who somebody is: ``id`` for programs (unique, stable), ``name`` for people."""

    id: str
    name: str


class File(Struct, kw_only=True):
    """An uploaded file. ``hash``: SHA-256 of its content, hex; ``size`` in bytes; ``url``: a path on this
    server. ``width`` and ``height`` in pixels if it is an image that is shown in place."""

    hash: str
    name: str
    size: int
    type: str
    url: str
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET


class Reply(Op, kw_only=True):
    """An answer; ``re`` is the ``id`` of what it answers."""

    re: str | UnsetType = UNSET


class Limits(Struct, kw_only=True):
    """What the server allows. Sizes in bytes or characters as named; rate in operations per second.
    ``max_file_bytes``: 0 if it takes no files."""

    max_message_bytes: int
    max_text_chars: int
    max_rooms: int
    rate: float
    burst: int
    max_file_bytes: int = 0


class Welcome(Reply, kw_only=True):
    """Who you are now. ``session`` is the secret to come back with; ``heartbeat`` in seconds."""

    session: str
    user: User
    limits: Limits
    heartbeat: float


class Joined(Reply, kw_only=True):
    """You are a member; the events after your position follow.

    ``members`` lists at most 100 users, ``count`` counts all of them; ``user`` is you, ``role`` what you are
    here; ``read``: up to where you have read it. ``muted_until`` in Unix seconds, 0 for good.
    """

    room: str
    epoch: str
    head: int
    recovered: bool
    topic: str
    members: list[User]
    count: int
    user: User
    kind: RoomKind
    role: Role
    slow_seconds: float | UnsetType = UNSET
    archived: bool = False
    read: int | UnsetType = UNSET
    muted_until: float | UnsetType = UNSET


class Left(Reply, kw_only=True):
    """You are no longer a member. If others have decided that: ``code``, and ``reason`` for people."""

    room: str
    code: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Ack(Reply, kw_only=True):
    """Your event is stored as ``seq``; ``at`` in seconds since the epoch, UTC."""

    room: str
    seq: int
    at: float


class HistoryPage(Reply, kw_only=True, tag="history"):
    """Messages by ascending ``seq``; ``more``: others lie beyond the page in the direction asked for.

    The messages are as they were at ``as_of``, the room's head.
    """

    room: str
    messages: list[msgspec.Raw]
    more: bool
    as_of: int


class FoundMessages(Reply, kw_only=True, tag="found"):
    """Messages as they are now, the newest first; ``more``: there may be others, ``before`` ``next``."""

    messages: list[msgspec.Raw]
    more: bool
    next: str | UnsetType = UNSET


class Members(Reply, kw_only=True):
    """Who is in the room: at most 1,000 users; ``count`` counts all.

    ``absent``: who has a role of their own and is not there. ``roles``: by user id, of those of either who
    are more than a member; ``away``: ids of those who say that they are. For those who may ban and mute: who
    is ``banned``, and who ``muted`` (ids).
    """

    room: str
    members: list[User]
    count: int
    roles: dict[str, Role] = {}
    absent: list[User] = []
    banned: list[User] = []
    muted: list[str] = []
    away: list[str] = []


class RoomInfo(Struct, omit_defaults=True):
    """One room of the list; ``count`` is the number of users present, ``head`` its last ``seq``.

    ``role``: yours, if you have one of your own; ``with``: the other one in a direct room. ``read``: up to
    where you have read it; ``unread``: messages of others beyond; ``mentions``: those of them that name you.
    """

    room: str
    count: int
    head: int
    kind: RoomKind
    role: Role | UnsetType = UNSET
    topic: str = ""
    archived: bool = False
    with_: User | UnsetType = msgspec.field(default=UNSET, name="with")
    read: int | UnsetType = UNSET
    unread: int | UnsetType = UNSET
    mentions: int | UnsetType = UNSET


class RoomList(Reply, kw_only=True, tag="rooms"):
    """The rooms, most recently active first, at most 1,000."""

    rooms: list[RoomInfo]


class DirectRoom(Reply, kw_only=True, tag="direct"):
    """The name of the room of you and ``with``."""

    room: str
    with_: User = msgspec.field(name="with")


class InvitationLink(Reply, kw_only=True, tag="invitation"):
    """The ``token`` by which others can join until ``expires_at`` (Unix seconds)."""

    room: str
    token: str
    expires_at: int


class Pong(Reply):
    """Still here."""


class Error(Reply, kw_only=True):
    """What was wrong: ``code`` for programs, ``message`` for people, ``retry_after`` in seconds."""

    code: str
    message: str
    retry_after: float | UnsetType = UNSET


class Bye(Op, kw_only=True):
    """The last frame before the server closes with ``code``; come back after ``retry_after`` seconds."""

    code: int
    reason: str
    retry_after: float | UnsetType = UNSET


class Reaction(Struct, omit_defaults=True):
    """How many have reacted with ``emoji``; ``users`` are the ids of the first 10, ``me``: so have you."""

    emoji: str
    count: int
    users: list[str]
    me: bool = False


class Message(Op, kw_only=True):
    """A room event: somebody said something.

    In a page of history it is as it is now: ``edited_at``, ``deleted`` (and without text), ``reactions``.
    """

    room: str
    seq: int
    at: float
    user: User
    text: str
    id: str | UnsetType = UNSET
    reply_to: int | UnsetType = UNSET
    mentions: list[str] | UnsetType = UNSET
    mentions_all: bool = False
    files: list[File] | UnsetType = UNSET
    edited_at: float | UnsetType = UNSET
    deleted: bool = False
    reactions: list[Reaction] | UnsetType = UNSET


class Edited(Op, kw_only=True):
    """A room event: the message ``target`` says ``text`` now."""

    room: str
    seq: int
    at: float
    user: User
    target: int
    text: str
    mentions: list[str] | UnsetType = UNSET
    mentions_all: bool = False
    id: str | UnsetType = UNSET


class Deleted(Op, kw_only=True):
    """A room event: the message ``target`` is deleted."""

    room: str
    seq: int
    at: float
    user: User
    target: int
    id: str | UnsetType = UNSET


class Reacted(Op, kw_only=True):
    """A room event: ``user`` has reacted to the message ``target``."""

    room: str
    seq: int
    at: float
    user: User
    target: int
    emoji: str
    id: str | UnsetType = UNSET


class Unreacted(Op, kw_only=True):
    """A room event: ``user`` has taken a reaction back."""

    room: str
    seq: int
    at: float
    user: User
    target: int
    emoji: str
    id: str | UnsetType = UNSET


class TopicChanged(Op, kw_only=True, tag="topic"):
    """A room event: what the room is about now."""

    room: str
    seq: int
    at: float
    user: User
    text: str
    id: str | UnsetType = UNSET


class Created(Op, kw_only=True):
    """A room event, the first: ``user`` has created the room, or a direct one for its ``members``."""

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    kind: RoomKind
    topic: str = ""
    members: list[User] | UnsetType = UNSET


class MemberChanged(Op, kw_only=True, tag="member"):
    """A room event: ``target`` is ``role`` from now on; a ban ends ``until`` (Unix seconds).

    ``admin``, here and in others: done as an administrator of the server. ``invited_by``: whose link it was.
    """

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    admin: bool = False
    target: User
    role: Standing
    reason: str | UnsetType = UNSET
    until: float | UnsetType = UNSET
    invited_by: str | UnsetType = UNSET


class Muted(Op, kw_only=True):
    """A room event: ``target`` has no say, ``until`` then (Unix seconds) or until it is unmuted."""

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    admin: bool = False
    target: User
    until: float | UnsetType = UNSET


class Unmuted(Op, kw_only=True):
    """A room event: ``target`` has a say again."""

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    admin: bool = False
    target: User


class SettingsChanged(Op, kw_only=True, tag="settings"):
    """A room event: what is changed. ``members``: who is in a room that has become private."""

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    admin: bool = False
    slow_seconds: float | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    private: bool | UnsetType = UNSET
    members: list[User] | UnsetType = UNSET


class Asked(Op, kw_only=True):
    """A room event: ``user``, who is no member, asks to be let in."""

    room: str
    seq: int
    at: float
    user: User
    id: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


class Invited(Op, kw_only=True):
    """A signal: ``user`` has made you a member of ``room``."""

    room: str
    kind: RoomKind
    user: User


class Presence(Op, kw_only=True):
    """A signal: ``user`` came or went."""

    room: str
    user: User
    online: bool
    away: bool = False


class Count(Op, kw_only=True):
    """A signal, in rooms too large to name everybody: how many users are present."""

    room: str
    count: int


class TypingSignal(Op, kw_only=True, tag="typing"):
    """A signal: ``user`` is typing."""

    room: str
    user: User


class ReadSignal(Op, kw_only=True, tag="read"):
    """A signal: ``user`` has read the room up to ``seq``."""

    room: str
    user: User
    seq: int


class Lagging(Op, kw_only=True):
    """Live delivery paused after ``seq``, because this client reads too slowly; the rest follows from the
    log."""

    room: str
    seq: int


class Gap(Op, kw_only=True):
    """Events ``from`` to ``to`` (both included) are no longer kept."""

    room: str
    from_: int = msgspec.field(name="from")
    to: int


ServerOp = (
    Welcome | Joined | Left | Ack | HistoryPage | FoundMessages | Members | RoomList | DirectRoom
    | InvitationLink | Pong | Error | Bye | Message | Edited | Deleted | Reacted | Unreacted | TopicChanged
    | Created | MemberChanged | Muted | Unmuted | SettingsChanged | Asked | Invited
    | Presence | Count | TypingSignal | ReadSignal | Lagging | Gap
)  # fmt: skip

encode = msgspec.json.Encoder().encode
decode_client_op = msgspec.json.Decoder(ClientOp).decode
decode_server_op = msgspec.json.Decoder(ServerOp).decode


class MessageBody(Struct, omit_defaults=True):
    """The part of a message that its sender determines; see `trio_chat.log.base.Append.body`."""

    user: User
    text: str
    id: str | UnsetType = UNSET
    reply_to: int | UnsetType = UNSET
    mentions: list[str] | UnsetType = UNSET
    mentions_all: bool = False
    files: list[File] | UnsetType = UNSET


def encode_body(body: Struct) -> str:
    """The fields of ``body`` as JSON text without the opening brace."""
    return encode(body)[1:].decode()


def event_prefix(kind: str, room: str) -> str:
    """How every event of this kind in this room begins, up to its ``seq``."""
    return f'{{"op":"{kind}","room":{encode(room).decode()},"seq":'


def encode_event(prefix: str, seq: int, at_ms: int, body: str) -> bytes:
    """The bytes of a room event: ``prefix`` from `event_prefix`, ``body`` from `encode_body`."""
    return f'{prefix}{seq},"at":{at_ms // 1000}.{at_ms % 1000:03d},{body}'.encode()


def cost(size_bytes: int) -> int:
    """As how many operations one of so many bytes counts against the rate: so bytes have a rate too."""
    return max(1, -(-size_bytes // OPERATION_BYTES))


# --- names --------------------------------------------------------------------------------------------

# Cc control, Cf format (bidi, zero width), Cs surrogate, Co private use, Cn unassigned, Zl/Zp line and
# paragraph.
_NOT_PRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
IGNORABLE = re.compile(f"[{_IGNORABLE}]")
"""What is shown as nothing: Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt, the same
from 14.0 to 17.0."""
# Blank without being ignorable: the Braille pattern without dots, the musical null note head.
_INVISIBLE = re.compile(rf"[{_IGNORABLE}\u2800\U0001d159]")
# Text and emoji style (variation selectors 15 and 16), behind what they are the style of.
_STYLE = re.compile(r"(?<=[^\s\ufe0e\ufe0f])[\ufe0e\ufe0f]")


def _composed(value: str, max_chars: int) -> str:
    """``value`` in NFC, unless it is too long anyway: combining marks take quadratic time, and at most four
    characters become one."""
    return value if value.isascii() or len(value) > 4 * max_chars else unicodedata.normalize("NFC", value)


def _begins_with_mark(name: str) -> bool:
    return unicodedata.category(name[0])[0] == "M"


def room_name(value: str) -> str:
    """``value`` as a room's name (NFC), or `ValueError` saying what is allowed."""
    name = _composed(value, MAX_ROOM_CHARS)
    if not 1 <= len(name) <= MAX_ROOM_CHARS or not all(
        c in "-_." or unicodedata.category(c)[0] in "LM" or c.isdecimal() for c in name
    ):
        raise ValueError(f"room: 1 to {MAX_ROOM_CHARS} letters, digits, '-', '_' or '.'")
    if not name.isascii():
        if IGNORABLE.search(name):
            raise ValueError("room: no invisible characters")
        if _begins_with_mark(name):
            raise ValueError("room: does not begin with a combining mark")
    elif not name.strip("."):  # as a part of a path it would lead elsewhere
        raise ValueError("room: something beside dots")
    return name


def user_name(value: str) -> str:
    """``value`` as a user's name (trimmed, NFC), or `ValueError` saying what is allowed."""
    name = _composed(value.strip(), MAX_NAME_CHARS)
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"name: 1 to {MAX_NAME_CHARS} characters")
    if any(unicodedata.category(c) in _NOT_PRINTABLE for c in name):
        raise ValueError("name: no control, bidirectional or other format characters")
    if not name.isascii():
        if "\ufffd" in name:
            raise ValueError("name: no U+FFFD, which stands for what could not be read as UTF-8")
        if _INVISIBLE.search(_STYLE.sub("", name)):
            raise ValueError("name: no invisible characters")
        if _begins_with_mark(name):
            raise ValueError("name: does not begin with a combining mark")
    return name


def file_name(value: str) -> str:
    """``value`` as a file's name (trimmed, NFC), or `ValueError` saying what is allowed."""
    name = _composed(value.strip(), MAX_FILE_NAME_CHARS)
    if not 1 <= len(name) <= MAX_FILE_NAME_CHARS:
        raise ValueError(f"name: 1 to {MAX_FILE_NAME_CHARS} characters")
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError("name: a file's, without / and \\")
    if "\ufffd" in name or any(unicodedata.category(c) in _NOT_PRINTABLE for c in name):
        raise ValueError("name: no control, bidirectional or other format characters")
    return name


def short_name(value: str) -> str:
    """As much of ``value`` as a user's name may have, an ellipsis in place of the rest."""
    name = unicodedata.normalize("NFC", value.strip()[: 4 * MAX_NAME_CHARS])
    return name if len(name) <= MAX_NAME_CHARS else f"{name[: MAX_NAME_CHARS - 1].rstrip()}…"


def checked_user(user: User) -> User:
    """``user`` with its name as `user_name` has it, or `ValueError` saying what is allowed."""
    readable = not any(unicodedata.category(c) in _NOT_PRINTABLE for c in user.id[:MAX_USER_ID_CHARS])
    if not 1 <= len(user.id) <= MAX_USER_ID_CHARS or not readable:
        raise ValueError(f"id: 1 to {MAX_USER_ID_CHARS} printable characters")
    return User(user.id, user_name(user.name))


def request_id(data: bytes | str) -> str | UnsetType:
    """The ``id`` of a request that failed to decode, if one can be made out: for the error's ``re``."""
    try:
        found: Any = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNSET
    value = found.get("id") if isinstance(found, dict) else None
    return value if isinstance(value, str) and 1 <= len(value) <= MAX_ID_CHARS else UNSET
