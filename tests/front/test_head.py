"""The request head and the response: tables, each case fed whole, in pieces, and with trailing bytes."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_chat.front.head import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_REQUEST_LINE_BYTES,
    BadRequest,
    Headers,
    Query,
    RequestHead,
    Response,
    check_headers,
    encode_response,
    reason_phrase,
    shown,
    text_response,
)

from .feeding import BROWSER, every_way, head_of, read_in, read_whole, refusals

HOST = Headers({"Host": "x"})


def request(path: str = "/", query: str = "", **fields: object) -> RequestHead:
    values: dict[str, object] = {"method": "GET", "target": path, "headers": HOST, **fields}
    return RequestHead(path=path, raw_query=query, **values)  # type: ignore[arg-type]


ACCEPTED = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", request(), id="smallest"),
    pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", request(), id="bare line feeds"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\n", request(), id="mixed line ends"),
    pytest.param(
        b"GET / HTTP/1.0\r\n\r\n", request(headers=Headers(), http_version="1.0"), id="HTTP/1.0 without Host"
    ),
    pytest.param(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", request(method="HEAD"), id="HEAD"),
    pytest.param(
        b"GET /a/b?c=d&e HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/a/b", "c=d&e", target="/a/b?c=d&e"),
        id="query",
    ),
    pytest.param(
        b"GET /?a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/", "a?b", target="/?a?b"),
        id="second question mark",
    ),
    pytest.param(
        b"GET /relay/caf%C3%A9%20x HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/relay/café x", target="/relay/caf%C3%A9%20x"),
        id="percent-encoded path",
    ),
    pytest.param(b"GET /%zz%2 HTTP/1.1\r\nHost: x\r\n\r\n", request("/%zz%2"), id="stray percent signs stay"),
    pytest.param(
        b"GET /..a/.b/...%2F HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/..a/.b/.../", target="/..a/.b/...%2F"),
        id="dots in names",
    ),
    pytest.param(
        b"GET http://Other:81/p?q HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/p", "q", target="http://Other:81/p?q", headers=Headers({"Host": "Other:81"})),
        id="absolute target replaces Host",
    ),
    pytest.param(
        b"GET wss://o?q HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/", "q", target="wss://o?q", headers=Headers({"Host": "o"})),
        id="absolute target without a path",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        request(method="POST", headers=Headers({"Host": "x", "Content-Length": "5"}), has_body=True),
        id="body by length",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        request(method="POST", headers=Headers({"Host": "x", "Content-Length": "0"})),
        id="body of no length",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        request(method="POST", headers=Headers({"Host": "x", "Transfer-Encoding": "chunked"}), has_body=True),
        id="chunked body",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: x\r\nX:  a b \t\r\nx: c\r\nY:\r\nZ: a\r\n b\r\nW: caf\xe9\r\n\r\n",
        request(
            headers=Headers([("Host", "x"), ("X", "a b"), ("x", "c"), ("Y", ""), ("Z", "a b"), ("W", "café")])
        ),
        id="values",
    ),
]


@pytest.mark.parametrize(("data", "expected"), ACCEPTED)
def test_a_good_head_is_read_alike_however_it_arrives(data: bytes, expected: RequestHead) -> None:
    """Whole, byte by byte, in sevens, and with trailing bytes, which are handed on."""
    for head, rest, expected_rest in every_way(data):
        assert head is not None
        assert head == expected
        assert dict(head.headers) == dict(expected.headers)
        assert rest == expected_rest


def _padded(size: int) -> bytes:
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


def _line(size: int) -> bytes:
    return b"GET /" + b"a" * (size - len("GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def _headers(count: int) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n"


REFUSED = [
    (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not HTTP"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not TLS"),
    (b"\x00\x00", 400, "not HTTP"),
    (b"GET /\r\n\r\n", 400, "illegal request line"),
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "illegal request line"),
    (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400, "illegal request line"),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "illegal request line"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", 400, "illegal request line"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "multiple Host"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "illegal header line"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400, "illegal header line"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400, "illegal header line"),
    (b"GET / HTTP/1.1\r\n folded\r\nHost: x\r\n\r\n", 400, "continuation line"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "Content-Length"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "Content-Length"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0 is not spoken here"),
    (b"GET / HTTP/0.9\r\n\r\n", 505, "HTTP/0.9"),
    (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505, "HTTP/1.2"),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"),
    (b"GET http://user@a/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"),
    (b"GET http:///p HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"),
    (b"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "control characters"),
    (b"GET /a%0Ab HTTP/1.1\r\nHost: x\r\n\r\n", 400, "control characters"),
    (b"GET /a%5Cb HTTP/1.1\r\nHost: x\r\n\r\n", 400, "backslashes"),
    (b"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400, ".. segments"),
    (b"GET /static/.. HTTP/1.1\r\nHost: x\r\n\r\n", 400, ".. segments"),
    (b"GET /static/%2e%2E%2fx HTTP/1.1\r\nHost: x\r\n\r\n", 400, ".. segments"),
    (b"GET /./x HTTP/1.1\r\nHost: x\r\n\r\n", 400, ".. segments"),
    (b"GET /%FF HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not UTF-8"),
    (b"GET /%ED%A0%80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not UTF-8"),
    (_padded(MAX_HEAD_BYTES + 1), 431, "16384 bytes"),
    (_line(MAX_REQUEST_LINE_BYTES + 1), 414, "8192 bytes"),
    (b"G" * (MAX_HEAD_BYTES + 1), 414, "8192 bytes"),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEAD_BYTES, 431, "16384 bytes"),
    (_headers(MAX_HEADERS + 1), 431, "100 headers"),
]


@pytest.mark.parametrize(("data", "status", "sentence"), REFUSED)
def test_a_bad_head_is_refused_alike_however_it_arrives(data: bytes, status: int, sentence: str) -> None:
    """With the same status and a sentence for people, which repeats none of the request's bytes."""
    errors = refusals(data)
    assert len(errors) == 6
    assert {error.status for error in errors} == {status}
    for error in errors:
        assert sentence in str(error)
        assert "bytearray" not in str(error)
        assert encode_response(error.response()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "data", [_padded(MAX_HEAD_BYTES), _line(MAX_REQUEST_LINE_BYTES), _headers(MAX_HEADERS)]
)
def test_a_head_at_its_limit_is_read(data: bytes) -> None:
    """The limits are the largest sizes allowed."""
    assert all(head is not None for head, _, _ in every_way(data))


