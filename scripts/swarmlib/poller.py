"""Waiting for many sockets: epoll where there is one, `selectors` elsewhere, with microsecond timeouts.

``epoll_wait`` rounds its timeout up to milliseconds, which an open loop would show as latency. An epoll
descriptor is itself pollable, so short waits go through ``select`` on it.
"""

import select
import selectors

READ, WRITE = 1, 4  # EPOLLIN, EPOLLOUT
MAX_READY = 1024
"""Descriptors that one wait returns at most."""
_FINE_WAIT_S = 0.005
"""Waits shorter than this are made exact; for longer ones a millisecond more matters to nobody."""


class EpollPoller:
    """`select.epoll` with exact short waits."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._fds = [self._epoll.fileno()]
        self._poll = self._epoll.poll

    def watch(self, fd: int, events: int) -> None:
        """Begin to watch ``fd`` for ``events``."""
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch ``fd`` for other ``events``."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no more; call it before the descriptor is closed."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """(fd, events) of what is ready within ``timeout`` seconds. Errors show as readable."""
        if timeout > _FINE_WAIT_S:
            return self._poll(timeout - 0.001, MAX_READY)
        if timeout > 0:
            select.select(self._fds, (), (), timeout)
        return self._poll(0, MAX_READY)

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()


class SelectorPoller:
    """The same interface on any system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, fd: int, events: int) -> None:
        """Begin to watch ``fd`` for ``events``."""
        self._selector.register(fd, _to_selector(events))

    def change(self, fd: int, events: int) -> None:
        """Watch ``fd`` for other ``events``."""
        self._selector.modify(fd, _to_selector(events))

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no more; call it before the descriptor is closed."""
        self._selector.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """(fd, events) of what is ready within ``timeout`` seconds."""
        return [
            (
                key.fd,
                (READ if events & selectors.EVENT_READ else 0)
                | (WRITE if events & selectors.EVENT_WRITE else 0),
            )
            for key, events in self._selector.select(timeout)[:MAX_READY]
        ]

    def close(self) -> None:
        """Give the descriptors back."""
        self._selector.close()


class Unwatched:
    """For a connection that nobody waits for: what is to be read of it is read by the clock, or never."""

    def watch(self, fd: int, events: int) -> None:
        """Nothing."""

    def change(self, fd: int, events: int) -> None:
        """Nothing."""

    def forget(self, fd: int) -> None:
        """Nothing."""


def _to_selector(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


def make_poller() -> EpollPoller | SelectorPoller:
    """The best that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
