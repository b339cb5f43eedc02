"""Files over HTTP: taken in within limits, handed out so that nothing in them runs, and nothing left of what
failed."""

import hashlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from files.samples import HOSTILE, SAFE, png

import trio_chat
from trio_chat.chat.schema import User
from trio_chat.files import limits

from .peers import Answer, answer_to, ask, connected, head, lines, open_stream, read_all, serving, until

HELLO = b"hello, " * 3


def token(server: trio_chat.Server, **options: Any) -> str:
    """A session of somebody's."""
    return server.hub.guests.session_token(User("guest-1", "ann"), **options)


def upload_head(server: trio_chat.Server, name: str = "x.txt", **headers: str | None) -> bytes:
    """The head of an upload by somebody who may, but for these headers."""
    fields: dict[str, str | None] = {"Authorization": f"Bearer {token(server)}"}
    fields |= {key.replace("_", "-"): value for key, value in headers.items()}
    return head(f"/files?name={quote(name, safe='')}", fields, method="POST", upgrade=False)


async def upload(
    server: trio_chat.Server, content: bytes, name: str = "x.txt", **headers: str | None
) -> Answer:
    """Upload in one piece."""
    sent: dict[str, str | None] = {"Content_Length": str(len(content))} | headers
    return await answer_to(server, upload_head(server, name, **sent) + content)


@asynccontextmanager
async def keeping(path: Path, **settings: Any) -> AsyncIterator[trio_chat.Server]:
    """A server whose files are in ``path``; nothing may be on its way in at the end."""
    async with serving(files=str(path), **settings) as server:
        yield server
        await until(lambda: not list((path / "tmp").glob("*")))


def stored(path: Path) -> list[str]:
    """What is in the directory."""
    return sorted(found.name for found in path.rglob("*") if found.is_file())


# --- in and out ------------------------------------------------------------------------------------------


