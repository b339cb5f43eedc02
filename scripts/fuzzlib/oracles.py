"""What a client's bytes mean, according to us and to two independent libraries.

`ours`, `by_wsproto` and `by_websockets` read the same bytes as the server of an open connection; an `Outcome`
says what they found. `disagreement` compares two of them and knows where the others differ from RFC 6455 or
don't look.
"""

import codecs
from collections.abc import Iterable

import attrs
from websockets.extensions.permessage_deflate import PerMessageDeflate as WebsocketsDeflate
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate

from trio_chat.wire.frames import BINARY, CLOSE, PING, TEXT, FrameReader, Message, WireError, unmask

PONG = 10
_CODE_1014 = (1014).to_bytes(2, "big")
LIMIT = 1 << 20
"""Longest message, for all three."""
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@attrs.define
class Outcome:
    """Messages and control frames, each in their order, and the close code for what is wrong (0: nothing)."""

    messages: list[Message] = attrs.field(factory=list)
    controls: list[Message] = attrs.field(factory=list)
    code: int = 0
    unfinished: bool = attrs.field(default=False, eq=False)
    """Something of the bytes waits for more (known of us only)."""


def ours(pieces: Iterable[bytes], *, deflate: bool = False, limit: int = LIMIT) -> Outcome:
    """What `FrameReader` reads."""
    found = Outcome()
    reader = FrameReader(limit, deflate=deflate)
    try:
        for piece in pieces:
            data: bytes | None = piece
            while data is not None:
                messages, control = reader.feed(data)
                found.messages += messages
                if control:
                    found.controls.append((control[0] & 0x0F, unmask(control[6:], control[2:6])))
                data = b"" if reader.pending else None
        found.unfinished = reader.held_bytes > 0
    except WireError as error:
        found.messages += error.messages
        found.code = error.code
    return found


def by_wsproto(pieces: Iterable[bytes], *, deflate: bool = False) -> Outcome:
    """What wsproto reads."""
    extension = WsprotoDeflate(client_no_context_takeover=True, server_no_context_takeover=True)
    extension.accept(ANSWER)
    peer = Connection(ConnectionType.SERVER, extensions=[extension] if deflate else [])
    found = Outcome()
    partial: list[bytes] = []
    for piece in pieces:
        if peer.state is not ConnectionState.OPEN or found.code:
            break
        peer.receive_data(piece)
        for event in peer.events():
            _take(found, partial, event, peer)
    return found


def _take(found: Outcome, partial: list[bytes], event: Event, peer: Connection) -> None:
    if isinstance(event, TextMessage | BytesMessage):
        text = isinstance(event, TextMessage)
        partial.append(event.data.encode() if isinstance(event, TextMessage) else bytes(event.data))
        if event.message_finished:
            found.messages.append((TEXT if text else BINARY, b"".join(partial)))
            partial.clear()
    elif isinstance(event, Ping | Pong):
        found.controls.append((PING if isinstance(event, Ping) else PONG, bytes(event.payload)))
    elif isinstance(event, CloseConnection):
        if peer.state is ConnectionState.REMOTE_CLOSING:
            code = b"" if event.code == 1005 else int(event.code).to_bytes(2, "big")
            found.controls.append((CLOSE, code + (event.reason or "").encode()))
        else:
            found.code = int(event.code)


def by_websockets(pieces: Iterable[bytes], *, deflate: bool = False) -> Outcome:
    """What `websockets` reads; UTF-8 is left to its user there, so it is checked here, per frame."""
    peer = ServerProtocol(state=State.OPEN, max_size=LIMIT)
    if deflate:
        peer.extensions = [WebsocketsDeflate(True, True, 15, 15)]
    for piece in pieces:
        peer.receive_data(piece)
    found = Outcome()
    opcode, partial, decoder = 0, b"", codecs.getincrementaldecoder("utf-8")()
    for frame in peer.events_received():
        if frame.opcode > Opcode.BINARY:
            found.controls.append((int(frame.opcode), bytes(frame.data)))
            continue
        if frame.opcode is not Opcode.CONT:
            opcode, partial = int(frame.opcode), b""
        partial += bytes(frame.data)
        try:
            if opcode == TEXT:
                decoder.decode(bytes(frame.data), frame.fin)
        except UnicodeDecodeError:
            found.code = 1007
            return found
        if frame.fin:
            found.messages.append((opcode, partial))
    if peer.parser_exc is not None:
        assert peer.close_sent is not None
        found.code = peer.close_sent.code
    return found


def disagreement(us: Outcome, wsproto: Outcome, websockets: Outcome, *, deflate: bool, garbled: bool) -> str:
    """What is wrong with ``us``, if anything: both must agree with us, but for what is known of them.

    Of compressed data that is none they make different things: with ``deflate`` one of them has to agree, and
    if the data was ``garbled`` not on what the messages are, but on which there are. (What follows a final
    block of DEFLATE is dropped by them, and inflated by us, as RFC 7692 7.2.3.4 has it.)
    """
    if deflate and garbled:
        us, wsproto, websockets = (_without_contents(outcome) for outcome in (us, wsproto, websockets))
    dissent = [
        f"{name} {other}"
        for name, other in (("wsproto", wsproto), ("websockets", websockets))
        if us != other and not _excused(name, us, other, deflate)
    ]
    if not dissent or (deflate and len(dissent) == 1):
        return ""
    return f"we read {us}, {' and '.join(dissent)}"


def _without_contents(outcome: Outcome) -> Outcome:
    return attrs.evolve(outcome, messages=[(opcode, b"") for opcode, _ in outcome.messages])


def _excused(name: str, us: Outcome, other: Outcome, deflate: bool) -> bool:
    """Whether that is one of the known differences."""
    same = us.messages == other.messages and us.controls == other.controls
    codes = (us.code, other.code)
    if deflate and _begins(us, other) and other.code in (1002, 1007) and (us.code or us.unfinished):
        return True  # they inflate what has come so far; and RFC 7692 has no code for what isn't DEFLATE
    if name == "wsproto":
        return (
            (us.code == 1009 and _begins(other, us))  # it has no limit
            or (us.code == 1002 and same and not other.code)  # it looks at a header when it has all of it
            or (codes == (1007, 0) and same)  # it waits for the end of a surrogate
            # It doesn't know 1014, which is newer, whatever the reason beside it.
            or (other.code == 1002 and us.controls[-1:] != [] and us.controls[-1][1][:2] == _CODE_1014)
            or (codes == (1007, 1002) and same)
        )
    return (
        (us.code in (1002, 1007) and _begins(other, us))  # it takes long forms of lengths, frames when whole
        or (codes == (1002, 1009) and same)  # it looks at the size first
        or (codes == (0, 1002) and us.controls[-1:] != [] and us.controls[-1][0] == CLOSE)  # in a message
    )


def _begins(longer: Outcome, shorter: Outcome) -> bool:
    return (
        longer.messages[: len(shorter.messages)] == shorter.messages
        and longer.controls[: len(shorter.controls)] == shorter.controls
    )
