"""The server: listeners, one nursery, one task per connection, and their end.

Owns the life of the service. The parts do the work: the front door (`trio_chat.door`) reads requests and
decides, `trio_chat.wire` moves bytes, `trio_chat.chat` gives them meaning.

Rules:

1. Every task has a nursery that outlives it; cancelling `serve` at any point leaves no task, no socket
   and no half-written transaction.
2. A connection's failure is its own: caught, logged, answered (500) or closed (1011).
3. `Server.stop` drains: new upgrades get 503, the committer finishes, each client gets ``bye`` with its own
   ``retry_after`` and 1012, all within ``drain`` seconds.
"""

import errno
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from .chat.accounts import Accounts
from .chat.hub import Hub
from .chat.policy import PolicyOf, settled_policy
from .config import Config, data_directory
from .door import OWN_PATHS, OWN_PREFIXES, Endpoint, EndpointHandler, FrontDoor, GatherMetrics
from .files.store import FileStore, directory_for, open_store
from .front.upgrade import UpgradeHandler
from .lag import LoopLag
from .listeners import close_listeners, open_listeners, url_of, urls_elsewhere
from .log import open_log
from .log.base import EventLog
from .metrics import Metrics
from .wire.connection import Connection, Handler
from .wire.heartbeat import Heartbeat
from .wire.poller import Poller
from .wire.tls import HandshakeFailed, TLSTransport
from .wire.transport import SocketTransport, StreamTransport, Transport

logger = logging.getLogger("trio_chat.server")
access = logging.getLogger("trio_chat.access")

_SPARE_CONNECTIONS = 1000
"""Connections beyond ``max_connections`` that are still read and told 503; more are closed unread."""
_ACCEPTS = 16
"""Connections accepted in one turn of the event loop: some 0.3 ms each until they are open."""
_LAST_REQUESTS_SECONDS = 1.0
"""How long a drain waits for plain requests that have begun."""
_UNIX = getattr(socket, "AF_UNIX", None)
_RETURNS_PER_SECOND = 500
"""Clients told to come back per second after a drain: a fraction of the handshakes that one core does."""
_RESTART_SECONDS = 1.0
_GOODBYES_PER_SECOND = 1500
"""What a restart takes at least: the start of a process, and before it 0.6 ms for each connection closed. Who
comes earlier is refused, and comes again at a moment of its own choice: then many at once."""


