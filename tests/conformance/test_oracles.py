"""The codec against wsproto and `websockets`: what do the same bytes mean to them?

Whole, cut at random and byte by byte, with and without permessage-deflate. ``scripts/fuzz.py codec`` does the
same for longer.
"""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from fuzzlib import streams
from fuzzlib.codec import SMALL_LIMIT, fuzz_codec, too_much_held
from fuzzlib.oracles import by_websockets, by_wsproto, disagreement, ours
from hypothesis import given, settings
from hypothesis import strategies as st
from wire.test_frames import FIN, client

from trio_chat.wire import frames
from trio_chat.wire.frames import BINARY, PING, TEXT, FrameReader, WireError

from .cases import CASES, Case, cuts

CLOSE_IN_A_MESSAGE = "7.1.5"


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_others_read_the_cases_as_we_do(case: Case, deflate: bool) -> None:
    """Messages, control frames and close code are the same, however the bytes are cut."""
    whole = ours([b"".join(case.sent)], deflate=deflate)
    for pieces in cuts(case).values():
        assert ours(pieces, deflate=deflate) == whole
    others = by_wsproto(case.sent, deflate=deflate), by_websockets(case.sent, deflate=deflate)
    assert disagreement(whole, *others, deflate=deflate, garbled=False) == ""
    if not deflate:
        assert whole.code == (case.code if case.code in (1002, 1007) and not answers_a_close(case) else 0)
        assert others[1] == whole or case.code != 1000 or case.id == CLOSE_IN_A_MESSAGE


def answers_a_close(case: Case) -> bool:
    """Whether the code is the client's own, which comes back."""
    return case.id.startswith("7.7.")


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_mutated_streams_mean_the_same_to_others(rng: random.Random, deflate: bool, garbled: bool) -> None:
    """Whole or cut, to us and to them; and nothing but `WireError` is ever raised."""
    data = b"".join(streams.stream(rng, deflate=deflate))
    if garbled:
        data = streams.mutated(rng, data)
    whole = ours([data], deflate=deflate)
    cut = streams.pieces(rng, data)
    assert ours(cut, deflate=deflate) == whole
    assert too_much_held(cut, deflate=deflate) == 0
    others = by_wsproto([data], deflate=deflate), by_websockets([data], deflate=deflate)
    assert disagreement(whole, *others, deflate=deflate, garbled=garbled) == ""


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.booleans()), max_size=20))
def test_a_reader_never_holds_more_than_its_limit(frames_: list[tuple[bool, int, bool]]) -> None:
    """Whatever is begun and not ended."""
    reader = FrameReader(SMALL_LIMIT)
    opcode = BINARY
    with suppress(WireError):
        for final, size, whole in frames_:
            data = client((FIN if final else 0) | opcode, bytes(size))
            reader.feed(data if whole else data[:-1])
            assert reader.held_bytes <= SMALL_LIMIT
            opcode = BINARY if final else 0


def test_what_is_pending_is_held_until_asked_for() -> None:
    """`held_bytes` counts what followed a control frame, half a header and half a message, nothing else."""
    reader = FrameReader(SMALL_LIMIT)
    rest = client(FIN | TEXT, b"text") + b"\x81"
    reader.feed(client(FIN | PING) + rest)
    assert reader.held_bytes == len(rest)
    reader.feed(b"")
    assert reader.held_bytes == 1
    reader.feed(client(FIN | TEXT, b"text")[1:])
    assert reader.held_bytes == 0
    reader.feed(client(TEXT, b"text"))
    assert reader.held_bytes == 4


# --- does it find what is wrong? ---------------------------------------------------


def _shifted(payload: bytes, mask: bytes) -> bytes:
    return frames_unmask(payload, mask[1:] + mask[:1] if len(payload) > 4 else mask)


def _blind(self: FrameReader, content: bytes, messages: list[frames.Message]) -> None:
    """Takes anything for text."""


def _lenient(self: FrameReader, first: int, length: int, messages: list[frames.Message]) -> None:
    """Takes any control frame."""


def _forgetful(self: FrameReader, first: int, messages: list[frames.Message]) -> None:
    self._final = first >= 0x80
    self._partial = bytearray()
    self._opcode, self._compressed, self._decoder = first & 0x0F or TEXT, False, None


frames_unmask = frames.unmask
FAULTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "unmasked with the mask turned": (frames, "unmask", _shifted),
    "UTF-8 not checked": (FrameReader, "_check_text", _blind),
    "control frames not checked": (FrameReader, "_check_control", _lenient),
    "fragments forgotten": (FrameReader, "_begin", _forgetful),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """A codec that is wrong in one thing doesn't get through a few hundred rounds."""
    monkeypatch.setattr(*FAULTS[fault])
    assert fuzz_codec(1, 30, 500).failures


def test_without_one_nothing_is_found() -> None:
    """The same rounds with the codec as it is."""
    report = fuzz_codec(1, 30, 500)
    assert report.failures == []
    assert 0.2 < report.refused / report.rounds < 0.9
