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
    """One table. ``kind`` is "rate" (deliveries per second), "latency", "memory" or "opening".

    ``servers`` are those that it makes sense for (none: all the usual ones), ratios are to ``baseline``.
    """

    name: str
    title: str
    kind: str
    clients: int
    senders: int = 0
    echo: bool = False
    only_ours: bool = False
    rooms: int = 1
    rate: float | None = None
    """Messages per second over all senders, each timed from when it was due; None: a closed loop."""
    frozen: int = 0
    """Of the clients, those that read nothing while the load runs."""
    is_quick: bool = False
    """Whether it is one of those that ``--quick`` has time for."""
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
        return self.kind in ("rate", "latency")


def _fan_out(name: str, title: str, senders: int, window: int = 1, **more: Any) -> Workload:
    load = f"1 sender, window {window}" if senders == 1 else f"{senders} senders, window {window} each"
    clients = more.pop("clients", 500)
    title = f"{title}: {clients:,} receivers, {load}"
    return Workload(name, title, "rate", clients, senders, window=window, **more)


def _echo(name: str, title: str, **more: Any) -> Workload:
    title += ": 100 clients, a room each, window 1 each"
    return Workload(name, title, "rate", 100, 100, echo=True, **more)


def _latency(name: str, title: str, clients: int, rate: float, **more: Any) -> Workload:
    frozen = more.get("frozen", 0)
    title += f": {clients - frozen:,} receivers, {rate:g} messages/s from 50 senders"
    return Workload(name, title, "latency", clients, 50, rate=rate, **more)


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
_ECHOING = (
    "node-ws",
    "relay",
    "picows",
    "socketify",
    "websockets-asyncio",
    "websockets-trio",
    "naive",
    "floor",
)
_ECHOING_MUCH = ("node-ws", "relay", "picows", "socketify", "websockets-asyncio")
_ROOMY = (
    "node-ws", "relay", "chat-memory", "chat-sqlite", "socketify", "picows", "nats", "mosquitto", "socketio",
    "websockets-asyncio",
)  # fmt: skip
_OPENING = ("node-ws", "relay", "chat-memory", "chat-sqlite", "socketify", "picows", "socketio", "naive",
            "websockets-asyncio", "websockets-trio", "nats", "mosquitto")  # fmt: skip
WORKLOADS = (
    _fan_out("fan-out-1", "Fan-out", 1, is_quick=True),
    _fan_out("fan-out-50", "Fan-out", 50, is_quick=True),
    _fan_out("fan-out-5000", "Fan-out", 1, clients=5000),
    _fan_out("fan-out-1k", "Fan-out of 1 KiB", 1, size=1024),
    _fan_out("fan-out-1k-50", "Fan-out of 1 KiB", 50, size=1024),
    _fan_out("deflate-1", "Compressed fan-out, JSON of 300 bytes", 1, **_DEFLATE),
    _fan_out("deflate-1-window", "Compressed fan-out, JSON of 300 bytes", 1, 8, **_DEFLATE),
    _fan_out("deflate-50", "Compressed fan-out, JSON of 300 bytes", 50, **_DEFLATE),
    _fan_out("tls-1", "Fan-out over TLS", 1, **_TLS),
    _fan_out("tls-50", "Fan-out over TLS", 50, **_TLS),
    Workload(
        "rooms", "1,000 rooms of 4: one sender in each, window 1", "rate", 4000, 1000, rooms=1000,
        servers=_ROOMY,
    ),
    _echo("echo", "Echo", servers=_ECHOING, is_quick=True),
    _echo("echo-16k", "Echo of 16 KiB", size=1 << 14, servers=_ECHOING_MUCH),
    _echo("echo-1m", "Echo of 1 MiB", size=1 << 20, servers=_ECHOING_MUCH),
    _latency("latency", "Latency at a fixed rate", 500, 100, is_quick=True),
    _latency("latency-high", "Latency at half of what `ws` can do", 500, 250),
    _latency("frozen", "20 more members that read nothing, 4 KiB", 220, 200, size=4096, frozen=20),
    Workload(
        "memory", "Memory of 5,000 idle clients that have joined", "memory", 5000, servers=_OPENING,
        is_quick=True,
    ),
    Workload("memory-deflate", "The same, offering compression", "memory", 5000, deflate=True, servers=_IDLE),
    Workload(
        "memory-used", "The same, after two messages to each", "memory", 5000, touched=True, servers=_IDLE,
        **_TALK,
    ),
    Workload("handshakes", "Opening 5,000 connections, joining included", "opening", 5000, servers=_OPENING),
    Workload("hold", "10,000 connections held at once", "memory", 10_000, only_ours=True),
)  # fmt: skip


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
    if workload.is_timed:
        return measured | _timed(workload, document)
    clients = workload.clients
    handshakes = document["handshakes"]["count"]
    opening = (stats["joined"]["cpu_s"] - stats["before"]["cpu_s"]) / handshakes
    memory = (stats["held"]["rss_bytes"] - stats["before"]["rss_bytes"]) / clients
    return measured | {
        "value": memory / 1024 if workload.kind == "memory" else opening * 1e6,
        "opened_per_s": document["handshakes"]["per_s"],
        "rss_mib": stats["held"]["rss_bytes"] / 2**20,
    }


