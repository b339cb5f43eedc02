"""``scripts/cluster.py``: two rounds of faults here, fifty by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from log.redis_server import BINARY, MISSING

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "cluster.py"


@pytest.mark.slow
@pytest.mark.skipif(BINARY is None, reason=MISSING)
def test_what_was_promised_survives_a_broken_cluster() -> None:
    """Nothing acknowledged is lost, nothing twice, no holes, and everybody has everything."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "2", "--clients", "6", "--nodes", "2", "--seed", "6"],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    *rounds, summary = done.stdout.splitlines()
    assert len(rounds) == 2
    assert all(line.endswith(": ok") for line in rounds)
    numbers = re.search(r": (\d+) events, (\d+) shown, .* 0 tracebacks, 0 violations", summary)
    assert numbers is not None, summary
    stored, shown = map(int, numbers.groups())
    assert shown == 6 * stored > 0
