"""Starts the worker processes, keeps them in step, and merges what they measure into one result.

Every wait is bounded: a worker that dies or hangs ends the run with an error, not with silence.
"""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from swarmlib import personas
from swarmlib.returning import merged
from swarmlib.settings import Settings
from swarmlib.watch import Watch
from swarmlib.worker import work

HIGHEST_LATENCY_US = 3_600_000_000
"""An hour; three significant digits below it."""
LEAD_S = 0.2
"""From the last client's joining to the first message: every worker hears of the start in time."""
HANG_S = 30.0
"""A worker that should have answered and is silent for so long beyond its own limits is given up."""
BUSY_SHARE = 0.9
"""Of the cores that the swarm may use: beyond it the swarm itself may be the bottleneck."""
CURVE = (
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95,
    99.98, 99.99, 99.995, 99.999, 100.0,
)  # fmt: skip
QUANTILES = (50.0, 90.0, 99.0, 99.9, 100.0)


class SwarmError(Exception):
    """The run could not be made: one line."""


def new_histogram() -> HdrHistogram:
    """An empty latency histogram, in microseconds."""
    return HdrHistogram(1, HIGHEST_LATENCY_US, 3)


def record(histogram: HdrHistogram, latencies: dict[int, int]) -> None:
    """Add counted latencies."""
    for value, count in latencies.items():
        histogram.record_value(min(max(value, 1), HIGHEST_LATENCY_US), count)