class Server:
    """A running server: ``url``, ``port``, ``hub``; `stop` ends it gracefully."""

    def __init__(
        self,
        config: Config,
        hub: Hub,
        accounts: Accounts,
        store: FileStore,
        listeners: list[socket.socket],
        nursery: trio.Nursery,
        upgrade: UpgradeHandler | None,
        endpoints: Mapping[str, Endpoint | EndpointHandler],
        poller: Poller | None,
        tls: ssl.SSLContext | None,
        lag: LoopLag,
        gather_metrics: GatherMetrics | None,
    ) -> None:
        self.config = config
        self.hub = hub
        self.url, self.port = url_of(config, listeners, tls=tls is not None)
        self.connections: set[Connection] = set()
        """The open WebSockets."""
        self.lag = lag
        """How long turns of the event loop take."""
        self._metrics = Metrics(hub, self.connections, lag, store)
        self._door = FrontDoor(
            config, hub, accounts, self._metrics, store, upgrade, endpoints, gather_metrics
        )
        self._accounts = accounts
        self._tls = tls
        self._nursery = nursery
        self._poller = poller
        self._open = 0
        self._awaited: dict[Connection, trio.Event] = {}
        self._stopping = trio.Event()
        self._idle = trio.Event()
        self.shares_listeners = False
        """Others take connections too: a server that drains leaves them to those."""
        self._leaves_to_others = False

    def stop(self) -> None:
        """Begin to drain; `serve` returns when that is done."""
        self._stopping.set()

    # --- accepting -----------------------------------------------------------------------------------

    async def accept(self, listener: socket.socket) -> None:
        """Give each connection of ``listener`` a task, until cancelled, or until it is for others to take
        them."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            if self._leaves_to_others:
                return
            for _ in range(_ACCEPTS):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        logger.error("cannot accept connections: %s", error.strerror)  # noqa: TRY400
                        await trio.sleep(0.1)
                    break
                if self._open >= self.config.max_connections + _SPARE_CONNECTIONS:
                    sock.close()
                    self._metrics.counts.reject("full")
                    continue
                sock.setblocking(False)
                peer = address[0] if isinstance(address, tuple) else None
                self._nursery.start_soon(self._serve_socket, sock, peer)

    async def _serve_socket(self, sock: socket.socket, peer: str | None) -> None:
        transport: Transport
        # A worker's own Unix socket, beside those that it shares, is never for clients.
        tls = None if sock.family == _UNIX and self.config.unix is None else self._tls
        transport = SocketTransport(sock) if tls is None else TLSTransport(sock, tls)
        await self._serve(transport, sock, peer, tls=tls is not None)

    async def serve_stream(self, stream: trio.abc.Stream, peer: str | None = None) -> None:
        """Serve one connection that came another way: any Trio stream, which is the server's from now on.

        Returns when the connection is over, so that it can be a handler of `trio.serve_listeners`.
        Cancelling cuts the connection.
        """
        tls = isinstance(stream, trio.SSLStream)
        connection = await self._serve(StreamTransport(stream), None, peer, tls=tls)
        if connection is not None:
            over = self._awaited[connection] = trio.Event()
            try:
                await over.wait()
            finally:
                self._awaited.pop(connection, None)
                connection.cut(1001, "the server stops")

    async def _serve(
        self, transport: Transport, sock: socket.socket | None, peer: str | None, *, tls: bool
    ) -> Connection | None:
        self._open += 1
        entry = None
        try:
            entry = await self._door.enter(transport, sock, peer, tls)
        except HandshakeFailed as error:
            self._metrics.counts.reject("tls")
            access.info("rejected: %s", error, extra={"client": peer})
        except (trio.BrokenResourceError, ssl.SSLError):
            pass
        except Exception:
            logger.exception("connection failed", extra={"client": peer})
        finally:
            if entry is None:
                self._open -= 1
                with trio.CancelScope(shield=True):
                    await transport.aclose()
                self._idle.set()
        if entry is None:
            return None
        connection = Connection(
            transport,
            self._nursery,
            entry.label,
            self._over,
            self._poller,
            max_message=self.config.max_message,
            max_waiting=self.config.outbox,
            window_bits=entry.opening.window_bits,
        )
        self.connections.add(connection)

        def make(connection: Connection) -> Handler:
            handler = entry.make(connection)
            if not entry.refused:
                self._metrics.counts.accepted += 1
                if access.isEnabledFor(logging.INFO):
                    access.info("accepted", extra=entry.label.fields())
            return handler

        await connection.open(entry.opening, make)
        if self._door.closing:  # it was let in just before
            self._say_goodbye(connection, 1)
        return connection if connection in self.connections else None

    def _over(self, connection: Connection) -> None:
        """A WebSocket has ended."""
        self.connections.discard(connection)
        self._accounts.end_at(connection, None)
        if connection in self._awaited:
            self._awaited[connection].set()
        self._open -= 1
        self._door.places.free(connection.label.client)
        if not self.connections:
            self._idle.set()
        self._metrics.counts.close(connection.close_code or 1006)
        if access.isEnabledFor(logging.INFO):
            access.info("closed: %s", connection.how_it_ended(), extra=connection.label.fields())

    # --- the end -------------------------------------------------------------------------------------

    async def stopped(self) -> None:
        """Wait until `stop` is called."""
        await self._stopping.wait()

    async def drain(self) -> None:
        """Say goodbye to everybody: finish what was submitted, then ``bye`` and 1012, spread over time to
        come."""
        self._door.closing = True
        self._leaves_to_others = self.shares_listeners
        logger.info("draining", extra={"connections": len(self.connections)})
        with trio.move_on_after(self.config.drain / 2):
            await self.hub.settled()
        leaving = len(self.connections)
        for count, connection in enumerate(list(self.connections), 1):
            self._say_goodbye(connection, leaving)
            if count % 100 == 0:
                await trio.lowlevel.checkpoint()
        while self.connections:
            self._idle = trio.Event()
            await self._idle.wait()
        with trio.move_on_after(_LAST_REQUESTS_SECONDS):
            while self._open:
                self._idle = trio.Event()
                await self._idle.wait()

    def _say_goodbye(self, connection: Connection, leaving: int) -> None:
        """Close with 1012 and this client's own moment to come back, spread over all that leave."""
        first = _RESTART_SECONDS + leaving / _GOODBYES_PER_SECOND
        spread = 1.0 + leaving / _RETURNS_PER_SECOND
        connection.close(1012, "the server restarts", retry_after=first + self.hub.rng.random() * spread)


