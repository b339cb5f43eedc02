"""TLS straight on a non-blocking socket: the same short way in and out that a plain socket has.

Owns one descriptor and its TLS state. Knows no frames.

Trio's own TLS stream keeps the encrypted bytes in memory and hands them to a task; here OpenSSL works on the
socket itself, so a delivery is one call without a task switch and the poller can read. What that asks for:

1. A write that OpenSSL could not finish has to be tried again with the same bytes (`Begun` says so); the
   outbox keeps them in order, so it is.
2. After a read no decrypted byte may be left inside OpenSSL: the descriptor would not say that there is one.
3. Renegotiation, where a write waits for a read, is refused. TLS 1.3 has none.
"""

import contextlib
import socket
import ssl

import trio

from .transport import RECEIVE_BYTES, Begun, close_socket, cut_socket, unanswered_seconds

_RECORD_BYTES = 16 * 1024
"""The most that one TLS record carries (RFC 8446 section 5.1): so much is written, or not, at a time."""


class HandshakeFailed(trio.BrokenResourceError):
    """The peer and we found no common ground; the text says why."""


class TLSTransport:
    """A connected non-blocking socket whose peer is expected to begin with a TLS handshake.

    The handshake runs with the first `receive`; until then ``sock`` may be read by others (a PROXY header).
    """

    __slots__ = ("_context", "_ended", "_raw", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._raw = sock
        self._context = context
        self._tls: ssl.SSLSocket | None = None
        self._ended = False

    @property
    def socket(self) -> socket.socket | None:
        """The descriptor to wait for, once the handshake is over."""
        return self._tls

    async def _handshake(self) -> ssl.SSLSocket:
        try:
            tls = self._context.wrap_socket(self._raw, server_side=True, do_handshake_on_connect=False)
            self._raw = tls
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(tls)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(tls)
                else:
                    self._tls = tls
                    return tls
        except (ssl.SSLEOFError, ConnectionError) as error:
            raise trio.BrokenResourceError from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise HandshakeFailed(f"TLS: {reason.lower().replace('_', ' ')}") from error

    def try_send(self, data: bytes | memoryview) -> int:
        """See `Transport.try_send`."""
        if self._tls is None or self._ended:
            raise BrokenPipeError
        sent = 0
        try:
            if len(data) <= _RECORD_BYTES:
                return self._tls.send(data)
            view = memoryview(data)
            while sent < len(view):
                sent += self._tls.send(view[sent : sent + _RECORD_BYTES])
        except ssl.SSLWantWriteError:
            if not sent:
                raise Begun from None
        return sent

    async def send_some(self, data: memoryview) -> int:
        """See `Transport.send_some`."""
        while True:
            try:
                return self.try_send(data[:_RECORD_BYTES])
            except Begun:
                assert self._tls is not None
                try:
                    await trio.lowlevel.wait_writable(self._tls)
                except trio.ClosedResourceError as error:
                    raise trio.BrokenResourceError from error
            except OSError as error:
                raise trio.BrokenResourceError from error

    def receive_now(self) -> bytes:
        """See `Transport.receive_now`."""
        if self._tls is None or self._ended:
            return b""
        pieces: list[bytes] = []
        size = 0
        while size < RECEIVE_BYTES or self._tls.pending():
            try:
                piece = self._tls.recv(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            if not piece:
                if not pieces:
                    return b""
                break  # the end is still there at the next call
            pieces.append(piece)
            size += len(piece)
        if not pieces:
            raise BlockingIOError
        return b"".join(pieces)

    async def receive(self) -> bytes:
        """See `Transport.receive`."""
        tls = self._tls or await self._handshake()
        while True:
            try:
                return self.receive_now()
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(tls)
                except trio.ClosedResourceError as error:
                    raise trio.BrokenResourceError from error
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def end_writing(self) -> None:
        """Send TLS's close_notify: without it the peer must take the end for a truncation (RFC 8446 6.1)."""
        if self._tls is not None and not self._ended:
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()
                self._ended = True  # the peer's close_notify was there already

    def unanswered_seconds(self) -> float:
        """See `Transport.unanswered_seconds`."""
        return unanswered_seconds(self._raw)

    def cut(self) -> None:
        """See `Transport.cut`."""
        self._ended = True
        cut_socket(self._raw)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self.end_writing()
        close_socket(self._raw)
