#!/usr/bin/env python3
"""Who pays for clients that stop reading? One room, with and without frozen members in turn, several servers.

Live members get events at a steady rate, each timed from the moment it was due. In every second run some more
members are in the room that read nothing: how much later do the live ones get theirs, how does the server's
memory grow, and do the frozen ones get every event once they read again? Each run has a fresh server, pinned
to one core; the load is on the other.

Prints a Markdown table (medians over the rounds; latencies in milliseconds, memory in MiB). Exit status: 0
measured, 1 a run failed or a server could not start, 2 bad arguments.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from comparelib.quiet import QUIET_CORES, Neighbours, wait_until_quiet
from comparelib.servers import SERVERS, CannotStart, Running, Server, running
from comparelib.workloads import RunFailed, swarm

DEFAULT_SERVERS = ("chat-sqlite", "node-ws", "websockets-asyncio", "websockets-trio")
SENDERS = 50
WARMUP_S, GRACE_S, THAW_S = 2.0, 10.0, 60.0
PATIENT_S = 3600.0
"""Our server's heartbeat: with the default one it would let go of those that read nothing for a minute. The
others have none at all here."""

Run = dict[str, Any]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"frozen: {message}", file=sys.stderr)
        sys.exit(2)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--live", type=int, default=5000, metavar="N", help="members that read (default 5000)")
    add("--frozen", type=int, default=50, metavar="F", help="members that don't (default 50)")
    add("--rate", type=float, default=200.0, metavar="R", help="events per second (default 200)")
    add("--size", type=int, default=64, metavar="BYTES", help="bytes of text in an event (default 64)")
    add("--seconds", type=float, default=20.0, metavar="S", help="seconds measured in a run (default 20)")
    add("--rounds", type=int, default=3, help="rounds, each with and without frozen members (default 3)")
    add(
        "--server", action="append", choices=[server.name for server in SERVERS], metavar="SERVER",
        help=f"measure only this one (repeatable; default: {', '.join(DEFAULT_SERVERS)})",
    )  # fmt: skip
    add(
        "--patience", type=float, default=0.0, metavar="S",
        help="before each run, wait up to S seconds for other processes to be quiet (default 0)",
    )  # fmt: skip
    add("--json", metavar="FILE", help="write every run to FILE")
    arguments = parser.parse_args(argv)
    for name, low, high in (
        ("live", 1, 90_000), ("frozen", 1, 9_000), ("rate", 0.1, 1e6), ("size", 48, 10_000),
        ("seconds", 1, 3600), ("rounds", 1, 100), ("patience", 0, 3600),
    ):  # fmt: skip
        if not low <= getattr(arguments, name) <= high:
            parser.error(f"--{name}: {low:g} to {high:g}")
    return arguments


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def patient(server: Server) -> Server:
    """The same, with clients kept however long they are silent."""
    if not server.is_ours:
        return server
    return replace(
        server,
        command=lambda echo, directory: [*server.command(echo, directory), "--heartbeat", str(PATIENT_S)],
    )


def load(arguments: argparse.Namespace, server: Server, started: Running, frozen: int) -> list[str]:
    """The swarm's command line."""
    return [
        started.url + server.path, "--protocol", server.protocol, "--server-pid", str(started.pid),
        "--clients", str(arguments.live + frozen), "--frozen", str(frozen),
        "--senders", str(min(SENDERS, arguments.live)), "--rate", f"{arguments.rate:g}",
        "--size", str(arguments.size), "--duration", f"{arguments.seconds:g}", "--warmup", f"{WARMUP_S:g}",
        "--grace", f"{GRACE_S:g}", "--thaw", f"{THAW_S:g}", "--processes", "1", "--quiet", "--json", "-",
    ]  # fmt: skip


def measured(arguments: argparse.Namespace, document: dict[str, Any]) -> Run:
    """What the table needs of one run. ``delivered``: the share that the live ones got in time."""
    memory = [
        point["server"]["rss_bytes"] / 2**20
        for point in document["timeline"]
        if point.get("server") and WARMUP_S <= point["at_s"] <= WARMUP_S + arguments.seconds
    ]
    due = arguments.rate * document["seconds"] * arguments.live
    return {
        "latency_ms": document["latency_ms"],
        "delivered": document["deliveries"] / due if due else 0.0,
        "server_cpu": document["server"]["cpu_share"],
        "swarm_cpu": max(document["cpu_shares"], default=0.0),
        "memory_mib": [round(value, 1) for value in memory],
        "frozen": document.get("frozen"),
        "bad": {kind: n for kind, n in (document["findings"] | document["errors"]).items() if n},
        "warnings": document["warnings"],
    }


