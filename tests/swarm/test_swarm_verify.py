"""The verifier finds what was planted, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmlib.protocol import UNKNOWN, Event, message_id
from swarmlib.verify import (
    AckBook,
    Agreement,
    Findings,
    SenderTranscript,
    SeqTranscript,
    Sequence,
    ascending_span,
)


def events(*seqs: int) -> list[Event]:
    """Delivered events of sender 7, numbered ``seqs``; the sender's own numbers run along."""
    return [Event(7, seq - 1, 1, seq, message_id(7, seq - 1)) for seq in seqs]


def found(seqs: list[int], head: int) -> dict[str, int]:
    """What a transcript of ``seqs`` shows; the member joined at 0."""
    findings = Findings()
    transcript = SeqTranscript(0)
    seen = events(*seqs)
    for at in range(0, len(seen), 3):
        transcript.see(seen[at : at + 3], ascending_span(seen[at : at + 3]))
    transcript.finish({}, head, findings)
    return dict(+findings)


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ([1, 2, 3, 4, 5], {}),
        ([], {"gaps": 5}),
        ([1, 2, 4, 5], {"gaps": 1}),
        ([2, 3, 4, 5], {"gaps": 1}),
        ([1, 2, 3], {"gaps": 2}),
        ([1, 2, 2, 3, 4, 5], {"duplicates": 1}),
        ([1, 2, 3, 4, 5, 5], {"duplicates": 1}),
        ([1, 3, 2, 4, 5], {"order": 1}),
        ([5, 4, 3, 2, 1], {"order": 4}),
        ([1, 2, 4, 4, 5, 3, 3], {"order": 1, "duplicates": 2}),
    ],
)
def test_a_transcript_shows_each_fault(seqs: list[int], expected: dict[str, int]) -> None:
    """Gaps, duplicates and wrong order are counted apart."""
    assert found(seqs, 5) == expected


@given(st.lists(st.integers(1, 30), max_size=60))
def test_a_transcript_agrees_with_the_definition(seqs: list[int]) -> None:
    """For any numbers: what never came is a gap, what came again is a duplicate."""
    result = found(seqs, 30)
    assert result.get("gaps", 0) == 30 - len(set(seqs))
    assert result.get("duplicates", 0) == len(seqs) - len(set(seqs))
    in_order = all(
        seq > max(seqs[:place], default=0) or seq in seqs[:place] for place, seq in enumerate(seqs)
    )
    assert bool(result.get("order", 0)) != in_order


def test_a_sender_transcript_keeps_senders_apart() -> None:
    """Relay: each sender's messages are numbered from 0, those of strangers are not looked at."""
    findings = Findings()
    transcript = SenderTranscript()
    transcript.see([Event(1, 0, 1), Event(2, 0, 1), Event(UNKNOWN, 9, 1), Event(2, 2, 1), Event(1, 1, 1)])
    transcript.finish({1: 2, 2: 4, 3: 1}, 0, findings)
    assert dict(+findings) == {"gaps": 3}


def test_a_message_from_another_room_is_found() -> None:
    """A sender that isn't in this room is a stranger."""
    findings = Findings()
    transcript = SenderTranscript()
    transcript.see([Event(1, 0, 1)])
    transcript.finish({}, 0, findings)
    assert dict(+findings) == {"strangers": 1}


def test_acks_that_tell_the_truth_leave_nothing() -> None:
    """Event before ack or ack before event: both are fine."""
    findings = Findings()
    book = AckBook(7, findings)
    book.see(events(1))
    book.ack({"re": message_id(7, 0), "seq": 1}, 2)
    book.ack({"re": message_id(7, 1), "seq": 2}, 2)
    book.see([*events(2), Event(8, 0, 1, 3, message_id(8, 0))])
    book.finish()
    assert dict(+findings) == {}
    assert book.head == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"re": message_id(7, 0), "seq": 2}, {"acks wrong": 1}),
        ({"re": message_id(7, 9), "seq": 1}, {"acks wrong": 1, "delivered, not acked": 1}),
        ({"re": message_id(8, 0), "seq": 1}, {"acks wrong": 1, "delivered, not acked": 1}),
        ({"seq": 1}, {"acks wrong": 1, "delivered, not acked": 1}),
        ({"re": message_id(7, 0)}, {"acks wrong": 1, "delivered, not acked": 1}),
        ({"re": message_id(7, 1), "seq": 2}, {"acked, not delivered": 1, "delivered, not acked": 1}),
    ],
)
def test_acks_that_lie_are_found(reply: dict[str, object], expected: dict[str, int]) -> None:
    """A wrong seq, an id never sent, an id of somebody else, no id, no seq, an event that nobody saw."""
    findings = Findings()
    book = AckBook(7, findings)
    book.see(events(1))
    book.ack(reply, 2)
    book.finish()
    assert dict(+findings) == expected


def test_an_event_under_another_id_is_found() -> None:
    """The id in the event must be the one that was sent."""
    findings = Findings()
    AckBook(7, findings).see([Event(7, 0, 1, 1, message_id(7, 3))])
    assert dict(+findings) == {"acks wrong": 1}


def test_members_that_are_shown_different_events_are_found() -> None:
    """One seq, one event; what is long past is forgotten."""
    findings = Findings()
    agreement = Agreement(findings, max_known=4)
    agreement.see(events(1, 2))
    agreement.see(events(2, 3))
    assert not +findings
    agreement.see([Event(8, 0, 1, 2, "other")])
    assert dict(+findings) == {"members disagree": 1}
    agreement.see(events(4, 5))
    assert len(agreement.known) == 3


def test_a_late_number_beyond_the_end_is_no_gap() -> None:
    """A member may have seen more than the highest ack when it is asked."""
    sequence = Sequence(1)
    for number in (1, 2, 3):
        sequence.see(number)
    assert sequence.finish(2) == 0


def test_a_span_is_told_only_of_consecutive_events() -> None:
    """A block with a hole or a repetition has none."""
    assert ascending_span(events(4, 5, 6)) == (4, 6)
    assert ascending_span(events(4, 6)) is None
    assert ascending_span(events(4, 4)) is None
