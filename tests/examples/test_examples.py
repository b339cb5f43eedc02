"""Each example, started as its docstring says, does what it says. Warnings are errors there too."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio_websocket

import trio_chat

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 60.0
"""More than a loaded machine needs."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ends the examples with SIGINT")


def told(errors: Path) -> str:
    """What was on standard error."""
    return errors.read_text()


class Lines:
    """A process's standard output, line by line."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._rest = b""

    async def next(self) -> str:
        """The next line without its end; empty at the end."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            data = await self.process.stdout.receive_some()
            if not data:
                break
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def running(name: str, *arguments: str, errors: Path) -> AsyncIterator[Lines]:
    """The example as a process, which has nothing to complain about; Ctrl-C ends it with status 0."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("TRIO_CHAT_")}
    with errors.open("wb") as stderr, trio.fail_after(SECONDS):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment,
        )  # fmt: skip
        try:
            yield Lines(process)
            # Before the signal: Trio may raise KeyboardInterrupt anywhere, between opening and closing, too.
            assert told(errors) == ""
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            assert await process.wait() == 0, told(errors)
        finally:
            if process.poll() is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


@asynccontextmanager
async def serving(name: str, *arguments: str, errors: Path) -> AsyncIterator[tuple[str, Lines]]:
    """An example that is a server: its URL, and the rest of its output."""
    async with running(name, "--port", "0", *arguments, errors=errors) as lines:
        first = await lines.next()
        assert re.fullmatch(r"trio_chat serving on http://127\.0\.0\.1:[1-9][0-9]*", first), told(errors)
        yield first.rpartition(" ")[2], lines


@asynccontextmanager
async def websocket(
    url: str, path: str, goodbye: bool = True, **headers: str
) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A plain WebSocket client. It owns the stream: trio-websocket leaves one open that the server closed."""
    host, port = address(url)
    async with await trio.open_tcp_stream(host, port) as stream, trio.open_nursery() as nursery:
        connection = await trio_websocket.wrap_client_stream(
            nursery, stream, f"{host}:{port}", path,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            max_message_size=64 << 20,
        )  # fmt: skip
        yield connection
        if goodbye:
            with trio.move_on_after(5):
                await connection.aclose()
        nursery.cancel_scope.cancel()


def address(url: str) -> tuple[str, int]:
    """Host and port of an example's URL."""
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


