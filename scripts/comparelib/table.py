"""Results as Markdown tables: medians with their spread, and ratios to the baseline of the same round."""

from statistics import median
from typing import Any

from comparelib.quiet import QUIET_CORES
from comparelib.servers import SERVERS
from comparelib.workloads import Workload

BUSY = 0.9
"""A server below this share of its core was not the bottleneck of a closed loop: the load was."""

Runs = dict[str, list[dict[str, Any] | None]]
"""By server: one measurement for each round; None where it failed."""


def ratios(runs: Runs, name: str, baseline: str, key: str = "value") -> list[float]:
    """``name`` to the ``baseline``, round by round."""
    pairs = zip(runs.get(name, []), runs.get(baseline, []), strict=False)
    return [one[key] / base[key] for one, base in pairs if one and base and base[key]]


def per_cpu(runs: Runs) -> Runs:
    """The same runs with the rate per second of the server's processor time added."""
    return {
        name: [
            run and run | {"per_cpu": run["value"] / run["server_cpu"] if run.get("server_cpu") else 0.0}
            for run in rounds
        ]
        for name, rounds in runs.items()
    }


def markdown(workload: Workload, runs: Runs, skipped: dict[str, str]) -> str:
    """One table."""
    lines = [f"### {workload.title}", ""]
    if workload.kind == "rate":
        lines += _rate_table(per_cpu(runs), workload)
    elif workload.kind == "latency":
        lines += _latency_table(runs, workload)
    elif workload.kind == "memory":
        lines += _plain_table(runs, workload, "KiB per connection", "RSS in all, MiB", "rss_mib")
    else:
        lines += _plain_table(
            runs, workload, "server CPU, us per connection", "connections/s", "opened_per_s"
        )
    notes = [f"{_label(name)}: {reason}" for name, reason in skipped.items()]
    for name, rounds in runs.items():
        notes += [f"{_label(name)}: {run['bad']}" for run in rounds if run and run["bad"]]
    disturbed = max((run["neighbours"] for rounds in runs.values() for run in rounds if run), default=0.0)
    if disturbed > QUIET_CORES:
        notes.append(f"disturbed: in a run, other processes used {disturbed:.2f} cores")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def _rate_table(runs: Runs, workload: Workload) -> list[str]:
    baseline = workload.baseline
    lines = [
        "| server | deliveries/s | min - max | to `ws` | to `ws`, per CPU second | server CPU | load CPU"
        " | p99, ms |" + (" bytes | plain |" if workload.deflate else ""),
        f"| ---{' | ---:' * (9 if workload.deflate else 7)} |",
    ]
    for name, rounds in runs.items():
        good = [run for run in rounds if run]
        if not good:
            continue
        values = [run["value"] for run in good]
        share = median(run["server_cpu"] or 0 for run in good)
        tails = [run["latency_ms"]["p99"] for run in good if run["latency_ms"]]
        lines.append(
            f"| {_label(name)} | {_number(median(values))} | {_number(min(values))} - {_number(max(values))}"
            f" | {_ratio(ratios(runs, name, baseline))} | {_ratio(ratios(runs, name, baseline, 'per_cpu'))}"
            f" | {share:.0%}{'' if share >= BUSY else ' (not saturated)'}"
            f" | {median(run['swarm_cpu'] for run in good):.0%}"
            f" | {f'{median(tails):.2f}' if tails else ''} |" + (_bytes(good) if workload.deflate else "")
        )
    return lines


def _latency_table(runs: Runs, workload: Workload) -> list[str]:
    frozen = bool(workload.frozen)
    lines = [
        "| server | p50, ms | p99, ms | min - max | p99.9, ms | p99 to `ws` | server CPU |"
        + (" memory grew by, MiB | frozen that got everything |" if frozen else ""),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |" + (" ---: | ---: |" if frozen else ""),
    ]
    for name, rounds in runs.items():
        good = [run for run in rounds if run]
        if not good:
            continue
        p50, p99, p999 = (
            [run["latency_ms"][key] for run in good if run["latency_ms"]] for key in ("p50", "p99", "p99.9")
        )
        lines.append(
            f"| {_label(name)} | {median(p50):.2f} | {median(p99):.2f} | {min(p99):.2f} - {max(p99):.2f}"
            f" | {median(p999):.2f} | {_ratio(ratios(runs, name, workload.baseline))}"
            f" | {median(run['server_cpu'] or 0 for run in good):.0%} |" + (_frozen(good) if frozen else "")
        )
    return lines


def _frozen(runs: list[dict[str, Any]]) -> str:
    """How much memory those that read nothing cost, and how many of them had got everything in the end."""
    whole = median(run["frozen"]["whole"] for run in runs)
    grown = median(run["grown_mib"] for run in runs)
    return f" {grown:.1f} | {whole:g} of {runs[0]['frozen']['count']} |"


def _bytes(runs: list[dict[str, Any]]) -> str:
    """Of a delivery on the wire, and uncompressed where that is known."""
    plain = [run["plain_bytes_per_delivery"] for run in runs if run["plain_bytes_per_delivery"]]
    return (
        f" {median(run['bytes_per_delivery'] for run in runs):.0f} | {median(plain):.0f} |"
        if plain
        else " | |"
    )


def _plain_table(runs: Runs, workload: Workload, value: str, other: str, key: str) -> list[str]:
    lines = [f"| server | {value} | min - max | to `ws` | {other} |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, rounds in runs.items():
        good = [run for run in rounds if run]
        if good:
            values = [run["value"] for run in good]
            compared = _ratio(ratios(runs, name, workload.baseline))
            lines.append(
                f"| {_label(name)} | {median(values):.1f} | {min(values):.1f} - {max(values):.1f}"
                f" | {compared} | {median(run[key] for run in good):,.0f} |"
            )
    return lines


def _ratio(found: list[float]) -> str:
    if not found:
        return ""
    return f"**{median(found):.2f}** ({min(found):.2f} - {max(found):.2f})"


def _number(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.1f} k"


def _label(name: str) -> str:
    return next(server.label for server in SERVERS if server.name == name)
