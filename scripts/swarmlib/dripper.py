"""Asks for a WebSocket so slowly that a server should lose its patience; and again when it does."""

import contextlib
import socket
import time

from swarmlib.handshake import new_key, request

_S = 1_000_000_000


class Dripper:
    """One that is not a client of the swarm: it never gets in. ``ends``: how each try ended, and when."""

    every_ns = _S // 2
    """A byte each time."""

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily, host: str, path: str) -> None:
        self.ends: list[tuple[float, str]] = []
        self._address, self._family = address, family
        self._host, self._path = host, path
        self._sock: socket.socket | None = None
        self._left = b""
        self._began = 0

    def act(self, now: int) -> None:
        """Connect, or say one byte more, or see that it is over."""
        if self._sock is None:
            self._sock = socket.socket(self._family, socket.SOCK_STREAM)
            self._sock.setblocking(False)
            self._left = request(self._host, self._path, new_key())
            self._began = now
            with contextlib.suppress(BlockingIOError):
                self._sock.connect(self._address)
            return
        try:
            try:
                answer = self._sock.recv(4096)
            except BlockingIOError:
                self._sock.send(self._left[:1])
                self._left = self._left[1:]
                return
            self._over(_status(answer))
        except BlockingIOError:
            pass
        except OSError as error:
            self._over(error.strerror or "failed")

    def _over(self, how: str) -> None:
        self.ends.append((round((time.monotonic_ns() - self._began) / _S, 1), how))
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _status(answer: bytes) -> str:
    if not answer:
        return "closed"
    return answer.partition(b"\r\n")[0].partition(b" ")[2].decode("latin-1") or "answered"
