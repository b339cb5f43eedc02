"""What is measured, and with which swarm: one run of one workload against one running server.

Rates count within a fixed time after a warm-up. The load is ``scripts/swarm.py`` in one process, pinned to
the other core: the table says when it, and not the server, was busy.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparelib.servers import LOAD_CORE, SCRIPTS, Running, Server, can_pin, pin

SIZE_BYTES = 64
ROOM_MEMBERS = 100
"""In workloads of many idle clients: rooms of so many, where the server has rooms."""


@dataclass(frozen=True)
class Workload:
    """One table. ``kind`` is "rate" (deliveries per second), "memory" or "opening"."""

    name: str
    title: str
    kind: str
    clients: int
    senders: int = 0
    echo: bool = False
    only_ours: bool = False

    @property
    def is_timed(self) -> bool:
        """Whether it runs in rounds for a given time."""
        return self.kind == "rate"


WORKLOADS = (
    Workload("fan-out-1", "Fan-out: 500 receivers, 1 sender, window 1", "rate", 500, 1),
    Workload("fan-out-50", "Fan-out: 500 receivers, 50 senders, window 1 each", "rate", 500, 50),
    Workload("echo", "Echo: 100 clients, a room each, window 1 each", "rate", 100, 100, echo=True),
    Workload("memory", "Memory of 5,000 idle clients that have joined", "memory", 5000),
    Workload("handshakes", "Opening 5,000 connections, joining included", "opening", 5000),
    Workload("hold", "10,000 connections held at once", "memory", 10_000, only_ours=True),
)


class RunFailed(Exception):
    """The swarm could not measure: one line."""


def measure(workload: Workload, server: Server, running: Running, seconds: float) -> dict[str, Any]:
    """One run: what the table needs of it."""
    document = _swarm(_arguments(workload, server, running, seconds), seconds)
    bad = {kind: count for kind, count in (document["findings"] | document["errors"]).items() if count}
    measured = {"bad": bad, "swarm_cpu": max(document["cpu_shares"], default=0.0)}
    stats = document["server"]
    if workload.kind == "rate":
        return measured | {
            "value": document["deliveries_per_s"],
            "server_cpu": stats["cpu_share"],
            "latency_ms": document["latency_ms"],
        }
    clients = workload.clients
    handshakes = document["handshakes"]["count"]
    opening = (stats["joined"]["cpu_s"] - stats["before"]["cpu_s"]) / handshakes
    memory = (stats["held"]["rss_bytes"] - stats["before"]["rss_bytes"]) / clients
    return measured | {
        "value": memory / 1024 if workload.kind == "memory" else opening * 1e6,
        "opened_per_s": document["handshakes"]["per_s"],
        "rss_mib": stats["held"]["rss_bytes"] / 2**20,
    }


def _arguments(workload: Workload, server: Server, running: Running, seconds: float) -> list[str]:
    protocol = "echo" if workload.echo and not server.is_ours else server.protocol
    rooms = 1
    if workload.echo and server.is_ours:
        rooms = workload.clients
    elif not workload.is_timed and server.is_ours:
        rooms = workload.clients // ROOM_MEMBERS
    load = (
        ["--senders", str(workload.senders), "--window", "1", "--duration", f"{seconds:g}"]
        if workload.is_timed
        else ["--rate", "0", "--duration", "1"]
    )
    return [
        running.url + server.path, "--protocol", protocol, "--clients", str(workload.clients),
        "--rooms", str(rooms), "--size", str(SIZE_BYTES), "--warmup", "1", "--processes", "1",
        "--server-pid", str(running.pid), "--quiet", "--json", "-",
        *load, *(["--spin"] if can_pin() and workload.is_timed else []),
    ]  # fmt: skip


def _swarm(arguments: list[str], seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(Path(SCRIPTS) / "swarm.py"), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + 120,
            preexec_fn=pin(LOAD_CORE),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunFailed("the swarm did not end in time") from None
    if not done.stdout:
        lines = done.stderr.strip().splitlines()
        raise RunFailed(lines[-1] if lines else f"the swarm ended with {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document
