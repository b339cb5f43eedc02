"""What the server uses, if that can be known: of its process on this machine, or from its ``/metrics``.

On this machine the process is the one that listens on the port, unless it is named. From afar, and for what
only the server knows: its metrics, asked for once a second by a thread, so that a server that does not answer
holds up nothing. A process that was named is not asked: it is measured.
"""

import os
import ssl
import threading
import urllib.request
from pathlib import Path

from swarmlib.process_stats import process_stats
from swarmlib.settings import Settings, Target
from swarmlib.tls import context_trusting

ASK_EVERY_S = 1.0
LONGEST_ANSWER_BYTES = 4 << 20
NAMES = {
    "process_resident_memory_bytes": "rss_bytes",
    "process_cpu_seconds_total": "cpu_s",
    "process_open_fds": "descriptors",
    "trio_chat_connections": "connections",
    "trio_chat_tasks": "tasks",
    "trio_chat_waiting_bytes": "waiting_bytes",
}
_LISTENING = "0A"


def listener(port: int) -> int | None:
    """The one process on this machine that listens on TCP ``port``; None if that can't be told."""
    inodes = {
        fields[9]
        for name in ("tcp", "tcp6")
        for fields in _connections(name)
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = {pid for pid in _processes() if wanted & _descriptors(pid)} if wanted else set()
    return found.pop() if len(found) == 1 else None


def _connections(name: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    except OSError:
        return []


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _descriptors(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    links = set()
    try:
        for name in os.listdir(folder):
            links.add(os.readlink(f"{folder}/{name}"))
    except OSError:  # it has gone, or belongs to somebody else
        pass
    return links


def parse_metrics(text: str) -> dict[str, float] | None:
    """What is known by `NAMES` in an exposition; None if the memory isn't among it."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in NAMES:
            try:
                found[NAMES[name]] = float(value)
            except ValueError:
                continue
    return found if "rss_bytes" in found else None


def metrics_url(target: Target) -> str:
    """Where a server of ours has its metrics."""
    return f"{'https' if target.tls else 'http'}://{target.authority}/metrics"


class Watch:
    """`stats` is cheap: ``rss_bytes``, ``cpu_s`` and, where they are known, the rest of `NAMES`; or None."""

    def __init__(self, settings: Settings) -> None:
        self._pid = settings.server_pid
        self._latest: dict[str, float] | None = None
        self.asked = threading.Event()
        """Set when the first answer, or none, has come."""
        self._ended = threading.Event()
        self._context: ssl.SSLContext | None = None
        if settings.asks_metrics and settings.protocol in ("chat", "relay"):
            self._url = metrics_url(settings.target)
            self._context = context_trusting(settings.ca) if settings.target.tls else None
            threading.Thread(target=self._ask, daemon=True).start()

    def stats(self) -> dict[str, float] | None:
        """The latest; what the kernel says wins."""
        measured = None if self._pid is None else process_stats(self._pid)
        return self._latest if measured is None else (self._latest or {}) | measured

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                with urllib.request.urlopen(self._url, timeout=5, context=self._context) as answer:
                    text = answer.read(LONGEST_ANSWER_BYTES).decode("utf-8", "replace")
            except (OSError, ValueError):  # also what is no HTTP at all
                self._latest = None
            else:
                self._latest = parse_metrics(text)
            self.asked.set()
            self._ended.wait(ASK_EVERY_S)
