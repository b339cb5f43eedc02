"""Byte strings that a UTF-8 decoder gets wrong, by kind.

`encoded` writes any number in any of the six lengths that UTF-8 once had, whether that is allowed or not;
most kinds are made of it. Which strings are valid is for Python's own decoder to say.
"""

GREEK = "κ\N{GREEK SMALL LETTER OMICRON WITH OXIA}σμε".encode()
"""Characters of two and three bytes, eleven in all."""
LAST_OF_LENGTH = {1: 0x7F, 2: 0x7FF, 3: 0xFFFF, 4: 0x1FFFFF, 5: 0x3FFFFFF, 6: 0x7FFFFFFF}
"""The largest number that so many bytes can hold."""
LEADS = {2: 0xC0, 3: 0xE0, 4: 0xF0, 5: 0xF8, 6: 0xFC}


def encoded(number: int, length: int) -> bytes:
    """``number`` in ``length`` bytes, as RFC 2279 had it; overlong if fewer would do."""
    if length == 1:
        return bytes((number,))
    follow = [0x80 | number >> 6 * i & 0x3F for i in reversed(range(length - 1))]
    return bytes((LEADS[length] | number >> 6 * (length - 1), *follow))


def surrogate(number: int) -> bytes:
    """A surrogate, as a careless encoder writes it."""
    return encoded(number, 3)


def is_valid(text: bytes) -> bool:
    """Whether ``text`` is UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


FIRST_OF_LENGTH = {length: LAST_OF_LENGTH[length - 1] + 1 if length > 1 else 0 for length in LAST_OF_LENGTH}
UNFINISHED = [
    encoded(number, length)[:-1] for numbers in (dict.fromkeys(LEADS, 0), LAST_OF_LENGTH)
    for length, number in numbers.items() if length > 1
]  # fmt: skip
PAIRS = [(0xD800, 0xDC00), (0xD800, 0xDFFF), (0xDB7F, 0xDC00), (0xDB7F, 0xDFFF),
         (0xDB80, 0xDC00), (0xDB80, 0xDFFF), (0xDBFF, 0xDC00), (0xDBFF, 0xDFFF)]  # fmt: skip

KINDS: dict[str, list[bytes]] = {
    "6.5": [*(f"hello{character}world".encode() for character in "$¢€\U00024b62"), GREEK],
    "6.6": [GREEK[:size] for size in range(1, len(GREEK) + 1)],
    "6.7": [encoded(FIRST_OF_LENGTH[length], length) for length in (1, 2, 3, 4)],
    "6.8": [encoded(FIRST_OF_LENGTH[length], length) for length in (5, 6)],
    "6.9": [encoded(0x7F, 1), encoded(0x7FF, 2), encoded(0xFFFF, 3), encoded(0x10FFFF, 4)],
    "6.10": [encoded(LAST_OF_LENGTH[length], length) for length in (4, 5, 6)],
    "6.11": [
        *(encoded(number, 3) for number in (0xD7FF, 0xE000, 0xFFFD)),
        encoded(0x10FFFF, 4),
        encoded(0x110000, 4),
    ],
    "6.12": [
        b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:size] for size in range(2, 7)), bytes(range(0x80, 0xC0)),
    ],
    "6.13": [
        b"".join(bytes((lead, 0x20)) for lead in range(first, last + 1))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ],
    "6.14": UNFINISHED,
    "6.15": [b"".join(UNFINISHED)],
    "6.16": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "6.17": [encoded(ord("/"), length) for length in LEADS],
    "6.18": [encoded(LAST_OF_LENGTH[length - 1], length) for length in LEADS],
    "6.19": [encoded(0, length) for length in LEADS],
    "6.20": [surrogate(number) for number in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)],
    "6.21": [surrogate(high) + surrogate(low) for high, low in PAIRS],
    "6.22": [chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF)],
    "6.23": [chr(number).encode() for number in range(0xFFF9, 0x10000)],
}  # fmt: skip
"""By the number of the Autobahn test suite's class."""
