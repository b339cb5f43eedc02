"""The thread that commits: one of our own, because the way there and back is on the path of every event.

Owns one thread and the hand-over to it. Knows no SQLite.

Two things make it cheaper than `trio.to_thread.run_sync` (48 us there and back on one core; this: 23):

- nothing but a queue and a lock;
- the event loop's thread stands back while the new work needs the processor: it waits, for at most
  `_STAND_BACK_SECONDS`, until the work says that it `only_waits`. On a busy core the system would otherwise
  not run the thread before the event loop has nothing more to do, and a fan-out that could go on while the
  disk is written would end first; and the two would hand the GIL to and fro.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, cast

import outcome
import trio

T = TypeVar("T")

_STAND_BACK_SECONDS = 0.0003
"""As long as one event's share of the processor. A larger batch goes on beside the event loop."""


class WriterThread:
    """Runs blocking work in one thread, in order; a `trio_chat.log.seams.Runner`. `close` ends the thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._standing_back: threading.Lock | None = None
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
            standing_back = threading.Lock()
            standing_back.acquire()

            def job() -> None:
                self._standing_back = standing_back
                result = outcome.capture(work)
                self.only_waits()
                token.run_sync_soon(trio.lowlevel.reschedule, task, outcome.Value(result))

            self._jobs.put(job)
            standing_back.acquire(timeout=_STAND_BACK_SECONDS)
            # The work has begun or will: cancellation waits for its end.
            result = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        finally:
            limiter.release()
        return cast("outcome.Outcome[T]", result).unwrap()

    def only_waits(self) -> None:
        """Called by the work itself: from now on it needs no processor, so the event loop may go on."""
        if self._standing_back is not None:
            self._standing_back.release()
            self._standing_back = None

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
