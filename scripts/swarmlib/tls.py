"""TLS between a socket and the swarm, over memory.

Whatever one read of the socket brings is deciphered at once, however many records that is; `ssl.SSLSocket`
would ask the kernel twice for each record.
"""

import ssl
from collections.abc import Callable

_READ_BYTES = 192 * 1024
"""With the rest of a record (16 KiB) from before it still fits into what `Tls.receive_into` is given (256
KiB): nothing that could be read stays behind, where no poller would see it."""


class Tls:
    """The TLS layer of one connection; ``receive`` is its ``socket.recv``."""

    __slots__ = ("_incoming", "_outgoing", "_receive", "_session")

    def __init__(self, context: ssl.SSLContext, host: str, receive: Callable[[int], bytes]) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._receive = receive

    def shake_hands(self) -> tuple[bool, bytes]:
        """One step of the handshake: whether it is done, and what to send. Raises `ssl.SSLError`."""
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False, self._outgoing.read()
        return True, self._outgoing.read()

    def take_in(self) -> bool:
        """Read once from the socket; False at its end. Raises `OSError`, also `BlockingIOError`."""
        data = self._receive(_READ_BYTES)
        self._incoming.write(data)
        return bool(data)

    def encipher(self, data: bytes) -> bytes:
        """What to send for ``data``."""
        self._session.write(data)
        return self._outgoing.read()

    def receive_into(self, view: memoryview) -> int:
        """As ``socket.recv_into``, with the same exceptions; ``view`` has 256 KiB at least."""
        if not self.take_in():
            return 0
        got = 0
        try:
            while read := self._session.read(len(view) - got, view[got:]):  # type: ignore[arg-type]
                got += read
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLWantReadError:
            if not got:
                raise BlockingIOError from None
        return got


def context_trusting(ca: str | None) -> ssl.SSLContext:
    """A client's context that trusts the certificates in the file ``ca``, or those that the system does."""
    return ssl.create_default_context(cafile=ca)
