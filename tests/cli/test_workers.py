"""``--workers N``: several processes, one port."""

import os
import signal
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from log.redis_server import BINARY, MISSING, RedisServer

from trio_chat.client import open_client
from trio_chat.siblings import merged

from .process import run, serving

needs_redis = pytest.mark.skipif(BINARY is None, reason=MISSING)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, and sockets that are inherited")


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    redis_server.ask("FLUSHALL")
    return redis_server.url


def metrics(url: str, name: str) -> dict[str, float]:
    """One metric of each worker."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line.split() for line in lines if line.startswith(f"{name}{{worker=")]
    return {where.split('"')[1]: float(value) for where, value in found}


def started_at(url: str) -> dict[str, float]:
    return metrics(url, "process_start_time_seconds")


def workers_of(pid: int) -> list[int]:
    """The processes that ``pid`` has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@needs_redis
async def test_workers_are_one_server(url: str, tmp_path: Path) -> None:
    """One line, one port; messages reach everybody; one signal ends all with status 0."""
    with serving(tmp_path / "stderr.txt", "--log", url, "--workers", "2") as server:
        assert len(workers_of(server.process.pid)) == 2
        async with open_client(server.url, name="ann") as ann, ann.join("lobby") as room:
            said = await room.say("hello")
            for n in range(4):
                async with (
                    open_client(server.url, name=f"bob{n}") as bob,
                    bob.join("lobby", since=0) as again,
                ):
                    assert (await anext(again)).seq == said.seq
        assert sum(metrics(server.url, "trio_chat_accepted_total").values()) == 5
        assert set(metrics(server.url, "trio_chat_events_total")) == {"1", "2"}
        assert server.stop() == (0, "")
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


@needs_redis
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc for the workers")
def test_a_dead_worker_is_replaced(url: str, tmp_path: Path) -> None:
    """After kill -9 of one there are two again, and the port never refuses."""
    with serving(tmp_path / "stderr.txt", "--log", url, "--workers", "2") as server:
        before = workers_of(server.process.pid)
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(started_at(server.url)) < 2 or workers_of(server.process.pid) == before:
            assert time.monotonic() < deadline
        assert before[0] not in workers_of(server.process.pid)
        assert server.stop() == (0, "")
    assert "has ended with SIGKILL and is replaced" in (tmp_path / "stderr.txt").read_text()


@needs_redis
def test_workers_are_restarted_one_by_one(url: str, tmp_path: Path) -> None:
    """On SIGHUP all are new after a while, and at each moment somebody answers."""
    with serving(tmp_path / "stderr.txt", "--log", url, "--workers", "2") as server:
        before = started_at(server.url)
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while "all workers are restarted" not in (tmp_path / "stderr.txt").read_text():
            with urllib.request.urlopen(f"{server.url}/healthz", timeout=10) as answer:
                assert answer.status == 200
            assert time.monotonic() < deadline
        after = started_at(server.url)
        assert all(after[number] > began for number, began in before.items())
        assert server.stop() == (0, "")


@needs_redis
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc for the workers")
def test_workers_drain_when_they_are_left_alone(url: str, tmp_path: Path) -> None:
    """If the process that started them is killed, they end too."""
    with serving(tmp_path / "stderr.txt", "--log", url, "--workers", "2") as server:
        workers = workers_of(server.process.pid)
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}/cwd").exists() for pid in workers):
            assert time.monotonic() < deadline


@pytest.mark.parametrize("log", ["memory:", "sqlite:///chat.db"])
def test_workers_need_a_shared_log(log: str) -> None:
    """Otherwise it is a mistake, said in one line."""
    done = run("--workers", "2", "--log", log)
    scheme = log.partition(":")[0]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"trio_chat: workers: 1, or a log that several processes can share (redis://), not {scheme}:\n"
    )


def test_what_keeps_the_first_worker_from_starting_is_told_once() -> None:
    """The worker says it, and its exit status is that of the whole."""
    done = run("--workers", "3", "--port", "0", "--log", "redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "trio_chat: Redis at 127.0.0.1:1: connection refused\n"


def test_metrics_of_several_are_merged_by_family() -> None:
    """Help and type stand once, the samples of all below them, with the worker beside other labels."""
    one = b'# HELP a A.\n# TYPE a gauge\na 1.0\n# HELP b B.\n# TYPE b counter\nb_total{code="1"} 2.0\n'
    two = b"# HELP a A.\n# TYPE a gauge\na 3.0\n"
    assert merged({2: two, 1: one}).decode() == (
        '# HELP a A.\n# TYPE a gauge\na{worker="1"} 1.0\na{worker="2"} 3.0\n'
        '# HELP b B.\n# TYPE b counter\nb_total{code="1",worker="1"} 2.0\n'
    )
