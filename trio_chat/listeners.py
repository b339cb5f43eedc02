"""Listening sockets: TCP on every address of a name, or a Unix socket.

Owns opening and closing them, and the words for where they are. They are plain non-blocking stdlib sockets,
because a connection's fan-out writes to such a socket directly (see `trio_chat.wire.transport`).
"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Callable, Iterator

import trio

from .config import Config

_BACKLOG = 4096
"""Connections that the system keeps for us between two turns of the event loop; it may allow fewer
(somaxconn)."""

_ELSEWHERE = {
    # Addresses for documentation (RFC 5737, RFC 3849) are reached by the default route; to the private ones
    # (RFC 1918, RFC 4193) there may be another.
    socket.AF_INET: ("192.0.2.1", "10.254.254.254", "172.31.254.254", "192.168.254.254"),
    socket.AF_INET6: ("2001:db8::1", "fd00::1"),
}


async def open_listeners(config: Config) -> list[socket.socket]:
    """The sockets that ``config`` asks for, listening. Raises `OSError` (with none left open)."""
    if config.unix is not None:
        return [listen_unix(config.unix)]
    found = await trio.socket.getaddrinfo(
        config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    port = config.port
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                sock = _listen_tcp(family, (address[0], port, *address[2:]))
            except OSError:
                # A name like localhost often has an IPv6 address that the machine can't bind.
                if sockets and family == socket.AF_INET6:
                    continue
                raise
            stack.enter_context(sock)
            sockets.append(sock)
            port = sock.getsockname()[1]
        stack.pop_all()
    return sockets


def _listen_tcp(family: int, address: tuple[object, ...]) -> socket.socket:
    with _closed_on_error(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.setblocking(False)
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it on Linux, which saves a system call per connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        return sock


class _UnixListener(socket.socket):
    """Knows which file is its own: at the end another server's may be in its place."""

    __slots__ = ("file",)
    file: tuple[int, int]


def listen_unix(path: str) -> socket.socket:
    """A Unix socket at ``path``, listening. Raises `OSError`."""
    sock = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    with _closed_on_error(sock):
        _remove_stale(path)
        sock.setblocking(False)
        sock.bind(path)
        sock.file = _identity(path)
        sock.listen(_BACKLOG)
        return sock


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket file that a server left behind which no longer listens. Raises `FileExistsError` for
    anything else, which is not ours to remove."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(
            errno.EEXIST, "a file that isn't a socket is in the way; it was left alone", path
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


@contextlib.contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def close_listeners(config: Config, listeners: list[socket.socket]) -> None:
    """Close the sockets; a Unix socket's file goes with it."""
    for sock in listeners:
        if isinstance(sock, _UnixListener) and config.unix is not None:
            with contextlib.suppress(OSError):
                if _identity(config.unix) == sock.file:
                    os.unlink(config.unix)
        sock.close()


def url_of(config: Config, listeners: list[socket.socket], *, tls: bool) -> tuple[str, int]:
    """The server's URL and port; for a Unix socket ``http+unix://PATH`` and 0; ``""`` and 0 without
    listeners."""
    if not listeners:
        return "", 0
    scheme = "https" if tls else "http"
    if config.unix is not None:
        return f"{scheme}+unix://{config.unix}", 0
    port = listeners[0].getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{scheme}://{host}:{port}", port


def own_address(family: socket.AddressFamily, elsewhere: str) -> str | None:
    """The address from which this machine would speak to ``elsewhere``, or None if it has no way there.

    Nothing is sent: to connect a datagram socket only asks the routing table.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def urls_elsewhere(
    listeners: list[socket.socket],
    *,
    tls: bool,
    source: Callable[[socket.AddressFamily, str], str | None] = own_address,
) -> list[str]:
    """The URLs by which other machines may reach those of the sockets that listen on every address."""
    scheme = "https" if tls else "http"
    urls: dict[str, None] = {}
    for sock in listeners:
        places = _ELSEWHERE.get(socket.AddressFamily(sock.family), ())
        if not places or not ipaddress.ip_address(sock.getsockname()[0]).is_unspecified:
            continue
        for place in places:
            found = source(socket.AddressFamily(sock.family), place)
            own = ipaddress.ip_address(found) if found is not None else None
            if own is not None and not (own.is_loopback or own.is_link_local or own.is_unspecified):
                host = f"[{own}]" if own.version == 6 else str(own)
                urls[f"{scheme}://{host}:{sock.getsockname()[1]}"] = None
    return list(urls)
