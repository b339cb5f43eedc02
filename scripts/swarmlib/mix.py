"""Who the clients are: so many of each kind of persona, and which client is which.

No I/O. `MixError` is what is wrong with a mix, without a name in front.
"""

from dataclasses import dataclass, fields

SENDERS = ("talker", "fragments")
"""They send what the rate asks for, in turn."""
TIMED = ("talker", "fragments", "lurker")
"""Their deliveries are timed: the others get theirs late by their own doing."""
RETURNING = ("slow", "frozen", "flapping", "storm", "spammer")
"""They come back when their connection ends, and go on where they were if the protocol can."""
STINGY = ("slow", "frozen", "half_open")
"""Their kernel holds little for them, so that the server meets at once what they don't read."""


class MixError(ValueError):
    """No such mix: one line."""


@dataclass(frozen=True, slots=True)
class Mix:
    """So many of each kind; clients are numbered in this order."""

    talker: int = 0
    """Sends, and reads at once."""
    fragments: int = 0
    """The same, each message in frames of three bytes."""
    lurker: int = 0
    """Only reads."""
    spammer: int = 0
    """Sends much faster than anybody should, in the same rooms."""
    flapping: int = 0
    """Its connection ends every few seconds, and it comes back."""
    storm: int = 0
    """All of them lose their connections at once, and come back at once."""
    slow: int = 0
    """Reads a few kilobytes a second."""
    half_open: int = 0
    """Joins, and then says and reads nothing any more: like a peer that is gone."""
    frozen: int = 0
    """Reads nothing while the load runs, and everything afterwards."""
    slow_handshake: int = 0
    """Not a member: asks for the upgrade at two bytes a second."""

    @property
    def members(self) -> int:
        """How many clients join."""
        return sum(getattr(self, kind) for kind in MEMBERS)

    @property
    def senders(self) -> int:
        """Those that send at the rate."""
        return self.talker + self.fragments

    def kind_of(self, client: int) -> str:
        """Which persona client number ``client`` is."""
        end = 0
        for kind in MEMBERS:
            end += getattr(self, kind)
            if client < end:
                return kind
        raise IndexError(client)

    def scaled(self, scale: float) -> "Mix":
        """So many times as many; at least one of each kind that there is."""
        counts = {kind: getattr(self, kind) for kind in KINDS}
        return Mix(**{kind: max(1, round(count * scale)) if count else 0 for kind, count in counts.items()})


KINDS = tuple(field.name for field in fields(Mix))
MEMBERS = tuple(kind for kind in KINDS if kind != "slow_handshake")


def mix_from(counts: dict[str, object]) -> Mix:
    """The mix with these counts by kind; ``-`` and ``_`` are the same."""
    found: dict[str, int] = {}
    for given, count in counts.items():
        kind = given.replace("-", "_")
        if kind not in KINDS:
            raise MixError(f"no such persona as {given!r}: {', '.join(KINDS)}")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 99_999:
            raise MixError(f"{given}: 0 to 99999, not {count!r}")
        found[kind] = count
    mix = Mix(**found)
    if not mix.members:
        raise MixError("nobody is in it")
    return mix


def parse_mix(text: str) -> Mix:
    """``talker=5,lurker=20``."""
    counts: dict[str, object] = {}
    for part in text.split(","):
        kind, equals, count = part.strip().partition("=")
        if not equals or not count.isdecimal():
            raise MixError(f"KIND=NUMBER,..., not {part.strip()!r}")
        counts[kind] = int(count)
    return mix_from(counts)
