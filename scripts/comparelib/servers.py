"""The servers that are compared: each started pinned to one core, on a free port, stopped by its own pid.

A server that cannot be had on this machine (no Node, no package) is skipped with its reason; it is never
silently left out. For those that serve TLS a certificate is made for the run. How each of them is set up, and
why so, is in ``docs/load-testing.md``.
"""

import os
import select
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
from comparelib.install import CACHE, PYTHON, SCRIPTS, CannotInstall, install, last_line, node_program

PEERS = SCRIPTS / "peers"
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
    needs: str = ""
    """What `install` gets for it; nothing if what runs this has it all."""
    has_rooms: bool = False
    """Whether clients can be in rooms of their own, also where ours are."""


@dataclass(frozen=True)
class Running:
    """A started server."""

    url: str
    pid: int
    ca: str | None = None
    """Whom to trust, with TLS."""


def _peer(file: str, *options: str, python: str = str(PYTHON)) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        return [python, str(PEERS / file), *options, *(["--echo"] if echo else [])]

    return command


def _node(file: str, *options: str) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        given = [option.format(directory=directory) for option in options]
        return [node_program(), str(PEERS / file), *given, *(["--echo"] if echo else [])]

    return command


def _daemon(name: str) -> Callable[[bool, Path], list[str]]:
    return lambda echo, directory: [sys.executable, str(PEERS / "daemon.py"), name, str(directory)]


def _ours(log: str, *options: str) -> Callable[[bool, Path], list[str]]:
    def command(echo: bool, directory: Path) -> list[str]:
        given = [option.format(directory=directory) for option in ("--log", log, *options)]
        return [
            sys.executable, "-m", "trio_chat", "serve", "--port", "0", "--rate", "0",
            "--max-per-ip", "1000000", "--max-connections", "20000", "--max-message", "2MiB", *given,
        ]  # fmt: skip

    return command


_SQLITE = ("sqlite:///{directory}/chat.db", "--sync", "full")
_TLS = ("--tls-cert", "{directory}/chain.pem", "--tls-key", "{directory}/key.pem")
_WS = "node_ws.mjs"
_XMPP = "/xmpp-websocket"
SERVERS = (
    Server(
        "floor", "floor: a bare Python loop of `send`", "plain", "/", _peer("floor.py", python=sys.executable)
    ),
    Server(
        "floor-each",
        "floor: one `send` for each message and member",
        "plain",
        "/",
        _peer("floor.py", "--each", python=sys.executable),
    ),
    Server(
        BASELINE, "Node `ws` 8, loop over clients", "plain", "/", _node(_WS), needs="node", has_rooms=True
    ),
    Server(
        "relay", "**trio_chat**, relay", "relay", "/relay", _ours("memory:"), is_ours=True, has_rooms=True
    ),
    Server(
        "chat-memory", "**trio_chat**, chat, memory", "chat", "/ws", _ours("memory:"), is_ours=True,
        has_rooms=True,
    ),
    Server(
        "chat-sqlite", "**trio_chat**, chat, SQLite, full sync", "chat", "/ws", _ours(*_SQLITE), is_ours=True,
        has_rooms=True,
    ),
    Server(
        "socketify", "uWebSockets (C++, socketify), publish", "plain", "/", _peer("socketify_server.py"),
        needs="python", has_rooms=True,
    ),
    Server(
        "picows", "picows (Cython, uvloop)", "plain", "/", _peer("picows_server.py"), needs="python",
        has_rooms=True,
    ),
    Server("nats", "NATS (Go)", "nats", "/", _daemon("nats"), needs="nats-server", has_rooms=True),
    Server("mosquitto", "mosquitto (C), MQTT", "mqtt", "/", _daemon("mosquitto"), needs="mosquitto",
           has_rooms=True),
    Server("socketio", "Socket.IO 4", "socketio", "/", _node("socketio.mjs"), needs="node", has_rooms=True),
    Server(
        "websockets-asyncio", "`websockets` on asyncio (uvloop)", "plain", "/",
        _peer("websockets_asyncio.py"), needs="python", has_rooms=True,
    ),
    Server(
        "websockets-trio", "`websockets` on Trio", "plain", "/", _peer("websockets_trio.py"), needs="python"
    ),
    Server(
        "naive", "trio-websocket, channel per client", "plain", "/", _peer("naive_trio_websocket.py"),
        needs="python",
    ),
    Server("ejabberd", "ejabberd, a room of XMPP", "xmpp", _XMPP, _daemon("ejabberd"), needs="ejabberd",
           has_rooms=True),
    Server("prosody", "prosody, a room of XMPP", "xmpp", _XMPP, _daemon("prosody"), needs="prosody",
           has_rooms=True),
    Server(
        "node-ws-deflate", "Node `ws` 8, `perMessageDeflate`, threshold 0", "plain", "/",
        _node(_WS, "--deflate"), needs="node",
    ),
    Server(
        "relay-plain", "**trio_chat**, relay, `--no-compress`", "relay", "/relay",
        _ours("memory:", "--no-compress"), is_ours=True,
    ),
    Server(
        "node-ws-tls", "Node `ws` 8, https", "plain", "/", _node(_WS, "--tls", _TLS[1], _TLS[3]), tls=True,
        needs="node",
    ),
    Server(
        "relay-tls", "**trio_chat**, relay, TLS", "relay", "/relay", _ours("memory:", *_TLS), is_ours=True,
        tls=True,
    ),
    Server(
        "chat-tls", "**trio_chat**, chat, memory, TLS", "chat", "/ws", _ours("memory:", *_TLS), is_ours=True,
        tls=True,
    ),
)  # fmt: skip


def can_pin() -> bool:
    """Whether server and load can have a core each."""
    return hasattr(os, "sched_setaffinity") and {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def pin(core: int) -> Callable[[], None] | None:
    """What a child process does first to stay on ``core``."""
    return (lambda: os.sched_setaffinity(0, {core})) if can_pin() else None


@contextmanager
def running(server: Server, *, echo: bool) -> Iterator[Running]:
    """Start ``server`` and stop it again. `CannotStart` if it doesn't come up."""
    if server.needs:
        try:
            install(server.needs)
        except CannotInstall as error:
            raise CannotStart(str(error)) from None
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
            env=os.environ | {"PEER_MODULES": str(CACHE)}, preexec_fn=pin(SERVER_CORE),
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
