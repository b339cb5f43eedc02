"""Bad starts and a full disk: one clear line, nothing shown that isn't stored, and recovery by itself."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

import trio_chat
from trio_chat.log import open_sqlite_log

from .peers import Peer, ask, connected, serving, sqlite_url, troubles


def start(*arguments: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the server until it gives up."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_CHAT_")}
    return subprocess.run(
        [*under, sys.executable, "-m", "trio_chat", *arguments],
        capture_output=True, text=True, timeout=30, check=False, env=mine,
    )  # fmt: skip


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 1, nothing on standard output, one line that has these words, and no traceback."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trio_chat: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last


def test_a_port_in_use() -> None:
    """By another program, or by another of ours."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_one_line(start("--log", "memory:", "--port", port), f"127.0.0.1:{port}")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    """Text, another program's database, a damaged one, a directory; the file is left as it was."""
    text = tmp_path / "text.db"
    text.write_bytes(b"not a database " * 1000)
    assert_one_line(start("--port", "0", "--log", sqlite_url(text)), str(text), "not a database")
    assert text.read_bytes() == b"not a database " * 1000
    damaged = tmp_path / "damaged.db"
    trio.run(_fill, damaged)
    with damaged.open("r+b") as file:
        file.truncate(4096 + 100)
    assert_one_line(start("--port", "0", "--log", sqlite_url(damaged)), str(damaged))
    assert_one_line(start("--port", "0", "--log", sqlite_url(tmp_path)), str(tmp_path))


async def _fill(path: Path) -> None:
    config = trio_chat.Config(port=0, log=sqlite_url(path), rate=0)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_chat.serve, config)
        async with connected(server) as peer:
            await peer.join()
            for _ in range(30):
                await peer.say("x" * 1000)
        nursery.cancel_scope.cancel()


def test_a_database_in_use(tmp_path: Path) -> None:
    """One log has one server; the second says so."""

    async def main() -> subprocess.CompletedProcess[str]:
        async with open_sqlite_log(tmp_path / "chat.db"):
            return await trio.to_thread.run_sync(
                start, "--port", "0", "--log", sqlite_url(tmp_path / "chat.db")
            )

    assert_one_line(trio.run(main), "chat.db is in use by another trio_chat server")


def test_a_database_that_may_not_be_read(tmp_path: Path) -> None:
    """Or a directory that may not be written to."""
    under: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        under = (setpriv or "", "--bounding-set=-dac_override,-dac_read_search")
        if setpriv is None or start("--version", under=under).returncode:
            pytest.skip("root may read everything, and there is no setpriv to take that from it")
    file = tmp_path / "chat.db"
    trio.run(_fill, file)
    file.chmod(0)
    assert_one_line(start("--port", "0", "--log", sqlite_url(file), under=under), str(file))
    (tmp_path / "closed").mkdir(mode=0o500)
    closed = sqlite_url(tmp_path / "closed" / "chat.db")
    assert_one_line(start("--port", "0", "--log", closed, under=under), "chat.db")


# --- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.name == "nt" or os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"can't mount a small file system: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=False, capture_output=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left; returns the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return ballast


