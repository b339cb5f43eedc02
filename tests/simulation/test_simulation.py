"""A few seeds of the simulation, its repeatability, and the bugs that it has to find.

More seeds, by hand: ``scripts/simulate.py --seeds 0..999 --steps 40``.
"""

import pytest

from .planted import PLANTED
from .world import simulate


@pytest.mark.parametrize("seed", range(3))
def test_every_guarantee_holds(seed: int) -> None:
    """Order, no gap, no duplicate, acked and shown implies stored, bounded memory, nothing left over."""
    report = simulate(seed, steps=10)
    assert report.failures == []
    assert report.stored > 50
    assert report.shown > 10 * report.stored


def test_a_seed_is_a_run() -> None:
    """The same number gives the same run, to the last byte of every transcript."""
    first, again, other = (simulate(seed, steps=4, people=8) for seed in (7, 7, 8))
    assert first == again
    assert first.digest != other.digest


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_found(name: str) -> None:
    """Each bug that is put in on purpose breaks a guarantee within 50 seeds."""
    assert any(simulate(seed, steps=15, planted=PLANTED[name]()).failures for seed in range(50))