def one_run(arguments: argparse.Namespace, server: Server, frozen: int) -> Run:
    """Start, load, thaw, stop. `CannotStart`, `RunFailed`."""
    wait_until_quiet(arguments.patience)
    neighbours = Neighbours()
    limit_s = WARMUP_S + arguments.seconds + 2 * GRACE_S + THAW_S + 120
    with running(patient(server), echo=False) as started:
        run = measured(arguments, swarm(load(arguments, server, started, frozen), limit_s))
    run["neighbours"] = round(neighbours.cores(), 2)
    latency = run["latency_ms"] or {"p50": 0.0, "p99": 0.0}
    say(
        f"  {server.name:<20} {frozen:>4} frozen  p50 {latency['p50']:9.2f}  p99 {latency['p99']:9.2f} ms"
        f"  {run['delivered']:.0%} in time  server {run['server_cpu'] or 0:.0%}  swarm {run['swarm_cpu']:.0%}"
        f"  (others used {run['neighbours']:.2f} cores)"
    )
    return run


def measure(arguments: argparse.Namespace) -> tuple[dict[str, list[tuple[Run, Run]]], dict[str, str]]:
    """By server, the runs without and with frozen members of each round; why servers are missing."""
    servers = [server for server in SERVERS if server.name in (arguments.server or DEFAULT_SERVERS)]
    runs: dict[str, list[tuple[Run, Run]]] = {server.name: [] for server in servers}
    skipped: dict[str, str] = {}
    for number in range(arguments.rounds):
        say(f"round {number + 1} of {arguments.rounds}")
        for server in servers:
            if server.name in skipped:
                continue
            try:
                runs[server.name].append(
                    (one_run(arguments, server, 0), one_run(arguments, server, arguments.frozen))
                )
            except (CannotStart, RunFailed) as error:
                skipped[server.name] = str(error)
                say(f"  {server.name:<20} {error}")
    return runs, skipped


def markdown(
    arguments: argparse.Namespace, runs: dict[str, list[tuple[Run, Run]]], skipped: dict[str, str]
) -> str:
    """The table, and what there is to say to it."""
    lines = [
        f"### {arguments.live:,} live members and {arguments.frozen} frozen ones,"
        f" {arguments.rate:g} events/s of {arguments.size} bytes, {arguments.seconds:g} s",
        "",
        "| server | p50 / p99 without | p50 / p99 with | p99, with to without | in time | server CPU"
        " | memory without | memory with | frozen that got everything | after |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    notes = [f"{label(name)}: {reason}" for name, reason in skipped.items()]
    for name, pairs in runs.items():
        if pairs:
            lines.append(row(name, pairs))
        if any(run["frozen"]["told_lagging"] < arguments.frozen for _, run in pairs) and "chat" in name:
            notes.append(f"{label(name)}: not every frozen member fell behind: take more --seconds or --size")
        notes += [f"{label(name)}: {run['bad']}" for pair in pairs for run in pair if run["bad"]]
    every = [run for pairs in runs.values() for pair in pairs for run in pair]
    disturbed = max((run["neighbours"] for run in every), default=0.0)
    if disturbed > QUIET_CORES:
        notes.append(f"disturbed: in a run, other processes used {disturbed:.2f} cores")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def row(name: str, pairs: list[tuple[Run, Run]]) -> str:
    """One server's line."""
    without, frozen = zip(*pairs, strict=True)
    ratios = [
        with_["latency_ms"]["p99"] / plain["latency_ms"]["p99"]
        for plain, with_ in pairs
        if plain["latency_ms"] and with_["latency_ms"]
    ]
    thawed = [run["frozen"] for run in frozen]
    seconds = [found["seconds"] for found in thawed if found["seconds"] is not None]
    return (
        f"| {label(name)} | {quantiles(without)} | {quantiles(frozen)}"
        f" | {f'**{median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})' if ratios else ''}"
        f" | {median(run['delivered'] for run in frozen):.0%}"
        f" | {median(run['server_cpu'] or 0 for run in frozen):.0%}"
        f" | {growth(without)} | {growth(frozen)}"
        f" | {median(found['whole'] for found in thawed):g} of {thawed[0]['count']}"
        f" | {f'{median(seconds):.1f} s' if seconds else ''} |"
    )


def quantiles(runs: tuple[Run, ...]) -> str:
    """The medians of the 50th and the 99th percentile."""
    found = [run["latency_ms"] for run in runs if run["latency_ms"]]
    if not found:
        return "nothing came"
    return " / ".join(f"{median(each[key] for each in found):.1f}" for key in ("p50", "p99"))


def growth(runs: tuple[Run, ...]) -> str:
    """Resident memory when the load began and when it ended."""
    found = [run["memory_mib"] for run in runs if run["memory_mib"]]
    if not found:
        return ""
    first, last = median(each[0] for each in found), median(each[-1] for each in found)
    return f"{first:.0f} to {last:.0f} ({last - first:+.1f})"


def label(name: str) -> str:
    """As the tables have it."""
    return next(server.label for server in SERVERS if server.name == name)


def main(argv: list[str]) -> int:
    """Measure as ``argv`` says; the exit status."""
    arguments = parse(argv)
    runs, skipped = measure(arguments)
    print(markdown(arguments, runs, skipped), flush=True)
    if arguments.json:
        document = {"arguments": vars(arguments), "runs": runs, "skipped": skipped}
        Path(arguments.json).write_text(json.dumps(document, indent=2) + "\n")
    return int(bool(skipped))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
