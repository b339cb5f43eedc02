"""What looks like plain sockets and their poller to the server, over the simulated network.

`SimulatedSocket` is a `trio_chat.wire.transport.Transport`, and `SimulatedPoller` stands for
`trio_chat.wire.poller.Poller`. So the server's short ways are part of the simulation: writing straight to a
socket that may take only a part, parked tasks, descriptors whose numbers are used again. Some sockets behave
as TLS does: what they took the beginning of must come next.
"""

import heapq
import random
from collections.abc import Callable

import trio

from trio_chat.wire.transport import Begun

from .network import End


class Descriptors:
    """The numbers of open descriptors, the lowest free one first, as a system gives them."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 3
        self.open: dict[int, SimulatedSocket] = {}

    def add(self, sock: "SimulatedSocket") -> int:
        """A number for ``sock``."""
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number, self._next = self._next, self._next + 1
        self.open[number] = sock
        return number

    def remove(self, number: int) -> None:
        """Give a number back."""
        del self.open[number]
        heapq.heappush(self._free, number)


class SimulatedSocket:
    """The server's end of a connection; see the module."""

    def __init__(self, end: End, descriptors: Descriptors, *, like_tls: bool) -> None:
        self.end = end
        self.socket = self
        self.on_readable: Callable[[], None] | None = None
        self._descriptors = descriptors
        self._number = descriptors.add(self)
        self._like_tls = like_tls
        self._ahead = b""
        """What a TLS-like socket has passed on of data that does not count as sent."""
        self._cut = False
        end.incoming.on_readable = self._readable

    def _readable(self) -> None:
        if self.on_readable is not None:
            self.on_readable()

    @property
    def readable(self) -> bool:
        """`receive_now` would not be told to wait."""
        return self.end.incoming.readable

    def fileno(self) -> int:
        """The descriptor's number; -1 once closed."""
        return self._number

    def try_send(self, data: bytes) -> int:
        """See `trio_chat.wire.transport.Transport`."""
        ahead = self._repeated(data)
        size = self.end.outgoing.put(memoryview(data)[ahead:])
        if self._like_tls and ahead + size < len(data):
            self._ahead = data[: ahead + size]
            raise Begun
        if not size:
            raise BlockingIOError
        return ahead + size

    def _repeated(self, data: bytes | memoryview) -> int:
        """How much of ``data`` is on its way already. It has to be the same."""
        ahead, self._ahead = self._ahead, b""
        assert data[: len(ahead)] == ahead, "something else was sent than what had been begun"
        return len(ahead)

    def receive_now(self) -> bytes:
        """See `trio_chat.wire.transport.Transport`."""
        return self.end.incoming.get()

    async def send_some(self, data: memoryview) -> int:
        """See `trio_chat.wire.transport.Transport`."""
        ahead = self._repeated(data)
        if ahead:
            await trio.lowlevel.checkpoint()
            return ahead
        return await self.end.outgoing.send_some(data)

    def unanswered_seconds(self) -> float:
        """See `trio_chat.wire.transport.Transport`. This network doesn't know."""
        return 0.0

    async def receive(self) -> bytes:
        """See `trio_chat.wire.transport.Transport`."""
        return await self.end.incoming.receive()

    async def end_writing(self) -> None:
        """See `trio_chat.wire.transport.Transport`."""
        await self.end.send_eof()

    def cut(self) -> None:
        """See `trio_chat.wire.transport.Transport`."""
        self.end.reset()

    async def aclose(self) -> None:
        """See `trio_chat.wire.transport.Transport`."""
        if self._number >= 0:
            self._descriptors.remove(self._number)
            self._number = -1
        await self.end.aclose()


class SimulatedPoller:
    """Stands for `trio_chat.wire.poller.Poller`: calls back for what can be read, in any order."""

    def __init__(self, descriptors: Descriptors, rng: random.Random, latency: float) -> None:
        self._descriptors = descriptors
        self._rng = rng
        self._latency = latency
        self._callbacks: dict[int, Callable[[], int]] = {}
        self._ready: dict[int, None] = {}
        self._some = trio.Event()

    def add(self, fd: int, callback: Callable[[], int]) -> None:
        """See `trio_chat.wire.poller.Poller.add`."""
        assert fd not in self._callbacks, f"descriptor {fd} is watched already"
        self._callbacks[fd] = callback
        sock = self._descriptors.open[fd]

        def readable() -> None:
            self._ready[fd] = None
            self._some.set()

        sock.on_readable = readable
        if sock.readable:
            readable()

    def remove(self, fd: int) -> None:
        """See `trio_chat.wire.poller.Poller.remove`."""
        if self._callbacks.pop(fd, None) is not None:
            self._ready.pop(fd, None)
            self._descriptors.open[fd].on_readable = None

    async def run(self) -> None:
        """Call back until cancelled."""
        rng = self._rng
        while True:
            await self._some.wait()
            if rng.random() < 0.2:
                await trio.sleep(rng.random() * self._latency)
            ready = [fd for fd in self._ready if fd in self._callbacks]
            self._ready.clear()
            self._some = trio.Event()
            rng.shuffle(ready)
            for fd in ready:
                callback = self._callbacks.get(fd)
                if callback is None:  # removed meanwhile
                    continue
                callback()
                if fd in self._callbacks and self._descriptors.open[fd].readable:
                    self._ready[fd] = None
                    self._some.set()
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """See `trio_chat.wire.poller.Poller.close`."""
