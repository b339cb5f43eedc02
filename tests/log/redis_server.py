"""A real redis-server for tests: on a port of its own, its data in a directory that goes with it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "no redis-server or valkey-server here: the Redis log is not tested"


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@attrs.define
class RedisServer:
    """One redis-server with ``directory`` for its append-only file; `start` it again after an end."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = attrs.Factory(free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert BINARY is not None
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    BINARY,
                    *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
                    *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                    *self.options,
                ],
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            try:
                if self.ask("PING") == b"+PONG\r\n":
                    return
            except OSError:
                pass
            assert self.process.poll() is None, (self.directory / "redis.log").read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError("redis-server doesn't answer")

    def ask(self, *command: str) -> bytes:
        """Send a command and return the beginning of what comes back."""
        parts = "".join(f"${len(part.encode())}\r\n{part}\r\n" for part in command)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(f"*{len(command)}\r\n{parts}".encode())
            return sock.recv(65536)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_redis(directory: Path, *options: str) -> Iterator[RedisServer]:
    """A redis-server with an append-only file, synced always."""
    server = RedisServer(directory, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