def test_an_unfinished_head_is_none_yet() -> None:
    """Every proper prefix of a head asks for more."""
    for size in range(0, len(BROWSER), 13):
        assert read_whole(BROWSER[:size]) == (None, b"")
    assert read_in(BROWSER[:-1], 1) == (None, b"")


def test_an_endless_head_is_refused_before_it_has_grown() -> None:
    """However much one call brings, what the reader keeps from call to call is at most the limit."""
    with pytest.raises(BadRequest, match="longer than"):
        read_in(b"A\n" * MAX_HEAD_BYTES, 2)


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40), st.booleans())
def test_no_bytes_raise_anything_but_a_bad_request(data: bytes, step: int, plausible: bool) -> None:
    """And in pieces they come to the same head, or to the same refusal, as whole."""
    if plausible:
        data = b"GET /" + data + b" HTTP/1.1\r\nHost: x\r\n" + data + b"\r\n\r\n"

    def outcome(step: int) -> object:
        try:
            return read_in(data, step)
        except BadRequest as error:
            return error.status

    assert outcome(step) == outcome(len(data) + 1)


_NAMES = st.sampled_from(
    ["Host", "Upgrade", "Connection", "X", "Cookie", "Content-Length", "Transfer-Encoding"]
)
_VALUES = st.text(st.characters(max_codepoint=255), max_size=12)


@settings(deadline=None)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
    st.lists(st.tuples(_NAMES, _VALUES)),
)
def test_plausible_heads_raise_nothing_but_a_bad_request(target: str, fields: list[tuple[str, str]]) -> None:
    """What is read has a path that is safe."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    try:
        head, _ = read_whole(f"GET /{target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
    except BadRequest:
        return
    assert head is not None
    assert not {".", ".."} & set(head.path.split("/"))
    assert isinstance(head.query, Query)


# --- headers and query ----------------------------------------------------------------------------------


def test_headers_have_no_case_and_keep_repeats() -> None:
    """A repeated field is one list; its lines can be had one by one."""
    headers = Headers([("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1"), ("cookie", "b=2"), ("B", "3")])
    assert headers["X-a"] == "1, 2"
    assert headers["COOKIE"] == "a=1; b=2"
    assert headers.get("b") == "3"
    assert headers.get("c") is None
    assert headers.get_all("x-A") == ["1", "2"]
    assert headers.get_all("c") == []
    assert "X-A" in headers
    assert "c" not in headers
    assert list(headers) == ["x-a", "cookie", "b"]
    assert len(headers) == 3
    assert repr(Headers({"A": "b"})) == "Headers({'a': ['b']})"


def test_replacing_a_header_leaves_the_original_alone() -> None:
    """A new value takes the place of all the old ones."""
    headers = Headers([("A", "1"), ("a", "2")])
    assert headers.replaced("A", "3").get_all("a") == ["3"]
    assert headers.get_all("a") == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("room=a&name=ann+b&room=%C3%A9", {"room": ["a", "é"], "name": ["ann b"]}),
        ("a&b=&=c", {"a": [""], "b": [""], "": ["c"]}),
        ("a=%FF", {"a": ["\N{REPLACEMENT CHARACTER}"]}),
        ("a=1=2;b", {"a": ["1=2;b"]}),
    ],
)
def test_query_parameters(text: str, expected: dict[str, list[str]]) -> None:
    """The first of a name is its value, and all are there; nothing is an error."""
    query = Query.parse(text)
    assert {name: query.get_all(name) for name in query} == expected
    assert dict(query) == {name: values[0] for name, values in expected.items()}


def test_the_query_is_parsed_once() -> None:
    """Asking again gives the same object."""
    head = head_of("Host: x", start="GET /ws?a=1 HTTP/1.1")
    assert head.query is head.query
    assert head.query["a"] == "1"


# --- responses ------------------------------------------------------------------------------------------


def _decode(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """The response as an independent client reads it, to the end of the connection."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert isinstance(client.next_event(), h11.ConnectionClosed)
    return response, body


