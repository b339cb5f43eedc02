"""The frame codec against two others: what wsproto and websockets encode it decodes, and the other way round.

Each case is fed whole, byte by byte, and cut at random; each violation of RFC 6455 has its row in a table.
"""

import random
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_chat.wire.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    FrameReader,
    Message,
    WireError,
    close_frame,
    close_reason,
    frame,
    payload_of,
    unmask,
)

MAX = 4096
FIN = 0x80
MASK = b"\x11\x22\x33\x44"
EDGES = [0, 1, 124, 125, 126, 127, 1000, 65535, 65536, 65537]


def header(first: int, length: int, *, width: int | None = None, masked: bool = True) -> bytes:
    """The header of a frame, in the form of ``width`` (0, 2 or 8 bytes of length) or the shortest one."""
    if width is None:
        width = 0 if length < 126 else 2 if length < 65536 else 8
    second = {0: length, 2: 126, 8: 127}[width] | (0x80 if masked else 0)
    return bytes((first, second)) + (length.to_bytes(width, "big") if width else b"")


def client(first: int, payload: bytes = b"", mask: bytes = MASK) -> bytes:
    """A client's frame; ``first`` is FIN, the reserved bits and the opcode."""
    return header(first, len(payload)) + mask + unmask(payload, mask)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at ``cuts``."""
    points = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in pairwise(points)]


def everything(reader: FrameReader, fed: Iterable[bytes]) -> Iterator[tuple[list[Message], bytes]]:
    """What the reader returns for the pieces, each fed to its end."""
    for piece in fed:
        yield reader.feed(piece)
        while reader.pending:
            yield reader.feed(b"")


def read(fed: Iterable[bytes], limit: int = 1 << 20, *, deflate: bool = False) -> tuple[list[Message], bytes]:
    """All messages and all control frames in the pieces."""
    messages: list[Message] = []
    control = b""
    for more, frames in everything(FrameReader(limit, deflate=deflate), fed):
        messages += more
        control += frames
    return messages, control


def failure(fed: Iterable[bytes], limit: int = MAX, *, deflate: bool = False) -> tuple[int, list[Message]]:
    """The close code that the pieces lead to, and the messages before it; 0 if they are fine."""
    messages: list[Message] = []
    try:
        for more, _ in everything(FrameReader(limit, deflate=deflate), fed):
            messages += more
    except WireError as error:
        return error.code, messages + error.messages
    return 0, messages


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# --- what others encode, we decode ---------------------------------------------------

texts = st.text(max_size=300)
payloads = st.one_of(st.binary(max_size=300), st.sampled_from(EDGES).map(bytes))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Frame], list[Message], bytes]:
    """Frames of messages, whole and fragmented, control frames between them; the messages; control bytes."""
    frames: list[Frame] = []
    messages: list[Message] = []
    control: list[Frame] = []

    def maybe_control() -> None:
        if draw(st.booleans()):
            opcode = draw(st.sampled_from([Opcode.PING, Opcode.PONG]))
            control.append(Frame(opcode, draw(st.binary(max_size=125))))
            frames.append(control[-1])

    for text in draw(st.lists(st.booleans(), max_size=6)):
        payload = draw(texts).encode() if text else draw(payloads)
        messages.append((TEXT if text else BINARY, payload))
        parts = pieces(payload, draw(st.lists(st.integers(0, 300), max_size=3))) or [b""]
        for index, part in enumerate(parts):
            opcode = Opcode.CONT if index else Opcode.TEXT if text else Opcode.BINARY
            frames.append(Frame(opcode, part, fin=index == len(parts) - 1))
            maybe_control()
    return frames, messages, b"".join(masked(each) for each in control)


def masked(each: Frame) -> bytes:
    """A frame as a client sends it, with a mask of its own."""
    mask = random.Random(len(each.data)).randbytes(4)
    return client((FIN if each.fin else 0) | each.opcode, bytes(each.data), mask)


@given(streams(), st.lists(st.integers(0, 2000), max_size=8))
def test_frames_cut_anywhere_give_the_same_messages(
    stream: tuple[list[Frame], list[Message], bytes], cuts: list[int]
) -> None:
    """However the bytes are cut, the messages are those that were sent, and the control frames come whole."""
    frames, messages, control = stream
    data = b"".join(map(masked, frames))
    assert read([data]) == (messages, control)
    assert read(pieces(data, cuts)) == (messages, control)
    if len(data) < 5000:
        assert read(one_by_one(data)) == (messages, control)


@given(st.lists(st.tuples(st.booleans(), texts), max_size=5), st.lists(st.integers(0, 500), max_size=8))
def test_what_wsproto_sends_is_read(messages: list[tuple[bool, str]], cuts: list[int]) -> None:
    """A wsproto client's messages, pings and close frame are read as they were meant."""
    peer = WSConnection(ConnectionType.CLIENT)
    data = control = b""
    for as_text, text in messages:
        data += peer.send(TextMessage(text) if as_text else BytesMessage(text.encode()))
        ping = peer.send(Ping(text.encode()[:125]))
        data, control = data + ping, control + ping
    close = peer.send(CloseConnection(1000, "bye"))
    expected = [(TEXT if as_text else BINARY, text.encode()) for as_text, text in messages]
    for fed in ([data + close], pieces(data + close, cuts)):
        assert read(fed) == (expected, control + close)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_what_websockets_sends_is_read(size: int, opcode: int) -> None:
    """A frame that `websockets` serialises is read, at every edge of the length's forms."""
    payload = b"x" * size
    data = Frame(Opcode(opcode), payload).serialize(mask=True)
    assert read([data]) == ([(opcode, payload)], b"")
    assert read(pieces(data, range(0, len(data), 7))) == ([(opcode, payload)], b"")
    assert read(pieces(data, range(16))) == ([(opcode, payload)], b"")


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
def test_unmasking_is_its_own_inverse(payload: bytes, mask: bytes) -> None:
    """XOR with the repeated mask, byte for byte as RFC 6455 5.3 has it."""
    assert unmask(payload, mask) == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    assert unmask(unmask(payload, mask), mask) == payload


