"""Finds what must not happen in what a client got: gaps, duplicates, wrong order, acks that lie.

Pure and incremental: memory grows with what is missing or outstanding, not with what was seen.
"""

from collections import Counter
from typing import Any

from swarmlib.protocol import UNKNOWN, message_id

MAX_KNOWN_EVENTS = 200_000
"""Of a room, in one process; beyond, the older half is forgotten: members are never that far apart."""


class Sequence:
    """Numbers that should come one by one, each exactly once.

    A number that is skipped counts as missing until it comes: then it was out of order. One that comes
    again is a duplicate. What is still missing at the end is a gap.
    """

    __slots__ = ("duplicates", "expected", "late", "missing")

    def __init__(self, first: int) -> None:
        self.expected = first
        self.missing: set[int] = set()
        self.duplicates = 0
        self.late = 0

    def see(self, number: int) -> None:
        """Take the next number that came."""
        if number == self.expected:
            self.expected += 1
        elif number > self.expected:
            self.missing.update(range(self.expected, number))
            self.expected = number + 1
        elif number in self.missing:
            self.missing.discard(number)
            self.late += 1
        else:
            self.duplicates += 1

    def finish(self, end: int) -> int:
        """How many numbers before ``end`` never came."""
        self.missing.update(range(self.expected, end))
        self.expected = max(self.expected, end)
        return len(self.missing)


def ascending_span(events: list[tuple[Any, ...]]) -> tuple[int, int] | None:
    """First and last ``seq`` of events that are numbered one by one, else None.

    Worked out once for a block and then used by every member that got it.
    """
    first, last = events[0][3], events[-1][3]
    whole = all(event[3] == seq for seq, event in enumerate(events, first))
    return (first, last) if whole else None


class Findings(Counter[str]):
    """How often each kind of fault was found."""

    def add_sequence(self, sequence: Sequence, end: int) -> None:
        """Add what one finished sequence shows."""
        self["gaps"] += sequence.finish(end)
        self["duplicates"] += sequence.duplicates
        self["order"] += sequence.late


class SeqTranscript:
    """One member's view of a room whose events are numbered by the server."""

    __slots__ = ("sequence",)

    def __init__(self, head: int) -> None:
        self.sequence = Sequence(head + 1)

    def see(self, events: list[tuple[Any, ...]], span: tuple[int, int] | None = None) -> None:
        """Take delivered events, in order; ``span`` is what `ascending_span` says of them."""
        sequence = self.sequence
        if span is not None and span[0] == sequence.expected:
            sequence.expected = span[1] + 1
            return
        for event in events:
            sequence.see(event[3])

    @property
    def seen(self) -> int:
        """The last ``seq`` that came."""
        return self.sequence.expected - 1

    def finish(self, ends: dict[int, int], head: int, findings: Findings) -> None:
        """Everything up to ``head``, the highest acknowledged number, must have come."""
        findings.add_sequence(self.sequence, head + 1)


class SenderTranscript:
    """One member's view of a room in which only each sender's own messages are numbered."""

    __slots__ = ("is_late", "sequences")

    def __init__(self) -> None:
        self.sequences: dict[int, Sequence] = {}
        self.is_late = False
        """Not there from the beginning: a sender's first message that came is the first that counts."""

    def see(self, events: list[tuple[Any, ...]], span: tuple[int, int] | None = None) -> None:
        """Take delivered events, in order."""
        sequences = self.sequences
        for event in events:
            sender = event[0]
            if sender == UNKNOWN:
                continue
            sequence = sequences.get(sender)
            if sequence is None:
                sequence = sequences[sender] = Sequence(event[1] if self.is_late else 0)
            sequence.see(event[1])

    def interrupt(self, findings: Findings) -> None:
        """The member was away for a while: count what it had seen until then, and begin anew."""
        for sequence in self.sequences.values():
            findings.add_sequence(sequence, sequence.expected)
        self.sequences = {}
        self.is_late = True

    def lacks(self, ends: dict[int, int]) -> bool:
        """Whether some sender's last message before its number in ``ends`` is still to come."""
        for sender, end in ends.items():
            sequence = self.sequences.get(sender)
            if sequence is None and not self.is_late:
                return True
            if sequence is not None and sequence.expected < end:
                return True
        return False

    def finish(self, ends: dict[int, int], head: int, findings: Findings) -> None:
        """Every sender's messages up to its number in ``ends`` must have come."""
        for sender, end in ends.items():
            if self.is_late and sender not in self.sequences:
                continue
            findings.add_sequence(self.sequences.pop(sender, Sequence(0)), end)
        for sequence in self.sequences.values():  # a sender of another room
            findings["strangers"] += sequence.expected - len(sequence.missing)


class AckBook:
    """A sender's acks against its own delivered events: each names one event, and its true ``seq``."""

    __slots__ = ("acked", "delivered", "findings", "head", "sender")

    def __init__(self, sender: int, findings: Findings) -> None:
        self.sender = sender
        self.findings = findings
        self.acked: dict[str, int] = {}
        self.delivered: dict[str, int] = {}
        self.head = 0

    def ack(self, reply: dict[str, Any], sent: int) -> None:
        """Take an ack; ``sent`` messages were sent so far."""
        id_, seq = reply.get("re"), reply.get("seq")
        if (
            not isinstance(id_, str)
            or not isinstance(seq, int)
            or not self._is_sent(id_, sent)
            or id_ in self.acked
        ):
            self.findings["acks wrong"] += 1
            return
        self.head = max(self.head, seq)
        self._match(id_, seq, self.delivered, self.acked)

    def see(self, events: list[tuple[Any, ...]]) -> None:
        """Take delivered events; those of this sender are matched."""
        for sender, number, _, seq, id_ in events:
            if sender == self.sender:
                if id_ != message_id(sender, number):
                    self.findings["acks wrong"] += 1
                elif id_ not in self.delivered:
                    self._match(id_, seq, self.acked, self.delivered)

    def finish(self) -> None:
        """What is left over: acks without an event, events without an ack."""
        self.findings["acked, not delivered"] += len(self.acked)
        self.findings["delivered, not acked"] += len(self.delivered)

    def _is_sent(self, id_: str, sent: int) -> bool:
        name, _, number = id_.partition(".")
        return name == f"s{self.sender:05d}" and number.isdecimal() and int(number) < sent

    def _match(self, id_: str, seq: int, other: dict[str, int], own: dict[str, int]) -> None:
        if id_ not in other:
            own[id_] = seq
        elif other.pop(id_) != seq:
            self.findings["acks wrong"] += 1


class Agreement:
    """All members must be shown the same event under the same ``seq``."""

    __slots__ = ("findings", "known", "max_known")

    def __init__(self, findings: Findings, max_known: int = MAX_KNOWN_EVENTS) -> None:
        self.findings = findings
        self.max_known = max_known
        self.known: dict[int, tuple[Any, ...]] = {}

    def see(self, events: list[tuple[Any, ...]]) -> None:
        """Take the events of one fresh block."""
        known = self.known
        for event in events:
            if known.setdefault(event[3], event) != event:
                self.findings["members disagree"] += 1
        if len(known) > self.max_known:
            for seq in list(known)[: self.max_known // 2]:
                del known[seq]
