"""Who may connect: the upgrade handler's request and answers, and the ready-made policies.

Owns the public names that an embedder writes an upgrade handler with. Refuses to know sockets and how an
answer reaches the client. The built-in policies are upgrade handlers like any other; `all_of` and `any_of`
combine them.

A browser shows neither status nor body of a refused upgrade to the page (it sees close code 1006). Who wants
the page to know why answers `Reject.visibly`: the handshake is accepted, the reason said, and the connection
closed.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import IPv6Address

import attrs

from trio_chat.chat.schema import User, checked_user, user_name
from trio_chat.front.address import Client
from trio_chat.front.handshake import Handshake
from trio_chat.front.head import (
    HeaderPairs,
    Headers,
    Query,
    RequestHead,
    Response,
    check_headers,
    is_token,
    reason_phrase,
    shown,
)

MAX_REASON_BYTES = 123
"""The reason of a WebSocket close: a control frame carries 125 bytes, two of them the code (RFC 6455 section
5.5)."""

_VISIBLE_CODES = frozenset({1000, 1001, 1008, 1011, 1012, 1013})
_SERVERS_OWN = re.compile(
    r"connection|content-length|transfer-encoding|upgrade|sec-websocket-(?:accept|extensions|protocol)",
    re.IGNORECASE,
)


def _cookies(headers: Headers) -> dict[str, str]:
    """Name and value of each cookie (RFC 6265 section 5.4); the first of a name is the most specific one.

    Values are as sent, but for enclosing quotes. What isn't ``name=value`` is passed over.
    """
    found: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if equals and name:
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found.setdefault(name, value)
    return found


def _headers(value: Headers | Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
    return value if isinstance(value, Headers) else Headers(value)


@attrs.define(kw_only=True)
class UpgradeRequest:
    """A client that wants to become a WebSocket, as the upgrade handler sees it.

    ``client`` is its address after trusted proxies, ``peer`` the one that connected (None: a Unix socket);
    ``tls`` whether the peer speaks TLS with this server, ``scheme`` (http or https) and ``host`` what the
    client itself used.
    """

    path: str
    raw_query: str = ""
    headers: Headers = attrs.field(factory=Headers, converter=_headers)
    client: str = "127.0.0.1"
    peer: str | None = "127.0.0.1"
    subprotocols: tuple[str, ...] = ()
    tls: bool = False
    scheme: str = "http"
    host: str = ""
    method: str = "GET"
    _query: Query | None = attrs.field(default=None, init=False, repr=False, eq=False)
    _cookies: dict[str, str] | None = attrs.field(default=None, init=False, repr=False, eq=False)

    @classmethod
    def from_head(
        cls, head: RequestHead, handshake: Handshake, client: Client, *, peer: str | None, tls: bool = False
    ) -> "UpgradeRequest":
        """The request of a checked handshake; ``client`` comes from `TrustedProxies.resolve`."""
        return cls(
            path=head.path,
            raw_query=head.raw_query,
            headers=head.headers,
            client=client.address,
            peer=peer,
            subprotocols=handshake.subprotocols,
            tls=tls,
            scheme=client.scheme,
            host=client.host,
            method=head.method,
        )

    @property
    def query(self) -> Query:
        """The query's parameters: ``query.get("name")`` is the first, ``query.get_all("room")`` are all."""
        if self._query is None:
            self._query = Query.parse(self.raw_query)
        return self._query

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        if self._cookies is None:
            self._cookies = _cookies(self.headers)
        return self._cookies

    @property
    def origin(self) -> str | None:
        """The ``Origin`` header; None if none was sent, as by programs that aren't browsers."""
        return self.headers.get("origin")


def _own_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> HeaderPairs:
    pairs = check_headers(headers)
    for name, _ in pairs:
        if _SERVERS_OWN.fullmatch(name):
            raise ValueError(f"header {name}: the server sets it")
    return pairs


def _user(value: User | str | None) -> User | str | None:
    if value is None:
        return None
    return user_name(value) if isinstance(value, str) else checked_user(value)


@attrs.frozen
class Accept:
    """Let the client in.

    ``user``: who it is, if the handler knows. A `User` has an id of 1 to 128 printable characters and a valid
    name (1 to 32 characters, no controls), which is kept trimmed and in NFC; a text is such a name, and the
    id too. None: a guest. ``subprotocol``: one of those the client offered; None leaves the choice to the
    endpoint. ``headers``: added to the 101 response, a ``Set-Cookie`` for example. ``expires_at``: until when
    the user is signed in (Unix time in seconds); the connection is closed with 4501 then. ``admin``: the user
    is an administrator of the server.
    """

    user: User | str | None = attrs.field(default=None, converter=_user)
    subprotocol: str | None = attrs.field(default=None)
    headers: HeaderPairs = attrs.field(default=(), converter=_own_headers)
    expires_at: float | None = attrs.field(default=None)
    admin: bool = False

    @subprotocol.validator
    def _check_subprotocol(self, _: object, value: str | None) -> None:
        if value is not None and not is_token(value):
            raise ValueError(f"subprotocol: a token, not {value!r}")