def _timed(workload: Workload, document: dict[str, Any]) -> dict[str, Any]:
    """Of a run with a load: its rate, or its 99th percentile."""
    latency, stats = document["latency_ms"], document["server"]
    is_rate = workload.kind == "rate"
    if not is_rate and not latency:
        raise RunFailed("nothing was delivered")
    return {
        "value": document["deliveries_per_s"] if is_rate else latency["p99"],
        "server_cpu": stats["cpu_share"],
        "latency_ms": latency,
        "grown_mib": (stats["held"]["rss_bytes"] - stats["joined"]["rss_bytes"]) / 2**20,
        "frozen": document.get("frozen"),
    }


def _rooms(workload: Workload, server: Server) -> int:
    if workload.rooms > 1:
        return workload.rooms
    if workload.echo and server.is_ours:
        return workload.clients
    # Idle clients are members of rooms of moderate size, where there are rooms at all.
    return 1 if workload.is_timed or not server.is_ours else workload.clients // ROOM_MEMBERS


def _load(workload: Workload, rooms: int, seconds: float) -> list[str]:
    if workload.is_timed:
        loop = (
            ["--window", str(workload.window)] if workload.rate is None else ["--rate", f"{workload.rate:g}"]
        )
        frozen = ["--frozen", str(workload.frozen), "--thaw", "20"] if workload.frozen else []
        return ["--senders", str(workload.senders), "--duration", f"{seconds:g}", *loop, *frozen]
    if workload.touched:  # clients are spread over the rooms in turn: each room has one sender
        return ["--senders", str(rooms), "--rate", f"{rooms / 2:g}", "--duration", "3"]
    return ["--rate", "0", "--duration", "1"]


def _arguments(workload: Workload, server: Server, running: Running, seconds: float) -> list[str]:
    protocol, path = server.protocol, server.path
    if protocol == "plain" and workload.rooms > 1:
        protocol, path = "relay", "/relay"  # the room is in the path, as ours has it
    elif workload.echo and not server.is_ours:
        protocol = "echo"
    rooms = _rooms(workload, server)
    size = workload.size - (EVENT_BYTES if workload.content == "talk" and protocol == "chat" else 0)
    spins = can_pin() and workload.kind == "rate"
    return [
        running.url + path, "--protocol", protocol, "--clients", str(workload.clients),
        "--rooms", str(rooms), "--size", str(size), "--content", workload.content, "--warmup", "1",
        "--processes", "1", "--server-pid", str(running.pid), "--quiet", "--json", "-",
        *_load(workload, rooms, seconds), *(["--spin"] if spins else []),
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
