"""The upgrade handler through the public API: who is let in, as whom, and what the others are told."""

import pytest
import trio.testing

import trio_chat
from trio_chat import Accept, Endpoint, Reject, UpgradeRequest, User, all_of, require_cookie, require_header

from .peers import (
    PING,
    PONG,
    TEXT,
    Refused,
    ask,
    client_frame,
    connected,
    head,
    open_stream,
    serving,
    shake_hands,
    troubles,
)


async def refused(server: trio_chat.Server, path: str = "/ws", **headers: str) -> tuple[int, str]:
    """Status and body of an upgrade that is not let in."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(Refused) as caught:
        async with connected(server, path, named):
            pass
    return caught.value.answer.status, caught.value.answer.text


async def test_refused_by_header() -> None:
    """Missing and wrong have words of their own, and a 401 has its challenge."""
    async with serving(upgrade=require_header("Authorization", "Bearer s3cret")) as server:
        answer = await ask(server, "/ws", upgrade=True)
        assert (answer.status, answer.text) == (401, "header Authorization is required")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert await refused(server, Authorization="Bearer x") == (
            401,
            "header Authorization is not accepted",
        )
        async with connected(server, headers={"Authorization": "Bearer s3cret"}) as peer:
            assert (await peer.join())["op"] == "joined"


async def test_refused_by_cookie() -> None:
    """With status, body and headers of the handler's choice."""
    policy = require_cookie("session", "abc", status=403, headers={"X-Why": "cookie"})
    async with serving(upgrade=policy) as server:
        answer = await ask(server, "/ws", {"Cookie": "other=1; session=wrong"}, upgrade=True)
        assert (answer.status, answer.text) == (403, "cookie session is not accepted")
        assert answer.headers["x-why"] == "cookie"
        assert await refused(server) == (403, "cookie session is required")
        async with connected(server, "/relay/x", {"Cookie": "other=1; session=abc"}):
            pass


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), None, 101),
        ((), "http://chat.test", 101),
        ((), "http://chat.test:80", 101),
        ((), "https://chat.test", 403),
        ((), "http://evil.test", 403),
        ((), "http://chat.test.evil.test", 403),
        ((), "null", 403),
        (("https://a.test",), "https://a.test", 101),
        (("https://a.test",), "http://chat.test", 101),
        (("https://a.test",), "https://b.test", 403),
        (("*",), "http://evil.test", 101),
    ],
)
async def test_origins(origins: tuple[str, ...], origin: str | None, status: int) -> None:
    """By default the server's own pages and programs; with --origin also those; every endpoint alike."""
    async with serving(origin=origins, endpoints={"/echo": _echo}) as server:
        for path in ("/ws", "/relay/x", "/echo"):
            if status == 101:
                async with connected(server, path, {"Origin": origin}):
                    pass
            else:
                answer = await ask(server, path, {"Origin": origin}, upgrade=True)
                assert answer.status == status
                assert answer.text.startswith(f"origin {origin} is not allowed")