@pytest.mark.parametrize("size", [8191, 8192, 8193, 12287, 12288, 12289, 65535, 65536, 100_003])
def test_unmasking_in_pieces_is_the_same(size: int) -> None:
    """At and around the sizes where a piece ends."""
    payload = random.Random(size).randbytes(size)
    assert unmask(payload, MASK) == bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


# --- what we encode, others decode ---------------------------------------------------


@pytest.mark.parametrize("size", EDGES)
def test_frames_round_trip(size: int) -> None:
    """wsproto reads what `frame` makes, `websockets` makes the same bytes, and `payload_of` undoes it."""
    payload = b"x" * size
    for opcode in (TEXT, BINARY):
        data = frame(opcode, payload)
        assert data == Frame(Opcode(opcode), payload).serialize(mask=False)
        assert payload_of(data) == payload
        peer = WSConnection(ConnectionType.CLIENT)
        peer.receive_data(data)
        received = [event.data for event in peer.events()]  # type: ignore[union-attr]
        assert received == [payload.decode() if opcode == TEXT else payload]


def test_ping_is_read_by_others() -> None:
    """The heartbeat's frame is a ping that wsproto answers with a pong."""
    peer = WSConnection(ConnectionType.CLIENT)
    peer.receive_data(frame(PING, b""))
    (ping,) = peer.events()
    assert isinstance(ping, Ping)
    assert read([peer.send(ping.response())])[1][:1] == bytes((FIN | 10,))


REASONS = [
    pytest.param("", "", id="none"),
    pytest.param("x" * 123, "x" * 123, id="as long as may be"),
    pytest.param("x" * 124, "x" * 123, id="cut"),
    pytest.param("é" * 62, "é" * 61, id="cut before half a character"),
    pytest.param("😀" * 40, "😀" * 30, id="cut before three quarters of one"),
]


