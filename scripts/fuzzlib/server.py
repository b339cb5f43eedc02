"""A server process to attack: started, watched from outside, and ended.

What it holds is what the system says of the process (memory, sockets) and what its own metrics say
(connections, rooms). What it logged is read at the end.
"""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import trio

TARGET = Path(__file__).with_name("target.py")
START_SECONDS = 60.0
STOP_SECONDS = 20.0


@attrs.define
class Held:
    """What the server holds at a moment: sockets, tasks, memory in use, and what it has of the system's."""

    sockets: int
    tasks: int
    blocks: int
    memory_mib: float

    def __str__(self) -> str:
        return f"{self.sockets} sockets, {self.tasks} tasks, {self.blocks} blocks, {self.memory_mib:.1f} MiB"


@attrs.define
class ServerProcess:
    """A server: its URL, and how to look at it. Without ``process`` it is somebody else's."""

    url: str
    log: Path | None = None
    process: trio.Process | None = None

    def memory_mib(self) -> float:
        """Memory now; 0 where that can't be known."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(
            (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0
        )

    async def held(self) -> Held | None:
        """What it holds now; None where that can't be known."""
        if self.process is None or self.process.poll() is not None:
            return None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGUSR1)
        with trio.fail_after(START_SECONDS):
            told = json.loads(await _line(self.process))
        return Held(self._sockets(), told["tasks"], told["blocks"], self.memory_mib())

    def _sockets(self) -> int:
        assert self.process is not None
        return sum(map(_is_socket, Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def is_alive(self) -> bool:
        """As far as we know."""
        return self.process is None or self.process.poll() is None

    def troubles(self) -> list[str]:
        """The lines of its log that shouldn't be there: errors, warnings, and what is no log line."""
        found = []
        for line in self.log.read_text("utf-8", "replace").splitlines() if self.log else []:
            try:
                record = json.loads(line)
            except ValueError:
                found.append(line)
                continue
            if record["level"] not in ("debug", "info"):
                found.append(f"{record['logger']}: {record['message']} {record.get('traceback', '')}".strip())
        return found


async def _line(process: trio.Process) -> str:
    """The next line of its standard output; nothing else comes after it."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        more = await process.stdout.receive_some()
        if not more:
            return ""
        line += more
    return line.decode()


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except OSError:  # closed meanwhile
        return False


@asynccontextmanager
async def started(*, tls: bool = False) -> AsyncIterator[ServerProcess]:
    """A server of our own, with its log and database in a directory that goes with it."""
    with TemporaryDirectory() as name:
        log = Path(name) / "log.jsonl"
        command = [sys.executable, str(TARGET), name, *(["--tls"] if tls else [])]
        with log.open("wb") as stderr:
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=stderr)
        try:
            with trio.fail_after(START_SECONDS):
                line = await _line(process)
            if not line:
                raise SystemExit(f"the server didn't start: {log.read_text()[-2000:]}")
            yield ServerProcess(line.split()[-1], log, process)
        finally:
            with trio.CancelScope(shield=True):
                process.terminate()
                with trio.move_on_after(STOP_SECONDS):
                    await process.wait()
                process.kill()
                await process.wait()
                assert process.stdout is not None
                await process.stdout.aclose()