@pytest.mark.parametrize(
    ("status", "method", "length", "body"),
    [
        (200, "GET", b"6", "hällo"),
        (404, "POST", b"6", "hällo"),
        (200, "HEAD", b"6", ""),
        (204, "GET", None, ""),
        (304, "GET", None, ""),
        (799, "GET", b"6", "hällo"),
    ],
)
def test_a_response_is_what_a_client_reads(status: int, method: str, length: bytes | None, body: str) -> None:
    """Length and closing are right for every status and method."""
    data = encode_response(Response(status, (("X", "é"),), "hällo".encode()), method=method)
    response, received = _decode(data, method)
    headers = dict(response.headers)
    assert response.status_code == status
    assert headers.get(b"content-length") == length
    assert headers[b"connection"] == b"close"
    assert headers[b"x"] == "é".encode("latin-1")
    assert received.decode() == body


def test_every_response_is_guarded() -> None:
    """Nothing is to be guessed, framed or kept, unless the response says so itself."""
    headers = dict(_decode(encode_response(text_response(200, "hi")))[0].headers)
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
    assert headers[b"cache-control"] == b"no-store"
    assert b"date" not in headers
    own = dict(_decode(encode_response(Response(200, (("cache-control", "no-cache"),))))[0].headers)
    assert own[b"cache-control"] == b"no-cache"


def test_the_date_is_the_time_given() -> None:
    """In the format of RFC 9110 section 5.6.7, unless the response has one."""
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in encode_response(Response(200), now=784111777.0)
    assert b"1994" not in encode_response(Response(200, (("Date", "x"),)), now=784111777.0)


def test_an_upgrade_header_is_named_in_connection() -> None:
    """As RFC 9110 section 7.8 asks for."""
    data = encode_response(Response(426, (("Upgrade", "websocket"),)))
    assert b"\r\nConnection: close, upgrade\r\n" in data


@pytest.mark.parametrize(
    "pair",
    [
        ("X", "a\r\nB: c"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\x00b"),
        ("X", "a\x7fb"),
        ("X", " a"),
        ("X", "a\t"),
        ("X", "a\n"),
        ("X", "€"),
        ("X:", "a"),
        ("X\r\nY", "a"),
        ("", "a"),
        ("X\n", "a"),
    ],
)
def test_a_header_can_not_smuggle_another(pair: tuple[str, str]) -> None:
    """Line ends, NUL and everything else that doesn't fit a header line is refused."""
    with pytest.raises(ValueError, match="header"):
        check_headers([pair])
    with pytest.raises(ValueError, match="header"):
        encode_response(Response(200, (pair,)))


@given(st.text(), st.text())
def test_headers_that_pass_are_one_line_each(name: str, value: str) -> None:
    """What `check_headers` lets through, h11 reads back as it was."""
    try:
        check_headers({name: value})
        data = encode_response(Response(200, ((name, value),)))
    except ValueError:
        return
    assert (name.lower().encode(), value.encode("latin-1")) in list(_decode(data)[0].headers)


@pytest.mark.parametrize("name", ["content-length", "Connection", "TRANSFER-ENCODING"])
def test_framing_headers_are_the_servers(name: str) -> None:
    """A handler can't make the client misread where the response ends."""
    with pytest.raises(ValueError, match="the server's to set"):
        encode_response(Response(200, ((name, "1"),)))


def test_an_empty_text_is_an_empty_body() -> None:
    """And any other ends with a line end."""
    assert text_response(400, "").body == b""
    assert text_response(400, "no").body == b"no\n"


def test_reason_phrases() -> None:
    """Registered ones by name, others without."""
    assert reason_phrase(431) == "Request Header Fields Too Large"
    assert reason_phrase(799) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("é ok", "é ok"), ("a\nb\x1b[0m\u202e", "a�b�[0m�"), ("a" * 201, "a" * 200 + "...")],
)
def test_what_a_client_sent_is_shown_harmlessly(text: str, expected: str) -> None:
    """On one line, without control and format characters, cut where it is long."""
    assert shown(text) == expected
