"""Coming back: when a client whose connection ended tries again, and how that looks from outside.

The rules are those of a good client: at the moment that the server gave (``retry_after`` of ``bye``, or
``Retry-After``), else after a random part of a wait that doubles (full jitter).
"""

import heapq
import random
import time
from collections import Counter
from typing import Any

from swarmlib.connection import Connection

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
_S = 1_000_000_000


class Returns:
    """The clients of one process that are away, and the record of all returns. Times in ns, monotonic."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._due: list[tuple[int, int, Connection]] = []
        self.away: dict[Connection, int] = {}
        """Since when."""
        self._promised: dict[Connection, int] = {}
        """By client, the moment that the server gave."""
        self._failures: Counter[Connection] = Counter()
        self.losses: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.resent = 0
        self._attempts: list[int] = []
        self._returned: list[int] = []
        self._waits_s: list[float] = []
        self._away_s: list[float] = []
        self._late_s: list[float] = []

    def lost(self, connection: Connection, reason: str, *, at_once: bool = False) -> None:
        """A member's connection ended; whether it tries again ``at_once``, without minding anybody."""
        now = time.monotonic_ns()
        self.losses[reason] += 1
        self.away[connection] = now
        after, connection.retry_after = connection.retry_after, None
        if after is not None:
            self._waits_s.append(after)
            self._promised[connection] = now + int(after * _S)
        self._schedule(connection, now, 0.0 if at_once else after)

    def failed(self, connection: Connection, reason: str, retry_after: float | None) -> None:
        """An attempt to come back was refused."""
        self.refusals[reason] += 1
        self._schedule(connection, time.monotonic_ns(), retry_after)

    def back(self, connection: Connection) -> None:
        """A client is a member again."""
        now = time.monotonic_ns()
        self._returned.append(now)
        self._away_s.append((now - self.away.pop(connection)) / _S)
        del self._failures[connection]
        if connection in self._promised:
            self._late_s.append((now - self._promised.pop(connection)) / _S)

    def next_due(self) -> int | None:
        """When `due` should be called next."""
        return self._due[0][0] if self._due else None

    def due(self, now: int) -> list[Connection]:
        """Those that should try now."""
        found = []
        while self._due and self._due[0][0] <= now:
            found.append(heapq.heappop(self._due)[2])
        self._attempts += [now] * len(found)
        return found

    def _schedule(self, connection: Connection, now: int, after: float | None) -> None:
        if after is None:
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures[connection], 16))
            after = self._rng.uniform(0, longest)
            self._failures[connection] += 1
        heapq.heappush(self._due, (now + int(after * _S), connection.client, connection))

    def record(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "losses": dict(self.losses),
            "refusals": dict(self.refusals),
            "resent": self.resent,
            "still_away": len(self.away),
            "attempts_ns": self._attempts,
            "returned_ns": self._returned,
            "waits_s": self._waits_s,
            "away_s": self._away_s,
            "late_s": self._late_s,
        }


def merged(records: list[dict[str, Any]], start_ns: int) -> dict[str, Any]:
    """The records of all processes as one; times relative to the start of the load."""

    def joined(key: str) -> list[Any]:
        return sorted(value for record in records for value in record[key])

    def total(key: str) -> dict[str, int]:
        return dict(sum((Counter(record[key]) for record in records), Counter()))

    attempts, returned = joined("attempts_ns"), joined("returned_ns")
    return {
        "losses": total("losses"),
        "refusals": total("refusals"),
        "resent": sum(record["resent"] for record in records),
        "still_away": sum(record["still_away"] for record in records),
        "attempts": len(attempts),
        "returned": len(returned),
        "peak_attempts_per_s": most_in_a_second(attempts),
        "peak_returned_per_s": most_in_a_second(returned),
        "per_second": by_second(attempts, returned, start_ns),
        "asked_to_wait_s": spread(joined("waits_s")),
        "away_s": spread(joined("away_s")),
        "late_s": spread(joined("late_s")),
    }


def most_in_a_second(times_ns: list[int]) -> int:
    """Of sorted times, the most in any stretch of one second."""
    most = first = 0
    for last, at in enumerate(times_ns):
        while times_ns[first] <= at - _S:
            first += 1
        most = max(most, last - first + 1)
    return most


def by_second(attempts: list[int], returned: list[int], start_ns: int) -> list[dict[str, int]]:
    """How many in each second that had any."""
    tried, came = (Counter((at - start_ns) // _S for at in times) for times in (attempts, returned))
    return [
        {"at_s": second, "attempts": tried[second], "returned": came[second]}
        for second in sorted(tried.keys() | came.keys())
    ]


def spread(values: list[float]) -> dict[str, float] | None:
    """Quantiles of sorted values."""
    if not values:
        return None
    last = len(values) - 1
    places = {"least": 0.0, "p50": 0.5, "p99": 0.99, "most": 1.0}
    return {name: round(values[round(place * last)], 3) for name, place in places.items()}
