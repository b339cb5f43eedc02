"""A network in memory that delays, splits, stalls and cuts, as its random numbers have it.

Everything is drawn from the `random.Random` it is given, and time is Trio's clock, so under a mock clock the
same seed gives the same network. A `Pipe` is plain and synchronous at heart; `End` makes a Trio stream of
two, `simulation.sockets` what looks like a socket to the server.
"""

import random
from collections.abc import Callable

import trio

_LARGE = (1 << 16,)
_GRAINS = (*(_LARGE,) * 4, (3, 50, 1000, 1 << 16), (1, 20, 500, 1 << 16))
"""In what pieces a network passes bytes on. Small ones cost most of a run's time: a third of them is
enough."""
_NARROW = (500, 2000, 4000)
_CAPACITIES = (*_NARROW, 1 << 14, 1 << 16, 1 << 16)


class Pipe:
    """Bytes on their way in one direction. ``capacity`` of them may be under way; then the sender waits."""

    def __init__(self, rng: random.Random, capacity: int, latency: float) -> None:
        self._random = rng.random
        self._grain = rng.choice(_GRAINS)
        self._capacity = capacity
        self._latency = latency if rng.random() < 0.5 else 0.0
        self._buffer = bytearray()
        self._ended = False
        self._broken = False
        self._stalled = False
        self._changed: trio.Event | None = None
        self.cut_after: int | None = None
        """After so many more bytes the sender's end is cut off without notice."""
        self.on_readable: Callable[[], None] | None = None
        """Called when `get` may have something, or the end, to give."""

    @property
    def fast(self) -> bool:
        """Whoever reads at once from it never makes anybody wait."""
        return self._grain is _LARGE and not self._latency and self._capacity > max(_NARROW)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if self.on_readable is not None:
            self.on_readable()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _size(self, most: int) -> int:
        return min(most, self._grain[int(self._random() * len(self._grain))])

    # --- the sender's end ----------------------------------------------------------------------------

    def put(self, data: bytes | memoryview) -> int:
        """Take a part of ``data`` (none if the pipe is full). Raises `BrokenPipeError`."""
        if self._broken or self._ended:
            raise BrokenPipeError
        space = self._capacity - len(self._buffer)
        if space <= 0:
            return 0
        size = self._size(min(space, len(data)))
        if self.cut_after is not None:
            size = min(size, self.cut_after)
            self.cut_after -= size
        self._buffer += data[:size]
        if self.cut_after == 0:
            self.end()
        else:
            self._wake()
        return size

    async def send_some(self, data: bytes | memoryview) -> int:
        """`put` that waits until some of ``data`` goes. Raises `trio.BrokenResourceError`."""
        try:
            if size := self.put(data):
                await trio.lowlevel.checkpoint()
            while not size:
                await self._change()
                size = self.put(data)
        except BrokenPipeError as error:
            raise trio.BrokenResourceError from error
        return size

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._wake()

    # --- the receiver's ------------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """`get` would not be told to wait."""
        return self._broken or (bool(self._buffer or self._ended) and not self._stalled)

    def get(self) -> bytes:
        """Some bytes, or ``b""`` at the end. Raises `BlockingIOError`, `ConnectionResetError`."""
        if self._broken:
            raise ConnectionResetError
        if self._stalled or not (self._buffer or self._ended):
            raise BlockingIOError
        size = self._size(65536)
        if size >= len(self._buffer):
            data, self._buffer = bytes(self._buffer), bytearray()
        else:
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
        if data and self._changed is not None:
            self._changed.set()
            self._changed = None
        return data

    async def receive(self) -> bytes:
        """`get` that waits. Raises `trio.BrokenResourceError`."""
        if self._latency and self._random() < 0.3:
            await trio.sleep(self._random() * self._latency)
        elif self.readable:
            await trio.lowlevel.checkpoint()
        try:
            while not self.readable:
                await self._change()
            return self.get()
        except ConnectionResetError as error:
            raise trio.BrokenResourceError from error

    # --- what may happen to it -----------------------------------------------------------------------

    def break_off(self) -> None:
        """What is under way is lost."""
        self._broken = True
        self._buffer.clear()
        self._wake()

    async def stall(self, seconds: float) -> None:
        """Let nothing arrive for a while, as a network does that loses packets."""
        self._stalled = True
        try:
            await trio.sleep(seconds)
        finally:
            self._stalled = False
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
            view = memoryview(data)
            while view:
                view = view[await self.outgoing.send_some(view) :]
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._receiving:
            raise trio.BusyResourceError
        self._receiving = True
        try:
            return await self.incoming.receive()
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


def connect(rng: random.Random, latency: float, *, narrow: bool = False) -> tuple[End, End]:
    """The two ends of a new connection; ``narrow``: little fits into it."""
    capacity = rng.choice(_NARROW if narrow else _CAPACITIES)
    there, back = Pipe(rng, capacity, latency), Pipe(rng, capacity, latency)
    return End(back, there), End(there, back)


def damage(end: End, rng: random.Random, nursery: trio.Nursery) -> None:
    """Cut a connection, soon or at once, in one direction or in both; or have it stall for a while."""
    dice = rng.random()
    pipe = rng.choice((end.incoming, end.outgoing))
    if dice < 0.4:
        end.reset()
    elif dice < 0.8:
        pipe.cut_after = rng.randrange(1, 400)
    else:
        nursery.start_soon(pipe.stall, rng.random() * 20)