async def test_a_file_goes_in_and_out(tmp_path: Path) -> None:
    """It is described as the events describe it, and its URL leads to it."""
    async with keeping(tmp_path) as server:
        answer = await upload(server, HELLO, "Grüße.txt", Content_Type="text/plain; charset=utf-8")
        digest = hashlib.sha256(HELLO).hexdigest()
        url = f"/files/{digest}/Gr%C3%BC%C3%9Fe.txt"
        assert answer.status == 201
        assert answer.headers["location"] == url
        assert json.loads(answer.body) == {
            "hash": digest, "name": "Grüße.txt", "size": len(HELLO), "type": "text/plain", "url": url,
        }  # fmt: skip
        found = await ask(server, url)
        assert (found.status, found.body) == (200, HELLO)
        assert found.headers["content-length"] == str(len(HELLO))
        only = await ask(server, url, method="HEAD")
        assert (only.status, only.body, only.headers["content-length"]) == (200, b"", str(len(HELLO)))
        again = await ask(server, url, {"If-None-Match": found.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        part = await ask(server, url, {"Range": "bytes=1-4"})
        assert (part.status, part.body) == (206, HELLO[1:5])
        assert part.headers["content-range"] == f"bytes 1-4/{len(HELLO)}"
        assert (await ask(server, url, {"Range": "bytes=99-"})).status == 416


@pytest.mark.parametrize("name", SAFE)
async def test_a_safe_image_is_shown_in_place(name: str, tmp_path: Path) -> None:
    """As what it is, whatever was declared, with its size for who lays out a page."""
    content, kind = SAFE[name]
    async with keeping(tmp_path) as server:
        file = json.loads((await upload(server, content, "x.html", Content_Type="text/html")).body)
        assert (file["type"], file["width"], file["height"]) == (kind, 3, 2)
        found = await ask(server, file["url"])
        assert found.headers["content-type"] == kind
        assert found.headers["content-disposition"].startswith("inline;")
        assert found.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_uploaded_can_run(name: str, tmp_path: Path) -> None:
    """A download without a type, that is not guessed at, without scripts should it ever be shown."""
    content, file_name, declared = HOSTILE[name]
    async with keeping(tmp_path) as server:
        file = json.loads((await upload(server, content, file_name, Content_Type=declared)).body)
        assert not file["type"].startswith(("image/png", "image/jpeg", "image/gif", "image/webp"))
        for method in ("GET", "HEAD"):
            found = await ask(server, file["url"], method=method)
            assert found.status == 200
            assert found.headers["content-type"] == "application/octet-stream"
            assert found.headers["content-disposition"].startswith("attachment;")
            assert found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["content-security-policy"] == "sandbox; default-src 'none'"
            assert found.headers["cross-origin-resource-policy"] == "same-origin"
        renamed = await ask(server, f"/files/{file['hash']}/index.html")
        assert renamed.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("chunk", [1, 1000, 100_000])
async def test_a_body_in_chunks(chunk: int, tmp_path: Path) -> None:
    """As a program sends that doesn't know the size beforehand; trailing bytes are left alone."""
    content = os.urandom(1000 if chunk == 1 else 300_000)
    pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    body = (
        b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\nGET / HTTP/1.1\r\n"
    )
    async with keeping(tmp_path) as server:
        answer = await answer_to(server, upload_head(server, Transfer_Encoding="chunked") + body)
        assert answer.status == 201
        assert json.loads(answer.body)["hash"] == hashlib.sha256(content).hexdigest()


async def test_a_large_file_byte_for_byte(tmp_path: Path) -> None:
    """Larger than any buffer on its way."""
    content = os.urandom(5 << 20)
    async with keeping(tmp_path) as server:
        file = json.loads((await upload(server, content)).body)
        assert file["hash"] == hashlib.sha256(content).hexdigest()
        assert (await ask(server, file["url"])).body == content


async def test_who_asks_before_sending_is_told_to_go_on(tmp_path: Path) -> None:
    """``Expect: 100-continue``, as curl sends it; a refusal comes instead of it."""
    async with keeping(tmp_path, max_file=1024) as server:
        async with await open_stream(server) as stream:
            await stream.send_all(upload_head(server, Content_Length="5", Expect="100-continue"))
            assert (await stream.receive_some()) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send_all(b"hello")
            assert Answer.parse(await read_all(stream)).status == 201
        async with await open_stream(server) as stream:
            await stream.send_all(upload_head(server, Content_Length="9999", Expect="100-continue"))
            assert Answer.parse(await read_all(stream)).status == 413


async def test_a_file_is_there_after_a_restart(tmp_path: Path) -> None:
    """Beside the database, if nothing else is said."""
    log = f"sqlite:///{tmp_path}/chat.db"
    async with serving(log=log) as server:
        url = json.loads((await upload(server, HELLO)).body)["url"]
    assert stored(tmp_path / "chat.db.files") != []
    async with serving(log=log) as server:
        assert (await ask(server, url)).body == HELLO


# --- pages of other origins --------------------------------------------------------------------------------


THERE, ELSEWHERE = "https://www.example.org", "https://evil.example"


async def test_a_page_of_a_named_origin_may_upload_and_show(tmp_path: Path) -> None:
    """It is told so before, and sees the answers, refusals too."""
    async with keeping(tmp_path, origin=(THERE,)) as server:
        asked = {"Origin": THERE, "Access-Control-Request-Method": "POST"}
        for path in ("/files?name=x", f"/files/{'0' * 64}/x"):
            before = await ask(server, path, asked, method="OPTIONS")
            assert before.status == 204
            assert before.headers["access-control-allow-origin"] == THERE
            assert "Authorization" in before.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in before.headers
        answer = await upload(server, png(), Origin=THERE)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, THERE)
        found = await ask(server, json.loads(answer.body)["url"], {"Origin": THERE})
        assert (found.status, found.headers["access-control-allow-origin"]) == (200, THERE)
        assert found.headers["cross-origin-resource-policy"] == "cross-origin"
        assert found.headers["vary"] == "Origin"
        refused = await upload(server, png(), Origin=THERE, Authorization=None)
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, THERE)