async def test_a_full_disk_is_told_and_gets_over(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`error` `unavailable` to the sender, nothing to anybody; red, then green again when there is space."""
    async with (
        serving(log=sqlite_url(small_disk / "chat.db")) as server,
        connected(server) as ann,
        connected(server) as bob,
    ):
        await ann.join()
        await bob.join()
        assert await ann.say("before") == 1
        assert await bob.message() == "before"
        ballast = fill(small_disk)
        refused = 0
        stored = 1
        while refused < 20:
            await ann.send("say", room="lobby", text="x" * 5000, id=f"id-{refused}-{stored}")
            reply = await ann.receive_until("ack", "error")
            if reply["op"] == "ack":  # there was still space in the write-ahead log
                stored += 1
                assert (reply["seq"], refused) == (stored, 0)
                continue
            refused += 1
            assert (reply["code"], reply["retry_after"]) == ("unavailable", 2.0)
            assert "the disk is full" in reply["message"]
        ready = await ask(server, "/readyz")
        assert (ready.status, ready.body) == (503, b'{"status":"log unavailable"}\n')
        assert (await ask(server, "/healthz")).status == 200
        assert "trio_chat_log_failing 1.0" in (await ask(server, "/metrics")).text
        assert troubles(caplog) == ["trio_chat.hub: the log refuses events: chat.db: the disk is full"]
        # What can be read still is, and everything else goes on.
        await bob.send("history", room="lobby", id="h")
        history = await bob.receive_until("history", "error")
        assert history["op"] == "history"
        assert [message["seq"] for message in history["messages"]] == list(range(1, stored + 1))[-50:]
        await bob.send("typing", room="lobby")
        assert (await ann.receive_until("typing"))["user"] == (await _who(bob))
        ballast.unlink()
        await ann.send("say", room="lobby", text="after", id=f"id-0-{stored}")
        assert (await ann.receive_until("ack", "error"))["seq"] == stored + 1
        assert (await ask(server, "/readyz")).status == 200
        seqs: list[int] = []
        while len(seqs) < stored:
            event = await bob.receive_until("message")
            seqs.append(event["seq"])
        assert seqs == list(range(2, stored + 2))
        assert event["text"] == "after"


async def _who(peer: Peer) -> object:
    await peer.send("hello", id="who")
    return (await peer.receive_until("welcome"))["user"]


async def test_many_who_talk_into_a_full_disk(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Under load, in and out of trouble: everything is answered, and in the end stored and shown once."""
    async with serving(log=sqlite_url(small_disk / "chat.db"), outbox=1 << 22) as server:
        said: dict[str, int] = {}
        refusals = 0
        over = False
        progress = trio.Event()

        async def talk(number: int) -> None:
            nonlocal refusals
            async with connected(server, f"/ws?name=n{number}") as peer:
                await join(peer)
                for count in range(15):
                    message_id = f"{number}-{count}"
                    while True:
                        await peer.send("say", room="lobby", text="x" * 200, id=message_id)
                        reply = await peer.receive_until("ack", "error")
                        progress.set()
                        if reply["op"] == "ack":
                            break
                        assert reply["code"] == "unavailable"
                        refusals += 1
                    said[message_id] = reply["seq"]

        async def wait_until(more_refusals: int = 0, more_said: int = 0) -> None:
            nonlocal progress
            goal = refusals + more_refusals, len(said) + more_said
            while not over and (refusals < goal[0] or len(said) < goal[1]):
                progress = trio.Event()
                await progress.wait()

        async def trouble() -> None:
            while not over:
                ballast = fill(small_disk)
                await wait_until(more_refusals=10)
                ballast.unlink()
                await wait_until(more_said=20)

        async def join(peer: Peer) -> None:
            while True:
                await peer.send("join", room="lobby", since=0)
                reply = await peer.receive_until("joined", "error")
                if reply["op"] == "joined":
                    return
                assert reply["code"] == "unavailable"

        async with connected(server) as watcher, trio.open_nursery() as disk:
            await join(watcher)
            disk.start_soon(trouble)
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(talk, number)
            over = True
            progress.set()
            seen: dict[str, int] = {}
            while len(seen) < 150:
                event = await watcher.receive_until("message")
                assert event["seq"] == len(seen) + 1
                assert event["id"] not in seen
                seen[event["id"]] = event["seq"]
        assert seen == said
        assert refusals > 10
        assert all("the disk is full" in trouble for trouble in troubles(caplog))
    async with open_sqlite_log(small_disk / "chat.db") as log:
        assert (await log.position("lobby")).head == 150


async def test_a_disk_that_is_full_at_the_start(small_disk: Path) -> None:
    """One line, status 1."""
    ballast = fill(small_disk)
    done = await trio.to_thread.run_sync(start, "--port", "0", "--log", sqlite_url(small_disk / "chat.db"))
    assert_one_line(done, "chat.db", "full")
    ballast.unlink()
