"""What one process counts, and how it leaves that process: plain numbers, cheap to keep and to merge."""

import time
from collections import Counter, defaultdict
from typing import Any


class Counts:
    """Totals since the process began, and latencies in whole microseconds since they were last taken."""

    def __init__(self) -> None:
        self.deliveries = self.sends = self.acks = self.received_bytes = self.reads = self.signals = 0
        self.unsent = self.lagging = 0
        self.told_off = 0
        """Errors that spammers were answered with."""
        self.opened = self.opened_plain_bytes = 0
        """Compressed deliveries that were looked into, and what they would take uncompressed."""
        self.idle_ns = 0
        """Time spent in polls that found nothing: `Settings.spin` burns it."""
        self.errors: Counter[str] = Counter()
        self.window_ns = (0, 0)
        """Messages that are due within these times are timed."""
        self.latencies: defaultdict[int, int] = defaultdict(int)
        self.ack_latencies: defaultdict[int, int] = defaultdict(int)
        self.lateness: defaultdict[int, int] = defaultdict(int)

    def snapshot(self) -> dict[str, Any]:
        """The totals now, with the time and the useful processor time of this process, in seconds."""
        return {
            "at": time.monotonic(),
            "cpu": time.process_time() - self.idle_ns / 1e9,
            "deliveries": self.deliveries,
            "sends": self.sends,
            "acks": self.acks,
            "received_bytes": self.received_bytes,
            "reads": self.reads,
        }

    def take_latencies(self) -> dict[str, dict[int, int]]:
        """The latencies so far, which are forgotten here."""
        taken = {
            "latency": dict(self.latencies),
            "ack_latency": dict(self.ack_latencies),
            "lateness": dict(self.lateness),
        }
        self.latencies.clear()
        self.ack_latencies.clear()
        self.lateness.clear()
        return taken
