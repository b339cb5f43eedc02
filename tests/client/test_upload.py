"""Sending files to the real server, and staying signed in."""

import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from chat.issuer import ISSUERS, NOW
from server.peers import until

import trio_chat
from trio_chat.client import ChatError, Client, open_client

from .test_real_server import serving


@asynccontextmanager
async def uploading(**settings: Any) -> AsyncIterator[tuple[trio_chat.Server, Client]]:
    """A server and a client."""
    async with serving(**settings) as server, open_client(server.url, "ann") as client:
        yield server, client


async def fetched(server: trio_chat.Server, url: str) -> bytes:
    """What the server hands out."""
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        async for data in stream:
            answer += data
    return answer.partition(b"\r\n\r\n")[2]


async def test_bytes_are_sent() -> None:
    """With a name, from which the type is guessed."""
    async with uploading() as (server, ann):
        file = await ann.upload(b"hello", "notes über alles.txt")
        assert (file.name, file.size, file.type) == ("notes über alles.txt", 5, "text/plain")
        assert await fetched(server, file.url) == b"hello"


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_file_is_sent(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    """By its path, under its own name or another; larger than what is in memory of it."""
    content = os.urandom(300_000)
    (tmp_path / "data.bin").write_bytes(content)
    async with uploading() as (server, ann):
        file = await ann.upload(kind(tmp_path / "data.bin"))
        assert (file.name, file.hash) == ("data.bin", hashlib.sha256(content).hexdigest())
        assert (await ann.upload(tmp_path / "data.bin", "other")).name == "other"
        assert await fetched(server, file.url) == content


async def test_what_is_too_big_is_not_begun() -> None:
    """The server has said in `welcome` what it takes."""
    async with uploading(max_file=1024) as (_, ann):
        with pytest.raises(ChatError, match="at most 1024 bytes, not 1025") as caught:
            await ann.upload(b"x" * 1025, "x")
        assert caught.value.code == "too_big"


async def test_a_refusal_has_the_server_s_words() -> None:
    """Also when it comes while the file is still on its way."""
    async with uploading(file_quota=1 << 20) as (_, ann):
        with pytest.raises(ChatError, match="all space for files is taken") as caught:
            await ann.upload(os.urandom(8 << 20), "x")
        assert caught.value.code == "full"
        assert ann.limits is not None
        ann.limits.max_file_bytes = 1 << 30
        with pytest.raises(ChatError) as caught:
            await ann.upload(os.urandom(11 << 20), "x")
        assert caught.value.code == "too_big"
        ann.session = "x.y"
        with pytest.raises(ChatError) as caught:
            await ann.upload(b"x", "x")
        assert caught.value.code == "bad_token"


async def test_what_can_not_be_sent_is_said_at_once(tmp_path: Path) -> None:
    """A file that isn't there, a directory, bytes without a name, a name that is a path."""
    async with uploading() as (_, ann):
        with pytest.raises(FileNotFoundError):
            await ann.upload(tmp_path / "nothing")
        with pytest.raises(IsADirectoryError):
            await ann.upload(tmp_path)
        with pytest.raises(ValueError, match="name: bytes need one"):
            await ann.upload(b"x")
        with pytest.raises(ValueError, match="name: a file's, without /"):
            await ann.upload(b"x", "../x")


async def test_a_file_that_becomes_shorter_is_given_up(tmp_path: Path) -> None:
    """The server keeps none of it."""
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * 5_000_000)
    async with uploading(files=str(tmp_path / "files")) as (_, ann):
        from trio_chat import client_files

        sent = await client_files.parcel(path, None)
        path.write_bytes(b"x" * 100)
        async with await trio.open_tcp_stream("127.0.0.1", ann._address.port) as stream:
            assert ann.session is not None
            with pytest.raises(OSError, match="the file has become shorter"):
                await client_files.send(stream, ann._address, ann.session, sent)
        await until(lambda: not list((tmp_path / "files" / "tmp").glob("*")))
    assert [found for found in (tmp_path / "files").rglob("*") if found.is_file()] == []


async def test_an_upload_waits_for_the_server(tmp_path: Path) -> None:
    """Tried again when it is back."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    log = f"sqlite:///{tmp_path / 'chat.db'}"
    async with trio.open_nursery() as nursery:
        stopped, done = trio.Event(), trio.Event()

        async def serve_twice() -> None:
            for over in (stopped, done):
                async with serving(port=port, log=log):
                    await over.wait()

        nursery.start_soon(serve_twice)
        async with open_client(f"http://127.0.0.1:{port}", "ann", patient=True) as ann:
            stopped.set()
            async for state in ann.states():
                if state == "reconnecting":
                    break
            assert (await ann.upload(b"hello", "x")).size == 5
            done.set()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "unavailable"),
        (b"nonsense\r\n\r\n", "unavailable"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", "unavailable"),
        (b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", "unavailable"),
        (b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", "refused"),
    ],
)
async def test_a_server_that_answers_nonsense(
    answer: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried a few times, or not, and then it is an error."""
    monkeypatch.setattr("trio_chat.client._BACKOFF_SECONDS", 0.001)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with uploading() as (_, ann), trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        ann._connect = partial(trio.open_tcp_stream, *listeners[0].socket.getsockname())
        with pytest.raises(ChatError) as caught:
            await ann.upload(b"x", "x")
        assert caught.value.code == code
        nursery.cancel_scope.cancel()


# --- signed in -------------------------------------------------------------------------------------------


async def test_a_client_signs_in(tmp_path: Path) -> None:
    """With a token, or with what gives one; and again before it expires."""
    issuer = ISSUERS["HS256"]
    given = []

    def give() -> str:
        given.append(issuer.token(exp=4e9))
        return given[-1]

    async with serving(jwt_key=issuer.key_file(tmp_path), guests=False) as server:
        async with open_client(server.url, token=issuer.token(exp=4e9)) as ann:
            assert ann.user == trio_chat.User("u1", "Ann")
            await ann.sign_in(issuer.token(exp=5e9, name="Annie"))
            assert ann.user == trio_chat.User("u1", "Annie")
            with pytest.raises(ChatError, match="token: expired"):
                await ann.sign_in(issuer.token(exp=NOW - 1e9))
            assert (await ann.upload(b"x", "x")).size == 1
        async with open_client(server.url, token=give) as ann:
            assert ann.user.id == "u1"
        assert len(given) == 1
        with pytest.raises(ChatError, match="token: expired"):
            async with open_client(server.url, token=issuer.token(exp=1)):
                pass
        with pytest.raises(trio_chat.Refused, match="sign in first"):
            async with open_client(server.url, "ann"):
                pass
