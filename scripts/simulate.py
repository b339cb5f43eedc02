#!/usr/bin/env python3
"""Run the deterministic simulation of the server (``tests/simulation``) for many seeds.

    scripts/simulate.py --seeds 0..99
    scripts/simulate.py --seeds 0..999 --people 200 --jobs 4
    scripts/simulate.py --plant lost_on_overflow --seeds 0..49     a bug put in on purpose

One line for each seed, with what happened in it. A seed that breaks a guarantee is shown with all that was
wrong, what had happened before, and the command that repeats it; exit status 1 if there was one.

With ``--plant`` (a name, or ``all``) the seeds are tried until one finds the bug; exit status 1 if none does.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulation.planted import PLANTED
from simulation.world import PEOPLE, STEPS, Report, simulate

T = TypeVar("T")
R = TypeVar("R")

TOTALS = (
    "stored",
    "shown",
    "acked",
    "relayed",
    "changed",
    "lagged",
    "refused",
    "crashes",
    "restarts",
    "connections",
)
TOLD = 12
"""What had happened before a failure: the last so many things."""


def seeds(text: str) -> range:
    """``A..B``, both included, or one number."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def run(seed: int, steps: int, people: int, plant: str | None = None) -> tuple[Report, float]:
    """One seed, and the seconds it took; a simulation that fails itself is a failure too."""
    began = time.perf_counter()
    try:
        report = simulate(seed, steps, people, PLANTED[plant]() if plant else None)
    except Exception:  # noqa: BLE001
        report = Report(seed, [traceback.format_exc()])
    return report, time.perf_counter() - began


def hunt(plant: str, numbers: range, steps: int, people: int) -> tuple[str, Report | None]:
    """The first seed that finds a planted bug."""
    for seed in numbers:
        report, _ = run(seed, steps, people, plant)
        if report.failures:
            return plant, report
    return plant, None


@contextmanager
def mapping(jobs: int) -> Iterator[Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]]:
    """A ``map`` that runs in so many processes; results come in order."""
    if jobs == 1:
        yield map
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            yield pool.imap


def line(report: Report, seconds: float) -> str:
    """What happened in one run."""
    return (
        f"seed {report.seed:5}  {'FAILED' if report.failures else 'ok':6}  stored {report.stored:5}  "
        f"shown {report.shown:6}  lagging {report.lagged:4}  refused {report.refused:4}  "
        f"crashes {report.crashes:2}  restarts {report.restarts:2}  connections {report.connections:4}  "
        f"most waiting {report.most_waiting:6}  {report.seconds:6.1f} s in {seconds:4.1f} s  {report.digest}"
    )


def simulate_all(options: argparse.Namespace) -> int:
    """Run every seed; returns how many broke a guarantee."""
    began = time.perf_counter()
    failed: list[int] = []
    totals = dict.fromkeys((*TOTALS, "seconds"), 0.0)
    sizes = "".join(
        f" --{name} {value}"
        for name, value, usual in (("steps", options.steps, STEPS), ("people", options.people, PEOPLE))
        if value != usual
    )
    with mapping(options.jobs) as each:
        for report, seconds in each(partial(run, steps=options.steps, people=options.people), options.seeds):
            print(line(report, seconds), flush=True)
            if report.failures:
                failed.append(report.seed)
                told = [f"    {text}" for text in (*report.story[-TOLD:], *report.failures)]
                print(
                    *told,
                    f"    again: scripts/simulate.py --seeds {report.seed}{sizes}",
                    sep="\n",
                    flush=True,
                )
            for name in totals:
                totals[name] += getattr(report, name)
    print(
        f"{len(failed)} of {len(options.seeds)} seeds broke a guarantee{f': {failed}' if failed else ''}\n"
        + ", ".join(f"{name} {totals[name]:,.0f}" for name in TOTALS)
        + f"; {totals['seconds']:,.0f} simulated seconds in {time.perf_counter() - began:,.0f} s"
    )
    return len(failed)


def hunt_all(options: argparse.Namespace) -> int:
    """Look for planted bugs; returns how many were not found."""
    plants = sorted(PLANTED) if options.plant == "all" else [options.plant]
    missed = 0
    with mapping(min(options.jobs, len(plants))) as each:
        search = partial(hunt, numbers=options.seeds, steps=options.steps, people=options.people)
        for plant, report in each(search, plants):
            missed += report is None
            found = f"seed {report.seed:2}  {report.failures[0][:120]}" if report else "NOT FOUND"
            print(f"{plant:26}  {found}", flush=True)
    return missed


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=seeds, default=range(10), metavar="A..B")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help="what happens to everybody: cuts, crashes, ..."
    )
    parser.add_argument("--people", type=int, default=PEOPLE, help="clients of all kinds (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    parser.add_argument("--plant", choices=[*sorted(PLANTED), "all"], help="put a bug in")
    options = parser.parse_args()
    if min(options.people, options.jobs) < 1:
        parser.error("--people, --jobs: 1 or more")
    return int(bool(hunt_all(options) if options.plant else simulate_all(options)))


if __name__ == "__main__":
    sys.exit(main())
