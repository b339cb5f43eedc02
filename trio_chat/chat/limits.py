"""The chat's limits that are not settings, and the rate limit's bucket. The settings are in
`trio_chat.config`."""

from typing import Final

import attrs

MAX_ROOMS_PER_SESSION: Final = 100
"""Rooms that one session may be in; one more join is refused."""
MAX_BAD_REQUESTS: Final = 30
"""Wrong requests (one is forgiven per second) after which a session is closed with 4510."""
MAX_THROTTLED_SECONDS: Final = 10.0
"""How long a session may send faster than its rate, without waiting for answers, before it is closed with
4029."""
REST_SECONDS: Final = (1.0, 60.0)
"""Bounds of the rest that such a session is asked to take: until it would have its burst again."""
MAX_LISTED_MEMBERS: Final = 100
"""Users named in ``joined``; in rooms with more, presence is told as a count and typing is not told."""
MAX_WHO_MEMBERS: Final = 1000
"""Users named in ``members``."""
MAX_LISTED_ROOMS: Final = 1000
PAGE_BYTES: Final = 256 * 1024
"""Bytes of events in one page: of history, of catching up, and of one pass of the fan-out."""
PAGE_EVENTS: Final = 1000
MAX_TAIL_EVENTS: Final = 256
"""Events that a room keeps encoded in memory, with `PAGE_BYTES`, for members that are a little behind."""
MAX_TAIL_BYTES_UNDELIVERED: Final = 8 * 1024 * 1024
"""How far the tail may grow while a long fan-out has not reached it yet; beyond it members read the log."""
MAX_BATCH: Final = 512
"""Appends in one commit."""
MAX_BATCH_CHARS: Final = 1024 * 1024
MAX_WAITING_APPENDS: Final = 1024
"""Appends that may wait for the committer; then senders wait."""
MARK_TICK: Final = 1.0
"""Seconds over which read markers are gathered before they are stored."""
MAX_READ_SIGNALS: Final = 50
"""Users present up to which all are told how far somebody has read; beyond it, only one's other sessions."""
RESEND_SECONDS: Final = 300.0
"""How long a guest who came back without a resume token is recognised by name, id and text of a resent
message."""
NAME_RESERVED_SECONDS: Final = 180.0
"""How long a guest's name is kept for it after its connection was lost: more than a restart or a tunnel."""
MAX_RESERVED_NAMES: Final = 10_000
"""Names that are kept so, some 3 MB; beyond it the oldest one is free again."""
SIGNAL_TICK: Final = 0.2
PRESENCE_TICK: Final = 0.5
"""Seconds over which typing and presence are gathered; larger rooms wait longer (`SIGNALS_PER_SECOND`). While
many join at once, presence is a good part of what each of them costs."""
SIGNALS_PER_SECOND: Final = 500
"""Signal deliveries per second that one room may cause."""


@attrs.define
class Bucket:
    """A token bucket: ``rate`` operations per second, ``burst`` at once. ``rate`` 0 lets everything pass."""

    rate: float
    burst: float
    tokens: float = attrs.field(default=attrs.Factory(lambda self: self.burst, takes_self=True))
    at: float = 0.0

    def ready(self, now: float) -> bool:
        """Whether one operation would pass at once."""
        return self.tokens + (now - self.at) * self.rate >= 1.0

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take one operation; returns the seconds that it has to wait (0: none)."""
        if not self.rate:
            return 0.0
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate) - cost
        self.at = now
        return 0.0 if self.tokens >= 0 else -self.tokens / self.rate

    def refill_seconds(self) -> float:
        """How long after the last operation all of the burst is there again."""
        return (self.burst - self.tokens) / self.rate
