"""How many may come in: WebSockets at once, in all and for one client address, and handshakes in a time.

Owns the counts. Pure: the time is given. An IPv6 /64 counts as one address: who has one has 2**64 of them.
"""

import math
from collections import Counter

from trio_chat.front.address import limit_key
from trio_chat.front.upgrade import Reject

_RETRY_SECONDS = 5
HANDSHAKES_PER_SECOND = 2
"""Handshakes per second from one address, for each connection that it may hold: with the default of 100, some
7 % of a core (350 us each). A whole office that comes back after a restart is far below."""
HANDSHAKE_BURST_SECONDS = 10.0
"""How many seconds' worth of handshakes may come at once."""
_SWEEP = 1024
"""Addresses remembered before those that have rested are forgotten."""


class Places:
    """``most`` WebSockets, ``most_per_client`` from one address.

    Or of something else, with ``names`` for one arriving and one being here, ``per_second`` and
    ``burst_seconds`` instead of those of handshakes.
    """

    def __init__(
        self,
        most: int,
        most_per_client: int,
        *,
        per_second: float | None = None,
        burst_seconds: float = HANDSHAKE_BURST_SECONDS,
        names: tuple[str, str] = ("handshakes", "connections"),
    ) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._per_second = HANDSHAKES_PER_SECOND * most_per_client if per_second is None else per_second
        self._burst_seconds = burst_seconds
        self._names = names
        self._taken = 0
        self._per_client: Counter[str] = Counter()
        self._interval = 1.0 / self._per_second
        self._paid_until: dict[str, float] = {}
        """By address, until when its handshakes so far would take at the steady rate."""
        self._sweep_at = _SWEEP

    def take(self, client: str, now: float) -> Reject | None:
        """Take a place, or say why there is none. A place is given back with `free`.

        ``now``: seconds on any clock that never goes back.
        """
        key = limit_key(client)
        wait = self._arrive(key, now)
        if wait > 0:
            text = f"more than {self._per_second:g} {self._names[0]} per second from {client}"
            return _reject(429, text, math.ceil(wait))
        if self._taken >= self._most:
            return _reject(503, "this server is full", _RETRY_SECONDS)
        if self._per_client[key] >= self._most_per_client:
            text = f"more than {self._most_per_client} {self._names[1]} from {client}"
            return _reject(429, text, _RETRY_SECONDS)
        self._taken += 1
        self._per_client[key] += 1
        return None

    def free(self, client: str) -> None:
        """Give one place back."""
        self._taken -= 1
        key = limit_key(client)
        self._per_client[key] -= 1
        if not self._per_client[key]:
            del self._per_client[key]

    def _arrive(self, key: str, now: float) -> float:
        """Count a handshake; returns the seconds that it is too early (then it isn't counted)."""
        paid_until = max(now, self._paid_until.get(key, now)) + self._interval
        early = paid_until - now - self._burst_seconds
        if early > 0:
            return early
        self._paid_until[key] = paid_until
        if len(self._paid_until) > self._sweep_at:
            self._paid_until = {key: until for key, until in self._paid_until.items() if until > now}
            self._sweep_at = max(_SWEEP, 2 * len(self._paid_until))
        return 0.0


def _reject(status: int, text: str, seconds: int) -> Reject:
    return Reject(status, text, (("Retry-After", str(seconds)),))
