#!/usr/bin/env python3
"""What several processes with one Redis do, side by side: deliveries, latency, and where the processor time
goes.

    scripts/bench_nodes.py [--clients 200] [--senders 20] [--seconds 5] [--runs 3] [--peers DIR] [CASE ...]

Each case is a server in processes of its own with an empty redis-server of its own, loaded by ``swarm.py``
in a closed loop: a sender says the next thing when it has got its own back. Half of what the clients of two
workers get has crossed from one process to the other, through Redis. The cases take turns, ``--runs`` times;
told are the medians.

    sqlite       one process, the log in a file, synced always
    redis-1      one process, the log in Redis, synced always (appendfsync always)
    redis-2      two workers, the same
    everysec-2   two workers, Redis synced every second
    socketio-2   Socket.IO 4 in two processes with its Redis Streams adapter, Redis as in everysec-2;
                 ``--peers`` names a directory where npm has put `socket.io`, `redis` and
                 `@socket.io/redis-streams-adapter`

With ``--latency`` instead: how long a message of one client takes to another one, with nothing else to do, on
the same node and from one node to another; 10 ms between two messages.

With ``--costs`` instead: what an append costs the node's process and Redis, by the size of the batch, and how
much memory an event takes in Redis (64 bytes of text, an idempotency key, 1,000 events in a room).

Processor time is that of the server's processes and of redis-server, in microseconds per delivery.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import coredis
import trio
import trio_websocket
from clusterlib.processes import ROOT, free_port

from trio_chat.log.base import Append
from trio_chat.log.redis import open_redis_log

CASES = ("sqlite", "redis-1", "redis-2", "everysec-2", "socketio-2")
SWARM = Path(__file__).with_name("swarm.py")
PEER = Path(__file__).with_name("peers") / "socketio_cluster.mjs"
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Run:
    """What came of one run: per second, milliseconds, and microseconds of processor time per delivery."""

    sends: float
    deliveries: float
    p50: float
    p99: float
    server_us: float
    redis_us: float


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for child in sorted(parents):
        if parents[child] in found:
            found.append(child)
    return found


def processor_seconds(pids: list[int]) -> float:
    """User and system time of these processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


@contextmanager
def running(command: list[str], ready: bytes, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process, once it has said ``ready``."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **more}
    )
    try:
        assert process.stdout is not None
        while ready not in (line := process.stdout.readline()):
            if not line:
                raise SystemExit(f"{' '.join(command)} has ended")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(case: str, options: argparse.Namespace, directory: Path) -> Run:
    """One run of one case."""
    redis_port, port = free_port(), free_port()
    sync = "everysec" if case in ("everysec-2", "socketio-2") else "always"
    redis_command = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    redis_command += ["--dir", str(directory), "--appendonly", "yes", "--appendfsync", sync]
    workers = case.rpartition("-")[2] if "-" in case else "1"
    log = f"sqlite:///{directory}/chat.db" if case == "sqlite" else f"redis://127.0.0.1:{redis_port}"
    command = [sys.executable, "-m", "trio_chat", "--port", str(port), "--log", log, "--workers", workers]
    command += ["--rate", "0", "--max-per-ip", "100000", "--drain", "2"]
    if case == "socketio-2":
        command = ["node", str(PEER), "--port", str(port), "--redis", log, "--workers", workers]
    path = "socket.io" if case == "socketio-2" else "ws"
    with (
        running(redis_command, b"Ready to accept connections") as redis,
        running(command, b"serving on", PEER_MODULES=str(options.peers or "")) as server,
    ):
        pids = family(server.pid)
        result = directory / "swarm.json"
        before = processor_seconds(pids), processor_seconds([redis.pid])
        swarm = subprocess.run(
            [sys.executable, str(SWARM), f"ws://127.0.0.1:{port}/{path}", "--quiet", "--json", str(result),
             "--clients", str(options.clients), "--senders", str(options.senders), "--window", "1",
             "--rooms", str(options.rooms), "--duration", str(options.seconds)],
            stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if swarm.returncode:
            print(f"{case}: the swarm found something wrong", file=sys.stderr)
        after = processor_seconds(pids), processor_seconds([redis.pid])
    found = json.loads(result.read_text())
    delivered = found["total"]["deliveries"] / 1e6
    return Run(
        found["sends_per_s"],
        found["deliveries_per_s"],
        found["latency_ms"]["p50"],
        found["latency_ms"]["p99"],
        (after[0] - before[0]) / delivered,
        (after[1] - before[1]) / delivered,
    )


def append(room: str, key: str) -> Append:
    """One like those of a session."""
    user = '"user":{"id":"guest-15ea5e0e16d4e6a5","name":"ann"}'
    return Append(
        room, "message", f'{user},"text":"{"x" * 64}","id":"{key}"}}', f"20:{key}:guest-15ea5e0e16d4e6a5"
    )


async def tell_costs(url: str, redis: int, sync: str) -> None:
    """Append for a second with each size of batch; then fill rooms."""
    async with open_redis_log(url) as log:
        await log.follow("lobby")
        for size in (1, 16, 128):
            batches, began = 0, time.perf_counter()
            node_s, redis_s = time.process_time(), processor_seconds([redis])
            while time.perf_counter() - began < 1.5:
                keys = (f"{size:08}-{batches:08}-{n:04}" for n in range(size))
                await log.append([append("lobby", key) for key in keys])
                batches += 1
            node_us = 1e6 * (time.process_time() - node_s) / batches
            redis_us = 1e6 * (processor_seconds([redis]) - redis_s) / batches
            rate = batches * size / (time.perf_counter() - began)
            print(
                f"appendfsync {sync}, batches of {size}: {node_us:.0f} us of the node, {redis_us:.0f} us of "
                f"Redis for each; {rate:,.0f} events/s, one batch after the other"
            )
        before = await used_memory(url)
        for room in range(50):
            for part in range(10):
                keys = (f"{room:08}-{part:08}-{n:04}" for n in range(100))
                await log.append([append(f"room-{room}", key) for key in keys])
        print(f"memory: {(await used_memory(url) - before) / 50_000:.0f} bytes per event in Redis")


async def used_memory(url: str) -> int:
    """What Redis says that it uses, in bytes."""
    async with coredis.Redis.from_url(url) as client:
        return int((await client.info("memory"))["used_memory"])


def costs() -> None:
    """Tell the costs, Redis synced always and every second."""
    for sync in ("always", "everysec"):
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="trio-chat-nodes-") as directory:
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--dir", directory, "--appendonly", "yes", "--appendfsync", sync]
            with running(command, b"Ready to accept connections") as redis:
                trio.run(tell_costs, f"redis://127.0.0.1:{port}", redis.pid, sync)


