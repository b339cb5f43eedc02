"""The front door: from a connection's first byte to an HTTP answer or an accepted WebSocket.

Owns the routes, who is let in, and how many. Refuses to know what a WebSocket does once it is
open: it hands on what makes its handler.

Everything that isn't an upgrade is answered here and its connection closed. An upgrade that is let in holds a
place (see `trio_chat.front.places`) from before the upgrade handler runs until the WebSocket is over.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import cast

import attrs
import msgspec
import trio

from .chat import schema
from .chat.accounts import Accounts
from .chat.hub import Hub
from .chat.schema import SUBPROTOCOL, User
from .chat.session import Invitation, Session
from .config import Config
from .file_routes import PREFLIGHT, UPLOADS, FileRoutes, is_files
from .files.store import FileStore
from .front.address import (
    MAX_PROXY_V2_BYTES,
    UNIX,
    TrustedProxies,
    parse_proxy_header,
    starts_proxy_header,
)
from .front.handshake import check_handshake, synthetic_head, wants_websocket
from .front.head import (
    BadRequest,
    HeaderPairs,
    HeadReader,
    RequestHead,
    Response,
    encode_response,
    shown,
    text_response,
)
from .front.places import Places
from .front.static import StaticFiles
from .front.upgrade import (
    Accept,
    Reject,
    UpgradeHandler,
    UpgradeRequest,
    all_of,
    allow_origins,
    decides_origin,
)
from .identity import guests_let_in, sign_in
from .metrics import CONTENT_TYPE, Metrics
from .wire.connection import Connection, Handler, Label, Opening
from .wire.deflate import negotiate
from .wire.endpoint import WebSocket
from .wire.farewell import Farewell
from .wire.transport import Transport

logger = logging.getLogger("trio_chat.server")
access = logging.getLogger("trio_chat.access")

HEAD_SECONDS = 10.0
"""How long PROXY header, TLS and the request head may take together."""
MAX_UNREAD = 500
"""Requests that may be incomplete at once. One more, and the oldest has to go: whoever sends its head at once
is served, however many don't."""
UPGRADE_SECONDS = 30.0
"""How long an upgrade handler may take."""
RESPONSE_SECONDS = 10.0
"""How long a plain HTTP answer may take to be written."""

OWN_PATHS = frozenset({"/", "/ws", "/healthz", "/readyz", "/metrics", "/favicon.ico", UPLOADS})
OWN_PREFIXES = ("/relay/", "/static/", f"{UPLOADS}/")
"""What the server answers itself; endpoints are mounted elsewhere."""

_TOO_LATE = text_response(408, "the request took too long")
_TOO_MANY = text_response(503, "too many requests are incomplete", (("Retry-After", "1"),))

EndpointHandler = Callable[[WebSocket], Awaitable[None]]
MakeHandler = Callable[[Connection], Handler]
GatherMetrics = Callable[[bytes], Awaitable[bytes]]
"""Makes of one server's metrics what `/metrics` answers: those of several."""


@attrs.frozen
class Endpoint:
    """An embedder's WebSocket endpoint: ``handler(websocket)`` runs for each client that ``upgrade`` accepts.

    Without its own ``upgrade`` handler everybody whose ``Origin`` is allowed is accepted.
    """

    handler: EndpointHandler
    upgrade: UpgradeHandler | None = None


@attrs.frozen
class Entry:
    """An upgrade that was let in: how to open it and what stands on it.

    ``refused``: it is let in only to be told that it isn't.
    """

    opening: Opening
    make: MakeHandler
    label: Label
    refused: bool = False