@pytest.mark.parametrize(("reason", "cut"), REASONS)
def test_close_frames_round_trip(reason: str, cut: str) -> None:
    """A close frame tells code and reason; a reason that is too long is cut at a character."""
    assert close_reason(reason) == cut
    peer = WSConnection(ConnectionType.CLIENT)
    peer.receive_data(close_frame(4510, reason))
    (close,) = peer.events()
    assert isinstance(close, CloseConnection)
    assert (close.code, close.reason) == (4510, cut)
    assert peer.state == ConnectionState.REMOTE_CLOSING


# --- control frames ---------------------------------------------------


def test_control_frames_between_fragments_are_handed_out_at_once() -> None:
    """A ping inside a fragmented message comes out before the message has ended."""
    reader = FrameReader(MAX)
    ping = client(FIN | PING, b"now")
    assert reader.feed(client(TEXT, b"a") + ping) == ([], ping)
    assert reader.feed(client(FIN, b"b")) == ([(TEXT, b"ab")], b"")


def test_a_half_control_frame_waits_for_its_other_half() -> None:
    """A control frame is handed out whole or not yet."""
    reader = FrameReader(MAX)
    ping = client(FIN | PING, b"now")
    for byte in one_by_one(ping)[:-1]:
        assert reader.feed(byte) == ([], b"")
    assert reader.feed(ping[-1:]) == ([], ping)


def test_a_control_frame_is_handed_out_in_its_place() -> None:
    """The messages before it, the frame, and only then what follows, however much that is."""
    one, two = client(FIN | PING, b"1"), client(FIN | 10, b"2")
    data = client(FIN | TEXT, b"a") + client(TEXT, b"b") + one + two + client(FIN, b"c") + one + b"\x81"
    reader = FrameReader(MAX)
    assert list(everything(reader, [data])) == [
        ([(TEXT, b"a")], one),
        ([], two),
        ([(TEXT, b"bc")], one),
        ([], b""),
    ]
    assert reader.feed(data[1:2]) == ([], b"")


def test_new_bytes_may_come_before_the_rest_was_asked_for() -> None:
    """Fed again while something is pending, nothing is lost and the order stays."""
    ping = client(FIN | PING)
    stream = (ping + client(FIN | TEXT, b"a")) * 3
    reader = FrameReader(MAX)
    assert reader.feed(stream[:-5]) == ([], ping)
    assert reader.feed(stream[-5:]) == ([(TEXT, b"a")], ping)
    assert list(everything(reader, [b""])) == [([(TEXT, b"a")], ping), ([(TEXT, b"a")], b"")]


def test_nothing_after_a_close_frame_is_read() -> None:
    """What follows a close frame means nothing (RFC 6455 5.5.1), whatever it is and whenever it comes."""
    close = client(FIN | CLOSE, b"\x03\xe8")
    data = client(FIN | TEXT, b"a") + close + client(FIN | TEXT, b"b") + b"\xff\xff\xff"
    reader = FrameReader(MAX)
    assert reader.feed(data) == ([(TEXT, b"a")], close)
    assert not reader.pending
    assert reader.feed(b"\xff\xff\xff") == ([], b"")
    assert read(one_by_one(data)) == ([(TEXT, b"a")], close)


