"""Where a simulation takes hold of an engine: what surrounds a commit, and what runs blocking work.

Production uses the defaults, `commit_plainly` and `in_thread`, on the same code path.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")

CommitThrough = Callable[[Callable[[], None]], None]
"""Called once for each append with ``commit``, which stores the batch, for each trim that removes something,
and for marks that are moved; it has to call ``commit``, or to raise.

Raising `OSError` without calling it is a commit that failed; raising after the call is one that failed
*after it took effect*. Ending the process on either side is a crash. What ``commit`` itself raises must be
let through. It runs wherever the commit runs (for SQLite a worker thread).
"""


def commit_plainly(commit: Callable[[], None]) -> None:
    """Commit."""
    commit()


class Runner(Protocol):
    """Runs blocking ``work`` and returns its result; at most ``limiter``'s tokens at a time."""

    async def __call__(self, work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
        """Once ``work`` has begun, cancellation waits for its end; before that, nothing happened."""
        ...


async def in_thread(work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
    """Run ``work`` in one of Trio's worker threads."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=False, limiter=limiter)


async def in_event_loop(work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
    """Run ``work`` here and now, blocking the event loop: deterministic, and right under a mock clock."""
    await trio.lowlevel.checkpoint()
    return work()
