"""Plain HTTP and handshakes on the one port: each request gets its status, its words, and an end."""

import importlib.resources

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import trio_chat
from trio_chat import door

from .peers import Answer, answer_to, ask, connected, head, open_stream, read_all, serving, until

SIXTEEN_KIB = 16 * 1024


@pytest.mark.parametrize(
    "path", ["/nothing", "/WS", "/ws/", "/static/", "/static/../door.py", "/relay", "/%2e"]
)
async def test_an_unknown_path_is_404_or_400(path: str) -> None:
    """Nothing is guessed: a path is in the table or it isn't, and dot segments are refused."""
    async with serving() as server:
        for upgrade in (False, True):
            answer = await ask(server, path, upgrade=upgrade)
            assert answer.status == (400 if ".." in path or "%2e" in path else 404)
            assert answer.headers["connection"] == "close"
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/ws", "/relay/room", "/echo"])
async def test_an_endpoint_without_an_upgrade_is_426(path: str) -> None:
    """The answer names the protocol to use, as RFC 9110 section 15.5.22 wants it."""
    async with serving(endpoints={"/echo": _echo}) as server:
        answer = await ask(server, path)
        assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
        assert answer.headers["sec-websocket-version"] == "13"
        assert "WebSocket endpoint" in answer.text


async def _echo(websocket: trio_chat.WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Sec-WebSocket-Key": None}, 400, "Sec-WebSocket-Key is missing"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, "16 bytes"),
        ({"Sec-WebSocket-Version": "8"}, 426, "13"),
        ({"Sec-WebSocket-Version": None}, 426, "13"),
        ({"Connection": "close"}, 426, "Connection: Upgrade is missing"),
        ({"Upgrade": "h2c"}, 426, "Upgrade: websocket is missing"),
        ({"Host": None}, 400, "Host"),
        ({"Sec-WebSocket-Protocol": "a b"}, 400, "Sec-WebSocket-Protocol"),
        ({"Bad Name": "x"}, 400, "malformed"),
        ({"X": "a\x00b"}, 400, "malformed"),
    ],
)
async def test_a_bad_handshake_says_what_is_bad(
    headers: dict[str, str | None], status: int, words: str
) -> None:
    """400, or 426 for what another protocol or version would repair; the body names the header."""
    async with serving() as server:
        answer = await ask(server, "/ws", headers, upgrade=True)
        assert answer.status == status
        assert words in answer.text


