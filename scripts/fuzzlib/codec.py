"""Random and mutated bytes against the codec: does it mean the same however they are cut, and to others too?

For each round: one client's bytes, often mutated, read by `FrameReader` whole, cut at random and (if short)
byte by byte, and by wsproto and `websockets`. Wrong is any exception but `WireError`, any difference by the
cutting, any disagreement that `oracles` has no excuse for, and a reader that holds more than its limit.
"""

import random
import time

import attrs

from trio_chat.wire.frames import FrameReader, WireError

from . import streams
from .oracles import Outcome, by_websockets, by_wsproto, disagreement, ours

SMALL_LIMIT = 500
"""Message limit of the reader whose memory is looked at."""
HELD = 140
"""What may be kept beside a message: an unfinished header or control frame."""


@attrs.define
class CodecReport:
    """What was tried."""

    rounds: int = 0
    bytes: int = 0
    refused: int = 0
    failures: list[str] = attrs.field(factory=list)


def one_round(seed: int) -> tuple[bytes, Outcome, str]:
    """The bytes of ``seed``, what they mean, and what is wrong with that, if anything."""
    rng = random.Random(seed)
    deflate = rng.random() < 0.4
    data = b"".join(streams.stream(rng, deflate=deflate, large=rng.random() < 0.02))
    garbled = rng.random() < 0.6
    if garbled:
        data = streams.mutated(rng, data)
    whole = ours([data], deflate=deflate)
    cut = streams.pieces(rng, data)
    if (again := ours(cut, deflate=deflate)) != whole:
        wrong = f"cut into {len(cut)} pieces: {again}, whole: {whole}"
    elif held := too_much_held(cut, deflate=deflate):
        wrong = f"{held} bytes were held, with a limit of {SMALL_LIMIT}"
    else:
        others = by_wsproto([data], deflate=deflate), by_websockets([data], deflate=deflate)
        wrong = disagreement(whole, *others, deflate=deflate, garbled=garbled)
    return data, whole, wrong


def too_much_held(cut: list[bytes], *, deflate: bool) -> int:
    """More than a reader with a small limit may keep between two reads; 0 if it never does."""
    reader = FrameReader(SMALL_LIMIT, deflate=deflate)
    try:
        for piece in cut:
            reader.feed(piece)
            while reader.pending:
                reader.feed(b"")
            if reader.held_bytes > SMALL_LIMIT + HELD:
                return reader.held_bytes
    except WireError:
        pass
    return 0


def fuzz_codec(seed: int, seconds: float, count: int) -> CodecReport:
    """Rounds from ``seed`` on, until the time or the count is over (0: no such bound), or something fails."""
    report = CodecReport()
    until = time.monotonic() + seconds if seconds else float("inf")
    while time.monotonic() < until and not (count and report.rounds >= count):
        try:
            data, outcome, wrong = one_round(seed + report.rounds)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            data, outcome, wrong = b"", Outcome(), repr(error)
        if wrong:
            report.failures.append(f"seed {seed + report.rounds}: {wrong}")
            if len(report.failures) >= 10:
                break
        report.rounds += 1
        report.bytes += len(data)
        report.refused += bool(outcome.code)
    return report