@attrs.frozen
class Reject:
    """Refuse the client with an HTTP ``status`` (300 to 599), ``body`` and ``headers``.

    A body of text is sent as ``text/plain`` in UTF-8, one of bytes as ``application/octet-stream``, unless
    the headers say otherwise. `Reject.visibly` refuses in a way that a page in a browser can see.
    """

    status: int = attrs.field(default=403)
    body: str | bytes = ""
    headers: HeaderPairs = attrs.field(default=(), converter=_own_headers)
    close_code: int | None = attrs.field(default=None, init=False)
    """Set by `visibly`: accept the handshake, say ``bye``, close with this code."""
    reason: str = attrs.field(default="", init=False)

    @status.validator
    def _check_status(self, _: object, value: int) -> None:
        if not 300 <= value <= 599:
            raise ValueError(f"status: 300 to 599, not {value!r}")

    @classmethod
    def visibly(cls, code: int, reason: str) -> "Reject":
        """Accept the handshake, say ``reason`` in a ``bye``, and close with ``code``.

        ``code``: 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999; up to 4499 a client may come back by
        itself, from 4500 it shows the reason instead. ``reason``: at most 123 bytes of UTF-8.
        """
        if code not in _VISIBLE_CODES and not 3000 <= code <= 4999:
            raise ValueError(f"code: 1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999, not {code!r}")
        size = len(reason.encode())
        if size > MAX_REASON_BYTES:
            raise ValueError(f"reason: at most {MAX_REASON_BYTES} bytes in UTF-8, not {size}")
        rejection = cls(403, reason)
        object.__setattr__(rejection, "close_code", code)
        object.__setattr__(rejection, "reason", reason)
        return rejection

    def response(self) -> Response:
        """The HTTP answer; for a visible rejection, what a client that isn't shown it would have got."""
        if isinstance(self.body, str):
            content_type, body = "text/plain; charset=utf-8", self.body.encode()
        else:
            content_type, body = "application/octet-stream", self.body
        if any(name.lower() == "content-type" for name, _ in self.headers):
            return Response(self.status, self.headers, body)
        return Response(self.status, (("Content-Type", content_type), *self.headers), body)

    def __str__(self) -> str:
        """One line for the log: the status or code, and the reason."""
        if self.close_code is not None:
            return f"{self.close_code} {shown(self.reason)}".rstrip()
        text = self.body if isinstance(self.body, str) else ""
        first_line = text.strip().partition("\n")[0].strip()
        return f"{self.status} {shown(first_line) or reason_phrase(self.status)}".rstrip()


UpgradeHandler = Callable[[UpgradeRequest], Awaitable[Accept | Reject]]
"""Decides about one handshake. It may take its time (a database, a token service); the head's time limit is
over by then, the server's own limit on handlers isn't. An exception is a 500 and harms nobody else."""


_ACCEPT = Accept()


@attrs.frozen(eq=False)
class _Policy:
    """An upgrade handler of ours; ``decides_origin``: no other check of the ``Origin`` is needed."""

    decide: UpgradeHandler
    decides_origin: bool

    def __call__(self, request: UpgradeRequest) -> Awaitable[Accept | Reject]:
        return self.decide(request)


def decides_origin(handler: UpgradeHandler) -> bool:
    """Whether ``handler`` lets nobody in without having looked at the ``Origin``."""
    return isinstance(handler, _Policy) and handler.decides_origin


# --- ready-made policies ------------------------------------------------------------------------------------

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\[\]:/?#@\s,]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_Origin = tuple[str, str, int | None]


