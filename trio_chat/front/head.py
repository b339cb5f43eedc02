"""HTTP/1.1 heads: bytes in, a `RequestHead` out; a `Response` in, bytes out.

Owns the limits on what a client may send before it is known who it is, the parsing (h11 does it) and the
encoding of answers. Refuses to know sockets, routes and WebSocket. A connection carries one request: whatever
is answered here says ``Connection: close``, so that bodies, pipelining and request smuggling are nobody's
concern.

Rules: only `BadRequest` comes out of a wrong request, with a status and a sentence for people; nothing that a
client sends, and nothing that a handler answers, can put a line of its own into a response.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import attrs
import h11

MAX_HEAD_BYTES = 16 * 1024
"""The request head with its empty line; one byte more is 431. Browsers send 0.5 to 2 KiB; cookies of one
site can be 4 KiB each; nginx and Node stop at 32 and 16 KiB."""
MAX_REQUEST_LINE_BYTES = 8 * 1024
"""The first line with its line end; one byte more is 414. RFC 9112 section 3 asks for at least 8000."""
MAX_HEADERS = 100
"""Header lines; one more is 431. Browsers send about 15."""

HeaderPairs = tuple[tuple[str, str], ...]

_BLANK_LINE = re.compile(rb"\n\r?\n")
# The first byte of a method, RFC 9110 section 5.6.2: enough to tell HTTP from TLS and other binary protocols
# at once.
_TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TLS_HANDSHAKE = 0x16
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_ABSOLUTE = re.compile(r"(?:http|ws)s?://([^/?#@\s]+)((?:[/?][^#\s]*)?)", re.IGNORECASE)
# What must not be in a decoded path: controls, a backslash (which some systems take for a slash), "." and
# ".." segments.
_UNSAFE_PATH = re.compile(r"[\x00-\x1f\x7f\\]|/\.{1,2}(?:/|\Z)")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token (RFC 9110 section 5.6.2): a header's name, a method, a subprotocol."""
    return _TOKEN.fullmatch(text) is not None


def check_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> HeaderPairs:
    """``headers`` as pairs that may be put on the wire, or `ValueError` naming the one that may not.

    A name must be a token, a value visible Latin-1 text without space around it: a carriage return, line feed
    or NUL would let whoever wrote the value write headers of their own.
    """
    pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in pairs:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"header name {name!r}: letters, digits and !#$%&'*+-.^_`|~ only")
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"header {name}: visible Latin-1 text, not {value!r}")
    return pairs


class _MultiDict(Mapping[str, str]):
    """Names with one or more values each, in the order in which they came."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """Every value of ``name`` in order; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"


class Query(_MultiDict):
    """The query's parameters: ``query["room"]`` is the first ``room``, ``query.get_all("room")`` are all of
    them."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Query":
        """``text`` without its question mark; what isn't UTF-8 becomes U+FFFD; nothing is an error."""
        values: dict[str, list[str]] = {}
        if text:
            for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
                values.setdefault(name, []).append(value)
        return cls(values)


class Headers(_MultiDict):
    """Header fields by name, whatever its case.

    A field sent several times is one list (RFC 9110 section 5.3), so ``headers["X"]`` joins the lines with a
    comma (``Cookie`` with a semicolon, RFC 9113 section 8.2.3); `get_all` gives them one by one. Values are
    Latin-1.
    """

    __slots__ = ()

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        values: dict[str, list[str]] = {}
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            values.setdefault(name.lower(), []).append(value)
        super().__init__(values)

    @classmethod
    def from_wire(cls, fields: Iterable[tuple[bytes, bytes]]) -> "Headers":
        """The fields as h11 gives them."""
        headers = cls()
        values = headers._values
        for name, value in fields:
            values.setdefault(str(name, "ascii").lower(), []).append(str(value, "latin-1"))
        return headers

    def __getitem__(self, name: str) -> str:
        name = name.lower()
        values = self._values[name]
        if len(values) == 1:
            return values[0]
        return ("; " if name == "cookie" else ", ").join(values)

    def get_all(self, name: str) -> list[str]:
        return super().get_all(name.lower())

    def replaced(self, name: str, value: str) -> "Headers":
        """These headers with ``name`` being ``value`` alone."""
        result = Headers()
        result._values = {**self._values, name.lower(): [value]}
        return result

    def without(self, name: str) -> "Headers":
        """These headers but for ``name``."""
        name = name.lower()
        if name not in self._values:
            return self
        result = Headers()
        result._values = {other: values for other, values in self._values.items() if other != name}
        return result


