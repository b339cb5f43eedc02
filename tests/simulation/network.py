"""A network in memory that delays, splits, stalls and cuts, as its random numbers have it.

Everything is drawn from the `random.Random` it is given, and time is Trio's clock, so under a mock clock the
same seed gives the same network.
"""

import random

import trio


class Pipe:
    """Bytes on their way in one direction. ``capacity`` of them may be under way; then the sender waits."""

    def __init__(self, rng: random.Random, capacity: int, latency: float) -> None:
        self._rng = rng
        self._capacity = capacity
        self._latency = latency
        self._buffer = bytearray()
        self._ended = False
        self._broken = False
        self._changed = trio.Event()
        self.cut_after: int | None = None
        """After so many more bytes the sender's end is cut off without notice."""

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            if self._broken or self._ended:
                raise trio.BrokenResourceError
            space = self._capacity - len(self._buffer)
            if space <= 0:
                await self._changed.wait()
                continue
            size = min(space, len(view), self._rng.choice((3, 50, 1000, 65536)))
            if self.cut_after is not None:
                size = min(size, self.cut_after)
                self.cut_after -= size
            self._buffer += view[:size]
            view = view[size:]
            if self.cut_after == 0:
                self.end()
            self._wake()

    async def receive(self, max_bytes: int | None) -> bytes:
        if self._latency and self._rng.random() < 0.3:
            await trio.sleep(self._rng.random() * self._latency)
        else:
            await trio.lowlevel.checkpoint()
        while not self._buffer:
            if self._broken:
                raise trio.BrokenResourceError
            if self._ended:
                return b""
            await self._changed.wait()
        size = min(max_bytes or 65536, self._rng.choice((1, 20, 500, 65536)))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._wake()
        return data

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._wake()

    def break_off(self) -> None:
        """What is under way is lost."""
        self._broken = True
        self._buffer.clear()
        self._wake()


class End(trio.abc.HalfCloseableStream):
    """One end of a connection. As Trio has it, only one task at a time may send, and only one may receive."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self._sending = False
        self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError
        self._sending = True
        try:
            await self.outgoing.send(data)
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._receiving:
            raise trio.BusyResourceError
        self._receiving = True
        try:
            return await self.incoming.receive(max_bytes)
        finally:
            self._receiving = False

    async def send_eof(self) -> None:
        self.outgoing.end()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As a closed socket: the peer reads what is under way and then the end, and can't send any more."""
        self.outgoing.end()
        self.incoming.break_off()

    def reset(self) -> None:
        """Both directions are gone at once."""
        self.outgoing.break_off()
        self.incoming.break_off()


def connect(rng: random.Random, capacity: int, latency: float) -> tuple[End, End]:
    """The two ends of a new connection."""
    there, back = Pipe(rng, capacity, latency), Pipe(rng, capacity, latency)
    return End(back, there), End(there, back)