@pytest.mark.parametrize("settings", [{}, {"origin": (THERE,)}])
@pytest.mark.parametrize("origin", [ELSEWHERE, "null", "https://www.example.org.evil.example", None])
async def test_a_page_of_another_origin_sees_nothing(
    settings: dict[str, Any], origin: str | None, tmp_path: Path
) -> None:
    """Nothing allows it to, and a preflight is no method that is known."""
    async with keeping(tmp_path, **settings) as server:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        before = await ask(server, "/files?name=x", asked, method="OPTIONS")
        assert before.status == 405
        answer = await upload(server, png(), Origin=origin)
        for each in (before, answer, await ask(server, json.loads(answer.body)["url"], {"Origin": origin})):
            assert "access-control-allow-origin" not in each.headers


# --- refusals --------------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"Authorization": None}, 401, "Authorization: Bearer"),
    ({"Authorization": "Bearer x.y"}, 401, "Authorization: Bearer"),
    ({"Authorization": "Basic x"}, 401, "Authorization: Bearer"),
    ({"Content_Length": None}, 411, "Content-Length is missing"),
    ({"Content_Length": "1025"}, 413, "at most 1024 bytes"),
    ({"Content_Length": "9" * 18}, 413, "at most 1024 bytes"),
    ({"Content_Length": "-1"}, 400, "malformed"),
    ({"Content_Length": "1, 2"}, 400, "malformed"),
    ({"Content_Length": "0"}, 400, "the file is empty"),
    ({"Transfer_Encoding": "gzip", "Content_Length": None}, 501, "malformed"),
    ({"Transfer_Encoding": "chunked"}, 400, "don't go together"),
]


@pytest.mark.parametrize(("headers", "status", "words"), REFUSED)
async def test_a_refusal_says_why(headers: dict[str, Any], status: int, words: str, tmp_path: Path) -> None:
    """And nothing is stored."""
    async with keeping(tmp_path, max_file=1024) as server:
        body = b"" if headers.get("Content_Length") == "0" else HELLO
        answer = await upload(server, body, **headers)
        assert (answer.status, words in answer.text) == (status, True), answer.text
    assert stored(tmp_path) == []


NAMES = [
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "a/b",
    "/etc/passwd",
    "C:\\x",
    "a\0b",
    "a\nb",
    "a\u202eb",
    "x" * 129,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_name_that_is_a_path_is_refused(name: str, tmp_path: Path) -> None:
    """Names are for people; none of them reaches the file system, and none like these is kept."""
    async with keeping(tmp_path) as server:
        answer = await upload(server, HELLO, name)
        assert answer.status == 400
        assert answer.text.startswith("name: ")
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/files/", 404),
        ("/files/x", 404),
        ("/files/{}", 404),
        ("/files/{}/", 404),
        ("/files/{}/a/b", 404),
        ("/files/{}/a%2Fb", 404),
        ("/files/{}/..", 400),
        ("/files/{}/%2e%2e", 400),
        ("/files/../../etc/passwd", 400),
        ("/files/..%2f..%2fetc%2fpasswd/x", 400),
        ("/files/{}%00/x", 400),
        ("/files/{}.json/x", 404),
        ("/files/tmp/x", 404),
    ],
)
async def test_no_path_leads_elsewhere(path: str, status: int, tmp_path: Path) -> None:
    """A hash and a name, or nothing."""
    async with keeping(tmp_path) as server:
        digest = json.loads((await upload(server, HELLO)).body)["hash"]
        assert (await ask(server, path.format(digest))).status == status
        assert (await ask(server, f"/files/{'0' * 64}/x")).status == 404
        assert (await ask(server, f"/files/{digest.upper()}/x")).status == 404


