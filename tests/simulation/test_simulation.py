"""Some seeds of the simulation, its repeatability, and the bugs that it has to find.

More seeds, by hand: ``scripts/simulate.py --seeds 0..999 --people 200`` (docs/simulation.md).
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .planted import PLANTED
from .world import Report, simulate

SEEDS = (0, 1, 2, 3, 6, 7, 13, 18)
CROWD = 200


@cache
def report_of(seed: int) -> Report:
    """What came of one of `SEEDS`."""
    return simulate(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_guarantee_holds(seed: int) -> None:
    """Order, no gap, no duplicate, acked and shown implies stored, bounded memory, nothing left over."""
    report = report_of(seed)
    assert report.failures == []
    assert report.stored > 10
    assert report.shown > 5 * report.stored


def test_every_guarantee_holds_in_a_crowd() -> None:
    """The same with 200 clients."""
    report = simulate(0, people=CROWD)
    assert report.failures == []
    assert report.connections > CROWD
    assert report.shown > 10 * report.stored > 1000


def test_it_is_a_hard_world() -> None:
    """All that it threatens with happens within these few seeds: else it would prove little."""
    reports = [report_of(seed) for seed in SEEDS]
    assert sum(report.crashes for report in reports) >= len(SEEDS)
    assert sum(report.restarts for report in reports) >= len(SEEDS)
    assert sum(report.lagged for report in reports) > 20
    assert sum(report.refused for report in reports) > 100
    assert sum(report.relayed for report in reports) > 100
    assert sum(report.changed for report in reports) > 20
    assert {1012, 4008, 4029} <= {code for report in reports for code in report.byes}
    story = "\n".join(line for report in reports for line in report.story)
    for fault in ("before", "after", "crash before", "crash within", "crash after"):
        assert f"'{fault}'" in story
    for event in ("cut off", "killed", "stopped", "the disk is full", "the disk is unreadable"):
        assert event in story


def test_a_seed_is_a_run() -> None:
    """The same number gives the same run, to the last byte of every transcript; another one another."""
    first, again, other = (simulate(seed, steps=4, people=20) for seed in (7, 7, 8))
    assert first == again
    assert first.digest != other.digest


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_is_a_run_in_another_process(hash_seed: str) -> None:
    """Whatever hashes and addresses are there."""
    code = "from simulation.world import simulate; print(simulate(7, steps=4, people=20).digest)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout.strip() == simulate(7, steps=4, people=20).digest


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_found(name: str) -> None:
    """Each bug that is put in on purpose breaks a guarantee within 50 seeds, and soon."""
    assert any(simulate(seed, planted=PLANTED[name]()).failures for seed in range(50))