async def test_methods_other_than_get_and_head_are_405() -> None:
    """On plain paths with Allow; on an endpoint a POST is a bad handshake."""
    async with serving() as server:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            answer = await ask(server, "/healthz", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        assert (await ask(server, "/ws", method="POST", upgrade=True)).status == 400


async def test_a_head_answer_has_the_headers_and_no_body() -> None:
    """HEAD says what GET would have said, length included."""
    async with serving() as server:
        for path in ("/healthz", "/readyz", "/nothing", "/"):
            get, only = await ask(server, path), await ask(server, path, method="HEAD")
            assert only.status == get.status
            assert only.body == b""
            assert only.headers["content-length"] == get.headers["content-length"] == str(len(get.body))


async def test_health_is_told() -> None:
    """`/healthz` and `/readyz` are tiny JSON, not to be kept by a cache."""
    async with serving() as server:
        for path in ("/healthz", "/readyz"):
            answer = await ask(server, path)
            assert (answer.status, answer.body) == (200, b'{"status":"ok"}\n')
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"


async def test_the_page_is_served_strictly() -> None:
    """Page and scripts come with a Content-Security-Policy without unsafe words; a second GET is a 304."""
    built = (importlib.resources.files(trio_chat) / "web" / "vendor").is_dir()
    async with serving() as server:
        page = await ask(server, "/")
        if not built:
            assert (page.status, "build_web.py" in page.text) == (503, True)
            pytest.skip("the web client is not built")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        again = await ask(server, "/", {"If-None-Match": page.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        script = await ask(server, "/static/boot.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert (await ask(server, "/static/core")).status == 404


# --- limits of the head ------------------------------------------------------------------------------------


async def test_a_head_that_is_too_long_is_431() -> None:
    """16 KiB with its empty line pass, one byte more does not; nor do more than 100 headers."""
    async with serving() as server:
        plain = len(head("/healthz", {"X": ""}, upgrade=False))
        fits = head("/healthz", {"X": "y" * (SIXTEEN_KIB - plain)}, upgrade=False)
        assert len(fits) == SIXTEEN_KIB
        assert (await answer_to(server, fits)).status == 200
        assert (await answer_to(server, fits.replace(b"X: ", b"XX: "))).status == 431
        many = {f"X-{number}": "" for number in range(100)}
        assert (await ask(server, "/healthz", many)).status == 431


async def test_a_request_line_that_is_too_long_is_414() -> None:
    """8 KiB are the limit, refused as soon as that much has come without a line end."""
    async with serving() as server:
        assert (await answer_to(server, b"GET /" + b"x" * 8192)).status == 414


async def test_a_slow_head_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends nothing, or a byte now and then, is answered when the time for the head is over."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.3)
    async with serving() as server:
        silent = await answer_to(server, b"")
        assert (silent.status, silent.text) == (408, "the request took too long")
        async with await open_stream(server) as stream:
            answers: list[Answer] = []

            async def listen() -> None:
                answers.append(Answer.parse(await read_all(stream)))
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                for byte in head():
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(0.05)
            assert answers[0].status == 408


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x01\x02\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\nTransfer-Encoding: x, chunked\nContent-Length: 1\n\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_what_is_not_our_http_is_refused_in_words(request_bytes: bytes) -> None:
    """Other protocols and broken heads get one of the 400s (505 for another HTTP), and the end."""
    async with serving() as server:
        answer = await answer_to(server, request_bytes)
        assert answer.status in (400, 405, 501, 505)
        assert answer.text
        assert (await ask(server, "/healthz")).status == 200


async def test_an_absolute_target_is_understood() -> None:
    """As RFC 9112 section 3.2.2 demands; the path in it counts."""
    async with serving() as server:
        answer = await answer_to(server, b"GET http://x/healthz HTTP/1.1\r\nHost: y\r\n\r\n")
        assert answer.status == 200


async def test_one_connection_is_one_request() -> None:
    """What is sent after a request is neither answered nor in the way of the answer's last byte."""
    async with serving() as server:
        answer = await answer_to(server, head("/healthz", upgrade=False) * 200)
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}\n')


async def test_a_peer_that_hangs_up_leaves_nothing() -> None:
    """Before, in and after the head: no task and no traceback stays behind."""
    async with serving() as server:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for sent in (b"", b"GET", head("/healthz", upgrade=False), head("/nothing", upgrade=False)):
            stream = await open_stream(server)
            if sent:
                await stream.send_all(sent)
            await stream.aclose()
        assert (await ask(server, "/healthz")).status == 200
        await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)


# --- metrics -----------------------------------------------------------------------------------------------


async def test_metrics_are_prometheus_text() -> None:
    """Every line parses; each family has a help text; what happened is counted."""
    async with serving() as server:
        async with connected(server) as ann, connected(server) as bob, connected(server, "/relay/x") as relay:
            for peer in (ann, bob):
                await peer.join()
            assert await ann.say("hi") == 1
            assert await bob.message() == "hi"
            await relay.send_frame(1, b"x")
            assert await relay.frame() == (1, b"x")
            await ask(server, "/nothing")
            await ask(server, "/ws", {"Origin": "http://evil.test"}, upgrade=True)
            answer = await ask(server, "/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(answer.text + "\n")}
        assert all(
            name.startswith(("trio_chat_", "process_")) and family.documentation
            for name, family in families.items()
        )
        values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families.values()
            for sample in family.samples
        }
        assert values["trio_chat_connections",] == 3
        assert values["trio_chat_rooms",] == 1
        assert values["trio_chat_members",] == 2
        assert values["trio_chat_relay_rooms",] == 1
        assert values["trio_chat_events_total",] == values["trio_chat_commits_total",] == 1
        assert values["trio_chat_deliveries_total",] == 2
        assert values["trio_chat_accepted_total",] == 3
        assert values["trio_chat_rejected_total", "403"] == 1
        assert values["trio_chat_http_responses_total", "404"] == 1
        assert values["trio_chat_http_responses_total", "403"] == 1
        assert values["trio_chat_log_failing",] == 0


async def test_clients_can_t_make_metrics_grow() -> None:
    """Close codes, statuses and paths that clients think up have no series of their own."""
    async with serving() as server:

        async def series() -> set[tuple[str, ...]]:
            text = (await ask(server, "/metrics")).text
            return {
                (sample.name, *sample.labels.values())
                for family in text_string_to_metric_families(text + "\n")
                for sample in family.samples
            }

        async def close_with(code: int) -> None:
            async with connected(server) as peer:
                await peer.send_frame(8, code.to_bytes(2, "big"))
                await peer.closed()

        for code in (1000, 1001, 3999, 1002):
            await close_with(code)
        await ask(server, "/nothing")
        await until(lambda: not server.connections)
        await series()
        before = await series()
        assert {("trio_chat_closed_total", code) for code in ("1000", "1001", "1002", "other")} <= before
        for code in range(3000, 4999, 97):
            await close_with(code)
            await ask(server, f"/nothing-{code}")
        await until(lambda: not server.connections)
        assert await series() == before
