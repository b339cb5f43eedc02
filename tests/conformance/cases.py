"""The cases of an echo endpoint: what a client sends, what has to come back, and how it ends.

Numbered as in the Autobahn test suite; bytes and expectations are our reading of RFC 6455. Sizes and speed
(class 9) are in ``test_sizes.py``, compression (12 and 13) in ``test_compression.py``.
"""

import attrs
from wire.test_frames import FIN, client, header

from trio_chat.wire.frames import BINARY, CLOSE, PING, TEXT

from .utf8 import GREEK, KINDS, is_valid

PONG = 10
NORMAL = client(FIN | CLOSE, b"\x03\xe8")
HELLO = b"Hello, world!"
UMLAUTS = "Hello-µ@ßöäüàá-UTF-8!!".encode()
WRONG = GREEK + b"\xf4\x90\x80\x80edited"
"""With the byte at 12 it can't become valid any more."""
UNMASKED_WRONG = header(FIN | TEXT, len(WRONG)) + bytes(4)
"""The header of a frame with `WRONG` in it; a mask of zeros changes nothing."""

Answer = tuple[int, bytes]
"""Opcode and payload of a frame from the server."""


@attrs.frozen
class Case:
    """``sent``: the client's frames. ``code``: of the server's close frame (1005: it has none).

    ``ends``: the frames end the connection; otherwise the client closes with 1000 when it has its answers.
    """

    id: str
    what: str
    sent: tuple[bytes, ...]
    answers: tuple[Answer, ...] = ()
    code: int = 1000
    ends: bool = True


def echo(id: str, what: str, *sent: bytes, opcode: int = TEXT, payload: bytes) -> Case:  # noqa: A002
    """A message that comes back."""
    return Case(id, what, sent, ((opcode, payload),), ends=False)


def wrong(id: str, what: str, *sent: bytes, code: int = 1002, before: tuple[Answer, ...] = ()) -> Case:  # noqa: A002
    """Something that isn't allowed, after ``before`` has been answered."""
    return Case(id, what, sent, before, code)


def each(payload: bytes, first: int, *, last: int = FIN) -> tuple[bytes, ...]:
    """``payload`` as fragments of a byte each."""
    size = len(payload)
    return tuple(
        client((first if i == 0 else 0) | (last if i == size - 1 else 0), payload[i : i + 1])
        for i in range(size)
    )


# --- 1: framing ---------------------------------------------------

SIZES = (0, 125, 126, 127, 128, 65535, 65536)
MESSAGES = [
    echo(f"1.{opcode}.{number}", f"{kind} of {size} bytes", client(FIN | opcode, byte * size),
         opcode=opcode, payload=byte * size)
    for opcode, kind, byte in ((TEXT, "text", b"*"), (BINARY, "binary", b"\xfe"))
    for number, size in enumerate((*SIZES, 65536), 1)
]  # fmt: skip

# --- 2: pings and pongs ---------------------------------------------------

NO_TEXT = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
FULL_PING = b"\xfe" * 125
TEN = [b"payload-%d" % i for i in range(10)]


def ping(id: str, what: str, payload: bytes) -> Case:  # noqa: A002
    """A ping that is answered."""
    return Case(id, what, (client(FIN | PING, payload),), ((PONG, payload),), ends=False)


PINGS = [
    ping("2.1", "ping without a payload", b""),
    ping("2.2", "ping with text", b"Hello, world!"),
    ping("2.3", "ping with bytes that aren't text", NO_TEXT),
    ping("2.4", "ping of 125 bytes", FULL_PING),
    wrong("2.5", "ping of 126 bytes", client(FIN | PING, b"\xfe" * 126)),
    ping("2.6", "ping of 125 bytes, byte by byte", FULL_PING),
    Case("2.7", "pong that nobody asked for", (client(FIN | PONG),), ends=False),
    Case("2.8", "the same with a payload", (client(FIN | PONG, b"unsolicited"),), ends=False),
    Case(
        "2.9", "such a pong, then a ping", (client(FIN | PONG, b"unsolicited"), client(FIN | PING, b"ping")),
        ((PONG, b"ping"),), ends=False,
    ),
    *(
        Case(number, "ten pings" + how, tuple(client(FIN | PING, payload) for payload in TEN),
             tuple((PONG, payload) for payload in TEN), ends=False)
        for number, how in (("2.10", ""), ("2.11", ", byte by byte"))
    ),
]  # fmt: skip

# --- 3 and 4: reserved bits and opcodes ---------------------------------------------------

