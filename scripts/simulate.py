#!/usr/bin/env python3
"""Run the deterministic simulation of the server (``tests/simulation``) for many seeds.

    scripts/simulate.py --seeds 0..99 --steps 40
    scripts/simulate.py --seeds 17 --plant lost_on_overflow     a bug put in on purpose

One line for each seed, with what happened in it; a seed that breaks a guarantee is shown with all that was
wrong, and is reproduced by its number alone. Exit status 1 if there was one (with ``--plant``: if there was
none).
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulation.planted import PLANTED
from simulation.world import Report, simulate


def seeds(text: str) -> range:
    """``A..B``, both included, or one number."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def line(report: Report, seconds: float) -> str:
    """What happened in one run."""
    return (
        f"seed {report.seed:5}  {'FAILED' if report.failures else 'ok':6}  stored {report.stored:5}  "
        f"shown {report.shown:6}  lagging {report.lagged:4}  refused {report.refused:4}  "
        f"crashes {report.crashes:2}  restarts {report.restarts:2}  connections {report.connections:4}  "
        f"most waiting {report.most_waiting:6}  {report.seconds:6.1f} s in {seconds:4.1f} s  {report.digest}"
    )


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=seeds, default=range(10), metavar="A..B")
    parser.add_argument(
        "--steps", type=int, default=40, help="what happens to everybody: cuts, faults, crashes"
    )
    parser.add_argument("--people", type=int, default=21, help="well-meaning clients; a tenth as many others")
    parser.add_argument("--plant", choices=sorted(PLANTED), help="put a bug in")
    options = parser.parse_args()
    failed = []
    for seed in options.seeds:
        planted = PLANTED[options.plant]() if options.plant else None
        began = time.perf_counter()
        report = simulate(seed, options.steps, options.people, planted)
        print(line(report, time.perf_counter() - began), flush=True)
        for failure in report.failures:
            print(f"    {failure}", flush=True)
        if report.failures:
            failed.append(seed)
    print(
        f"{len(failed)} of {len(options.seeds)} seeds broke a guarantee" + (f": {failed}" if failed else "")
    )
    return int(bool(failed) != bool(options.plant))


if __name__ == "__main__":
    sys.exit(main())
