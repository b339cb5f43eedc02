"""What the server tells a monitoring system, in the Prometheus text format.

Owns the metrics' names. The numbers are plain integers that their owners count; nothing is touched
on the hot path, a scrape reads them.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import accumulate

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .chat.hub import Hub
from .files.store import FileStore
from .lag import BOUNDS, LoopLag
from .wire.connection import Connection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_CLOSE_CODES = frozenset(
    (1000, 1001, 1002, 1003, 1006, 1007, 1009, 1011, 1012, 1013, 4008, 4029, 4501, 4503, 4510)
)
"""The codes that the protocol gives a meaning."""


class Counts:
    """What the front door counts."""

    def __init__(self) -> None:
        self.accepted = 0
        self.rejected: dict[str, int] = {}
        self.closed: dict[str, int] = {}
        self.requests: dict[int, int] = {}
        self.uploads = 0
        self.uploaded_bytes = 0
        self.downloads = 0

    def reject(self, reason: str) -> None:
        """One more refused upgrade."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def close(self, code: int) -> None:
        """One more ended WebSocket. A client may choose any code: those without a meaning count together."""
        label = str(code) if code in _CLOSE_CODES else "other"
        self.closed[label] = self.closed.get(label, 0) + 1

    def request(self, status: int) -> None:
        """One more plain HTTP answer."""
        self.requests[status] = self.requests.get(status, 0) + 1


class ServerCollector(Collector):
    """Reads the numbers at each scrape. ``open_connections`` is the server's own set."""

    def __init__(
        self,
        counts: Counts,
        hub: Hub,
        open_connections: AbstractSet[Connection],
        lag: LoopLag,
        store: FileStore,
    ) -> None:
        self._counts = counts
        self._store = store
        self._hub = hub
        self._open = open_connections
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        """All metric families, documented in ``docs/operations.md``."""
        hub, counts = self._hub, self._counts
        for name, text, value in (
            ("trio_chat_connections", "Open WebSocket connections.", len(self._open)),
            ("trio_chat_rooms", "Rooms in memory.", len(hub.rooms)),
            (
                "trio_chat_members",
                "Memberships of the rooms in memory.",
                sum(len(r.members) for r in hub.rooms.values()),
            ),
            (
                "trio_chat_blocked_rooms",
                "Rooms whose senders wait for a member.",
                sum(bool(r.full) for r in hub.rooms.values()),
            ),
            ("trio_chat_relay_rooms", "Relay rooms.", len(hub.relay.rooms)),
            ("trio_chat_tasks", "Trio tasks.", trio.lowlevel.current_statistics().tasks_living),
            ("trio_chat_waiting_bytes", "Bytes waiting in outboxes.", self._waiting_bytes()),
            ("trio_chat_file_bytes", "Bytes of the files that are kept.", self._store.bytes),
            ("trio_chat_log_failing", "1 while the log refuses events.", int(hub.log_failing)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, value in (
            ("trio_chat_events", "Events stored.", hub.events),
            ("trio_chat_events_elsewhere", "Events that other nodes have stored.", hub.elsewhere.events),
            ("trio_chat_commits", "Commits of the log.", hub.commits),
            ("trio_chat_trimmed", "Old events removed.", hub.retention.events if hub.retention else 0),
            ("trio_chat_deliveries", "Events handed to members.", hub.fan_out.deliveries),
            ("trio_chat_relay_writes", "Writes handed to relay members.", hub.relay.delivered),
            ("trio_chat_accepted", "Accepted upgrades.", counts.accepted),
            ("trio_chat_uploads", "Files taken in.", counts.uploads),
            ("trio_chat_upload_bytes", "Bytes of the files taken in.", counts.uploaded_bytes),
            ("trio_chat_downloads", "Files handed out.", counts.downloads),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield self._loop_turns()
        yield _labelled("trio_chat_rejected", "Refused upgrades.", "reason", counts.rejected)
        yield _labelled("trio_chat_closed", "Ended WebSockets by close code.", "code", counts.closed)
        yield _labelled("trio_chat_http_responses", "Plain HTTP answers.", "status", counts.requests)

    def _loop_turns(self) -> Metric:
        bounds = [*map(str, BOUNDS), "+Inf"]
        counts = accumulate(self._lag.counts)
        return HistogramMetricFamily(
            "trio_chat_loop_turn_seconds",
            "How long the event loop was held in one turn.",
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._lag.seconds,
        )

    def _waiting_bytes(self) -> int:
        return sum(connection.outbox.waiting_bytes for connection in self._open)


def _labelled(
    name: str, text: str, label: str, values: dict[str, int] | dict[int, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


class Metrics:
    """The exposition of one server."""

    def __init__(
        self, hub: Hub, open_connections: AbstractSet[Connection], lag: LoopLag, store: FileStore
    ) -> None:
        self.counts = Counts()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(ServerCollector(self.counts, hub, open_connections, lag, store))

    def text(self) -> bytes:
        """All metrics, as `CONTENT_TYPE`."""
        return generate_latest(self._registry)