@pytest.mark.parametrize("code", [None, *range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_frames_are_handed_out(code: int | None) -> None:
    """Every code that may be sent, with a reason and without, and no code at all."""
    payload = b"" if code is None else code.to_bytes(2, "big")
    for reason in ("", "ä" * 61) if code is not None else ("",):
        close = client(FIN | CLOSE, payload + reason.encode())
        assert read(one_by_one(close)) == ([], close)


@given(st.lists(st.sampled_from([PING, 10]), min_size=1, max_size=50))
def test_many_control_frames_keep_their_order(opcodes: list[int]) -> None:
    """All control frames of one read are handed out in their order, as the bytes they came in."""
    data = b"".join(client(FIN | opcode, bytes([i])) for i, opcode in enumerate(opcodes))
    assert read([data]) == ([], data)
    peer = WSConnection(ConnectionType.SERVER)
    peer.receive_data(read([data])[1])
    assert [bytes(event.payload)[0] for event in peer.events() if isinstance(event, Ping | Pong)] == list(
        range(len(opcodes))
    )


# --- violations ---------------------------------------------------

GOOD = client(FIN | TEXT, b"good")

VIOLATIONS = [
    pytest.param(1002, client(FIN | 0x40 | TEXT, b"x"), id="5.2 RSV1 without an extension"),
    pytest.param(1002, client(FIN | 0x20 | TEXT, b"x"), id="5.2 RSV2"),
    pytest.param(1002, client(FIN | 0x10 | TEXT, b"x"), id="5.2 RSV3"),
    pytest.param(1002, client(FIN | 0x40 | PING, b"x"), id="5.2 RSV1 on a control frame"),
    pytest.param(1002, client(TEXT, b"a") + client(FIN | 0x40, b"b"), id="5.2 RSV1 on a continuation"),
    *(
        pytest.param(1002, client(FIN | opcode, b"x"), id=f"5.2 unknown opcode {opcode}")
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    pytest.param(1002, frame(TEXT, b"x"), id="5.1 unmasked"),
    pytest.param(1002, frame(PING, b""), id="5.1 unmasked control frame"),
    pytest.param(1002, frame(TEXT, b""), id="5.1 unmasked and empty"),
    pytest.param(1002, client(PING, b"x"), id="5.5 fragmented ping"),
    pytest.param(1002, client(CLOSE, b"\x03\xe8"), id="5.5 fragmented close"),
    pytest.param(1002, client(FIN | PING, b"x" * 126), id="5.5 ping of 126 bytes"),
    pytest.param(1002, header(FIN | PING, 126) + MASK, id="5.5 ping of 126 bytes, by its header alone"),
    pytest.param(1002, header(FIN | CLOSE, 70000) + MASK, id="5.5 close of 70000 bytes, by its header alone"),
    pytest.param(1002, client(FIN, b"x"), id="5.4 continuation of nothing"),
    pytest.param(1002, client(0, b"x"), id="5.4 continuation of nothing, not the last"),
    pytest.param(
        1002, client(FIN | TEXT, b"a") + client(FIN, b"b"), id="5.4 continuation of a message that has ended"
    ),
    pytest.param(1002, client(TEXT, b"a") + client(FIN | TEXT, b"b"), id="5.4 message within a message"),
    pytest.param(1002, client(TEXT, b"a") + client(BINARY, b"b"), id="5.4 fragments of two messages"),
    pytest.param(1002, header(FIN | TEXT, 125, width=2) + MASK, id="5.2 125 in 16 bits"),
    pytest.param(1002, header(FIN | TEXT, 0, width=2) + MASK, id="5.2 0 in 16 bits"),
    pytest.param(1002, header(FIN | TEXT, 125, width=8) + MASK, id="5.2 125 in 64 bits"),
    pytest.param(1002, header(FIN | TEXT, 65535, width=8) + MASK, id="5.2 65535 in 64 bits"),
    pytest.param(1002, header(FIN | TEXT, 1 << 63, width=8) + MASK, id="5.2 highest bit of 64 set"),
    pytest.param(1002, header(FIN | TEXT, (1 << 64) - 1, width=8) + MASK, id="5.2 all bits of 64 set"),
    pytest.param(1009, header(FIN | TEXT, (1 << 63) - 1, width=8) + MASK, id="2^63 - 1 bytes"),
    pytest.param(1009, header(FIN | TEXT, MAX + 1) + MASK, id="one byte too long, by its header alone"),
    pytest.param(1009, header(FIN | BINARY, 70000)[:10], id="too long, by its length alone"),
    pytest.param(
        1009, client(TEXT, b"x" * MAX) + header(FIN, 1) + MASK, id="one byte too long over its fragments"
    ),
    pytest.param(
        1009,
        client(TEXT, b"x" * 3000) + client(FIN | PING) + client(0, b"x" * 1000) + header(0, 97) + MASK,
        id="too long over fragments with a ping between",
    ),
    pytest.param(1007, client(FIN | TEXT, b"\xff"), id="8.1 not UTF-8"),
    pytest.param(1007, client(FIN | TEXT, b"a\xc3"), id="8.1 half a character at the end"),
    pytest.param(1007, client(FIN | TEXT, b"\xed\xa0\x80"), id="8.1 a surrogate"),
    pytest.param(1007, client(FIN | TEXT, b"\xc0\xaf"), id="8.1 an overlong form"),
    pytest.param(1007, client(FIN | TEXT, b"\xf4\x90\x80\x80"), id="8.1 beyond U+10FFFF"),
    pytest.param(1007, client(TEXT, b"a\xff"), id="8.1 not UTF-8, early in fragments"),
    pytest.param(1007, client(TEXT, b"\xc3") + client(0, b"\x28"), id="8.1 broken across fragments"),
    pytest.param(
        1007, client(TEXT, b"\xe2\x82") + client(FIN), id="8.1 half a character at the last fragment"
    ),
    pytest.param(
        1009,
        client(TEXT) + client(0) * (1024 + MAX // 64),
        id="endless empty fragments",
    ),
    pytest.param(1002, client(FIN | CLOSE, b"\x03"), id="5.5.1 close with half a code"),
    *(
        pytest.param(1002, client(FIN | CLOSE, code.to_bytes(2, "big")), id=f"7.4 close with {code}")
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
    pytest.param(1007, client(FIN | CLOSE, b"\x03\xe8a\xff"), id="5.5.1 close reason is not UTF-8"),
]


@pytest.mark.parametrize(("code", "data"), VIOLATIONS)
def test_violations_have_their_close_code(code: int, data: bytes) -> None:
    """However the bytes are cut, the code is the table's, and the messages before it are not lost."""
    for fed in ([GOOD + data], [GOOD, data], one_by_one(GOOD + data), pieces(GOOD + data, range(0, 9999, 7))):
        found, messages = failure(fed)
        assert found == code
        assert messages[0] == (TEXT, b"good")
        assert len(messages) <= 2


ALLOWED = [
    pytest.param(client(FIN | TEXT), [(TEXT, b"")], id="an empty text"),
    pytest.param(client(FIN | BINARY), [(BINARY, b"")], id="an empty binary message"),
    pytest.param(client(TEXT) + client(0) + client(FIN), [(TEXT, b"")], id="an empty text in fragments"),
    pytest.param(client(FIN | TEXT, b"x" * MAX), [(TEXT, b"x" * MAX)], id="as long as may be"),
    pytest.param(
        client(TEXT, b"x" * (MAX - 1)) + client(FIN, b"x"),
        [(TEXT, b"x" * MAX)],
        id="as long as may be, in fragments",
    ),
    pytest.param(
        client(TEXT, b"\xf0\x9f") + client(0, b"\x98") + client(FIN, b"\x80"),
        [(TEXT, "😀".encode())],
        id="a character across three fragments",
    ),
    pytest.param(
        client(BINARY) + client(0) * (1024 + MAX // 64 - 2) + client(FIN, b"x"),
        [(BINARY, b"x")],
        id="as many fragments as may be",
    ),
    pytest.param(
        client(BINARY, b"\xff") + client(FIN, b"\xfe"), [(BINARY, b"\xff\xfe")], id="binary isn't UTF-8"
    ),
    pytest.param(
        client(TEXT, b"a") + client(FIN, b"b") + client(BINARY, b"\xff") + client(FIN, b"c"),
        [(TEXT, b"ab"), (BINARY, b"\xffc")],
        id="one fragmented message after another",
    ),
    pytest.param(client(FIN | TEXT, b"abc", b"\0\0\0\0"), [(TEXT, b"abc")], id="a mask of zeros"),
    pytest.param(header(FIN | TEXT, 126) + MASK + unmask(b"x" * 126, MASK), [(TEXT, b"x" * 126)], id="126"),
]


@pytest.mark.parametrize(("data", "messages"), ALLOWED)
def test_what_looks_odd_but_is_allowed(data: bytes, messages: list[Message]) -> None:
    """The nearest neighbours of the violations are read."""
    for fed in ([data], one_by_one(data), pieces(data, range(0, 9999, 5))):
        assert read(fed, MAX) == (messages, b"")


# --- as soon as can be seen ---------------------------------------------------

WRONG_TEXTS = [
    b"\xff",
    b"ok \xce\xba\xff",
    b"\xc0",
    b"\xc3(",
    b"\xe0\x80",
    b"\xed\xa0",
    b"\xf0\x80",
    b"\xf4\x90",
    b"\xf5",
]


@pytest.mark.parametrize("opcode", [TEXT, FIN | TEXT])
@pytest.mark.parametrize("wrong", WRONG_TEXTS)
def test_text_is_refused_at_its_first_wrong_byte(wrong: bytes, opcode: int) -> None:
    """Within a frame that has not come whole, and not a byte too early (RFC 6455 8.1)."""
    before = client(TEXT, "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()[:-1]) + client(0, b"\xbc")
    for start, first in ((b"", opcode), (before, opcode & FIN)):
        reader = FrameReader(MAX)
        reader.feed(start + header(first, 1000) + MASK)
        masked = one_by_one(unmask(wrong, MASK))
        for byte in masked[:-1]:
            assert reader.feed(byte) == ([], b"")
        with pytest.raises(WireError) as caught:
            reader.feed(masked[-1])
        assert caught.value.code == 1007
        assert failure([start + header(first, 1000) + MASK + unmask(wrong, MASK)]) == (1007, [])


def test_half_a_character_is_not_wrong_yet() -> None:
    """Not at the end of what has come of a frame, only at the end of the message."""
    text = "\N{GRINNING FACE}".encode() * 50
    data = client(FIN | TEXT, text)
    for fed in ([data], one_by_one(data), pieces(data, range(9, 999, 3))):
        assert read(fed) == ([(TEXT, text)], b"")
    assert failure(one_by_one(client(FIN | TEXT, text[:-1]))) == (1007, [])


def test_a_long_frame_in_parts_takes_linear_time() -> None:
    """Twice as long takes about twice as long, in time and in memory; the longest frame is read whole."""

    def seconds(size: int) -> float:
        data = client(FIN | TEXT, b"x" * size)
        cut = pieces(data, range(0, len(data), 4096))
        began = time.perf_counter()
        assert read(cut, 1 << 24) == ([(TEXT, b"x" * size)], b"")
        return time.perf_counter() - began

    assert min(seconds(1 << 22) for _ in range(3)) < 12 * min(seconds(1 << 20) for _ in range(3))


# --- whatever comes ---------------------------------------------------


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=12))
def test_garbage_is_read_or_refused(fed: list[bytes]) -> None:
    """Any bytes give messages, control frames or a close code that a server may send, and nothing else."""
    code, messages = failure(fed, 200)
    assert code in (0, 1002, 1007, 1009)
    for opcode, payload in messages:
        assert len(payload) <= 200
        if opcode == TEXT:
            payload.decode()
    assert failure([b"".join(fed)], 200) == (code, messages)


@given(streams(), st.integers(0, 3000), st.integers(0, 255))
def test_one_changed_byte_never_changes_the_past(
    stream: tuple[list[Frame], list[Message], bytes], at: int, value: int
) -> None:
    """Messages that ended before a corrupted byte are not affected by it."""
    frames, _, _ = stream
    encoded = list(map(masked, frames))
    data = b"".join(encoded)
    at = min(at, len(data))
    corrupt = data[:at] + bytes([value]) + data[at + 1 :]
    assert failure([corrupt], 1 << 20)[1][: len(read([data[:at]])[0])] == read([data[:at]])[0]


def test_memory_is_bounded_by_one_message() -> None:
    """A message that never ends holds its limit and one header, however it is sent."""
    reader = FrameReader(100_000)
    tracemalloc.start()
    try:
        reader.feed(client(BINARY, bytes(50_000)))
        for byte in one_by_one((header(FIN, 50_000) + MASK + bytes(50_000))[:-1]):
            assert reader.feed(byte) == ([], b"")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 150_000
    messages, _ = reader.feed(b"\0")
    assert [len(payload) for _, payload in messages] == [100_000]


def test_a_length_is_refused_before_its_payload_is_kept() -> None:
    """The header alone decides: not a byte of a message that is too long is waited for."""
    reader = FrameReader(MAX)
    with pytest.raises(WireError) as caught:
        reader.feed(header(FIN | BINARY, MAX + 1)[:4])
    assert caught.value.code == 1009
