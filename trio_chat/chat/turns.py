"""Turns: long work in short steps, so that nobody waits long for the event loop.

Owns one task that gives each piece of work one step in a turn of the event loop, in rotation: however many
rooms have something to deliver, and however large one is, all others wait for a step and not for a pass.

A step should take `STEP_SECONDS`. What a write costs depends on the machine, on what the kernel does for the
receiver within the same call, and on who else uses the processor; so it is learned from the steps before.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Final

import trio

STEP_SECONDS: Final = 0.0015
"""Shorter steps leave commits no more to overlap with, longer ones come too late for the next commit
(docs/performance.md)."""
_SECONDS_PER_BYTE = 0.5e-9
_USUAL, _LEAST, _MOST = 5e-6, 2.5e-6, 60e-6
"""Seconds of one write, without its bytes: what is assumed at first, and between what is believed."""
_WEIGHT = 0.3
"""Of the newest step in the estimate."""
_MIN_WRITES = 16

Steps = Iterator[tuple[int, int]]
"""Work in steps, each of which has made so many writes of so many bytes."""


class Turns:
    """See the module. `run` is the task."""

    def __init__(self) -> None:
        self._waiting: deque[Steps] = deque()
        self._wake = trio.Event()
        self._write_seconds = _USUAL

    def add(self, steps: Steps) -> None:
        """Have this done, beginning in the next turn. It must not raise."""
        self._waiting.append(steps)
        self._wake.set()

    def writes(self, data_bytes: int) -> int:
        """How many writes of so many bytes fill a step."""
        return max(_MIN_WRITES, int(STEP_SECONDS / (self._write_seconds + data_bytes * _SECONDS_PER_BYTE)))

    async def run(self) -> None:
        """One step in each turn, until cancelled."""
        while True:
            while self._waiting:
                steps = self._waiting.popleft()
                began = time.perf_counter()
                step = next(steps, None)
                if step is not None:
                    self._learn(*step, time.perf_counter() - began)
                    self._waiting.append(steps)
                await trio.lowlevel.checkpoint()
            self._wake = trio.Event()
            await self._wake.wait()

    def _learn(self, writes: int, data_bytes: int, seconds: float) -> None:
        if writes >= _MIN_WRITES:
            found = seconds / writes - data_bytes * _SECONDS_PER_BYTE
            self._write_seconds += _WEIGHT * (min(max(found, _LEAST), _MOST) - self._write_seconds)