async def _echo(websocket: trio_chat.WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


async def test_the_origin_is_asked_before_the_handler() -> None:
    """A page of another site can't even make the handler work."""

    async def upgrade(request: UpgradeRequest) -> Accept:
        raise AssertionError

    async with serving(upgrade=upgrade) as server:
        assert (await refused(server, Origin="http://evil.test"))[0] == 403


async def test_a_rejection_is_sent_as_the_handler_wrote_it() -> None:
    """Status, text or bytes, headers; a redirect too."""
    answers = {
        "/relay/text": Reject(418, "short and stout", {"X-Pot": "tea"}),
        "/relay/bytes": Reject(403, b"\x00\xff"),
        "/relay/json": Reject(402, '{"pay":1}', {"Content-Type": "application/json"}),
        "/relay/away": Reject(307, "", {"Location": "https://other.test/ws"}),
    }

    async def upgrade(request: UpgradeRequest) -> Reject:
        return answers[request.path]

    async with serving(upgrade=upgrade) as server:
        for path, rejection in answers.items():
            answer = await ask(server, path, upgrade=True)
            body = rejection.body.encode() if isinstance(rejection.body, str) else rejection.body
            assert (answer.status, answer.body) == (rejection.status, body)
            for name, value in rejection.headers:
                assert answer.headers[name.lower()] == value


@pytest.mark.parametrize("path", ["/ws", "/relay/x", "/echo"])
async def test_a_visible_rejection_is_bye_and_a_code(path: str) -> None:
    """The handshake is accepted, the reason said once as `bye` and once in the close frame."""

    async def upgrade(request: UpgradeRequest) -> Reject:
        return Reject.visibly(4501, "please sign in 请登录")

    async with (
        serving(upgrade=upgrade, endpoints={"/echo": Endpoint(_echo, upgrade)}) as server,
        connected(server, path, {"Sec-WebSocket-Protocol": "trio-chat.v1"}) as peer,
    ):
        assert peer.answer.headers.get("sec-websocket-protocol") == (
            "trio-chat.v1" if path == "/ws" else None
        )
        said, code, reason = await peer.ended()
        assert (code, reason) == (4501, "please sign in 请登录")
        assert said == [{"op": "bye", "code": 4501, "reason": "please sign in 请登录"}]


async def test_accepted_as_a_guest_a_name_or_a_user() -> None:
    """None leaves the name to the client; a name or a `User` can't be changed by `hello` or the query."""
    who = {"none": None, "name": "Ann", "user": User("u-1", "Bob")}

    async def upgrade(request: UpgradeRequest) -> Accept:
        return Accept(who[request.query["who"]])

    async with serving(upgrade=upgrade) as server:
        for key, expected in (("none", "zoe"), ("name", "Ann"), ("user", "Bob")):
            async with connected(server, f"/ws?who={key}&name=zoe") as peer:
                assert (await peer.join())["user"]["name"] == expected
                await peer.send("hello", name="mallory")
                user = (await peer.receive_until("welcome"))["user"]
                assert user["name"] == ("mallory" if key == "none" else expected)
                if key == "user":
                    assert user["id"] == "u-1"


async def test_subprotocol_and_headers_of_an_accept() -> None:
    """The chosen subprotocol is answered if the client offered it; the headers are on the 101."""

    async def upgrade(request: UpgradeRequest) -> Accept:
        assert request.subprotocols in ((), ("a", "b"))
        return Accept(subprotocol="b", headers={"Set-Cookie": "seen=1; HttpOnly", "X-Node": "7"})

    async with serving(upgrade=upgrade) as server:
        async with connected(server, headers={"Sec-WebSocket-Protocol": "a, b"}) as peer:
            assert peer.answer.headers["sec-websocket-protocol"] == "b"
            assert peer.answer.headers["set-cookie"] == "seen=1; HttpOnly"
            assert peer.answer.headers["x-node"] == "7"
        async with connected(server) as peer:
            assert "sec-websocket-protocol" not in peer.answer.headers


async def test_without_a_handler_the_chat_s_subprotocol_is_chosen() -> None:
    """Offered among others or not at all, both are served the same."""
    async with serving() as server:
        async with connected(server, headers={"Sec-WebSocket-Protocol": "x, trio-chat.v1"}) as peer:
            assert peer.answer.headers["sec-websocket-protocol"] == "trio-chat.v1"
            await peer.join()
        async with connected(server, headers={"Sec-WebSocket-Protocol": "x"}) as peer:
            assert "sec-websocket-protocol" not in peer.answer.headers
            await peer.join()


async def test_the_request_says_everything() -> None:
    """Path, query, headers in any case, cookies, addresses, subprotocols, as the client sent them."""
    seen: list[UpgradeRequest] = []

    async def upgrade(request: UpgradeRequest) -> Accept:
        seen.append(request)
        return Accept()

    async with (
        serving(upgrade=upgrade) as server,
        connected(
            server,
            "/relay/caf%C3%A9?echo=1&a=b%20c&a=2",
            {"X-Tag": "t", "Cookie": 'a=1; b="2"', "Sec-WebSocket-Protocol": "p"},
        ),
    ):
        (request,) = seen
        assert request.path == "/relay/café"
        assert request.query.get_all("a") == ["b c", "2"]
        assert (request.headers["x-TAG"], request.cookies) == ("t", {"a": "1", "b": "2"})
        assert (request.client, request.peer, request.tls) == ("127.0.0.1", "127.0.0.1", False)
        assert request.subprotocols == ("p",)
        assert (request.host, request.scheme, request.origin) == ("chat.test", "http", None)


async def test_a_crash_is_a_500_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The one client is told, the log has the traceback, and everybody else talks on."""

    async def upgrade(request: UpgradeRequest) -> Accept:
        if "crash" in request.query:
            raise RuntimeError("the database is gone")
        return Accept()

    async with serving(upgrade=upgrade) as server, connected(server) as ann, connected(server) as bob:
        await ann.join()
        await bob.join()
        answer = await ask(server, "/ws?crash", upgrade=True)
        assert (answer.status, answer.text) == (500, "internal error")
        assert troubles(caplog) == [
            "trio_chat.server: the upgrade handler failed: RuntimeError('the database is gone')"
        ]
        await ann.say("still here")
        assert await bob.message() == "still here"


async def test_each_endpoint_has_its_own_handler() -> None:
    """The server's handler is for /ws and /relay; an endpoint has its own, or lets everybody in."""

    async def whoami(websocket: trio_chat.WebSocket) -> None:
        await websocket.send(f"{websocket.request.path} {websocket.user and websocket.user.name}")

    async def as_ann(request: UpgradeRequest) -> Accept:
        return Accept("ann")

    async def nobody(request: UpgradeRequest) -> Reject:
        return Reject(403, "closed to the public")

    endpoints = {
        "/open": whoami,
        "/ann": Endpoint(whoami, as_ann),
        "/locked": Endpoint(whoami, all_of(as_ann, require_header("X-Key", "k"))),
    }
    async with serving(upgrade=nobody, endpoints=endpoints) as server:
        assert await refused(server, "/ws") == (403, "closed to the public")
        assert await refused(server, "/relay/x") == (403, "closed to the public")
        assert (await refused(server, "/locked"))[0] == 401
        for path, key, text in (("/open", "", "None"), ("/ann", "", "ann"), ("/locked", "k", "ann")):
            async with connected(server, path, {"X-Key": key}) as peer:
                assert await peer.frame() == (TEXT, f"{path} {text}".encode())
                assert await peer.closed() == (1000, "")
        assert (await ask(server, "/open")).status == 426


async def test_what_follows_the_request_in_one_piece_is_not_lost() -> None:
    """Frames sent together with the handshake, before its answer, are served after it."""

    async def slowly(request: UpgradeRequest) -> Accept:
        await trio.testing.wait_all_tasks_blocked()
        return Accept()

    async with serving(upgrade=slowly) as server:
        early = client_frame(TEXT, b'{"op":"join","room":"lobby"}') + client_frame(PING, b"early")
        async with await shake_hands(await open_stream(server), head() + early) as peer:
            assert (await peer.receive())["op"] == "joined"
            assert await peer.frame() == (PONG, b"early")


@pytest.mark.parametrize("path", ["/", "/ws", "/relay/x", "echo"])
async def test_an_endpoint_can_t_take_the_server_s_own_path(path: str) -> None:
    """Said at once, by name."""
    with pytest.raises(ValueError, match="endpoints: a path like /echo"):
        await trio_chat.serve(trio_chat.Config(port=0, log="memory:"), endpoints={path: _echo})


async def test_an_origin_policy_takes_the_place_of_the_server_s_check() -> None:
    """Alone or within `all_of`; one that says nothing about origins doesn't; `config.origin` adds its own."""
    other = {"Origin": "https://a.example"}
    allowed = trio_chat.allow_origins("https://a.example")
    key = trio_chat.require_header("X-Key")
    for policy, headers, status in (
        (allowed, other, 101),
        (allowed, {"Origin": "https://b.example"}, 403),
        (trio_chat.all_of(key, allowed), other | {"X-Key": "k"}, 101),
        (trio_chat.all_of(key, allowed), other, 401),
        (key, other | {"X-Key": "k"}, 403),
        (trio_chat.any_of(key, allowed), other | {"X-Key": "k"}, 403),
    ):
        async with serving(upgrade=policy) as server:
            assert await status_of(server, headers) == status
        async with serving(endpoints={"/own": trio_chat.Endpoint(_ignore, policy)}) as server:
            assert await status_of(server, headers, "/own") == status
    async with serving(upgrade=allowed, origin=("https://b.example",)) as server:
        assert await status_of(server, other) == 403


async def _ignore(websocket: trio_chat.WebSocket) -> None:
    """An endpoint that does nothing."""


async def status_of(server: trio_chat.Server, headers: dict[str, str], path: str = "/ws") -> int:
    """The status of the answer to an upgrade."""
    try:
        async with connected(server, path, headers) as peer:
            return peer.answer.status
    except Refused as refused:
        return refused.answer.status