class FrontDoor:
    """See the module."""

    def __init__(
        self,
        config: Config,
        hub: Hub,
        accounts: Accounts,
        metrics: Metrics,
        store: FileStore,
        upgrade: UpgradeHandler | None,
        endpoints: Mapping[str, Endpoint | EndpointHandler],
        gather_metrics: GatherMetrics | None = None,
    ) -> None:
        self._config = config
        self._gather_metrics = gather_metrics
        self._hub = hub
        self._accounts = accounts
        self._metrics = metrics
        self._endpoints = {
            path: endpoint if isinstance(endpoint, Endpoint) else Endpoint(endpoint)
            for path, endpoint in endpoints.items()
        }
        self._check_origin = allow_origins(*config.origin)
        self._proxies = TrustedProxies(config.trusted_proxy)
        policies = [sign_in(config, accounts, self._proxies), upgrade]
        given = [policy for policy in policies if policy is not None]
        self._upgrade = all_of(*given) if len(given) > 1 else given[0] if given else None
        self._static = StaticFiles.load()
        self._files = FileRoutes(config, store, hub.guests, metrics.counts)
        self._ids = 0
        self.places = Places(config.max_connections, config.max_per_ip)
        self._unread: dict[trio.CancelScope, None] = {}
        self.closing = False
        """The server drains: no more upgrades."""

    async def enter(
        self, transport: Transport, sock: socket.socket | None, peer: str | None, tls: bool
    ) -> Entry | None:
        """Read the request and answer it; an upgrade that is let in is returned instead.

        ``sock``: what is under ``transport``, and under TLS if there is any, unread so far.
        """
        self._ids += 1
        label = Label(self._ids, peer or UNIX, "")
        reader = HeadReader()
        head: RequestHead | None = None
        refusal: Response | None = None
        spoken = not tls
        with trio.move_on_after(HEAD_SECONDS) as reading, self._awaiting(reading):
            try:
                data = b""
                if sock is not None and self._proxies.trusts(peer):
                    peer, data = await self._announced(sock, peer)
                    label.client = peer or UNIX
                spoken = True
                while head is None:
                    data = data or await transport.receive()
                    if not data:
                        return None
                    head, data = reader.feed(data), b""
            except BadRequest as error:
                refusal = error.response()
        if head is None:
            late = _TOO_LATE if trio.current_time() >= reading.deadline else _TOO_MANY
            self._rejected(refusal or late, label)
            if spoken:  # else there is nobody to answer: TLS has not begun
                await self._respond(transport, refusal or late, None, label)
            return None
        label.path = shown(head.path)
        try:
            found = await self._upgraded(head, reader.rest, peer, tls, label)
        except BadRequest as error:
            found = error.response()
            self._rejected(found, label)
        if isinstance(found, Entry):
            return found
        if found is None and is_files(head.path):
            found = await self._file(head, reader.rest, transport, peer, tls, label)
            if found is None:
                return None
        elif found is None:
            found = self._plain(head)
            if self._gather_metrics and head.path == "/metrics" and "own" not in head.query:
                found = attrs.evolve(found, body=await self._gather_metrics(found.body))
            if wants_websocket(head):
                self._rejected(found, label)
        await self._respond(transport, found, head, label)
        return None

    @contextmanager
    def _awaiting(self, scope: trio.CancelScope) -> Iterator[None]:
        """Have the oldest of those whose head is awaited go if they are too many; ``scope`` is the newest."""
        self._unread[scope] = None
        if len(self._unread) > MAX_UNREAD:
            oldest = next(iter(self._unread))
            del self._unread[oldest]
            oldest.cancel()
        try:
            yield
        finally:
            self._unread.pop(scope, None)

    async def _announced(self, sock: socket.socket, peer: str | None) -> tuple[str | None, bytes]:
        """The client that trusted ``peer``'s PROXY header names, and what was read but is no such header.

        Takes the header to its last byte and no further: TLS may follow. The word of a trusted proxy that it
        names is taken as well. Raises `BadRequest`, `trio.BrokenResourceError`.
        """
        while self._proxies.trusts(peer):
            try:
                source, rest = await _read_proxy_header(sock)
            except ValueError as error:
                raise BadRequest(400, str(error)) from None
            if source is None:  # what comes next is the client's own: it must not be asked who it is
                return peer, rest
            peer = source
        return peer, b""

    async def _respond(
        self, transport: Transport, response: Response, head: RequestHead | None, label: Label
    ) -> None:
        data = memoryview(self._encoded(response, head, label))
        with trio.move_on_after(RESPONSE_SECONDS):
            while data:
                data = data[await transport.send_some(data) :]
            await _hang_up(transport)

    def _encoded(self, response: Response, head: RequestHead | None, label: Label) -> bytes:
        """The bytes of an answer, which is counted and logged."""
        self._metrics.counts.request(response.status)
        access.debug("answered", extra=label.fields() | {"status": response.status})
        method = head.method if head is not None else "GET"
        return encode_response(response, method=method, now=self._hub.clock())

    async def _file(
        self,
        head: RequestHead,
        rest: bytes,
        transport: Transport,
        peer: str | None,
        tls: bool,
        label: Label,
    ) -> Response | None:
        """The answer to a request about files; None: it has been given, with the file."""
        shared = await self._files.shared_with(head)
        if len(shared) > 1 and head.method == "OPTIONS":
            return Response(204, shared + PREFLIGHT)
        try:
            if head.path == UPLOADS and head.method == "POST":
                label.client = self._proxies.resolve(peer, head.headers, tls=tls).address
                found = await self._files.take_in(head, rest, transport, label, closing=self.closing)
            elif head.path == UPLOADS or head.method not in ("GET", "HEAD"):
                found = _not_allowed(head, *(("POST",) if head.path == UPLOADS else ("GET", "HEAD")))
            else:
                delivery, digest = await self._files.delivery(head)
                found = delivery.response
                if head.method == "GET" and delivery.start < delivery.stop:
                    start = self._encoded(_with(found, shared), head, label)
                    await self._files.send(digest, delivery, transport, start)
                    with trio.move_on_after(RESPONSE_SECONDS):
                        await _hang_up(transport)
                    return None
        except BadRequest as error:
            found = error.response()
        return _with(found, shared)

    def _plain(self, head: RequestHead) -> Response:
        """The answer to a request that isn't for a WebSocket endpoint."""
        if head.method not in ("GET", "HEAD"):
            return _not_allowed(head, "GET", "HEAD")
        if head.path == "/healthz":
            return _json(200, {"status": "ok"})
        if head.path == "/readyz":
            status = "draining" if self.closing else "log unavailable" if self._hub.log_failing else "ok"
            return _json(200 if status == "ok" else 503, {"status": status})
        if head.path == "/metrics":
            return Response(200, (("Content-Type", CONTENT_TYPE),), self._metrics.text())
        found = self._static.get(head.path, head.headers)
        return found if found is not None else text_response(404, "there is nothing here")

    # --- upgrades ------------------------------------------------------------------------------------

    async def _upgraded(
        self, head: RequestHead, rest: bytes, peer: str | None, tls: bool, label: Label
    ) -> Entry | Response | None:
        """The WebSocket that ``head`` asks for, the refusal, or None for a path without one.

        Raises `BadRequest`.
        """
        own = self._endpoints.get(head.path)
        if own is None and head.path != "/ws" and not head.path.startswith("/relay/"):
            return None
        handshake = check_handshake(head)
        client = self._proxies.resolve(peer, head.headers, tls=tls)
        if self._config.user_header is not None and not self._proxies.trusts(peer):
            head.headers = head.headers.without(self._config.user_header)
        request = UpgradeRequest.from_head(head, handshake, client, peer=peer, tls=tls)
        label.client = client.address
        refusal = Reject(503, "this server is stopping", (("Retry-After", "1"),)) if self.closing else None
        refusal = refusal or self.places.take(client.address, trio.current_time())
        if refusal is not None:
            return self._refuse(refusal, label)
        entry: Entry | None = None
        try:
            decision = await self._decide(request, own.upgrade if own is not None else self._upgrade, label)
            if own is None:
                decision = guests_let_in(decision, self._accounts, request)
            if isinstance(decision, Reject) and decision.close_code is None:
                return self._refuse(decision, label)
            make, subprotocol = self._handler(request, decision, own, label)
            headers = tuple((name.encode(), value.encode("latin-1")) for name, value in decision.headers)
            agreed = negotiate(handshake.extensions) if self._config.compress else None
            bits = 0
            if agreed is not None:
                bits = agreed.window_bits
                headers += ((b"Sec-WebSocket-Extensions", agreed.answer.encode()),)
            opening = Opening(synthetic_head(handshake), rest, subprotocol, headers, bits)
            entry = Entry(opening, make, label, refused=isinstance(decision, Reject))
            return entry
        finally:
            if entry is None:
                self.places.free(client.address)

    def _refuse(self, refusal: Reject, label: Label) -> Response:
        self._metrics.counts.reject(str(refusal.close_code or refusal.status))
        access.info("rejected: %s", refusal, extra=label.fields())
        return refusal.response()

    def _rejected(self, response: Response, label: Label) -> None:
        """Count and log a refusal that is nobody's decision: what was asked for can't be."""
        self._metrics.counts.reject(str(response.status))
        text = response.body.decode("utf-8", "replace").partition("\n")[0]
        access.info("rejected: %s", f"{response.status} {shown(text)}", extra=label.fields())

    async def _decide(
        self, request: UpgradeRequest, upgrade: UpgradeHandler | None, label: Label
    ) -> Accept | Reject:
        """What the origin policy and the upgrade handler say; a handler that fails or hangs is a refusal."""
        decision: Accept | Reject = Accept()
        if self._config.origin or upgrade is None or not decides_origin(upgrade):
            decision = await self._check_origin(request)
        if isinstance(decision, Reject) or upgrade is None:
            return decision
        try:
            with trio.fail_after(UPGRADE_SECONDS):
                decision = await upgrade(request)
        except trio.TooSlowError:
            logger.error("the upgrade handler took too long", extra=label.fields())  # noqa: TRY400
            return Reject(503, "signing in took too long", (("Retry-After", "5"),))
        except Exception:
            logger.exception("the upgrade handler failed", extra=label.fields())
            return Reject(500, "internal error")
        if not isinstance(cast(object, decision), Accept | Reject):
            logger.error(
                "the upgrade handler returned %r, not Accept or Reject", decision, extra=label.fields()
            )
            return Reject(500, "internal error")
        return decision

    def _handler(
        self, request: UpgradeRequest, decision: Accept | Reject, own: Endpoint | None, label: Label
    ) -> tuple[MakeHandler, str | None]:
        """What makes the handler of an accepted connection, and its subprotocol. Raises `BadRequest`."""
        wanted = SUBPROTOCOL if request.path == "/ws" else None
        if isinstance(decision, Reject):
            self._refuse(decision, label)
            make: MakeHandler = partial(Farewell, code=decision.close_code or 1008, reason=decision.reason)
            return make, wanted if wanted in request.subprotocols else None
        wanted = decision.subprotocol or wanted
        subprotocol = wanted if wanted in request.subprotocols else None
        user = User(decision.user, decision.user) if isinstance(decision.user, str) else decision.user
        label.user = user.name if user is not None else ""
        if own is not None:
            make = partial(_start_endpoint, request=request, user=user, handler=own.handler)
        elif request.path == "/ws":
            query = request.query
            rooms = tuple(query.get_all("room"))
            invitation = Invitation(
                user, query.get("name"), rooms, query.get("last"), decision.expires_at, decision.admin
            )
            make = partial(self._start_session, invitation=invitation)
        else:
            make = self._relay(request)
        if decision.expires_at is not None:
            make = partial(self._start_for_a_time, make=make, until=decision.expires_at)
        return make, subprotocol

    def _start_session(self, connection: Connection, invitation: Invitation) -> Handler:
        return Session(self._hub, self._accounts, connection, self._config, invitation)

    def _start_for_a_time(self, connection: Connection, make: MakeHandler, until: float) -> Handler:
        self._accounts.end_at(connection, until)
        return make(connection)

    def _relay(self, request: UpgradeRequest) -> MakeHandler:
        try:
            room = schema.room_name(request.path.removeprefix("/relay/"))
        except ValueError as error:
            raise BadRequest(404, str(error)) from None
        echo = request.query.get("echo", "1")
        if echo not in ("0", "1"):
            raise BadRequest(400, f"echo: 0 or 1, not {shown(echo)}")
        return lambda connection: self._hub.relay.member(connection, room, echo=echo == "1")