class Coordinator:
    """One run: `run` returns the result as plain data, also after ctrl-C (then of what there was)."""

    def __init__(self, settings: Settings, on_progress: Callable[[dict[str, Any]], None]) -> None:
        self.settings = settings
        self.histograms = {name: new_histogram() for name in ("latency", "ack_latency", "lateness")}
        self.timeline: list[dict[str, Any]] = []
        self.server: dict[str, Any] = {}
        self.watch = Watch(settings)
        self._on_progress = on_progress
        self._pipes: list[Pipe] = []
        self._processes: list[Any] = []
        self._ticks: dict[int, dict[str, Any]] = {}
        self._tick_latency: dict[int, int] = {}
        self._previous: dict[str, float] = {}
        self._interrupted = False
        self._stop_sent = False
        self._start = 0.0

    def run(self) -> dict[str, Any]:
        """Make the whole run."""
        self.server["before"] = self._server_stats()
        previous = (
            signal.signal(signal.SIGINT, self._interrupt),
            signal.signal(signal.SIGTERM, self._interrupt),
        )
        try:
            self._start_workers()
            ready = self._collect("ready", None)
            self.server["joined"] = self._server_stats()
            self._start = time.monotonic() + LEAD_S
            self._tell("start", int(self._start * 1e9))
            limit = self.settings.warmup + self.settings.duration + 2 * self.settings.grace + LEAD_S + HANG_S
            sent = self._collect("sent", limit)
            self._tell("expect", self._expectation(sent))
            thaw = self.settings.thaw if self.settings.frozen else 0.0
            done = self._collect("done", max(self.settings.grace, thaw) + HANG_S)
        finally:
            self.watch.end()
            self._end_workers()
            signal.signal(signal.SIGINT, previous[0])
            signal.signal(signal.SIGTERM, previous[1])
        return self._result(ready, done)

    # --- processes ----------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        context = multiprocessing.get_context("spawn")
        # Until a worker has its own handler, ctrl-C must not reach it: it inherits the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for index in range(self.settings.processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(index, self.settings, theirs), daemon=True)
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _end_workers(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def _interrupt(self, *_: object) -> None:
        if self._interrupted:
            raise SwarmError("interrupted twice: gave up")
        self._interrupted = True

    def _tell(self, *message: object) -> None:
        for pipe in self._pipes:
            try:
                pipe.send(message)
            except OSError:
                raise SwarmError("a worker process died") from None

    def _collect(self, kind: str, limit: float | None) -> list[Any]:
        """One message of this ``kind`` from every worker; progress meanwhile."""
        answers: dict[int, Any] = {}
        gives_up = None if limit is None else time.monotonic() + limit
        while len(answers) < len(self._pipes):
            if self._interrupted and not self._stop_sent:
                self._stop_sent = True
                self._tell("stop")
            if gives_up is not None and time.monotonic() > gives_up:
                raise SwarmError(f"a worker process hangs (no {kind!r} within {limit:g} s)")
            silent = {pipe: index for index, pipe in enumerate(self._pipes) if index not in answers}
            for pipe in wait(list(silent), timeout=0.25):
                self._take(silent[pipe], pipe, kind, answers)  # type: ignore[index, arg-type]
        return [answers[index] for index in range(len(self._pipes))]

    def _take(self, index: int, pipe: Pipe, kind: str, answers: dict[int, Any]) -> None:
        try:
            got, content = pipe.recv()
        except (EOFError, OSError):
            raise SwarmError("a worker process died") from None
        if got == "failed":
            raise SwarmError(content)
        if got == "opening":
            self._ticks[index] = {"ready": content}
            self._on_progress(
                {"phase": "opening", "ready": sum(tick["ready"] for tick in self._ticks.values())}
            )
        elif got == "tick":
            self._tick(index, content)
        elif got == kind:
            answers[index] = content

    # --- progress -----------------------------------------------------------------------------------

    def _tick(self, index: int, tick: dict[str, Any]) -> None:
        self._record(tick)
        for value, count in tick["latency"].items():
            self._tick_latency[value] = self._tick_latency.get(value, 0) + count
        self._ticks[index] = tick
        if len(self._ticks) < len(self._pipes) or any("at" not in t for t in self._ticks.values()):
            return
        totals = {
            key: sum(t[key] for t in self._ticks.values()) for key in ("deliveries", "sends", "acks", "ready")
        }
        totals["at"] = time.monotonic()
        self._ticks = {}
        if self._previous:
            self._point(totals)
        self._previous = totals

    def _point(self, totals: dict[str, float]) -> None:
        """One point of the timeline: the time between two ticks of all workers."""
        seconds = totals["at"] - self._previous["at"]
        point: dict[str, Any] = {
            f"{key}_per_s": round((totals[key] - self._previous[key]) / seconds, 1)
            for key in ("deliveries", "sends", "acks")
        }
        histogram = new_histogram()
        record(histogram, self._tick_latency)
        self._tick_latency = {}
        point |= {"at_s": round(totals["at"] - self._start, 3), "clients": totals["ready"]}
        point["latency_ms"] = summary(histogram)
        stats = self._server_stats()
        if stats is not None:
            point["server"] = stats
        self.timeline.append(point)
        self._on_progress({"phase": "running"} | point)

    def _record(self, content: dict[str, Any]) -> None:
        for name, histogram in self.histograms.items():
            record(histogram, content[name])

    def _server_stats(self) -> dict[str, float] | None:
        return self.watch.stats()

    # --- the end ------------------------------------------------------------------------------------

    def _expectation(self, sent: list[dict[str, Any]]) -> dict[str, Any]:
        """What every member must have got in the end: a room's messages, each sender's, the highest ack."""
        rooms: Counter[int] = Counter()
        senders: dict[int, dict[int, int]] = {}
        heads: dict[int, int] = {}
        for part in sent:
            for sender, number in part["senders"].items():
                room = self.settings.room_of(sender)
                rooms[room] += number
                senders.setdefault(room, {})[sender] = number
            rooms.subtract(part["refused"])
            for room, head in part["heads"].items():
                heads[room] = max(head, heads.get(room, 0))
        return {"rooms": dict(rooms), "senders": senders, "heads": heads}

    def _result(self, ready: list[dict[str, Any]], done: list[dict[str, Any]]) -> dict[str, Any]:
        findings: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        handshakes = new_histogram()
        for part in done:
            self._record(part)
            findings.update(part["findings"])
            errors.update(part["errors"])
        opened = max(part["opened"][1] for part in ready) - min(part["opened"][0] for part in ready)
        for part in ready:
            record(handshakes, Counter(part["latencies_us"]))
        unsent = sum(part["unsent"] for part in done)
        if unsent and not self.settings.resume:
            errors["messages not sent: the sender's connection was full or gone"] += unsent
        result = {"interrupted": self._interrupted, **window_rates(done)}
        result |= {f"{name}_ms": summary(histogram) for name, histogram in self.histograms.items()}
        for name in ("latency", "ack_latency"):
            result[f"{name}_curve"] = curve(self.histograms[name])
        result |= {
            "findings": {kind: findings[kind] for kind in ("gaps", "duplicates", "order")} | dict(+findings),
            "errors": dict(errors),
            "signals": sum(part["signals"] for part in done),
            "total": {
                key: sum(part["total"][key] for part in done) for key in ("deliveries", "sends", "acks")
            },
            "handshakes": {
                "count": self.settings.clients,
                "seconds": round(opened, 3),
                "per_s": round(self.settings.clients / opened, 1),
                "latency_ms": summary(handshakes),
            },
            "timeline": self.timeline,
        }
        if self.settings.resume or self.settings.is_mixed:
            records = [part["returns"] for part in done]
            result["returns"] = {"not_sent": unsent} | merged(records, int(self._start * 1e9))
            if away := result["returns"]["still_away"]:
                result["errors"]["clients that did not come back"] = away
        if self.settings.is_mixed:
            found = personas.merged([part["personas"] for part in done])
            if "spammer" in found:
                found["spammer"]["told_off"] = sum(part["told_off"] for part in done)
            result["personas"] = found
        if self.settings.frozen:
            result["frozen"] = thawed(self.settings.frozen, done)
        if self.settings.deflate:
            result["deflate"] = compression(sum(part["agreed"] for part in ready), result, done)
        if self.settings.server_pid is not None:
            held = done[0]["last"]["server"]
            result["server"] = self.server | {
                "held": held,
                "cpu_share": server_share(done[0]["first"], done[0]["last"]),
            }
        elif known := [point for point in self.timeline if point.get("server")]:
            result["server"] = self.server | {"held": known[-1]["server"], "cpu_share": told_share(known)}
        result["warnings"] = self._warnings(result, max(part["allowed_rate"] for part in ready))
        return result

    def _warnings(self, result: dict[str, Any], allowed_rate: float) -> list[str]:
        warnings = []
        cores = min(self.settings.processes, available_cores())
        busiest = max(result["cpu_shares"], default=0.0)
        if sum(result["cpu_shares"]) > BUSY_SHARE * cores or busiest > BUSY_SHARE:
            warnings.append(
                f"the swarm itself may be the bottleneck: its busiest process used {busiest:.0%} of a core"
                f" ({self.settings.processes} processes on {available_cores()} cores)"
            )
        settings = self.settings
        needed = float("inf") if settings.rate is None else settings.rate / max(settings.senders, 1)
        if settings.senders and 0 < allowed_rate < needed:
            warnings.append(
                f"the server allows a connection {allowed_rate:g} operations/s and delays the rest:"
                " start it with --rate 0"
            )
        lateness = result["lateness_ms"]
        if lateness and lateness["p99"] > 5:
            warnings.append(f"the swarm sent late: 1 % of the messages by more than {lateness['p99']:.1f} ms")
        return warnings


def thawed(count: int, done: list[dict[str, Any]]) -> dict[str, Any]:
    """What the frozen clients got in the end; ``whole``: everything, once, in order."""
    parts = [part["frozen"] for part in done]
    received = sorted(number for part in parts for number in part["received"])
    times = [part["thawed_s"] for part in parts]
    return {
        "count": count,
        "whole": sum(part["whole"] for part in parts),
        "received": {"least": received[0], "median": received[len(received) // 2], "most": received[-1]},
        "told_lagging": sum(part["lagging"] for part in parts),
        "seconds": None if None in times else max(times),
    }


def compression(agreed: int, result: dict[str, Any], done: list[dict[str, Any]]) -> dict[str, Any]:
    """Bytes of a delivery on the wire, and what they would be without compression, as far as looked into."""
    opened, plain = (sum(part["opened"][place] for part in done) for place in (0, 1))
    received = result["received_bytes"] / result["deliveries"] if result["deliveries"] else 0.0
    return {
        "agreed": agreed,
        "bytes_per_delivery": round(received, 1),
        "plain_bytes_per_delivery": round(plain / opened, 1) if opened else None,
    }


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def window_rates(done: list[dict[str, Any]]) -> dict[str, Any]:
    """What was counted between the two snapshots of each worker, and per second of its own time."""
    result: dict[str, Any] = {"seconds": 0.0, "cpu_shares": []}
    for key in ("deliveries", "sends", "acks", "received_bytes", "reads"):
        result[key], result[f"{key}_per_s"] = 0, 0.0
        for part in done:
            seconds = part["last"]["at"] - part["first"]["at"]
            counted = part["last"][key] - part["first"][key]
            result[key] += counted
            result[f"{key}_per_s"] += counted / seconds if seconds > 0 else 0.0
        result[f"{key}_per_s"] = round(result[f"{key}_per_s"], 1)
    for part in done:
        seconds = part["last"]["at"] - part["first"]["at"]
        # A spinning worker that was put off its core took that time for idle: never below nothing.
        used = max(0.0, part["last"]["cpu"] - part["first"]["cpu"])
        share = used / seconds if seconds > 0 else 0.0
        result["seconds"] = round(max(result["seconds"], seconds), 3)
        result["cpu_shares"].append(round(share, 3))
    return result


def server_share(first: dict[str, Any], last: dict[str, Any]) -> float | None:
    """Cores that the server used between two snapshots; None if it is gone."""
    if not first["server"] or not last["server"] or last["at"] <= first["at"]:
        return None
    used = last["server"]["cpu_s"] - first["server"]["cpu_s"]
    return float(round(used / (last["at"] - first["at"]), 3))


def told_share(points: list[dict[str, Any]]) -> float | None:
    """Cores that a server used by its own account, from the first of these points to the last."""
    first, last = points[0], points[-1]
    if last["at_s"] <= first["at_s"] or not all("cpu_s" in point["server"] for point in (first, last)):
        return None
    used = last["server"]["cpu_s"] - first["server"]["cpu_s"]
    return round(used / (last["at_s"] - first["at_s"]), 3)


def curve(histogram: HdrHistogram) -> list[tuple[float, float]]:
    """(percentile, milliseconds) along the whole of it; empty if nothing was recorded."""
    if not histogram.get_total_count():
        return []
    return [(share, round(histogram.get_value_at_percentile(share) / 1000, 3)) for share in CURVE]


def summary(histogram: HdrHistogram) -> dict[str, float] | None:
    """Count and quantiles in milliseconds; None if nothing was recorded."""
    if not histogram.get_total_count():
        return None
    found = {"count": histogram.get_total_count()}
    for quantile in QUANTILES:
        name = "max" if quantile == 100 else f"p{quantile:g}"
        found[name] = round(histogram.get_value_at_percentile(quantile) / 1000, 3)
    return found