@attrs.define
class Response:
    """An HTTP answer. `encode_response` adds what every answer carries.

    ``length``: the bytes of a body that is sent after it, piece by piece, instead of ``body``.
    """

    status: int
    headers: HeaderPairs = ()
    body: bytes = b""
    length: int | None = None


def text_response(status: int, text: str, headers: HeaderPairs = ()) -> Response:
    """``text`` for people, as plain text with a line end."""
    body = f"{text}\n".encode() if text else b""
    return Response(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), body)


MAX_SHOWN_CHARS = 200
"""How much of what a client sent is repeated to it and in the log."""


def shown(text: str) -> str:
    """``text`` from a client as it may appear in a log line or a message: printable, on one line, not too
    long."""
    if len(text) > MAX_SHOWN_CHARS:
        text = f"{text[:MAX_SHOWN_CHARS]}..."
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


class BadRequest(Exception):
    """The request can't be served: ``status``, ``message`` (a sentence for people), ``headers`` of the
    answer."""

    def __init__(self, status: int, message: str, headers: HeaderPairs = ()) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers

    def __str__(self) -> str:
        return self.message

    def response(self) -> Response:
        """What the client is answered."""
        return text_response(self.status, self.message, self.headers)


@attrs.define
class RequestHead:
    """One request, without its body.

    ``target`` is as sent, ``path`` percent-decoded and free of controls and dot segments, ``raw_query`` the
    part after the question mark. ``has_body``: a body is announced; nobody reads it.
    """

    method: str
    target: str
    path: str
    raw_query: str
    headers: Headers
    http_version: str = "1.1"
    has_body: bool = False
    _query: Query | None = attrs.field(default=None, init=False, repr=False, eq=False)

    @property
    def query(self) -> Query:
        """The query's parameters, parsed when first asked for."""
        if self._query is None:
            self._query = Query.parse(self.raw_query)
        return self._query


class HeadReader:
    """Collects a request head: `feed` it what arrives until it returns the head.

    No I/O and no clock: who feeds it bounds the time. It holds at most `MAX_HEAD_BYTES` and what one
    call added; h11's state exists only for the moment of parsing, so a head that never ends costs its bytes
    alone.
    """

    __slots__ = ("_buffer", "_searched", "rest")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._searched = 0
        self.rest = b""
        """What followed the head, once it is complete."""

    def feed(self, data: bytes) -> RequestHead | None:
        """The head if ``data`` completes it, else None; not to be called after that. Raises `BadRequest`."""
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data
        buffer = self._buffer
        _refuse_early(buffer)
        blank = _BLANK_LINE.search(buffer, self._searched)
        size = len(buffer) if blank is None else blank.end()
        if size > MAX_HEAD_BYTES:
            raise BadRequest(431, f"the request head is longer than {MAX_HEAD_BYTES} bytes")
        if blank is None:
            self._searched = max(0, size - 2)
            if isinstance(buffer, bytes):
                self._buffer = bytearray(buffer)
            return None
        self._buffer, self._searched = b"", 0
        self.rest = bytes(buffer[size:])
        return _parse(bytes(buffer[:size]))


