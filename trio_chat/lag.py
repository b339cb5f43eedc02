"""How long the event loop is held: the time from one wait for I/O to the next.

Owns the measuring. In such a turn every task that is ready takes one step, so its length is what anybody
else who becomes ready may have to wait. It contains whatever holds the thread: our own work, an embedding
program's, the garbage collector's, and other processes that have the core.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

import trio

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds of the histogram's buckets, seconds."""


class LoopLag(trio.abc.Instrument):
    """Counts turns of the event loop by their length. ``clock``: seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.counts = [0] * (len(BOUNDS) + 1)
        """Turns up to each of `BOUNDS` but beyond the one before; the last count is of all longer ones."""
        self.seconds = 0.0
        """All turns together."""
        self.longest = 0.0
        """The longest turn since somebody last set this to 0, seconds."""
        self._began: float | None = None

    def after_io_wait(self, timeout: float) -> None:
        """A turn begins."""
        self._began = self._clock()

    def before_io_wait(self, timeout: float) -> None:
        """It ends."""
        if self._began is not None:
            held = self._clock() - self._began
            self.counts[bisect_left(BOUNDS, held)] += 1
            self.seconds += held
            if held > self.longest:
                self.longest = held
