"""What the swarm says to a server and how it reads the answers: chat, relay, plain broadcast, plain echo.

How it speaks to other people's servers is in `adapters`, which also chooses.

Every message carries its origin in its text, ``~sender~number~intended time~``, padded to the wanted size: so
any receiver, in any process, can tell the latency and whether something is missing. The time is the monotonic
clock's, in nanoseconds, which all processes of one machine share.

Knows bytes only: no sockets, no counters.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from swarmlib import talk
from swarmlib.frames import TEXT, Block
from swarmlib.settings import Settings

_STAMP = re.compile(rb"~(\d{5})~(\d{8})~(\d{19})~")
_STAMP_FORMAT = b"~%05d~%08d~%019d~"
STAMP_BYTES = 36
_STEP = 37
"""How far apart in the templates senders begin."""
UNKNOWN = -1
"""Sender of an event that this run did not send."""


class Event(NamedTuple):
    """One delivered message. ``seq`` is 0 where the server gives none."""

    sender: int
    number: int
    stamp: int
    seq: int = 0
    id: str = ""


def filler(size: int) -> list[bytes]:
    """The one text, of ``size`` bytes, into which sender, number and time are put by ``%``."""
    return [_STAMP_FORMAT + b"x" * (size - STAMP_BYTES)]


def sender_tag(sender: int) -> bytes:
    """What only messages of ``sender`` contain."""
    return b"~%05d~" % sender


class Reply(NamedTuple):
    """What a client does about something that isn't a delivery: answers, is a member now, or gives up."""

    answers: tuple[bytes, ...] = ()
    is_joined: bool = False
    failure: str = ""


class Protocol:
    """How to speak to one kind of server; the base class: a plain one that takes and gives any message."""

    marker = b""
    marker_at = 0
    inside = b""
    """Where one frame may hold several messages or none: what each message has once."""
    opcode = TEXT
    """Of what is sent."""
    subprotocol = ""
    converses = False
    """Whether `reply` wants to see what isn't a delivery."""
    is_ready_when_open = True
    """Whether a client is a member as soon as its connection is open."""
    has_acks = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def path(self, client: int) -> str:
        """The request target for ``client``."""
        return self._with_query(self.settings.target.path)

    def greeting(self, client: int, position: "Position | None" = None) -> list[bytes]:
        """What ``client`` sends first, or again when it comes back."""
        return []

    def message_maker(self, sender: int) -> Callable[[int, int], bytes]:
        """What makes the payload of a message from its number and its intended time: always of one size."""
        templates = self.templates(self.settings.room_of(sender))
        total, first = len(templates), sender * _STEP
        return lambda number, stamp: templates[(first + number) % total] % (sender, number, stamp)

    def reply(self, client: int, payload: bytes) -> Reply:
        """What to do about a frame that is no delivery, if `converses`."""
        return Reply()

    def envelope(self, room: int) -> tuple[bytes, bytes]:
        """What stands before and after each text that is sent in ``room``."""
        return b"", b""

    def templates(self, room: int) -> list[bytes]:
        """What is sent in ``room``, in turn; sender, number and time are put in by ``%``."""
        size = self.settings.size
        texts = talk.events(_STAMP_FORMAT, size) if self.settings.content == "talk" else filler(size)
        before, after = (part.replace(b"%", b"%%") for part in self.envelope(room))
        return [before + text + after for text in texts]

    def spam(self, room: int) -> bytes:
        """A message of the usual size that nobody waits for: it has no sender, number and time."""
        before, after = self.envelope(room)
        text = b'"spam"' if self.settings.content == "talk" and not self.has_acks else b"spam"
        return before + text.ljust(self.settings.size) + after

    def stamps(self, block: Block) -> list[tuple[Any, ...]]:
        """(sender, number, time) of each of this swarm's messages in ``block``: the quick look."""
        return [tuple(map(int, found)) for found in _STAMP.findall(block.data)]

    def events(self, block: Block) -> list[tuple[Any, ...]]:
        """Every message in ``block`` as an `Event`: the close look."""
        if self.inside:
            return [Event(*stamp) for stamp in self.stamps(block)]
        return [_event(payload) for payload in block.payloads()]

    def _with_query(self, path: str) -> str:
        query = self.settings.target.query
        return f"{path}?{query}" if query else path


