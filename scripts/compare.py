#!/usr/bin/env python3
"""Measure trio_chat side by side with other WebSocket servers, interleaved, each pinned to one core.

Prints Markdown tables (medians, spread, ratios to Node `ws` of the same round) and, with ``--json``, writes
every run. Exit status: 0 measured, 1 a run failed or a server could not start, 2 bad arguments.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, NoReturn

from comparelib.quiet import QUIET_CORES, Neighbours, wait_until_quiet
from comparelib.servers import SERVERS, CannotStart, Server, can_pin, running
from comparelib.table import Runs, markdown
from comparelib.workloads import WORKLOADS, RunFailed, Workload, measure

QUICK_ROUNDS, FULL_ROUNDS = 2, 5
QUICK_SECONDS, FULL_SECONDS = 2.0, 5.0
TRIES = 3
"""Of a run that other processes disturbed, for those who have patience."""
DEFAULT_SERVERS = (
    "node-ws", "relay", "chat-memory", "chat-sqlite", "naive", "websockets-asyncio", "websockets-trio",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"compare: {message}", file=sys.stderr)
        sys.exit(2)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a few minutes in all")
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
    parser.add_argument("--json", metavar="FILE", help="write every run to FILE")
    arguments = parser.parse_args(argv)
    if arguments.rounds is not None and not 1 <= arguments.rounds <= 100:
        parser.error("--rounds: 1 to 100")
    if arguments.seconds is not None and not 0.5 <= arguments.seconds <= 600:
        parser.error("--seconds: 0.5 to 600")
    if not 0 <= arguments.patience <= 3600:
        parser.error("--patience: 0 to 3600")
    if arguments.json and not Path(arguments.json).absolute().parent.is_dir():
        parser.error(f"--json: cannot write {arguments.json!r}")
    return arguments


def servers_of(workload: Workload, wanted: list[str] | None) -> list[Server]:
    """Those to measure: ``wanted``, as far as the workload is for them, or the usual ones."""
    names = workload.servers or DEFAULT_SERVERS
    if wanted:
        names = tuple(name for name in wanted if not workload.servers or name in workload.servers)
    servers = [server for server in SERVERS if server.name in names]
    servers = [server for server in servers if not (workload.echo and server.protocol == "chat")]
    return [server for server in servers if server.is_ours or wanted or not workload.only_ours]


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


def compare(
    workload: Workload, servers: list[Server], rounds: int, seconds: float, patience: float
) -> tuple[Runs, dict[str, str]]:
    """All rounds of one workload, the servers in turn within each; why servers are missing."""
    runs: Runs = {server.name: [] for server in servers}
    skipped: dict[str, str] = {}
    for number in range(rounds):
        say(f"{workload.name}, round {number + 1} of {rounds}")
        for server in servers:
            if server.name not in skipped or runs[server.name]:
                runs[server.name].append(undisturbed_run(workload, server, seconds, skipped, patience))
    return runs, skipped


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
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else FULL_ROUNDS)
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else FULL_SECONDS)
    document: dict[str, Any] = {"machine": machine(), "seconds": seconds, "workloads": {}}
    status = 0
    for workload in WORKLOADS:
        if arguments.only and workload.name not in arguments.only:
            continue
        servers = servers_of(workload, arguments.server)
        turns = rounds if workload.is_timed else 1 if arguments.quick else 3
        runs, skipped = compare(workload, servers, turns, seconds, arguments.patience)
        status = status or int(bool(skipped) or any(run["bad"] for rs in runs.values() for run in rs if run))
        document["workloads"][workload.name] = {"runs": runs, "skipped": skipped}
        print(markdown(workload, runs, skipped), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=2) + "\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