GREETING = client(FIN | TEXT, HELLO)
GREETED = ((TEXT, HELLO),)
RESERVED_BITS = [
    wrong("3.1", "RSV3 on a text message", client(FIN | 0x10 | TEXT, HELLO)),
    *(
        wrong(number, f"text, then one with RSV {bits}, then a ping",
              GREETING, client(FIN | bits << 4 | TEXT, HELLO), client(FIN | PING), before=GREETED)
        for number, bits in (("3.2", 2), ("3.3", 3), ("3.4", 4))
    ),
    wrong("3.5", "RSV1 and RSV3 on a binary message", client(FIN | 0x50 | BINARY, NO_TEXT)),
    wrong("3.6", "RSV1 and RSV2 on a ping", client(FIN | 0x60 | PING, HELLO)),
    wrong("3.7", "all three on a close frame", client(FIN | 0x70 | CLOSE)),
]  # fmt: skip
OPCODES = [
    *(
        wrong(f"4.{1 if base == 3 else 2}.{number}", f"opcode {base + number - 1}", *sent, before=before)
        for base in (3, 11)
        for number, sent, before in (
            (1, (client(FIN | base),), ()),
            (2, (client(FIN | base + 1, b"a payload"),), ()),
            (3, (GREETING, client(FIN | base + 2), client(FIN | PING)), GREETED),
            (4, (GREETING, client(FIN | base + 3, HELLO), client(FIN | PING)), GREETED),
            (5, (GREETING, client(FIN | base + 4, HELLO), client(FIN | PING)), GREETED),
        )
    ),
]

# --- 5: fragmentation ---------------------------------------------------

ONE, TWO = client(TEXT, b"fragment1"), client(FIN, b"fragment2")
BOTH = b"fragment1fragment2"
BETWEEN = client(FIN | PING, b"ping payload")
FIVE = [b"fragment%d" % i for i in range(1, 6)]
OTHER = client(FIN | TEXT, HELLO)
FIVE_WITH_PINGS = (
    client(TEXT, FIVE[0]), client(0, FIVE[1]), client(FIN | PING, b"1"),
    client(0, FIVE[2]), client(0, FIVE[3]), client(FIN | PING, b"2"), client(FIN, FIVE[4]),
)  # fmt: skip
HOW = ("", ", frame by frame", ", byte by byte")
FRAGMENTS = [
    wrong("5.1", "a ping in two fragments", client(PING, b"fragment1"), TWO),
    wrong("5.2", "a pong in two fragments", client(PONG, b"fragment1"), TWO),
    *(echo(f"5.{3 + i}", f"text in two fragments{how}", ONE, TWO, payload=BOTH) for i, how in enumerate(HOW)),
    *(
        Case(f"5.{6 + i}", f"a ping between them{how}", (ONE, BETWEEN, TWO),
             ((PONG, b"ping payload"), (TEXT, BOTH)), ends=False)
        for i, how in enumerate(HOW)
    ),
    *(
        wrong(f"5.{9 + i}", f"the end of nothing, then text{how}", client(FIN, b"nothing"), OTHER)
        for i, how in enumerate(HOW)
    ),
    *(
        wrong(f"5.{12 + i}", f"the middle of nothing, then text{how}", client(0, b"nothing"), OTHER)
        for i, how in enumerate(HOW)
    ),
    wrong("5.15", "text in two fragments, then the middle of nothing", ONE, TWO, client(0, b"nothing"), OTHER,
          before=((TEXT, BOTH),)),
    wrong("5.16", "twice: the middle of nothing, then text in two", *(client(0, b"nothing"), ONE, TWO) * 2),
    wrong("5.17", "twice: the end of nothing, then text in two", *(client(FIN, b"nothing"), ONE, TWO) * 2),
    wrong("5.18", "a text message within another", ONE, client(FIN | TEXT, b"fragment2")),
    *(
        Case(number, f"text in five fragments with two pings between{how}", FIVE_WITH_PINGS,
             ((PONG, b"1"), (PONG, b"2"), (TEXT, b"".join(FIVE))), ends=False)
        for number, how in (("5.19", ""), ("5.20", ", frame by frame"))
    ),
]  # fmt: skip

# --- 6: UTF-8 ---------------------------------------------------

