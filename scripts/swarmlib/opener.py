"""Opening the connections: connect, shake hands, join; many at once but not all at once.

Raises on the first failure, but for clients that come back: a swarm of fewer clients than asked for measures
something else.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator

from swarmlib.connection import Connection, State
from swarmlib.deflate import OFFER, agreed
from swarmlib.handshake import HandshakeError, new_key, request, response
from swarmlib.poller import READ, WRITE
from swarmlib.protocol import Protocol
from swarmlib.settings import Settings
from swarmlib.tls import context_trusting

MAX_OPENING = 64
"""Handshakes under way at once in one process: below any listen backlog, enough to keep a server busy."""
STALL_S = 30.0
"""No connection got any further for so long: the run ends with an error."""


class OpenError(Exception):
    """A connection could not be opened: one line. ``retry_after``: seconds, if the server said so."""

    def __init__(self, told: str, retry_after: float | None = None) -> None:
        super().__init__(told)
        self.retry_after = retry_after


def _advice(status_line: str, settings: Settings) -> str:
    if " 429" in status_line:
        return f": start the server with --max-per-ip {settings.clients}, or use --source-ips"
    if " 503" in status_line:
        return f": start the server with --max-connections {settings.clients}"
    if " 404" in status_line:
        return ": is --protocol right?"
    return ""


class Opener:
    """Opens connections; whoever owns their poller calls `step` when one is ready."""

    def __init__(
        self,
        settings: Settings,
        protocol: Protocol,
        *,
        on_open: Callable[[Connection, bytes], None],
        send: Callable[[Connection, bytes], None],
    ) -> None:
        self.settings = settings
        self.protocol = protocol
        self.opening: dict[int, Connection] = {}
        """By descriptor: connections that speak no WebSocket yet."""
        self.joining = 0
        """Connections that are open but no members yet."""
        self.agreed = 0
        """Connections that compress."""
        self.latencies_us: list[int] = []
        self._on_open = on_open
        self._send = send
        family, _, _, _, address = self._resolve()
        self.family, self.address = family, address
        self._tls = context_trusting(settings.ca) if settings.target.tls else None
        self._buffer = memoryview(bytearray(256 * 1024))
        self._began = time.monotonic()
        self._progress_at = self._began
        self._started = 0

    def _resolve(self) -> tuple[socket.AddressFamily, int, int, str, tuple[str, int]]:
        target = self.settings.target
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OpenError(f"{target.host}: {error.strerror}") from None
        return min(found, key=lambda entry: entry[0] != socket.AF_INET)  # type: ignore[return-value]

    def start_some(self, waiting: Iterator[Connection], total: int) -> None:
        """Begin to open more connections, as far as the ramp and the bound allow."""
        ramp = self.settings.ramp
        allowed = total if not ramp else int(total * (time.monotonic() - self._began) / ramp) + 1
        while len(self.opening) + self.joining < MAX_OPENING and self._started < allowed:
            connection = next(waiting, None)
            if connection is None:
                return
            self._started += 1
            self.start(connection)
            self._progress_at = time.monotonic()

    def start(self, connection: Connection) -> None:
        """Begin to open a connection."""
        connection.opened_at = time.monotonic_ns()
        try:
            connection.connect(self.address, self.family, self.settings.source_address(connection.client))
        except OSError as error:
            raise self._failure(error) from None
        self.opening[connection.fd] = connection
        connection.poller.watch(connection.fd, READ | WRITE)

    def abandon(self, connection: Connection) -> None:
        """Let go of one that failed."""
        if self.opening.pop(connection.fd, None) is not None:
            connection.poller.forget(connection.fd)
        connection.close()

    def check_stalled(self) -> None:
        """`OpenError` if nothing has moved for long."""
        if self.opening or self.joining:
            if time.monotonic() - self._progress_at > STALL_S:
                raise OpenError(
                    f"no answer for {STALL_S:g} s ({len(self.opening)} opening, {self.joining} joining)"
                )
        else:
            self._progress_at = time.monotonic()

    def joined(self, connection: Connection) -> None:
        """A connection has become a member."""
        if not self.protocol.is_ready_when_open:
            self.joining -= 1
        self._progress_at = time.monotonic()
        self.latencies_us.append((time.monotonic_ns() - connection.opened_at) // 1000)

    def step(self, connection: Connection) -> None:
        """Do what the connection is ready for."""
        if connection.state is State.CONNECTING:
            self._connected(connection)
        elif connection.state is State.SECURING:
            self._secure(connection, is_first=False)
        else:
            self._answer(connection)

    def _connected(self, connection: Connection) -> None:
        number = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise self._failure(OSError(number, socket.errno.errorcode.get(number, str(number))))  # type: ignore[attr-defined]
        connection.poller.change(connection.fd, READ)
        if self._tls is None:
            self._ask(connection)
            return
        connection.state = State.SECURING
        connection.secure(self._tls, self.settings.target.host)
        self._secure(connection, is_first=True)

    def _secure(self, connection: Connection, *, is_first: bool) -> None:
        """Take the TLS handshake further: with what has come, unless it is the ``first`` step."""
        assert connection.tls is not None
        try:
            if not is_first and not connection.tls.take_in():
                raise OpenError("the server closed a connection during the TLS handshake")
            is_done, data = connection.tls.shake_hands()
            connection.send_raw(data)
        except BlockingIOError:
            return
        except ssl.SSLError as error:
            raise OpenError(f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}") from None
        except OSError as error:
            raise self._failure(error) from None
        if is_done:
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        """Ask for the upgrade."""
        connection.state = State.SHAKING_HANDS
        connection.key = new_key()
        head = request(
            self.settings.target.authority,
            self.protocol.path(connection.client),
            connection.key,
            self.protocol.subprotocol,
            OFFER if self.settings.deflate else "",
        )
        self._send(connection, head)

    def _answer(self, connection: Connection) -> None:
        try:
            got = connection.receive(self._buffer)
            if not got:
                raise OpenError("the server closed a connection during the handshake")
            connection.tail += self._buffer[:got]
            answer = response(connection.tail, connection.key, offered=self.settings.deflate)
            if answer is None:
                return
            if answer.extensions:
                self._agree(connection, answer.extensions)
        except BlockingIOError:
            return
        except HandshakeError as error:
            told = f"{error}{_advice(str(error), self.settings)}"
            raise OpenError(told, error.retry_after) from None
        except OSError as error:
            raise self._failure(error) from None
        connection.tail = b""
        del self.opening[connection.fd]
        connection.state = State.JOINING
        if not self.protocol.is_ready_when_open:
            self.joining += 1
        self._on_open(connection, answer.rest)

    def _agree(self, connection: Connection, extensions: str) -> None:
        try:
            connection.inflater = agreed(extensions)
        except ValueError as error:
            raise OpenError(str(error)) from None
        if connection.inflater.takes_over and self.protocol.marker:
            raise OpenError("the server takes compression contexts over: its chat can't be read out of order")
        self.agreed += 1

    def _failure(self, error: OSError) -> OpenError:
        target = self.settings.target
        if isinstance(error, ConnectionRefusedError) or "ECONNREFUSED" in str(error):
            return OpenError(f"connection refused: nothing listens on {target.authority}")
        if "EADDRNOTAVAIL" in str(error) or error.errno == 99:
            return OpenError("out of local ports: use --source-ips N")
        if error.errno == 24:
            return OpenError("out of file descriptors: use more --processes or raise the limit (ulimit -n)")
        return OpenError(f"{target.authority}: {error.strerror or error}")
