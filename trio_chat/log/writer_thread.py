"""The thread that commits: one of our own, because the way there and back is on the path of every event.

Owns one thread and the hand-over to it. Knows no SQLite.

Two things make it cheaper than `trio.to_thread.run_sync` (48 us there and back on one core; this: 23):

- nothing but a queue and a lock;
- the event loop's thread lets the new work begin: it waits, for at most `_BEGIN_SECONDS`, until the thread
  has taken it up. On a busy core the system would otherwise not run the thread before the event loop has
  nothing more to do, and a fan-out that could go on while the disk is written would end first. With one
  sender in a room of 500 and everything on one core, this and the hub's early turn made 12 % more deliveries.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, cast

import outcome
import trio

T = TypeVar("T")

_BEGIN_SECONDS = 0.0002
"""As long as one commit's share of the processor: longer, and the event loop would wait for nothing."""


class WriterThread:
    """Runs blocking work in one thread, in order; a `trio_chat.log.seams.Runner`. `close` ends the thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="trio_chat log writer", daemon=True)
        self._closed = False
        self._thread.start()

    async def __call__(self, work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
        """See `trio_chat.log.seams.Runner`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            limiter.acquire_nowait()  # without a turn of the event loop, if nobody else is there
        except trio.WouldBlock:
            await limiter.acquire()
        try:
            if self._closed:
                return work()  # which says that the log is closed
            task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
            begun = threading.Lock()
            begun.acquire()

            def job() -> None:
                begun.release()
                result = outcome.capture(work)
                token.run_sync_soon(trio.lowlevel.reschedule, task, outcome.Value(result))

            self._jobs.put(job)
            begun.acquire(timeout=_BEGIN_SECONDS)
            # The work has begun or will: cancellation waits for its end.
            result = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        finally:
            limiter.release()
        return cast("outcome.Outcome[T]", result).unwrap()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def close(self) -> None:
        """End the thread; nothing may be under way."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def __enter__(self) -> "WriterThread":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