def _refuse_early(buffer: bytes | bytearray) -> None:
    """Refuse what can't become a request, before its sender waits for an answer to something else."""
    if buffer and buffer[0] not in _TOKEN_BYTES:
        if buffer[0] == _TLS_HANDSHAKE:
            raise BadRequest(400, "this port speaks plain HTTP, not TLS")
        raise BadRequest(400, "the request is not HTTP")
    if len(buffer) > MAX_REQUEST_LINE_BYTES and buffer.find(b"\n", 0, MAX_REQUEST_LINE_BYTES) < 0:
        raise BadRequest(414, f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")


def _parse(head: bytes) -> RequestHead:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        # h11 quotes the offending bytes after a colon; they are the client's, who knows them.
        reason = str(error).partition(": bytearray(")[0]
        raise BadRequest(error.error_status_hint, f"malformed request head: {reason}") from None
    assert isinstance(event, h11.Request)  # a head with its empty line is nothing else
    if event.http_version not in (b"1.1", b"1.0"):
        raise BadRequest(505, f"HTTP/{event.http_version.decode()} is not spoken here, HTTP/1.1 is")
    if len(event.headers) > MAX_HEADERS:
        raise BadRequest(431, f"more than {MAX_HEADERS} headers")
    headers = Headers.from_wire(event.headers.raw_items())
    target = event.target.decode("ascii")
    rest = target
    if target[0] != "/":
        rest, headers = _origin_form(target, headers)
    path, _, raw_query = rest.partition("?")
    return RequestHead(
        method=event.method.decode("ascii"),
        target=target,
        path=_safe_path(path),
        raw_query=raw_query,
        headers=headers,
        http_version=event.http_version.decode("ascii"),
        has_body="transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != "",
    )


def _origin_form(target: str, headers: Headers) -> tuple[str, Headers]:
    """Path and query of an absolute target, whose authority replaces ``Host`` (RFC 9112 section 3.2.2)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(400, "the request target must be a path that begins with /")
    authority, rest = match.groups()
    return rest if rest[:1] == "/" else f"/{rest}", headers.replaced("host", authority)


def _safe_path(path: str) -> str:
    if "%" in path:
        try:
            path = unquote(path, errors="strict")
        except UnicodeDecodeError:
            raise BadRequest(400, "the path is not UTF-8") from None
    if _UNSAFE_PATH.search(path):
        raise BadRequest(400, "the path has control characters, backslashes, or . or .. segments")
    return path


_DEFAULT_HEADERS: HeaderPairs = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
)
"""Sent unless the response has its own: nothing that this server answers is to be guessed at, framed or
kept."""

_NO_BODY = frozenset({204, 304})


def reason_phrase(status: int) -> str:
    """``Not Found`` for 404; empty for a status that has no registered phrase."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def encode_response(response: Response, *, method: str = "GET", now: float | None = None) -> bytes:
    """The bytes of ``response`` to a request with ``method``; ``now`` (Unix time) adds ``Date``.

    ``Content-Length`` and ``Connection`` are set here and nowhere else; no body follows a HEAD, 204 or 304. A
    header that doesn't fit on one line raises `ValueError`.
    """
    pairs = check_headers(response.headers)
    named = {name.lower() for name, _ in pairs}
    if not named.isdisjoint(("content-length", "connection", "transfer-encoding")):
        raise ValueError("Content-Length, Connection and Transfer-Encoding are the server's to set")
    lines = [f"HTTP/1.1 {response.status} {reason_phrase(response.status)}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    lines += [f"{name}: {value}" for name, value in _DEFAULT_HEADERS if name.lower() not in named]
    if now is not None and "date" not in named:
        lines.append(f"Date: {formatdate(now, usegmt=True)}")
    has_body = response.status >= 200 and response.status not in _NO_BODY
    if has_body:
        size = len(response.body) if response.length is None else response.length
        lines.append(f"Content-Length: {size}")
    # RFC 9110 section 7.8: whoever sends Upgrade names it in Connection too.
    lines.append("Connection: close, upgrade" if "upgrade" in named else "Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + response.body if has_body and method != "HEAD" else head