class Relay(Protocol):
    """Our relay endpoint: the room is in the path."""

    def path(self, client: int) -> str:
        settings = self.settings
        base = "/relay" if settings.target.path in ("/", "/ws") else settings.target.path.rstrip("/")
        return self._with_query(f"{base}/{settings.room_name(settings.room_of(client))}")


class Chat(Protocol):
    """Our chat endpoint: JSON operations, of which ``message`` events are the deliveries.

    The first letter of ``op`` tells them from everything else that comes unasked.
    """

    marker = b"m"
    marker_at = len('{"op":"')
    subprotocol = "trio-chat.v1"
    is_ready_when_open = False
    has_acks = True

    def path(self, client: int) -> str:
        path = self.settings.target.path
        return self._with_query("/ws" if path == "/" else path)

    def greeting(self, client: int, position: "Position | None" = None) -> list[bytes]:
        name = f"{self.settings.room[-20:]}-{client:05d}"
        hello = {"op": "hello", "name": name}
        join: dict[str, Any] = {"op": "join", "room": self.settings.room_name(self.settings.room_of(client))}
        if position is not None:
            hello["resume"] = position.token
            join |= {"since": position.seen, "epoch": position.epoch}
        return [json.dumps(hello).encode(), json.dumps(join).encode()]

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._templates: dict[int, list[bytes]] = {}

    def message_maker(self, sender: int) -> Callable[[int, int], bytes]:
        templates = self.templates(self.settings.room_of(sender))
        total, first = len(templates), sender * _STEP
        return lambda number, stamp: templates[(first + number) % total] % (
            sender, number, stamp, sender, number
        )  # fmt: skip

    def templates(self, room: int) -> list[bytes]:
        """The same; sender and number come once more, in the ``id``."""
        if room not in self._templates:
            size = self.settings.size
            texts = talk.texts(_STAMP_FORMAT, size) if self.settings.content == "talk" else filler(size)
            name = json.dumps(self.settings.room_name(room)).replace("%", "%%").encode()
            before, after = b'{"op":"say","room":' + name + b',"text":"', b'","id":"s%05d.%08d"}'
            self._templates[room] = [before + text + after for text in texts]
        return self._templates[room]

    def spam(self, room: int) -> bytes:
        text = "spam".ljust(self.settings.size, ".")
        return json.dumps({"op": "say", "room": self.settings.room_name(room), "text": text}).encode()

    def events(self, block: Block) -> list[tuple[Any, ...]]:
        return [_chat_event(payload) for payload in block.payloads()]


class Position(NamedTuple):
    """Where a client was when its connection ended."""

    seen: int
    epoch: str
    token: str


def message_number(id_: object) -> int | None:
    """The number in an ``id`` of `message_id`; None if it is no such one."""
    number = id_.partition(".")[2] if isinstance(id_, str) else ""
    return int(number) if number.isdecimal() else None


def message_id(sender: int, number: int) -> str:
    """The ``id`` of a ``say``: unlike the tag in the text, so that an ack is never taken for a delivery."""
    return f"s{sender:05d}.{number:08d}"


def parse_reply(payload: bytes) -> dict[str, Any]:
    """A server's operation other than a message; an empty ``op`` if it is none."""
    try:
        reply = json.loads(payload)
    except ValueError:
        return {"op": ""}
    return reply if isinstance(reply, dict) and isinstance(reply.get("op"), str) else {"op": ""}


def _event(text: bytes, seq: int = 0, id_: str = "") -> Event:
    found = _STAMP.search(text)
    if found is None:
        return Event(UNKNOWN, 0, 0, seq, id_)
    sender, number, stamp = map(int, found.groups())
    return Event(sender, number, stamp, seq, id_)


def _chat_event(payload: bytes) -> Event:
    reply = parse_reply(payload)
    seq, text, id_ = reply.get("seq"), reply.get("text"), reply.get("id", "")
    if reply["op"] != "message" or not isinstance(seq, int) or not isinstance(text, str):
        return Event(UNKNOWN, 0, 0)
    return _event(text.encode(), seq, id_)
