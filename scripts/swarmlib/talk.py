"""What people might say: messages that are as alike as those of a chat, and no more.

Made from a fixed seed, so that every run and every server has the same ones. There are more of them than fit
into the 32 KiB that DEFLATE remembers: none is simply found again.
"""

import json
import random
from functools import cache

TEMPLATES = 1000
_SEED = 7


def _words(text: str) -> list[str]:
    return text.split()


_NAMES = _words(
    """
    Ann Bob Chiara Dmitri Emre Fatima Grace Hiroshi Ines Jakub Kwame Lena Mateo Nadia Olu Priya Quentin
    Rosa Sven Thuy Uma Viktor Wanjiru Xin Yusuf Zoe
    """
)
_COMMON = _words(
    """
    the a to of and in is it that for on you I we they was with be this have not are but at from so
    what there can all will if about when your just like then some out up know time how now
    """
)
_OTHERS = _words(
    """
    think good one see more here me going would only well also because really need work way back after
    make day people could new still should maybe want right over server tomorrow meeting train coffee
    release build tests green red review branch weekend lunch office question answer idea problem
    version update link photo music rain yesterday morning evening thanks sorry please sure okay great
    nice funny strange late early deploy database backup ticket customer invoice budget contract
    holiday birthday football recipe garden bicycle kitchen window library station platform airport
    hotel weather forecast minutes
    """
)
_ENDS = (",", ",", ".", ".", "?", "!", " :)", ";", " -")


def _sentence(rng: random.Random, size: int) -> str:
    """Words, numbers and names, ``size`` ASCII characters; no quotes, no percent signs."""
    words: list[str] = []
    length = 0
    while length <= size:
        word = rng.choice(_COMMON if rng.random() < 0.5 else _OTHERS)
        kind = rng.random()
        if kind < 0.03:
            word = str(rng.randrange(100_000))
        elif kind < 0.06:
            word = f"{rng.randrange(24)}:{rng.randrange(60):02d}"
        elif kind < 0.10:
            word = f"@{rng.choice(_NAMES)}"
        if rng.random() < 0.15:
            word += rng.choice(_ENDS)
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


@cache
def texts(stamp: bytes, size: int) -> list[bytes]:
    """Texts of ``size`` bytes, each beginning with ``stamp``, a format of three numbers."""
    rng = random.Random(_SEED)
    left = size - len(stamp % (0, 0, 0))
    return [stamp + _sentence(rng, left).encode() for _ in range(TEMPLATES)]


@cache
def events(stamp: bytes, size: int) -> list[bytes]:
    """The same as JSON of ``size`` bytes, like our own ``message`` event, with ``stamp`` for its ``id``."""
    rng = random.Random(_SEED)
    at = 1.75e9
    made = []
    for seq in range(24_310, 24_310 + TEMPLATES):
        at += rng.expovariate(0.1)
        name = rng.choice(_NAMES)
        event = {
            "op": "message", "room": "garden-party", "seq": seq, "at": round(at, 3),
            "user": {"id": f"u-{rng.getrandbits(40):010x}", "name": name}, "text": "", "id": "",
        }  # fmt: skip
        frame = json.dumps(event, separators=(",", ":"))
        text = _sentence(rng, size - len(frame) - len(stamp % (0, 0, 0)))
        filled = frame.replace('"text":""', f'"text":"{text}"').encode()
        made.append(filled.replace(b'"id":""', b'"id":"' + stamp + b'"'))
    return made
