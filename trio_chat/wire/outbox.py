"""The outbox: what waits for one client, and the shortest way past it.

Owns the bytes between a room and a socket. Knows neither rooms nor WebSocket frames: it takes bytes.

Rules:

1. `Outbox.offer` is a plain function. When nothing waits it writes straight to the socket; what the socket
   does not take waits in a bounded Trio memory channel, in order, for a writer. Channel and writer exist
   only while something waits: most clients never need one, and an idle one costs nothing.
2. At most ``max_bytes`` wait (or one offer, if that alone is larger), and at most 1024 pieces, besides what
   is forced.
3. Nothing is dropped silently: an offer is taken whole or refused whole; only signals are dropped, and only
   while something waits.
"""

from collections.abc import Awaitable, Callable

import trio

from .transport import Begun

_MAX_PIECES = 4096
"""A piece costs some 100 bytes beyond its content, most of which is shared by all members of a room."""
_MAX_OFFERED = _MAX_PIECES // 4
"""Pieces beyond which offers are refused. The rest is for what is forced: the answers to requests that were
read before that many waited (the hub takes 1024 and 512 more), and a notice for each room."""
_MAX_WRITE = 256 * 1024
"""Bytes joined for one write of the writer: more does not make a write cheaper per byte."""


def _swallow(data: bytes) -> int:
    return len(data)


class Outbox:
    """What waits for one client.

    ``try_send`` is a non-blocking ``socket.send``; ``start_writer`` is called when something begins to
    wait, and has `run` run soon.
    """

    __slots__ = (
        "_begun", "_flushed", "_queue", "_start_writer", "_try_send", "max_bytes",
        "on_finished", "overflowed", "progressed", "waiting_bytes",
        "window_bits",
    )  # fmt: skip

    def __init__(
        self,
        try_send: Callable[[bytes], int],
        start_writer: Callable[[], None],
        max_bytes: int,
        window_bits: int = 0,
    ) -> None:
        self._try_send = try_send
        self._start_writer: Callable[[], None] | None = start_writer
        self.max_bytes = max_bytes
        self.window_bits = window_bits
        """The client takes compressed frames, with this window; 0: it doesn't."""
        self.waiting_bytes = 0
        self.overflowed = False
        """`force` found no place even so: what was promised can't be kept, the connection has to go."""
        self.progressed = False
        """The writer got bytes out since somebody last set this to False: the peer reads."""
        self.on_finished: Callable[[], None] | None = None
        """Called once when the outbox is `finished`, for whatever reason."""
        self._queue: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] | None = None
        self._flushed: trio.Event | None = None
        self._begun = False
        """The first piece that waits is the rest of one that the socket has taken the beginning of."""

    def offer(self, data: bytes) -> bool:
        """Take ``data`` whole and return True, or return False and take nothing because too much waits."""
        if not self.waiting_bytes:
            self._begun = False
            try:
                sent = self._try_send(data)
            except BlockingIOError as error:
                sent = 0
                self._begun = isinstance(error, Begun)
            except OSError:
                self.shut()
                return True
            if sent == len(data):
                return True
            if sent:
                data = data[sent:]
                self._begun = True
        elif self.waiting_bytes + len(data) > self.max_bytes or self._pieces >= _MAX_OFFERED:
            return False
        return self._enqueue(data)

    def offer_signal(self, data: bytes) -> None:
        """Take ``data`` if nothing waits, else drop it."""
        if data and not self.waiting_bytes:
            self.offer(data)

    def force(self, data: bytes) -> None:
        """Take ``data`` whatever waits: for the replies and notices whose number the session bounds."""
        if not self.waiting_bytes:
            self.offer(data)
        elif not self._enqueue(data):
            self.overflowed = True
            self.shut()

    def wake(self) -> None:
        """Have the writer call ``on_drained`` soon, even if nothing waits."""
        if not self.waiting_bytes:
            self._enqueue(b"")

    def _enqueue(self, data: bytes) -> bool:
        if self._start_writer is None:
            return True
        if self._queue is None:
            self._queue = trio.open_memory_channel(_MAX_PIECES)
            self._start_writer()
        try:
            self._queue[0].send_nowait(data)
        except trio.WouldBlock:
            return False
        self.waiting_bytes += len(data)
        return True

    @property
    def crowded(self) -> bool:
        """More waits than may: whoever feeds this outbox on demand should wait for `flushed`."""
        return self.waiting_bytes > self.max_bytes or (
            self.waiting_bytes > 0 and self._pieces >= _MAX_OFFERED
        )

    @property
    def _pieces(self) -> int:
        return 0 if self._queue is None else self._queue[1].statistics().current_buffer_used

    async def flushed(self) -> None:
        """Wait until nothing waits. Cancelling is harmless."""
        while self.waiting_bytes:
            if self._flushed is None:
                self._flushed = trio.Event()
            await self._flushed.wait()

    def finish(self) -> None:
        """Take nothing more; what waits is still written."""
        self._try_send = _swallow
        self._start_writer = None
        if (tell := self.on_finished) is not None:
            self.on_finished = None
            tell()

    @property
    def finished(self) -> bool:
        """Nothing offered now will arrive."""
        return self._start_writer is None

    def shut(self) -> None:
        """Forget what waits and take nothing more: the connection is dead."""
        self.finish()
        self._queue = None
        self._begun = False
        self._set_waiting(0)

    def drop_waiting(self) -> None:
        """Forget what waits but for the piece being written: half a frame must not be left behind."""
        if self._queue is None:
            return
        sends, receives = self._queue
        begun = b""
        dropped = 0
        while receives.statistics().current_buffer_used:
            piece = receives.receive_nowait()
            if self._begun and not begun:
                begun = piece
            else:
                dropped += len(piece)
        if begun:
            sends.send_nowait(begun)
        self._set_waiting(self.waiting_bytes - dropped)

    def _set_waiting(self, waiting_bytes: int) -> None:
        self.waiting_bytes = waiting_bytes
        if not waiting_bytes and self._flushed is not None:
            self._flushed.set()
            self._flushed = None

    async def run(
        self, write: Callable[[bytes], Awaitable[None]], on_drained: Callable[[], Awaitable[None]]
    ) -> None:
        """The writer: hand what waits to ``write``, joined, and call ``on_drained`` when nothing waits any
        more.

        Returns when nothing waits even after that, or after `shut`. Cancelling may leave half a frame on
        the wire.
        """
        while self._queue is not None:
            pieces, size = self._take(self._queue[1])
            if not pieces:
                self._queue = None
                return
            if size:
                await write(b"".join(pieces))
                self._set_waiting(max(0, self.waiting_bytes - size))
            del pieces
            if not self.waiting_bytes:
                await on_drained()

    def _take(self, queue: trio.MemoryReceiveChannel[bytes]) -> tuple[list[bytes], int]:
        """Some pieces that wait, and their size together."""
        pieces: list[bytes] = []
        size = 0
        self._begun = False
        while size < _MAX_WRITE:
            try:
                piece = queue.receive_nowait()
            except trio.WouldBlock:
                break
            pieces.append(piece)
            size += len(piece)
        return pieces, size