async def test_other_methods_are_405(tmp_path: Path) -> None:
    """With those that are allowed; there is no list of files, and nobody removes one."""
    async with keeping(tmp_path) as server:
        url = json.loads((await upload(server, HELLO)).body)["url"]
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            answer = await ask(server, "/files", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
        for method in ("POST", "PUT", "DELETE"):
            answer = await ask(server, url, method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        assert (await ask(server, url)).body == HELLO


async def test_uploads_can_be_turned_off(tmp_path: Path) -> None:
    """What is there is still handed out."""
    async with keeping(tmp_path) as server:
        url = json.loads((await upload(server, HELLO)).body)["url"]
    async with keeping(tmp_path, max_file=0) as server:
        answer = await upload(server, HELLO)
        assert (answer.status, answer.text) == (403, "uploads are turned off (max_file)")
        assert (await ask(server, url)).body == HELLO


async def test_a_session_that_is_over_uploads_nothing(tmp_path: Path) -> None:
    """It ends with the token that it came from."""
    async with keeping(tmp_path) as server:
        for until_when, status in ((server.hub.clock() + 60, 201), (server.hub.clock() - 1, 401)):
            session = token(server, signed_in=True, until=until_when)
            answer = await upload(server, HELLO, Authorization=f"Bearer {session}")
            assert answer.status == status


async def test_all_space_taken_is_507(tmp_path: Path) -> None:
    """And what was given up is free again."""
    async with keeping(tmp_path, file_quota=1 << 20) as server:
        assert (await upload(server, b"x" * (1 << 19))).status == 201
        answer = await upload(server, b"y" * ((1 << 19) + 1))
        assert (answer.status, answer.text) == (507, "all space for files is taken")
        assert (await upload(server, b"y" * (1 << 19))).status == 201
        assert server.hub is not None
    assert len(stored(tmp_path)) == 4


async def test_a_disk_that_fails_is_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server goes on without files."""
    (tmp_path / "file").write_text("in the way")
    async with serving(files=str(tmp_path / "file" / "x")) as server:
        answer = await upload(server, HELLO)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "5"
        assert (await ask(server, "/healthz")).status == 200
    assert "files can't be stored or read" in caplog.text


async def test_a_server_that_stops_takes_nothing_new(tmp_path: Path) -> None:
    """503, and when to come back; what is there it still hands out."""
    async with keeping(tmp_path) as server:
        url = json.loads((await upload(server, HELLO)).body)["url"]
        async with connected(server, "/ws"):
            server.stop()
            await until(lambda: server._door.closing)
            answer = await upload(server, b"more")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert (await ask(server, url)).body == HELLO


async def test_more_chunks_than_a_file_may_have(tmp_path: Path) -> None:
    """Refused when it is too much, not at the end, which never comes."""
    async with keeping(tmp_path, max_file=64 << 10) as server, await open_stream(server) as stream:
        await stream.send_all(upload_head(server, Transfer_Encoding="chunked"))
        piece = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    try:
                        while True:
                            await stream.send_all(piece)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass

                nursery.start_soon(send)
                answer = Answer.parse(await stream.receive_some())
                nursery.cancel_scope.cancel()
        assert answer.status == 413
    assert stored(tmp_path) == []


# --- those who don't keep to it --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("headers", [{"Content_Length": "100000"}, {"Transfer_Encoding": "chunked"}])
async def test_half_a_body_is_no_file(how: str, headers: dict[str, str], tmp_path: Path) -> None:
    """Whether the connection ends in order or is reset."""
    sent = HELLO if "Content_Length" in headers else b"64\r\n" + HELLO
    async with keeping(tmp_path) as server:
        stream = await open_stream(server)
        async with stream:
            await stream.send_all(upload_head(server, **headers) + sent)
            await until(lambda: list((tmp_path / "tmp").glob("*")))
            if how == "reset":
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                await stream.send_eof()
                answer = Answer.parse(await read_all(stream))
                assert (answer.status, answer.text) == (400, "the body ends too early")
        await until(lambda: not list((tmp_path / "tmp").glob("*")))
    assert stored(tmp_path) == []


@pytest.mark.parametrize("name", ["UPLOAD_SILENCE_SECONDS", "UPLOAD_SECONDS"])
async def test_a_slow_body_is_given_up(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stops, and one that trickles."""
    monkeypatch.setattr(limits, name, 0.2)
    monkeypatch.setattr(limits, "MIN_UPLOAD_BYTES_PER_SECOND", 1e9)
    async with keeping(tmp_path) as server, await open_stream(server) as stream:
        await stream.send_all(upload_head(server, Content_Length="1000"))
        async with trio.open_nursery() as nursery:

            async def trickle() -> None:
                while name == "UPLOAD_SECONDS":
                    await stream.send_all(b"x")
                    await trio.sleep(0.01)

            nursery.start_soon(trickle)
            answer = Answer.parse(await stream.receive_some())
            nursery.cancel_scope.cancel()
        assert (answer.status, answer.text) == (408, "the upload took too long")
    assert stored(tmp_path) == []


async def test_a_few_uploads_at_once_from_one_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is 429; when one has ended there is a place again."""
    async with keeping(tmp_path) as server:
        streams = [await open_stream(server) for _ in range(limits.MAX_UPLOADS_PER_CLIENT)]
        for stream in streams:
            await stream.send_all(upload_head(server, Content_Length="5") + b"h")
        waiting = tmp_path / "tmp"
        await until(lambda: len(list(waiting.glob("*"))) == len(streams))
        answer = await upload(server, HELLO)
        assert (answer.status, answer.text) == (429, "more than 4 uploads at once from 127.0.0.1")
        assert answer.headers["retry-after"]
        await streams[0].send_all(b"ello")
        assert Answer.parse(await read_all(streams[0])).status == 201
        await until(lambda: len(list(waiting.glob("*"))) < len(streams))
        assert (await upload(server, HELLO)).status == 201
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_many_uploads_from_one_address(tmp_path: Path) -> None:
    """After the first thirty they have a rate."""
    async with keeping(tmp_path) as server:
        statuses = [(await upload(server, bytes([65 + number]))).status for number in range(32)]
        assert statuses[:30] == [201] * 30
        answer = await upload(server, HELLO)
        assert (answer.status, answer.text) == (429, "more than 0.5 uploads per second from 127.0.0.1")
        assert (await ask(server, "/healthz")).status == 200


async def test_who_does_not_read_a_download_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no file open for ever, and others get theirs meanwhile."""
    monkeypatch.setattr(limits, "DOWNLOAD_STALL_SECONDS", 0.2)
    async with keeping(tmp_path, max_file=64 << 20) as server:
        url = json.loads((await upload(server, os.urandom(32 << 20))).body)["url"]
        async with await open_stream(server) as stream:
            await stream.send_all(head(url, upgrade=False))
            await until(lambda: server._door._files._downloading)
            assert (await ask(server, url, {"Range": "bytes=0-9"})).status == 206
            await until(lambda: not server._door._files._downloading)


async def test_too_many_downloads_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and when to try again."""
    monkeypatch.setattr(limits, "MAX_DOWNLOADS", 0)
    async with keeping(tmp_path) as server:
        url = json.loads((await upload(server, HELLO)).body)["url"]
        answer = await ask(server, url)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert (await ask(server, url, method="HEAD")).status == 200


async def test_a_file_that_somebody_else_removed_is_404(tmp_path: Path) -> None:
    """Also while its description is still known."""
    async with keeping(tmp_path) as server:
        file = json.loads((await upload(server, HELLO)).body)
        for found in (tmp_path / file["hash"][:2]).iterdir():
            found.unlink()
        assert [(await ask(server, file["url"])).status for _ in range(2)] == [404, 404]


async def test_the_log_says_who_uploaded_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each file that is taken in."""
    caplog.set_level(logging.INFO, "trio_chat.access")
    async with keeping(tmp_path) as server:
        await upload(server, HELLO)
        await upload(server, b"")
    (line,) = lines(caplog, "uploaded")
    assert line.getMessage() == f"uploaded: {len(HELLO)} bytes, {hashlib.sha256(HELLO).hexdigest()}"
    assert (line.client, line.user, line.path) == ("127.0.0.1", "ann", "/files")


async def test_metrics_count_files(tmp_path: Path) -> None:
    """In and out, and what is kept."""
    async with keeping(tmp_path) as server:
        for content in (HELLO, HELLO, png()):
            url = json.loads((await upload(server, content)).body)["url"]
            await ask(server, url)
        text = (await ask(server, "/metrics")).text
        assert "trio_chat_uploads_total 3.0" in text
        assert "trio_chat_downloads_total 3.0" in text
        assert f"trio_chat_upload_bytes_total {float(2 * len(HELLO) + len(png()))}" in text
        assert f"trio_chat_file_bytes {float(len(HELLO) + len(png()))}" in text
