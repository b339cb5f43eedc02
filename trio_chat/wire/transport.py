"""The bytes' way in and out: a plain socket, or any Trio stream.

Owns one file descriptor (or stream) and closes it. Knows no frames.

A non-blocking socket can be read and written without a task switch (``receive_now``, ``try_send``); under
other streams there is no such socket, so ``try_send`` always says "would block" and everything goes through
the writer. TLS on a socket is in `trio_chat.wire.tls`.
"""

import contextlib
import socket
import struct
import sys
from typing import Protocol

import trio

RECEIVE_BYTES = 64 * 1024
"""One ``recv``: large enough that a busy sender's frames come many at a time."""
_SEND_BYTES = 64 * 1024
_LAST_WORD_SECONDS = 0.1
"""How long TLS's close_notify may take: it fits into the socket's buffer, or the peer doesn't read anyway."""
_TCP_INFO = struct.Struct("8x 4x 4x 4x 4x I 28x I")
"""Of Linux's ``struct tcp_info``: ``tcpi_unacked`` (segments) and ``tcpi_last_ack_recv`` (milliseconds)."""
_RESET = struct.pack("ii", 1, 0)
"""``struct linger``: on, 0 seconds."""


class Begun(BlockingIOError):
    """Nothing of the data counts as sent, but its beginning may be on its way: it must be sent next."""


class Transport(Protocol):
    """What a connection needs of its bytes' carrier."""

    @property
    def socket(self) -> socket.socket | None:
        """The descriptor to wait for before `receive_now`, where there is one."""
        ...

    def try_send(self, data: bytes) -> int:
        """Write what goes now, and return how much of ``data`` that was.

        Raises `BlockingIOError` if nothing goes (`Begun` if even so ``data`` must come next), another
        `OSError` if the peer is gone.
        """
        ...

    def receive_now(self) -> bytes:
        """What is there now, or ``b""`` at the end; `BlockingIOError` if nothing is, `OSError` if the peer
        is gone."""
        ...

    async def send_some(self, data: memoryview) -> int:
        """Write some of ``data``, waiting until some goes. Raises `trio.BrokenResourceError`."""
        ...

    def unanswered_seconds(self) -> float:
        """For how long the peer's system has not confirmed what was sent to it; 0 where that isn't known."""
        ...

    async def receive(self) -> bytes:
        """Some bytes, or ``b""`` at the end. Raises `trio.BrokenResourceError`."""
        ...

    async def end_writing(self) -> None:
        """Tell the peer that nothing more comes, if the carrier can."""
        ...

    def cut(self) -> None:
        """Have whoever receives or sends stop at once, whatever is under way; `aclose` is still to come."""
        ...

    async def aclose(self) -> None:
        """Let go of the descriptor, at once."""
        ...


class SocketTransport:
    """A connected non-blocking stdlib socket, used directly under Trio's readiness primitives."""

    __slots__ = ("socket", "try_send")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.try_send = sock.send

    async def send_some(self, data: memoryview) -> int:
        while True:
            try:
                return self.socket.send(data)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self.socket)
                except trio.ClosedResourceError as error:
                    raise trio.BrokenResourceError from error
            except OSError as error:
                raise trio.BrokenResourceError from error

    def receive_now(self) -> bytes:
        return self.socket.recv(RECEIVE_BYTES)

    async def receive(self) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self.socket)
                return self.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise trio.BrokenResourceError from error

    async def end_writing(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def unanswered_seconds(self) -> float:
        return unanswered_seconds(self.socket)

    def cut(self) -> None:
        cut_socket(self.socket)

    async def aclose(self) -> None:
        close_socket(self.socket)


def unanswered_seconds(sock: socket.socket) -> float:
    """For how long nothing was heard of segments that are under way. A peer that is there but doesn't read
    confirms that too, so this tells a lost peer from a slow reader."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return 0.0
    try:
        unacked, last_ack_ms = _TCP_INFO.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        )
    except (OSError, struct.error):
        return 0.0
    return last_ack_ms / 1000 if unacked else 0.0


def cut_socket(sock: socket.socket) -> None:
    """End both directions; the close that follows is a reset, because what was not sent is of no use."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.shutdown(socket.SHUT_RDWR)


def close_socket(sock: socket.socket) -> None:
    """Close, and wake whoever waits for it under Trio."""
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
        sock.close()


class StreamTransport:
    """Any Trio stream: in memory, or an embedder's own, TLS too."""

    __slots__ = ("_ended", "_receiving", "_sending", "_stream", "socket")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.socket = None
        self._receiving: trio.CancelScope | None = None
        self._sending: trio.CancelScope | None = None
        self._ended = False

    def try_send(self, data: bytes) -> int:
        if self._ended:
            raise BrokenPipeError
        raise BlockingIOError

    def receive_now(self) -> bytes:
        raise BlockingIOError

    def unanswered_seconds(self) -> float:
        return 0.0

    async def send_some(self, data: memoryview) -> int:
        piece = data[:_SEND_BYTES]
        with trio.CancelScope() as self._sending:
            if self._ended:
                raise trio.BrokenResourceError
            try:
                await self._stream.send_all(piece)
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
            return len(piece)
        raise trio.BrokenResourceError

    async def receive(self) -> bytes:
        with trio.CancelScope() as self._receiving:
            if self._ended:
                return b""
            try:
                return bytes(await self._stream.receive_some(RECEIVE_BYTES))
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
        return b""

    async def end_writing(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()

    def cut(self) -> None:
        self._ended = True
        for scope in (self._receiving, self._sending):
            if scope is not None:
                scope.cancel()

    async def aclose(self) -> None:
        if isinstance(self._stream, trio.SSLStream) and not self._ended:
            # RFC 8446 section 6.1: without a last word of TLS the peer must take the end for a truncation.
            with trio.move_on_after(_LAST_WORD_SECONDS), contextlib.suppress(trio.BrokenResourceError):
                await self._stream.aclose()
        self.cut()
        await trio.aclose_forcefully(self._stream)
