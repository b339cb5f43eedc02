"""The heartbeat: one sweeper finds connections that are silent or stuck, for all of them.

No timer and no task per connection: every quarter of the interval the sweeper adds one to each connection's
count of silent ticks, which anything received sets back to 0.

1. Silent for one interval: a ping (shared, encoded once), if nothing waits to be written.
2. Silent for two: the connection is cut.
3. Data waits and not a byte of it could be written for `STALL_INTERVALS`: closed with 4008. While data
   waits no ping can be sent, so silence alone ends nobody then: a reader that pauses for less than that is
   not cut off. But where the system knows that nothing arrives at the peer's any more, two intervals are
   enough for that too.
"""

from collections.abc import Set as AbstractSet

import trio

from .connection import Connection
from .frames import PING, frame

_TICKS = 4
STALL_INTERVALS = 3
_PING = frame(PING, b"")
_SLICE = 500
"""Connections per turn of the event loop: at some 5 us for each ping well below 10 ms."""


class Heartbeat:
    """Watches ``connections`` (the server's own set, changed by it at will)."""

    def __init__(self, connections: AbstractSet[Connection], interval: float) -> None:
        self._connections = connections
        self._interval = interval

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await trio.sleep(self._interval / _TICKS)
            for count, connection in enumerate(list(self._connections), 1):
                self._check(connection)
                if count % _SLICE == 0:
                    await trio.lowlevel.checkpoint()

    def _check(self, connection: Connection) -> None:
        outbox = connection.outbox
        if outbox.overflowed:
            connection.cut(1011, "too many replies wait")
            return
        if outbox.waiting_bytes:
            connection.stalled_ticks = 0 if outbox.progressed else connection.stalled_ticks + 1
            outbox.progressed = False
            if connection.stalled_ticks >= STALL_INTERVALS * _TICKS:
                connection.close(4008, "read nothing for too long while data was waiting", forget=True)
            elif connection.stalled_ticks and connection.unanswered_seconds() >= 2 * self._interval:
                connection.cut(1006, "unreachable for two heartbeats")
            return
        connection.stalled_ticks = 0
        connection.silent_ticks = 0 if connection.busy else connection.silent_ticks + 1
        if connection.silent_ticks == _TICKS:
            outbox.offer(_PING)
        elif connection.silent_ticks >= 2 * _TICKS:
            connection.cut(1006, "silent for two heartbeats")