NOT_TEXT = GREEK + b"\xed\xa0\x80edited"
TEXTS = [
    echo("6.1.1", "an empty text", client(FIN | TEXT), payload=b""),
    echo("6.1.2", "three empty fragments", client(TEXT), client(0), client(FIN), payload=b""),
    echo("6.1.3", "an empty one at either end", client(TEXT), client(0, HELLO), client(FIN), payload=HELLO),
    echo("6.2.1", "two-byte characters", client(FIN | TEXT, UMLAUTS), payload=UMLAUTS),
    echo("6.2.2", "in two fragments, between characters",
         client(TEXT, UMLAUTS[:15]), client(FIN, UMLAUTS[15:]), payload=UMLAUTS),
    echo("6.2.3", "in fragments of a byte", *each(UMLAUTS, TEXT), payload=UMLAUTS),
    echo("6.2.4", "three-byte characters in fragments of a byte", *each(GREEK, TEXT), payload=GREEK),
    wrong("6.3.1", "a surrogate in a text", client(FIN | TEXT, NOT_TEXT), code=1007),
    wrong("6.3.2", "the same in fragments of a byte", *each(NOT_TEXT, TEXT), code=1007),
]  # fmt: skip
FAIL_FAST = [
    wrong("6.4.1", "wrong in the second of three fragments, with more wrong bytes behind",
          client(TEXT, WRONG[:11]), client(0, WRONG[11:15]), client(FIN, WRONG[15:]), code=1007),
    wrong("6.4.2", "wrong at the last byte of the second fragment",
          client(TEXT, WRONG[:12]), client(0, WRONG[12:13]), client(FIN, WRONG[13:]), code=1007),
    *(
        wrong(number, f"the same as 6.4.{same}, within one frame that comes in three pieces",
              UNMASKED_WRONG + WRONG[:first], WRONG[first:second], WRONG[second:], code=1007)
        for number, same, first, second in (("6.4.3", 1, 11, 15), ("6.4.4", 2, 12, 13))
    ),
]  # fmt: skip
"""The second piece alone has to be the end; the third must not be waited for."""
SEQUENCES = [
    echo(f"{kind}.{number}", f"valid: {text.hex(' ')}", client(FIN | TEXT, text), payload=text)
    if is_valid(text)
    else wrong(f"{kind}.{number}", f"invalid: {text.hex(' ')}", client(FIN | TEXT, text), code=1007)
    for kind, texts in KINDS.items()
    for number, text in enumerate(texts, 1)
]

# --- 7: closing ---------------------------------------------------


def closing(id: str, what: str, payload: bytes, code: int) -> Case:  # noqa: A002
    """One close frame with ``payload``."""
    return Case(id, what, (client(FIN | CLOSE, payload),), code=code)


LONG = b"BAsd7&jh23" * 26215
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
CLOSES = [
    Case("7.1.1", "text, then a close frame", (GREETING, NORMAL), GREETED),
    Case("7.1.2", "two close frames", (NORMAL, client(FIN | CLOSE))),
    Case("7.1.3", "a ping after the close frame", (NORMAL, client(FIN | PING))),
    Case("7.1.4", "text after the close frame", (NORMAL, GREETING)),
    Case("7.1.5", "a close frame between two fragments", (ONE, NORMAL, TWO)),
    Case("7.1.6", "256 KiB and a short text, a close frame, a ping",
         (client(FIN | TEXT, LONG), GREETING, NORMAL, client(FIN | PING)), ((TEXT, LONG), *GREETED)),
    closing("7.3.1", "no code", b"", 1005),
    closing("7.3.2", "half a code", b"\x03", 1002),
    closing("7.3.3", "a code", b"\x03\xe8", 1000),
    closing("7.3.4", "a code and a reason", b"\x03\xe8" + HELLO, 1000),
    closing("7.3.5", "the longest reason, 123 bytes", b"\x03\xe8" + b"*" * 123, 1000),
    closing("7.3.6", "a reason of 124 bytes", b"\x03\xe8" + b"*" * 124, 1002),
    closing("7.5.1", "a reason that isn't UTF-8", b"\x03\xe8" + NOT_TEXT, 1007),
    *(
        closing(f"7.7.{number}", f"code {code}", code.to_bytes(2, "big"), code)
        for number, code in enumerate(GOOD_CODES, 1)
    ),
    *(
        closing(f"7.9.{number}", f"code {code}", code.to_bytes(2, "big"), 1002)
        for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    ),
    *(
        closing(number, f"code {code}", code.to_bytes(2, "big"), 1002)
        for number, code in (("7.13.1", 5000), ("7.13.2", 65535))
    ),
]  # fmt: skip

# --- 10: fragments made by a library ---------------------------------------------------

STARS = b"*" * 65536
IN_PIECES = [STARS[at : at + 1300] for at in range(0, len(STARS), 1300)]
AUTOMATIC = [
    echo(
        "10.1.1",
        "64 KiB in fragments of 1300 bytes",
        client(TEXT, IN_PIECES[0]),
        *(client(0, piece) for piece in IN_PIECES[1:-1]),
        client(FIN, IN_PIECES[-1]),
        payload=STARS,
    )
]

CASES = [
    *MESSAGES, *PINGS, *RESERVED_BITS, *OPCODES, *FRAGMENTS, *TEXTS, *FAIL_FAST, *SEQUENCES, *CLOSES,
    *AUTOMATIC,
]  # fmt: skip


def cuts(case: Case) -> dict[str, list[bytes]]:
    """The case's bytes in one piece, frame by frame, and in small pieces."""
    data = b"".join(case.sent)
    step = 1 if len(data) < 5000 else 997
    return {
        "whole": [data],
        "frames": list(case.sent),
        f"pieces of {step}": [data[at : at + step] for at in range(0, len(data), step)],
    }
