"""The processes of ``scripts/cluster.py``, and what stands between them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@attrs.define(eq=False)
class Redis:
    """A redis-server that syncs each write; started again, it has its data."""

    directory: Path
    port: int = attrs.field(factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "redis.txt").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--dir", str(self.directory), "--appendonly", "yes", "--appendfsync", "always"],
                stdout=log, stderr=log,
            )  # fmt: skip
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGSTOP."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)


@attrs.define(eq=False)
class Proxy:
    """What a node believes to be Redis."""

    upstream: int
    port: int = 0
    _open: trio.Event = attrs.field(factory=trio.Event)
    _refusing: bool = False
    _connections: set[trio.CancelScope] = attrs.field(factory=set)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pass connections on, until cancelled."""
        self._open.set()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    def refuse(self) -> None:
        """End all connections and take no new ones."""
        self._refusing = True
        for scope in self._connections:
            scope.cancel()

    def swallow(self) -> None:
        """Let nothing through."""
        self._open = trio.Event()

    def heal(self) -> None:
        """Be a good proxy again."""
        self._refusing = False
        self._open.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        if self._refusing:
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                async with (
                    client,
                    await trio.open_tcp_stream("127.0.0.1", self.upstream) as redis,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._pump, client, redis, nursery.cancel_scope)
                    nursery.start_soon(self._pump, redis, client, nursery.cancel_scope)
            except (OSError, trio.BrokenResourceError, BaseExceptionGroup) as error:
                if isinstance(error, BaseExceptionGroup):
                    (_, rest) = error.split((OSError, trio.BrokenResourceError))
                    if rest is not None:
                        raise rest from None
            finally:
                self._connections.discard(scope)

    async def _pump(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        async for data in source:
            await self._open.wait()
            await target.send_all(data)
        scope.cancel()


@attrs.define(eq=False)
class Node:
    """One server process, started again whenever it has ended."""

    number: int
    directory: Path
    proxy: Proxy
    port: int = attrs.field(factory=free_port)
    url: str = ""
    """Where it serves, if it does."""
    starts: int = 0
    _process: trio.Process | None = None

    @property
    def errors(self) -> Path:
        """What it has said on standard error."""
        return self.directory / f"node-{self.number}.txt"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it running, until cancelled."""
        command = [sys.executable, "-m", "trio_chat", "--port", str(self.port)]
        command += ["--log", f"redis://127.0.0.1:{self.proxy.port}", "--rate", "0", "--max-per-ip", "10000"]
        mine = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_CHAT_")}
        while True:
            self.starts += 1
            with self.errors.open("ab") as stderr:
                self._process = await trio.lowlevel.open_process(
                    [*command, "--drain", "3"], stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=mine
                )
            assert self._process.stdout is not None
            try:
                line = b""
                async for data in self._process.stdout:
                    line += data
                    if line.endswith(b"\n"):
                        self.url = line.decode().split()[-1]
                        if self.starts == 1:
                            task_status.started()
            finally:
                self.url = ""
                self.kill()
                with trio.CancelScope(shield=True):
                    await self._process.wait()
                    await self._process.stdout.aclose()
            await trio.sleep(0.1)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.url = ""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