def _parse_origin(text: str) -> _Origin | None:
    """Scheme, host and port of an origin (RFC 6454 section 4), comparable; None if it is none."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    if host[0] == "[":
        try:
            host = IPv6Address(host[1:-1]).compressed
        except ValueError:
            return None
    return scheme, host, int(port) if port else _DEFAULT_PORTS.get(scheme)


def _is_same_origin(request: UpgradeRequest, origin: str) -> bool:
    own = f"{request.scheme}://{request.host}"
    if origin == own:  # what nearly every page sends; anything that isn't an origin can't come from a browser
        return True
    parsed = _parse_origin(origin)
    return parsed is not None and parsed == _parse_origin(own)


def _refuse_origin(request: UpgradeRequest, origin: str) -> Reject:
    body = f"origin {shown(origin)} is not allowed"
    parsed, own = _parse_origin(origin), _parse_origin(f"{request.scheme}://{request.host}")
    if parsed and own and parsed[1] == own[1]:
        # Nearly always a proxy that ends TLS and isn't trusted, so that its X-Forwarded-Proto isn't read.
        body += f" (this server was addressed as {request.scheme}://{shown(request.host)})"
    return Reject(403, body)


def same_origin() -> UpgradeHandler:
    """Let in pages that this server served, and programs that aren't browsers (they send no ``Origin``).

    Without it any page could use its visitor's cookies and address to talk here (cross-site WebSocket
    hijacking): browsers apply no same-origin policy of their own to WebSockets.
    """
    return allow_origins()


def allow_origins(*origins: str, strict: bool = False) -> UpgradeHandler:
    """Let in pages of these origins, and as `same_origin` does; ``*`` allows every page.

    ``strict`` allows the listed origins and nothing else: neither the server's own pages nor clients without
    an ``Origin``. ``null`` (a page from a file, a sandboxed frame) is refused unless listed.
    """
    any_origin = "*" in origins
    null = "null" in origins
    allowed = set()
    for origin in origins:
        if origin not in ("*", "null"):
            parsed = _parse_origin(origin)
            if parsed is None:
                raise ValueError(f"origin: like https://chat.example.org, or *, not {origin!r}")
            allowed.add(parsed)

    async def check_origin(request: UpgradeRequest) -> Accept | Reject:
        origin = request.origin
        if origin is None:
            return Reject(403, "Origin is required") if strict else _ACCEPT
        if any_origin or (not strict and _is_same_origin(request, origin)):
            return _ACCEPT
        if (null and origin == "null") or _parse_origin(origin) in allowed:
            return _ACCEPT
        return _refuse_origin(request, origin)

    return _Policy(check_origin, decides_origin=True)


Expected = str | Callable[[str], bool] | None
"""What a value must be: this text (compared in constant time), what the function says, or, None, anything but
empty."""


def _is_expected(value: str, expected: Expected) -> bool:
    if expected is None:
        return value != ""
    if callable(expected):
        return expected(value)
    # A header's bytes are Latin-1 to us; the expected text is compared as its UTF-8.
    return hmac.compare_digest(value.encode("latin-1", "replace"), expected.encode())


def _require(
    what: str,
    find: Callable[[UpgradeRequest], str | None],
    expected: Expected,
    status: int,
    headers: HeaderPairs,
) -> UpgradeHandler:
    missing = Reject(status, f"{what} is required", headers)
    wrong = Reject(status, f"{what} is not accepted", headers)

    async def check_value(request: UpgradeRequest) -> Accept | Reject:
        value = find(request)
        if value is None:
            return missing
        return _ACCEPT if _is_expected(value, expected) else wrong

    return check_value


def _challenge(status: int, scheme: str, headers: HeaderPairs) -> HeaderPairs:
    """``headers`` with the ``WWW-Authenticate`` that a 401 must have (RFC 9110 section 15.5.2)."""
    if status != 401 or any(name.lower() == "www-authenticate" for name, _ in headers):
        return headers
    return (*headers, ("WWW-Authenticate", scheme))


def require_header(
    name: str, value: Expected = None, *, status: int = 401, headers: Mapping[str, str] | HeaderPairs = ()
) -> UpgradeHandler:
    """Let in who sends the header ``name`` with the expected value; refuse with ``status`` and
    ``headers``."""
    check_headers(((name, ""),))
    scheme = "Bearer" if name.lower() == "authorization" else f'Header name="{name}"'
    own = _challenge(status, scheme, check_headers(headers))
    return _require(f"header {name}", lambda request: request.headers.get(name), value, status, own)


def require_cookie(
    name: str, value: Expected = None, *, status: int = 401, headers: Mapping[str, str] | HeaderPairs = ()
) -> UpgradeHandler:
    """Let in who sends the cookie ``name`` with the expected value; refuse with ``status`` and ``headers``.

    Browsers send cookies along with other sites' WebSockets: combine it with an origin policy.
    """
    if not is_token(name):
        raise ValueError(f"cookie name: a token, not {name!r}")
    own = _challenge(status, f'Cookie cookie-name="{name}"', check_headers(headers))
    return _require(f"cookie {name}", lambda request: request.cookies.get(name), value, status, own)


def all_of(*handlers: UpgradeHandler) -> UpgradeHandler:
    """Let in whom every handler lets in; they are asked in order, and the first `Reject` is the answer.

    Of several `Accept`, the last ``user`` (with its ``admin``) and the last ``subprotocol`` that isn't None
    count, the earliest ``expires_at``, and all headers.
    """

    async def check_all(request: UpgradeRequest) -> Accept | Reject:
        merged = _ACCEPT
        for handler in handlers:
            answer = await handler(request)
            if isinstance(answer, Reject):
                return answer
            merged = Accept(
                merged.user if answer.user is None else answer.user,
                merged.subprotocol if answer.subprotocol is None else answer.subprotocol,
                merged.headers + answer.headers,
                min(filter(None, (merged.expires_at, answer.expires_at)), default=None),
                answer.admin or (answer.user is None and merged.admin),
            )
        return merged

    return _Policy(check_all, decides_origin=any(map(decides_origin, handlers)))


def any_of(first: UpgradeHandler, *others: UpgradeHandler) -> UpgradeHandler:
    """Let in whom one of the handlers lets in: the first `Accept` is the answer, or else the first
    `Reject`."""

    async def check_any(request: UpgradeRequest) -> Accept | Reject:
        refused = await first(request)
        if isinstance(refused, Accept):
            return refused
        for handler in others:
            answer = await handler(request)
            if isinstance(answer, Accept):
                return answer
        return refused

    return _Policy(check_any, decides_origin=all(map(decides_origin, (first, *others))))