async def _read_proxy_header(sock: socket.socket) -> tuple[str | None, bytes]:
    """The source that a PROXY header names, if there is one; and what was taken off ``sock`` if not.

    Looks before it takes, so that what follows the header stays where it is. Raises `ValueError`,
    `trio.BrokenResourceError`.
    """
    taken = b""
    while True:
        try:
            await trio.lowlevel.wait_readable(sock)
            seen = sock.recv(MAX_PROXY_V2_BYTES, socket.MSG_PEEK)
            if not seen:
                return None, b""
            if not starts_proxy_header(taken + seen):
                return None, taken
            found = parse_proxy_header(taken + seen)
            taken += sock.recv(len(seen) if found is None else found[1] - len(taken))
        except BlockingIOError:
            continue
        except (OSError, trio.ClosedResourceError) as error:
            raise trio.BrokenResourceError from error
        if found is not None:
            return found[0], b""


def _start_endpoint(
    connection: Connection,
    *,
    request: UpgradeRequest,
    user: User | None,
    handler: EndpointHandler,
) -> Handler:
    websocket = WebSocket(connection, request, user)
    websocket.start(handler)
    return websocket


async def _hang_up(transport: Transport) -> None:
    """End, then let the peer end: a close with unread input is a reset, which may overtake the answer."""
    await transport.end_writing()
    with trio.move_on_after(1):
        while await transport.receive():
            pass


def _with(response: Response, headers: HeaderPairs) -> Response:
    return attrs.evolve(response, headers=response.headers + headers)


def _not_allowed(head: RequestHead, *methods: str) -> Response:
    verb = "is" if len(methods) == 1 else "are"
    text = f"{shown(head.method)} is not for this path: {' and '.join(methods)} {verb}"
    return text_response(405, text, (("Allow", ", ".join(methods)),))


def _json(status: int, content: dict[str, str]) -> Response:
    return Response(status, (("Content-Type", "application/json"),), msgspec.json.encode(content) + b"\n")