async def refusal(url: str, path: str, **headers: str) -> int:
    """The status that a handshake is refused with."""
    host, port = address(url)
    sent = {
        "Host": f"{host}:{port}", "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    } | headers  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b""
        async for data in stream:
            answer += data
    return int(answer.split()[1])


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    """Where an example's standard error goes."""
    return tmp_path / "stderr.txt"


def test_every_example_is_tested() -> None:
    """No file in examples/ is missing here, and each says how to run it."""
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tests
        assert f"python examples/{path.name}" in path.read_text().split('"""')[1]


async def test_echo(errors: Path) -> None:
    """Text comes back as text, binary as binary; 16 MiB fit, one byte more is 1009; the chat is beside it."""
    async with serving("echo.py", errors=errors) as (url, _):
        async with websocket(url, "/echo") as echo:
            for message in ("", "hello 中文", b"", b"\x00\xff", "x" * (16 << 20), b"\xfe" * (16 << 20)):
                await echo.send_message(message)
                assert await echo.get_message() == message
            for number in range(100):
                await echo.send_message(f"{number}")
            assert [await echo.get_message() for _ in range(100)] == [f"{number}" for number in range(100)]
            await echo.send_message(b"x" * ((16 << 20) + 1))
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await echo.get_message()
            assert caught.value.reason is not None
            assert caught.value.reason.code == 1009
        async with trio_chat.open_client(url, "ann") as ann:
            assert ann.user.name == "ann"


async def test_echo_to_a_client_that_leaves(errors: Path) -> None:
    """A client that is gone while its echoes are under way harms nothing."""
    async with serving("echo.py", errors=errors) as (url, _):
        async with websocket(url, "/echo", goodbye=False) as echo:
            for _ in range(20):
                await echo.send_message(b"x" * (1 << 20))
        async with websocket(url, "/echo") as echo:
            await echo.send_message("still there?")
            assert await echo.get_message() == "still there?"


async def test_bot(errors: Path) -> None:
    """It is a member of the room and answers, as a reply."""
    async with (
        serving("bot.py", errors=errors) as (url, _),
        trio_chat.open_client(url, "ann") as ann,
        ann.join("lobby") as room,
    ):
        assert [user.name for user in await room.who()] == ["clock", "ann"]
        await room.say("what time is it?")
        question = await room.say("!time")
        async for event in room:
            assert isinstance(event, trio_chat.Message)
            if event.user.name == "clock":
                assert event.reply_to == question.seq
                assert re.fullmatch(r"It is [0-9:]{8} UTC\.", event.text)
                break


async def test_embed(errors: Path) -> None:
    """The work reports to its room; when it is done everybody is told goodbye, and the program ends."""
    arguments = ("--steps", "20", "--seconds", "0.1")
    async with serving("embed.py", *arguments, errors=errors) as (url, lines):
        async with websocket(url, "/ws?room=progress&last=20") as member:
            frames = [await member.get_message()]
            while '"op":"bye"' not in frames[-1]:
                frames.append(await member.get_message())
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await member.get_message()
            assert caught.value.reason is not None
            assert caught.value.reason.code == 1012
        assert '"step 20 of 20 done"' in frames[-2]
        assert await lines.process.wait() == 0


async def test_cookie_auth(errors: Path) -> None:
    """The cookie says who somebody is; without it, or from another site's page, there is no way in."""
    async with serving("cookie_auth.py", errors=errors) as (url, _):
        path = "/ws?name=Eve&room=lobby"
        async with websocket(url, path, Cookie="theme=dark; session=4f0a7c19") as ann:
            assert '"user":{"id":"u1","name":"Ann"}' in await ann.get_message()
        async with websocket(url, path, Cookie="session=wrong") as nobody:
            assert await nobody.get_message() == '{"op":"bye","code":4501,"reason":"please sign in"}'
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await nobody.get_message()
            assert caught.value.reason is not None
            assert caught.value.reason.code == 4501
        assert await refusal(url, path, Cookie="session=4f0a7c19", Origin="https://evil.example") == 403


async def test_two_endpoints(errors: Path) -> None:
    """Each endpoint has its own rules for who may come in, and its own behaviour."""
    async with serving("two_endpoints.py", errors=errors) as (url, _):
        assert await refusal(url, "/ticks") == 401
        async with websocket(url, "/ticks", Authorization="Bearer sesame") as ticks:
            assert int(await ticks.get_message()) > 1_700_000_000
        async with websocket(url, "/shout", Origin="https://two.example") as shout:
            await shout.send_message("hello")
            assert await shout.get_message() == "HELLO"
            await shout.send_message(b"hello")
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await shout.get_message()
            assert caught.value.reason is not None
            assert caught.value.reason.code == 1003
        for path in ("/shout", "/ws"):
            assert await refusal(url, path, Origin="https://three.example") == 403
        async with websocket(url, "/ws?room=lobby", Origin=url) as chat:
            assert '"op":"joined"' in await chat.get_message()


async def test_client(errors: Path, tmp_path: Path) -> None:
    """It says what it is given and prints what is said."""
    async with (
        serving("bot.py", errors=errors) as (url, _),
        running(
            "client.py", url, "--name", "bob", "--count", "2", "hello", "all", errors=tmp_path / "client.txt"
        ) as bob,
        trio_chat.open_client(url, "ann") as ann,
    ):
        assert await bob.next() == "bob is in lobby"
        assert re.fullmatch(r"[0-9:]{8} bob: hello all", await bob.next())
        async with ann.join("lobby") as room:
            await room.say("hello bob")
            assert re.fullmatch(r"[0-9:]{8} ann: hello bob", await bob.next())
            assert await bob.next() == ""
            await bob.process.wait()


async def test_client_without_a_server(errors: Path) -> None:
    """One line says what is wrong."""
    with trio.fail_after(SECONDS):
        found = await trio.run_process(
            [sys.executable, str(EXAMPLES / "client.py"), "http://127.0.0.1:1"],
            capture_stderr=True, check=False,
        )  # fmt: skip
    assert found.returncode == 1
    assert found.stderr.startswith(b"cannot connect to")
    assert found.stderr.count(b"\n") == 1


async def test_client_without_arguments() -> None:
    """It asks for what it needs: where the server is, and nothing to say."""
    with trio.fail_after(SECONDS):
        found = await trio.run_process(
            [sys.executable, str(EXAMPLES / "client.py")], capture_stderr=True, check=False
        )
    assert found.returncode == 2
    assert found.stderr.endswith(b"error: the following arguments are required: url\n")


async def test_the_pages_of_the_examples(errors: Path) -> None:
    """Health and metrics are served beside whatever an example adds."""
    async with serving("bot.py", errors=errors) as (url, _):
        for path in ("/healthz", "/readyz", "/metrics"):
            with await trio.to_thread.run_sync(urllib.request.urlopen, f"{url}{path}") as answer:
                assert answer.status == 200
