"""The SQLite log and ``kill -9``: what was acknowledged is there, whatever the moment."""

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from trio_chat.log import open_sqlite_log
from trio_chat.log.base import Append, LogError

WRITER = Path(__file__).with_name("writer.py")
ROUNDS = 20


def start(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WRITER), str(path), *arguments]
    root = str(WRITER.parents[2])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={"PYTHONPATH": root})


def stored(path: Path) -> dict[str, tuple[str, int]]:
    """Where each key of the file is; checks that the file is sound and every room without a hole."""
    heads: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for room, first in connection.execute("SELECT name, first FROM rooms"):
            heads[room] = first - 1
        rows = connection.execute(
            "SELECT name, seq, key FROM events JOIN rooms ON rooms.id = room ORDER BY room, seq"
        ).fetchall()
    for room, seq, _ in rows:
        assert seq == heads[room] + 1
        heads[room] = seq
    return {key: (room, seq) for room, seq, key in rows}


def acknowledged(output: str) -> dict[str, tuple[str, int]]:
    """What the writer's whole lines say."""
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return {key: (room, int(seq)) for room, seq, key in lines}


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed at random moments, a writer loses nothing it acknowledged, and leaves neither hole nor lock."""
    chance = random.Random(6)
    path = tmp_path / "log.db"
    everything: dict[str, tuple[str, int]] = {}
    for n in range(ROUNDS):
        with start(path, f"round{n}") as writer:
            assert writer.stdout is not None
            output = "".join(writer.stdout.readline() for _ in range(chance.choice([1, 2, 30, 200, 1000])))
            writer.send_signal(signal.SIGKILL)
            output += writer.stdout.read()
        assert acknowledged(output)
        everything |= acknowledged(output)
        assert stored(path).items() >= everything.items()


def test_trimming_survives_kill_9(tmp_path: Path) -> None:
    """Killed at random moments while it trims, a log still has each room's last events, and its head."""
    chance = random.Random(7)
    path = tmp_path / "log.db"
    everything: dict[str, tuple[str, int]] = {}
    for n in range(ROUNDS // 2):
        with start(path, f"round{n}", "0", "never", "20") as writer:
            assert writer.stdout is not None
            output = "".join(writer.stdout.readline() for _ in range(chance.choice([100, 300, 1000])))
            writer.send_signal(signal.SIGKILL)
            output += writer.stdout.read()
        everything |= acknowledged(output)
        found = stored(path)
        first = {room: min(seq for name, seq in found.values() if name == room) for room, _ in found.values()}
        assert min(first.values()) > 1
        kept = {key: (room, seq) for key, (room, seq) in everything.items() if seq >= first[room]}
        assert found.items() >= kept.items()
        assert len(kept) >= 3 * 20


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("die_at", [1, 2, 5])
async def test_a_key_sent_again_after_a_crash_is_stored_once(tmp_path: Path, die_at: int, when: str) -> None:
    """Killed on either side of a commit, the same batch sent again ends with one event for each key."""
    path = tmp_path / "log.db"
    process = await trio.run_process(
        [sys.executable, str(WRITER), str(path), "p", str(die_at), when],
        capture_stdout=True,
        check=False,
        cwd=WRITER.parents[2],
        env={"PYTHONPATH": str(WRITER.parents[2])},
    )
    assert process.returncode == -signal.SIGKILL
    n = die_at - 1
    assert len(acknowledged(process.stdout.decode())) == sum(range(1, die_at))
    batch = [Append(f"room-{i % 3}", "message", f'"n":{n}}}', f"p-{n}-{i}") for i in range(n % 7 + 1)]
    async with open_sqlite_log(path) as log:
        done = await log.append(batch)
    assert [each.duplicate for each in done] == [when == "after"] * len(batch)
    assert stored(path).items() >= acknowledged(process.stdout.decode()).items()
    assert len(stored(path)) == sum(range(1, die_at + 1))


async def test_a_second_server_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """While another process has the log, opening it fails with one line; after its kill -9 it works."""
    path = tmp_path / "log.db"
    with start(path, "first") as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        with pytest.raises(LogError, match=r"log\.db is in use by another trio_chat server$"):
            async with open_sqlite_log(path):
                raise AssertionError
        writer.kill()
    async with open_sqlite_log(path) as log:
        assert (await log.position("room-0")).head > 0
