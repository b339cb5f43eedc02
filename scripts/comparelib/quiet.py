"""How much of the machine other processes use: figures taken beside a busy neighbour are not worth keeping.

Linux only; elsewhere nothing is known and nothing is said.
"""

import os
import time
from pathlib import Path

QUIET_CORES = 0.15
"""Used by others: below it a machine counts as quiet."""
_LOOK_S = 1.0
_BUSY_FIELDS = (1, 2, 3, 6, 7, 8)
"""Of the first line of /proc/stat: user, nice, system, interrupts, soft interrupts, stolen."""


class Neighbours:
    """Measures what processes other than this one and its ended children use, from its making on."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._busy = _machine_busy_s()
        self._own = _own_s()

    def cores(self) -> float:
        """Cores that others have used on average; 0 if that can't be known."""
        busy = _machine_busy_s() - self._busy
        own = _own_s() - self._own
        return max(0.0, busy - own) / max(time.monotonic() - self._at, 1e-3)


def wait_until_quiet(limit_s: float) -> None:
    """Return when the machine is quiet, or after ``limit_s``."""
    gives_up = time.monotonic() + limit_s
    while time.monotonic() < gives_up:
        neighbours = Neighbours()
        time.sleep(_LOOK_S)
        if neighbours.cores() < QUIET_CORES:
            return


def _machine_busy_s() -> float:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return 0.0
    return sum(int(fields[place]) for place in _BUSY_FIELDS) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
