"""One connection of an attacker: bytes out, whatever comes in, and the ways to leave.

Attackers come from many addresses (127.1.x.y, where the system has them), so that limits per address leave
them room to do harm.
"""

import contextlib
import math
import random
import socket
import ssl
import struct
import sys
from functools import cache
from urllib.parse import urlsplit

import attrs
import trio

ENDED = (OSError, ssl.SSLError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What an attacker may meet: the server has had enough."""
_RESET = struct.pack("ii", 1, 0)


@cache
def any_certificate() -> ssl.SSLContext:
    """For TLS with a server whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@attrs.frozen
class Address:
    """Where the server is."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Address":
        """From ``http://HOST:PORT``."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return cls(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80), tls)

    @property
    def is_here(self) -> bool:
        """Whether attackers may use other addresses of this machine."""
        return self.host == "127.0.0.1" and sys.platform == "linux"


class Line:
    """See the module. `Line.open` connects; leave with one of `reset`, `finish` and `aclose`."""

    def __init__(self, sock: trio.socket.SocketType, stream: trio.abc.Stream) -> None:
        self._sock = sock
        self._stream = stream

    @classmethod
    async def open(cls, address: Address, rng: random.Random) -> "Line":
        """Connect, from an address of its own; the TLS handshake is done with the first bytes."""
        sock = trio.socket.socket()
        try:
            if address.is_here:
                await sock.bind((f"127.1.{rng.randrange(256)}.{rng.randrange(1, 255)}", 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await sock.connect((address.host, address.port))
        except BaseException:
            sock.close()
            raise
        stream: trio.abc.Stream = trio.SocketStream(sock)
        if address.tls:
            stream = trio.SSLStream(stream, any_certificate(), https_compatible=True)
        return cls(sock, stream)

    async def send(self, data: bytes, *, seconds: float = 5.0) -> bool:
        """Send; False if the server takes no more for so long."""
        with trio.move_on_after(seconds):
            await self._stream.send_all(data)
            return True
        return False

    async def send_raw(self, data: bytes) -> None:
        """Send beside TLS, if there is any: what is no TLS at all."""
        await self._sock.send(data)

    async def read(self, seconds: float = 1.0, *, until: bytes = b"", most: float = math.inf) -> bytes:
        """What comes: until the end, the time is over, ``until`` has come, or there are ``most`` bytes."""
        data = b""
        with trio.move_on_after(seconds):
            while len(data) < most and not (until and until in data):
                more = await self._stream.receive_some()
                if not more:
                    break
                data += more
        return data

    async def discard(self) -> None:
        """Read for ever."""
        with contextlib.suppress(*ENDED):
            while await self._stream.receive_some():
                pass

    def reset(self) -> None:
        """Leave with a TCP reset."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    async def finish(self, seconds: float = 1.0) -> None:
        """End one's own half and read to the end of the other, for a while."""
        with contextlib.suppress(*ENDED):
            self._sock.shutdown(socket.SHUT_WR)
            await self.read(seconds)
        self._sock.close()

    async def leave(self, rng: random.Random) -> None:
        """Leave, somehow."""
        match rng.randrange(4):
            case 0:
                self.reset()
            case 1:
                await self.finish()
            case 2:
                with contextlib.suppress(*ENDED):
                    await self.read(rng.random())
                self._sock.close()
            case _:
                self._sock.close()
