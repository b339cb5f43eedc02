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

from comparelib.servers import BASELINE, LOAD_CORE, SCRIPTS, Running, Server, can_pin, pin

EVENT_BYTES = 169
"""What a chat event has beside its text: taken off the size of talk, so that all servers deliver the same."""
ROOM_MEMBERS = 100
"""In workloads of many idle clients: rooms of so many, where the server has rooms."""


@dataclass(frozen=True)
class Workload:
    """One table. ``kind`` is "rate" (deliveries per second), "memory" or "opening".

    ``servers`` are those that it makes sense for (none: all the usual ones), ratios are to ``baseline``.
    """

    name: str
    title: str
    kind: str
    clients: int
    senders: int = 0
    echo: bool = False
    only_ours: bool = False
    window: int = 1
    size: int = 64
    content: str = "filler"
    deflate: bool = False
    servers: tuple[str, ...] = ()
    baseline: str = BASELINE
    touched: bool = False
    """Before its memory is measured, each client has got a message or two."""

    @property
    def is_timed(self) -> bool:
        """Whether it runs in rounds for a given time."""
        return self.kind == "rate"


def _fan_out(name: str, title: str, senders: int, window: int = 1, **more: Any) -> Workload:
    load = f"1 sender, window {window}" if senders == 1 else f"{senders} senders, window {window} each"
    return Workload(name, f"{title}: 500 receivers, {load}", "rate", 500, senders, window=window, **more)


def _echo(name: str, title: str, **more: Any) -> Workload:
    title += ": 100 clients, a room each, window 1 each"
    return Workload(name, title, "rate", 100, 100, echo=True, **more)


_TALK: dict[str, Any] = {"size": 300, "content": "talk", "deflate": True}
_DEFLATE: dict[str, Any] = _TALK | {
    "baseline": "node-ws-deflate",
    "servers": ("node-ws-deflate", "relay", "relay-plain", "chat-memory", "chat-sqlite", "node-ws"),
}
_TLS: dict[str, Any] = {
    "baseline": "node-ws-tls",
    "servers": ("node-ws-tls", "relay-tls", "chat-tls", "node-ws", "relay", "chat-memory"),
}
_IDLE = ("node-ws", "node-ws-deflate", "relay", "chat-memory", "chat-sqlite")
_ECHOING = ("node-ws", "relay", "websockets-asyncio")
WORKLOADS = (
    _fan_out("fan-out-1", "Fan-out", 1),
    _fan_out("fan-out-50", "Fan-out", 50),
    _fan_out("deflate-1", "Compressed fan-out, JSON of 300 bytes", 1, **_DEFLATE),
    _fan_out("deflate-1-window", "Compressed fan-out, JSON of 300 bytes", 1, 8, **_DEFLATE),
    _fan_out("deflate-50", "Compressed fan-out, JSON of 300 bytes", 50, **_DEFLATE),
    _fan_out("tls-1", "Fan-out over TLS", 1, **_TLS),
    _fan_out("tls-50", "Fan-out over TLS", 50, **_TLS),
    _echo("echo", "Echo"),
    _echo("echo-16k", "Echo of 16 KiB", size=1 << 14, servers=_ECHOING),
    _echo("echo-1m", "Echo of 1 MiB", size=1 << 20, servers=_ECHOING),
    Workload("memory", "Memory of 5,000 idle clients that have joined", "memory", 5000),
    Workload("memory-deflate", "The same, offering compression", "memory", 5000, deflate=True, servers=_IDLE),
    Workload(
        "memory-used",
        "The same, after two messages to each",
        "memory",
        5000,
        touched=True,
        servers=_IDLE,
        **_TALK,
    ),
    Workload("handshakes", "Opening 5,000 connections, joining included", "opening", 5000),
    Workload("hold", "10,000 connections held at once", "memory", 10_000, only_ours=True),
)


class RunFailed(Exception):
    """The swarm could not measure: one line."""


def measure(workload: Workload, server: Server, running: Running, seconds: float) -> dict[str, Any]:
    """One run: what the table needs of it."""
    document = swarm(_arguments(workload, server, running, seconds), seconds + 120)
    bad = {kind: count for kind, count in (document["findings"] | document["errors"]).items() if count}
    measured = {"bad": bad, "swarm_cpu": max(document["cpu_shares"], default=0.0)}
    stats = document["server"]
    if workload.deflate:
        measured |= document["deflate"]
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
    if workload.is_timed:
        load = [
            "--senders",
            str(workload.senders),
            "--window",
            str(workload.window),
            "--duration",
            f"{seconds:g}",
        ]
    elif workload.touched:  # clients are spread over the rooms in turn: each room has one sender
        load = ["--senders", str(rooms), "--rate", f"{rooms / 2:g}", "--duration", "3"]
    else:
        load = ["--rate", "0", "--duration", "1"]
    size = workload.size - (EVENT_BYTES if workload.content == "talk" and protocol == "chat" else 0)
    return [
        running.url + server.path, "--protocol", protocol, "--clients", str(workload.clients),
        "--rooms", str(rooms), "--size", str(size), "--content", workload.content, "--warmup", "1",
        "--processes", "1", "--server-pid", str(running.pid), "--quiet", "--json", "-",
        *load, *(["--spin"] if can_pin() and workload.is_timed else []),
        *(["--deflate"] if workload.deflate else []), *(["--ca", running.ca] if running.ca else []),
    ]  # fmt: skip


def swarm(arguments: list[str], limit_s: float) -> dict[str, Any]:
    """One run of the swarm on its core: what it measured. `RunFailed`."""
    command = [sys.executable, str(Path(SCRIPTS) / "swarm.py"), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
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
