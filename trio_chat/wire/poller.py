"""One poller for all idle sockets: what arrives is read and handled without a task switch.

Owns an epoll instance and the callbacks by descriptor. Knows neither frames nor connections.

A task that waits with ``trio.lowlevel.wait_readable`` costs, for each message, a change of its
registration, a task switch and some 10 us of bookkeeping. Here every socket is registered once; the
poller's task waits through Trio for the epoll instance as a whole and calls back for each socket that has
something. A callback must not block and must not raise; what needs to wait it hands to its connection's own
task (`Poller.remove`, then `Poller.add` when that is done).

Only on systems with epoll; elsewhere (`Poller.create` returns None) connections wait by themselves.
"""

import logging
import select
import time
from collections.abc import Callable

import trio

logger = logging.getLogger("trio_chat.wire")

_MAX_EVENTS = 256
_MAX_BYTES = 256 * 1024
_MAX_SECONDS = 0.003
"""Bytes read and time spent in one turn of the event loop; the sockets left over have the next turns, before
any other is asked again. So however much some of them send, each is served once in a round."""
WAKE_BYTES = _MAX_BYTES // 32
"""What a callback counts at least that wakes a task: its step, in the same turn, takes some 60 us. Thousands
of clients that leave at once must not fill a turn."""


class Poller:
    """See the module. `run` is its task; `close` frees the epoll instance."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], int]] = {}

    @classmethod
    def create(cls) -> "Poller | None":
        """A poller, where the system has what it needs."""
        return cls() if hasattr(select, "epoll") else None

    def add(self, fd: int, callback: Callable[[], int]) -> None:
        """Have ``callback`` called whenever ``fd`` can be read (or has failed), until `remove`.

        It returns the number of bytes that it read, and at least `WAKE_BYTES` if it woke a task.
        """
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forget ``fd``; harmless if it isn't there. To be called before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Call back until cancelled."""
        ready: list[tuple[int, int]] = []
        while True:
            if ready:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                ready = self._epoll.poll(0, _MAX_EVENTS)[::-1]
            budget, until = _MAX_BYTES, time.perf_counter() + _MAX_SECONDS
            while ready and budget > 0 and time.perf_counter() < until:
                fd, _ = ready.pop()
                callback = self._callbacks.get(fd)
                if callback is not None:  # else removed meanwhile
                    try:
                        budget -= callback()
                    except Exception:
                        logger.exception("a poller's callback failed")
                        self.remove(fd)

    def close(self) -> None:
        """Free the epoll instance."""
        self._epoll.close()