def _tls_context(config: Config, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    context = given
    if given is None and config.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(config.tls_cert, config.tls_key)
    if context is not None:
        if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError("ssl_context: a server's (ssl.Purpose.CLIENT_AUTH), not a client's")
        context.options |= ssl.OP_NO_RENEGOTIATION
    return context


async def serve(
    config: Config | None = None,
    *,
    upgrade: UpgradeHandler | None = None,
    endpoints: Mapping[str, Endpoint | EndpointHandler] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    rooms: PolicyOf | None = None,
    clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
    log: EventLog | None = None,
    listen: bool = True,
    listeners: list[socket.socket] | None = None,
    gather_metrics: GatherMetrics | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a chat server until it is stopped or cancelled: ``server = await nursery.start(serve, config)``.

    ``upgrade`` decides about each client of ``/ws`` and ``/relay`` whose ``Origin`` is allowed; ``endpoints``
    adds WebSocket endpoints by path, each with its own upgrade handler if given as an `Endpoint`.
    ``ssl_context`` serves TLS with a context of your own (client certificates, several names) instead of the
    files in ``config``; renegotiation is switched off in it.
    ``rooms`` is asked for the `RoomPolicy` of a room, by its name; see `trio_chat.chat.policy.PolicyOf`.
    ``clock`` (Unix time in seconds) and ``rng`` can be replaced to make a run repeatable. ``log`` is an
    opened event log to use instead of the one that ``config`` names. Without ``listen`` there are no
    sockets: connections come through `Server.serve_stream`. ``listeners`` are sockets that listen already,
    plain and non-blocking, to use instead of those in ``config``; they are the server's from now on.
    ``gather_metrics`` makes of this server's metrics what ``/metrics`` answers. ``config.workers`` is for the
    command line; here one server runs.

    Cancelling ends every connection at once, finishes a commit under way, and leaves nothing behind;
    `Server.stop` drains first. Raises `OSError` if it can't listen or read the TLS files,
    `trio_chat.log.base.LogError` if the log can't be opened, `ConfigError`.
    """
    config = config or Config()
    for path in endpoints or {}:
        if not path.startswith("/") or path in OWN_PATHS or path.startswith(OWN_PREFIXES):
            raise ValueError(f"endpoints: a path like /echo that is not the server's own, not {path!r}")
    tls = _tls_context(config, ssl_context)
    accounts = Accounts(config, clock)
    async with AsyncExitStack() as stack:
        shares_listeners = listeners is not None
        if listeners is not None:
            stack.callback(close_listeners, config, listeners)
        if log is None:
            log = await stack.enter_async_context(open_log(config.log, sync=config.sync, clock=clock))
        policy_of = settled_policy(config, rooms)
        directory = Path(config.files) if config.files else directory_for(config.log, data_directory())
        store = await stack.enter_async_context(open_store(directory, config.file_quota))
        hub = Hub(
            log,
            clock=clock,
            rng=rng,
            max_waiting=config.outbox,
            policy_of=policy_of,
            files=store,
            admins=config.admin,
        )
        poller = Poller.create()
        if poller is not None:
            stack.callback(poller.close)
        if listeners is None:
            listeners = await open_listeners(config) if listen else []
            stack.callback(close_listeners, config, listeners)
        lag = LoopLag()
        trio.lowlevel.add_instrument(lag)
        stack.callback(trio.lowlevel.remove_instrument, lag)
        async with trio.open_nursery() as tasks:
            await tasks.start(hub.run)
            async with trio.open_nursery() as connections:
                server = Server(
                    config, hub, accounts, store, listeners, connections, upgrade, endpoints or {}, poller,
                    tls, lag, gather_metrics,
                )  # fmt: skip
                server.shares_listeners = shares_listeners
                if poller is not None:
                    connections.start_soon(poller.run)
                connections.start_soon(Heartbeat(server.connections, config.heartbeat).run)
                connections.start_soon(accounts.run)
                for listener in listeners:
                    connections.start_soon(server.accept, listener)
                logger.info("serving", extra={"url": server.url, "log": config.shown_log})
                if urls := urls_elsewhere(listeners, tls=tls is not None):
                    logger.info("others reach it at %s", " or ".join(urls))
                task_status.started(server)
                await server.stopped()
                connections.cancel_scope.deadline = trio.current_time() + config.drain
                await server.drain()
                connections.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
    logger.info("stopped")