async def talk(urls: list[str], count: int) -> list[float]:
    """Milliseconds from saying to hearing, between a client of the first URL and one of the second."""
    found: list[float] = []

    async def enter(socket: trio_websocket.WebSocketConnection) -> None:
        await socket.send_message('{"op": "join", "room": "lobby"}')
        while json.loads(await socket.get_message())["op"] != "joined":
            pass

    speaker_url, listener_url = (f"{url.replace('http', 'ws', 1)}/ws" for url in urls)
    async with (
        trio_websocket.open_websocket_url(speaker_url) as speaker,
        trio_websocket.open_websocket_url(listener_url) as listener,
    ):
        await enter(speaker)
        await enter(listener)
        for number in range(count):
            began = time.perf_counter()
            await speaker.send_message(json.dumps({"op": "say", "room": "lobby", "text": f"m{number}"}))
            while (frame := json.loads(await listener.get_message()))["op"] != "message":
                pass
            assert frame["text"] == f"m{number}"
            found.append(1000 * (time.perf_counter() - began))
            await trio.sleep(0.01)
    return sorted(found)


def latency(count: int) -> None:
    """Tell the latency on one node and between two, Redis synced always and every second."""
    for sync in ("always", "everysec"):
        with ExitStack() as stack:
            port = free_port()
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-chat-nodes-"))
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--dir", directory, "--appendonly", "yes", "--appendfsync", sync]
            stack.enter_context(running(command, b"Ready to accept connections"))
            urls = []
            for _ in range(2):
                urls.append(f"http://127.0.0.1:{free_port()}")
                command = [sys.executable, "-m", "trio_chat", "--port", urls[-1].rpartition(":")[2]]
                command += ["--log", f"redis://127.0.0.1:{port}", "--rate", "0"]
                stack.enter_context(running(command, b"serving on"))
            for name, pair in (("the same node", [urls[0]] * 2), ("another node", urls)):
                found = trio.run(talk, pair, count)
                p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
                print(f"appendfsync {sync}, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {count} messages")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all if none is named")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--rooms", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="where npm has installed Socket.IO and its adapter")
    parser.add_argument("--costs", action="store_true", help="what appends cost instead")
    parser.add_argument("--latency", type=int, metavar="N", help="the latency of N messages instead")
    options = parser.parse_args(arguments)
    cases = options.cases or [case for case in CASES if options.peers or case != "socketio-2"]
    if unknown := set(cases) - set(CASES):
        parser.error(f"CASE: one of {', '.join(CASES)}, not {', '.join(sorted(unknown))}")
    if shutil.which("redis-server") is None:
        parser.error("there is no redis-server here")
    if options.costs:
        costs()
        return 0
    if options.latency:
        latency(options.latency)
        return 0
    runs: dict[str, list[Run]] = {case: [] for case in cases}
    for _ in range(options.runs):
        for case in cases:
            with tempfile.TemporaryDirectory(prefix="trio-chat-nodes-") as directory:
                runs[case].append(measure(case, options, Path(directory)))
            time.sleep(0.5)
    titles = ("events/s", "deliveries/s", "p50 ms", "p99 ms", "server us", "redis us")
    print(f"{'case':12}" + "".join(f"{title:>14}" for title in titles))
    for case, found in runs.items():
        row = [statistics.median(values) for values in zip(*map(attrs.astuple, found), strict=True)]
        texts = [f"{value:14,.0f}" if at < 2 else f"{value:14.2f}" for at, value in enumerate(row)]
        print(f"{case:12}" + "".join(texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
