"""Upgrade handlers: what they are asked, what they may answer, and the ready-made ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.chat.schema import User
from trio_chat.front.address import TrustedProxies
from trio_chat.front.handshake import check_handshake
from trio_chat.front.head import Headers, encode_response
from trio_chat.front.upgrade import (
    MAX_REASON_BYTES,
    Accept,
    Reject,
    UpgradeHandler,
    UpgradeRequest,
    all_of,
    allow_origins,
    any_of,
    require_cookie,
    require_header,
    same_origin,
)

from .feeding import BROWSER, read_whole

OWN = "https://chat.example.org"


def asking(origin: str | None = None, own: str = OWN, **headers: str) -> UpgradeRequest:
    """A request to a server that the client addressed as ``own``."""
    scheme, _, host = own.partition("://")
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if origin is not None:
        fields["Origin"] = origin
    return UpgradeRequest(path="/ws", headers=fields, scheme=scheme, host=host)


async def test_a_request_tells_the_handler_everything() -> None:
    """From head, handshake and the client's address."""
    head, _ = read_whole(BROWSER)
    assert head is not None
    client = TrustedProxies(["10.0.0.0/8"]).resolve("10.0.0.1", head.headers)
    request = UpgradeRequest.from_head(head, check_handshake(head), client, peer="10.0.0.1", tls=True)
    assert request.path == "/ws"
    assert request.method == "GET"
    assert request.query["name"] == "ann"
    assert request.query is request.query
    assert request.headers["upgrade"] == "websocket"
    assert request.cookies == {"session": "abcdef", "theme": "dark"}
    assert request.cookies is request.cookies
    assert (request.client, request.peer, request.tls) == ("10.0.0.1", "10.0.0.1", True)
    assert request.subprotocols == ("trio-chat.v1", "other")
    assert (request.scheme, request.host, request.origin) == (
        "http",
        "chat.example.org",
        "http://chat.example.org",
    )
    assert isinstance(await same_origin()(request), Accept)


def test_a_request_is_easily_made_by_hand() -> None:
    """For the tests of an embedder's own handlers."""
    request = UpgradeRequest(path="/ws", headers={"Origin": "x"}, raw_query="a=1")
    assert request.headers["ORIGIN"] == "x"
    assert request.query["a"] == "1"
    assert request.cookies == {}
    assert UpgradeRequest(path="/").origin is None
    headers = Headers([("A", "b")])
    assert UpgradeRequest(path="/", headers=headers).headers is headers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": "1"}),
        ("a=1; b=2;c=3;", {"a": "1", "b": "2", "c": "3"}),
        (' a = "x y" ;b="', {"a": "x y", "b": '"'}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1; a=2", {"a": "1"}),
        ("a; =b; ;; c=", {"c": ""}),
        ("a=%41", {"a": "%41"}),
    ],
)
def test_cookies(text: str, expected: dict[str, str]) -> None:
    """The first of a name counts; what is no cookie is passed over."""
    assert asking(Cookie=text).cookies == expected


@given(st.text(st.characters(max_codepoint=255)))
def test_no_cookie_header_is_an_error(text: str) -> None:
    """Whatever it holds, it is read."""
    assert all(asking(Cookie=text).cookies)


# --- answers --------------------------------------------------------------------------------------------


def test_an_accept_carries_what_it_is_given() -> None:
    """Headers come as a mapping or as pairs."""
    assert Accept() == Accept(None, None, ())
    assert Accept("ann", headers={"Set-Cookie": "a=b"}).headers == (("Set-Cookie", "a=b"),)
    assert Accept(User("1", "ann"), "v1", [("A", "b"), ("A", "c")]).headers == (("A", "b"), ("A", "c"))


def test_a_user_is_who_the_checked_name_says() -> None:
    """What was checked, trimmed and in NFC, is what counts, not what was given."""
    assert Accept("ann\n").user == "ann"
    assert Accept(" Zoe\u0308 ").user == "Zo\u00eb"
    assert Accept(User("1", "ann\n")).user == User("1", "ann")
    assert Accept(User("x" * 128, "ann")).user == User("x" * 128, "ann")
    assert Accept(User("\u0645\u3000 1", "ann")).user == User("\u0645\u3000 1", "ann")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (User("", "ann"), "id: 1 to 128 printable characters"),
        (User("x" * 129, "ann"), "id: 1 to 128 printable characters"),
        (User("a\nb", "ann"), "id: 1 to 128 printable characters"),
        (User("a\u202eb", "ann"), "id: 1 to 128 printable characters"),
        (User("\ud800", "ann"), "id: 1 to 128 printable characters"),
        (User("1", " "), "name: 1 to 32 characters"),
        ("a\u034f", "name: no invisible characters"),
    ],
    ids=ascii,
)
def test_a_user_that_can_not_be_is_refused_when_made(user: User | str, words: str) -> None:
    """An id is somebody's for programs, so it is bounded and can be read."""
    with pytest.raises(ValueError, match=f"^{words}$"):
        Accept(user)


