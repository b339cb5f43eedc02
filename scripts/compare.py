#!/usr/bin/env python3
"""Measure trio_chat side by side with other WebSocket servers, interleaved, each pinned to one core.

The servers that are missing are installed first, each kind into an environment of its own (`--install`
does only that). Prints Markdown tables (medians, spread, ratios to Node `ws` of the same round); `--json` has
every run, `--plot` draws them.

Exit status: 0 measured, 1 a run failed or a server could not start, 2 bad arguments.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from comparelib.install import CannotInstall, install
from comparelib.quiet import QUIET_CORES, Neighbours, wait_until_quiet
from comparelib.servers import SERVERS, CannotStart, Server, can_pin, running
from comparelib.table import Runs, markdown
from comparelib.workloads import WORKLOADS, RunFailed, Workload, measure

QUICK_ROUNDS, FULL_ROUNDS = 2, 5
QUICK_SECONDS, FULL_SECONDS = 1.0, 5.0
QUICK_MINUTES = 4.5
"""From the start, installing included: what does not fit is left out, and said."""
TRIES = 3
"""Of a run that other processes disturbed, for those who have patience."""
DEFAULT_SERVERS = (
    "floor", "node-ws", "relay", "chat-memory", "chat-sqlite", "socketify", "picows", "nats", "mosquitto",
    "socketio", "websockets-asyncio", "websockets-trio", "naive", "ejabberd", "prosody",
)  # fmt: skip
QUICK_SERVERS = (
    "floor", "node-ws", "relay", "chat-memory", "chat-sqlite", "socketify", "picows", "socketio",
)  # fmt: skip
PLOT_ENDINGS = (".png", ".svg", ".html", ".pdf")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"compare: {message}", file=sys.stderr)
        sys.exit(2)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true",
        help=f"the main workloads and servers, short rounds, {QUICK_MINUTES:g} minutes at most",
    )  # fmt: skip
    parser.add_argument("--install", action="store_true", help="install what the servers need, and end")
    parser.add_argument(
        "--only", action="append", choices=[w.name for w in WORKLOADS], metavar="WORKLOAD",
        help=f"run only this one (repeatable): {', '.join(w.name for w in WORKLOADS)}",
    )  # fmt: skip
    parser.add_argument(
        "--server", action="append", choices=[s.name for s in SERVERS], metavar="SERVER",
        help=f"measure only this one (repeatable): {', '.join(s.name for s in SERVERS)}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help=f"rounds of each rate workload (default {FULL_ROUNDS})")
    parser.add_argument(
        "--seconds", type=float, help=f"seconds measured in a round (default {FULL_SECONDS:g})"
    )
    parser.add_argument(
        "--patience", type=float, default=0.0, metavar="S",
        help="before each run, wait up to S seconds for other processes to be quiet (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, metavar="M",
        help="begin no round after so many minutes (default: no limit)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write every run to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw them to FILE (.png, .svg, .html or .pdf)")
    arguments = parser.parse_args(argv)
    if arguments.rounds is not None and not 1 <= arguments.rounds <= 100:
        parser.error("--rounds: 1 to 100")
    if arguments.seconds is not None and not 0.5 <= arguments.seconds <= 600:
        parser.error("--seconds: 0.5 to 600")
    if not 0 <= arguments.patience <= 3600:
        parser.error("--patience: 0 to 3600")
    if arguments.minutes is not None and not 0.1 <= arguments.minutes <= 10_000:
        parser.error("--minutes: 0.1 to 10000")
    for option in ("json", "plot"):
        name = getattr(arguments, option)
        if name and not Path(name).absolute().parent.is_dir():
            parser.error(f"--{option}: cannot write {name!r}")
    if arguments.plot and Path(arguments.plot).suffix not in PLOT_ENDINGS:
        parser.error(f"--plot: a file that ends in {', '.join(PLOT_ENDINGS)}, not {arguments.plot!r}")
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot: matplotlib is not installed: pip install matplotlib")
    return arguments


def servers_of(workload: Workload, wanted: list[str] | None, *, quick: bool = False) -> list[Server]:
    """Those to measure: ``wanted``, as far as the workload is for them, or the usual ones."""
    names = workload.servers or DEFAULT_SERVERS
    if wanted:
        names = tuple(name for name in wanted if not workload.servers or name in workload.servers)
    elif quick:
        names = tuple(name for name in names if name in QUICK_SERVERS)
    servers = [server for server in SERVERS if server.name in names]
    servers = [server for server in servers if not (workload.echo and server.protocol == "chat")]
    servers = [server for server in servers if server.has_rooms or workload.rooms == 1]
    return [server for server in servers if server.is_ours or wanted or not workload.only_ours]


def workloads_of(arguments: argparse.Namespace) -> list[Workload]:
    """Those to run."""
    if arguments.only:
        return [workload for workload in WORKLOADS if workload.name in arguments.only]
    return [workload for workload in WORKLOADS if workload.is_quick or not arguments.quick]


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def one_run(
    workload: Workload, server: Server, seconds: float, skipped: dict[str, str]
) -> dict[str, Any] | None:
    """Start, measure, stop; None (and a reason in ``skipped``) if that failed."""
    neighbours = Neighbours()
    try:
        with running(server, echo=workload.echo) as started:
            result = measure(workload, server, started, seconds)
    except (CannotStart, RunFailed) as error:
        skipped[server.name] = str(error)
        say(f"  {server.name:<20} {error}")
        return None
    result["neighbours"] = round(neighbours.cores(), 2)
    say(f"  {server.name:<20} {result['value']:>14,.1f}  (others used {result['neighbours']:.2f} cores)")
    return result


def undisturbed_run(
    workload: Workload, server: Server, seconds: float, skipped: dict[str, str], patience: float
) -> dict[str, Any] | None:
    """One run; with ``patience`` in a quiet moment, and again if others disturbed it: the quietest counts."""
    results = []
    for _ in range(TRIES if patience else 1):
        wait_until_quiet(patience)
        result = one_run(workload, server, seconds, skipped)
        if result is None:
            break
        results.append(result)
        if result["neighbours"] <= QUIET_CORES:
            break
    return min(results, key=lambda result: float(result["neighbours"])) if results else None


class Comparison:
    """All runs of all workloads. A round is one run of each server; the workloads take turns in rounds."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.workloads = workloads_of(arguments)
        self.servers = {
            workload.name: servers_of(workload, arguments.server, quick=arguments.quick)
            for workload in self.workloads
        }
        self.runs: dict[str, Runs] = {
            name: {server.name: [] for server in servers} for name, servers in self.servers.items()
        }
        self.skipped: dict[str, dict[str, str]] = {name: {} for name in self.servers}
        self.is_cut_short = False
        rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else FULL_ROUNDS)
        self._rounds = {
            workload.name: rounds if workload.is_timed else min(rounds, 1 if arguments.quick else 3)
            for workload in self.workloads
        }
        self._seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else FULL_SECONDS)
        self._patience = arguments.patience
        minutes = arguments.minutes or (QUICK_MINUTES if arguments.quick else None)
        self._ends_at = None if minutes is None else time.monotonic() + 60 * minutes

    def needs(self) -> list[str]:
        """What must be installed."""
        servers = (server for servers in self.servers.values() for server in servers)
        return sorted({server.needs for server in servers if server.needs})

    def run(self) -> None:
        """All rounds, as far as the time goes."""
        for number in range(max(self._rounds.values(), default=0)):
            for workload in self.workloads:
                if number < self._rounds[workload.name]:
                    self._round(workload, number)

    def _round(self, workload: Workload, number: int) -> None:
        say(f"{workload.name}, round {number + 1} of {self._rounds[workload.name]}")
        runs, skipped = self.runs[workload.name], self.skipped[workload.name]
        for server in self.servers[workload.name]:
            if self._ends_at is not None and time.monotonic() > self._ends_at:
                self.is_cut_short = True
                return
            if server.name not in skipped or runs[server.name]:
                run = undisturbed_run(workload, server, self._seconds, skipped, self._patience)
                runs[server.name].append(run)

    def is_bad(self) -> bool:
        """Whether anything went wrong."""
        every = [run for runs in self.runs.values() for each in runs.values() for run in each]
        return any(self.skipped.values()) or any(run is None or run["bad"] for run in every)

    def tables(self) -> str:
        """All tables."""
        tables = [
            markdown(workload, self.runs[workload.name], self.skipped[workload.name])
            for workload in self.workloads
        ]
        cut = ["The time was over before all rounds were done.\n"] if self.is_cut_short else []
        return "\n".join(tables + cut)

    def document(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "machine": machine(),
            "seconds": self._seconds,
            "workloads": {
                name: {"runs": runs, "skipped": self.skipped[name]} for name, runs in self.runs.items()
            },
        }


def install_all(needs: list[str]) -> int:
    """Install; how many can't be had, each told in a line."""
    failures = 0
    for kind in needs:
        try:
            install(kind)
            say(f"{kind}: there")
        except CannotInstall as error:
            failures += 1
            say(f"{kind}: {error}")
    return failures


def machine() -> dict[str, Any]:
    """Where this was measured."""
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pinned": can_pin(),
    }


def main(argv: list[str]) -> int:
    """Compare as ``argv`` says; the exit status."""
    arguments = parse(argv)
    comparison = Comparison(arguments)
    failures = install_all(comparison.needs())
    if arguments.install:
        return int(failures > 0)
    try:
        comparison.run()
    finally:  # also of what there is when somebody has seen enough
        tables = comparison.tables()
        print(tables, flush=True)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(comparison.document(), indent=2) + "\n")
        if arguments.plot:
            from comparelib.plot import draw

            draw(comparison.document(), arguments.plot, tables)
    return int(comparison.is_bad())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