@pytest.mark.parametrize(
    "name", ["Connection", "content-length", "Transfer-Encoding", "UPGRADE", "Sec-WebSocket-Accept"]
)
def test_answers_can_not_set_the_servers_headers(name: str) -> None:
    """Neither of them."""
    for answer in (Accept, Reject):
        with pytest.raises(ValueError, match="the server sets it"):
            answer(headers={name: "x"})


def test_answers_are_checked_when_made() -> None:
    """Where the mistake is, not where it would be sent."""
    for answer in (Accept, Reject):
        with pytest.raises(ValueError, match="header X"):
            answer(headers={"X": "a\r\nB: c"})
    with pytest.raises(ValueError, match="subprotocol"):
        Accept(subprotocol="a b")
    for status in (200, 101, 600):
        with pytest.raises(ValueError, match="status: 300 to 599"):
            Reject(status)


@pytest.mark.parametrize(
    ("reject", "head", "body"),
    [
        (Reject(), b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n", b""),
        (
            Reject(401, "né"),
            b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\n",
            "né".encode(),
        ),
        (
            Reject(403, b"\x00"),
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/octet-stream\r\n",
            b"\x00",
        ),
        (
            Reject(402, "{}", {"content-type": "application/json", "X": "y"}),
            b"HTTP/1.1 402 Payment Required\r\ncontent-type: application/json\r\nX: y\r\n",
            b"{}",
        ),
        (
            Reject(302, headers={"Location": "/"}),
            b"HTTP/1.1 302 Found\r\nContent-Type: text/plain; charset=utf-8\r\nLocation: /\r\n",
            b"",
        ),
        (Reject.visibly(4501, "sign in"), b"HTTP/1.1 403 Forbidden\r\n", b"sign in"),
    ],
)
def test_a_rejection_is_an_http_response(reject: Reject, head: bytes, body: bytes) -> None:
    """With status, body and headers as the handler says."""
    data = encode_response(reject.response())
    assert data.startswith(head)
    assert data.partition(b"\r\n\r\n")[2] == body
    assert b"\r\nContent-Length: %d\r\n" % len(body) in data


@pytest.mark.parametrize("code", [1000, 1008, 1013, 3000, 4501, 4999])
def test_a_visible_rejection_has_a_code_and_a_reason(code: int) -> None:
    """Any that an application may close with, and a reason as long as a close frame holds."""
    reject = Reject.visibly(code, "é" * 61)
    assert (reject.close_code, reject.reason) == (code, "é" * 61)
    assert Reject(403, "x").close_code is None


def test_a_visible_rejection_is_checked_when_made() -> None:
    """Codes that mean something else on the wire, and reasons that don't fit, are refused."""
    for code in (0, 999, 1002, 1005, 1006, 1015, 2999, 5000):
        with pytest.raises(ValueError, match="code: "):
            Reject.visibly(code, "")
    with pytest.raises(ValueError, match="123 bytes"):
        Reject.visibly(4000, "é" * (MAX_REASON_BYTES // 2 + 1))


@pytest.mark.parametrize(
    ("reject", "line"),
    [
        (Reject(), "403 Forbidden"),
        (Reject(403, "\n no way \nmore"), "403 no way"),
        (Reject(403, b"binary"), "403 Forbidden"),
        (Reject(599), "599"),
        (Reject(403, "a\x1bb"), "403 a�b"),
        (Reject.visibly(4501, "sign in"), "4501 sign in"),
        (Reject.visibly(1000, ""), "1000"),
    ],
)
def test_a_rejection_is_one_line_in_the_log(reject: Reject, line: str) -> None:
    """Status or code, and the reason."""
    assert str(reject) == line


# --- policies -------------------------------------------------------------------------------------------

SAME_ORIGIN = [
    (OWN, None, True),
    (OWN, OWN, True),
    (OWN, "https://chat.example.org:443", True),
    ("https://chat.example.org:443", OWN, True),
    ("http://chat.example.org:80", "http://chat.example.org", True),
    (OWN, "HTTPS://Chat.Example.ORG", True),
    ("https://CHAT.example.org", OWN, True),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080", True),
    ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080", True),
    ("http://[2001:DB8::1]", "http://[2001:db8::1]:80", True),
    (OWN, "http://chat.example.org", False),
    (OWN, "https://chat.example.org:8443", False),
    ("http://127.0.0.1:8080", "http://127.0.0.1", False),
    (OWN, "https://evil.example", False),
    (OWN, "https://chat.example.org.evil.example", False),
    (OWN, "https://evil-chat.example.org", False),
    (OWN, "https://chat.example.org@evil.example", False),
    (OWN, "https://chat.example.org/path", False),
    (OWN, f"{OWN}, https://evil.example", False),
    ("http://127.0.0.1", "http://localhost", False),
    (OWN, "null", False),
    (OWN, "", False),
    (OWN, "nonsense", False),
    ("http://", "null", False),
    ("http://[zz]", "http://[::1]", False),
    ("http://[::1]", "http://[1::2::3]", False),
    ("http://a b", "http://a%20b", False),
]


@pytest.mark.parametrize(("own", "origin", "allowed"), SAME_ORIGIN)
async def test_same_origin(own: str, origin: str | None, allowed: bool) -> None:
    """Scheme, host and port must be those the client addressed; no origin is no browser."""
    answer = await same_origin()(asking(origin, own))
    assert isinstance(answer, Accept) == allowed
    if isinstance(answer, Reject):
        assert answer.status == 403
        assert str(answer).startswith(f"403 origin {origin} is not allowed")


async def test_a_refused_origin_is_told_why() -> None:
    """Where only the scheme or port differs, the answer says how the server was addressed."""
    assert str(await same_origin()(asking("https://evil.example"))) == (
        "403 origin https://evil.example is not allowed"
    )
    assert str(await same_origin()(asking("https://a", "http://a"))) == (
        "403 origin https://a is not allowed (this server was addressed as http://a)"
    )
    long = await same_origin()(asking("https://" + "a" * 9999))
    assert isinstance(long, Reject)
    assert len(long.body) < 300


@pytest.mark.parametrize(
    ("handler", "origin", "allowed"),
    [
        (allow_origins("https://a.example"), "https://a.example", True),
        (allow_origins("HTTPS://A.example:443"), "https://a.example", True),
        (allow_origins("https://a.example"), OWN, True),
        (allow_origins("https://a.example"), None, True),
        (allow_origins("https://a.example"), "https://b.example", False),
        (allow_origins("https://a.example"), "http://a.example", False),
        (allow_origins("https://a.example"), "null", False),
        (allow_origins("null"), "null", True),
        (allow_origins("app://tool"), "app://tool", True),
        (allow_origins("*"), "https://b.example", True),
        (allow_origins("*"), "null", True),
        (allow_origins("https://a.example", strict=True), "https://a.example", True),
        (allow_origins("https://a.example", strict=True), OWN, False),
        (allow_origins("https://a.example", strict=True), None, False),
        (allow_origins("*", strict=True), OWN, True),
    ],
)
async def test_allowed_origins(handler: UpgradeHandler, origin: str | None, allowed: bool) -> None:
    """Those listed, and unless strict the server's own and none at all."""
    assert isinstance(await handler(asking(origin)), Accept) == allowed


@pytest.mark.parametrize(
    "origin", ["a.example", "https://a.example/", "https://", "https://*.a.example/x", ""]
)
def test_an_impossible_origin_is_refused_when_made(origin: str) -> None:
    """It could never match."""
    with pytest.raises(ValueError, match="origin: like"):
        allow_origins(origin)


@pytest.mark.parametrize(
    ("handler", "headers", "line"),
    [
        (require_header("X-Token"), {"X_Token": "a"}, None),
        (require_header("x-token"), {}, "401 header x-token is required"),
        (require_header("X-Token"), {"X_Token": ""}, "401 header X-Token is not accepted"),
        (require_header("X-Token", "secret"), {"X_Token": "secret"}, None),
        (require_header("X-Token", "secret"), {"X_Token": "Secret"}, "401 header X-Token is not accepted"),
        (require_header("X-Token", "pässword"), {"X_Token": "pässword".encode().decode("latin-1")}, None),
        (require_header("X-Token", "a", status=403), {"X_Token": "€"}, "403 header X-Token is not accepted"),
        (require_header("X-Token", str.isdigit), {"X_Token": "123"}, None),
        (require_header("X-Token", str.isdigit), {"X_Token": "12x"}, "401 header X-Token is not accepted"),
        (require_cookie("session"), {"Cookie": "a=b; session=x"}, None),
        (require_cookie("session"), {"Cookie": "a=b"}, "401 cookie session is required"),
        (require_cookie("session", "x"), {"Cookie": "session=y"}, "401 cookie session is not accepted"),
        (require_cookie("session", lambda value: value == "y"), {"Cookie": "session=y"}, None),
    ],
)
async def test_required_headers_and_cookies(
    handler: UpgradeHandler, headers: dict[str, str], line: str | None
) -> None:
    """Any value, one value, or one that a function approves of; the refusal says which is missing or
    wrong."""
    answer = await handler(asking(**headers))
    assert isinstance(answer, Accept) if line is None else str(answer) == line


async def test_a_repeated_header_does_not_pass_for_its_first_line() -> None:
    """A second line that a careless proxy let through makes another value."""
    request = UpgradeRequest(path="/", headers=[("X-Token", "secret"), ("X-Token", "x")])
    assert isinstance(await require_header("X-Token", "secret")(request), Reject)


@pytest.mark.parametrize(
    ("handler", "challenge"),
    [
        (require_header("Authorization"), "Bearer"),
        (require_header("X-Token"), 'Header name="X-Token"'),
        (require_cookie("session"), 'Cookie cookie-name="session"'),
        (require_cookie("session", headers={"www-authenticate": "Basic"}), "Basic"),
        (require_cookie("session", headers={"Www-Authenticate": "Basic", "X": "y"}), "Basic"),
        (require_cookie("session", headers={"X": "y"}), 'Cookie cookie-name="session"'),
        (require_cookie("session", status=403), None),
    ],
)
async def test_a_401_has_a_challenge(handler: UpgradeHandler, challenge: str | None) -> None:
    """RFC 9110 section 15.5.2 demands one; the embedder's own goes first."""
    answer = await handler(asking())
    assert isinstance(answer, Reject)
    assert Headers(answer.headers).get("www-authenticate") == challenge


def test_names_that_can_not_be_are_refused_when_made() -> None:
    """A header or cookie of that name could never be sent."""
    with pytest.raises(ValueError, match="header name"):
        require_header("X Token")
    with pytest.raises(ValueError, match="cookie name"):
        require_cookie("a;b")
    with pytest.raises(ValueError, match="header X"):
        require_header("X-Token", headers={"X": "a\nb"})


def always(answer: Accept | Reject, asked: list[Accept | Reject] | None = None) -> UpgradeHandler:
    """A handler with one answer, which notes that it was asked."""

    async def handler(_: UpgradeRequest) -> Accept | Reject:
        if asked is not None:
            asked.append(answer)
        return answer

    return handler


async def test_all_of_merges_what_they_say() -> None:
    """The last user and subprotocol that is one, and all headers."""
    handler = all_of(
        always(Accept("ann", "v1", {"A": "1"})), always(Accept("bob", None, {"A": "2"})), always(Accept())
    )
    assert await handler(asking()) == Accept("bob", "v1", (("A", "1"), ("A", "2")))
    assert await all_of()(asking()) == Accept()


async def test_all_of_stops_at_the_first_rejection() -> None:
    """Later handlers aren't asked."""
    asked: list[Accept | Reject] = []
    answers: list[Accept | Reject] = [Accept(), Reject(401), Reject(402)]
    assert await all_of(*(always(answer, asked) for answer in answers))(asking()) == Reject(401)
    assert asked == answers[:2]


async def test_any_of_stops_at_the_first_accept() -> None:
    """Later handlers aren't asked."""
    asked: list[Accept | Reject] = []
    answers: list[Accept | Reject] = [Reject(401), Accept("ann"), Accept("bob")]
    handler = any_of(*(always(answer, asked) for answer in answers))
    assert await handler(asking()) == Accept("ann")
    assert asked == answers[:2]
    assert await any_of(always(Accept("first")))(asking()) == Accept("first")


async def test_any_of_gives_the_first_rejection_if_all_reject() -> None:
    """It is the one that the embedder put first."""
    assert await any_of(always(Reject(401)), always(Reject(402)))(asking()) == Reject(401)


async def test_policies_combine() -> None:
    """Pages by cookie from the own origin, programs by token."""
    handler = all_of(same_origin(), any_of(require_cookie("session", "s"), require_header("X-Token", "t")))
    assert isinstance(await handler(asking(OWN, Cookie="session=s")), Accept)
    assert isinstance(await handler(asking(X_Token="t")), Accept)
    assert str(await handler(asking("https://evil.example", Cookie="session=s"))).startswith("403 origin")
    assert str(await handler(asking())) == "401 cookie session is required"
