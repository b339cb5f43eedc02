"""``python -m trio_chat`` as a process: its one line, its signals, its exit statuses."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import threading
import urllib.request
from pathlib import Path

import pytest
import trio
import trustme

from trio_chat.client import open_client

from .process import run, serving

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and Unix sockets")


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    """Where a server's standard error goes."""
    return tmp_path / "stderr.txt"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_leaves_with_0(errors: Path, number: int) -> None:
    """One line on standard output when it serves; logs on standard error; status 0 after a signal."""
    with serving(errors, "--log", "memory:") as server:
        assert re.fullmatch(r"trio_chat serving on http://127\.0\.0\.1:[1-9][0-9]*\n", server.first_line)
        with urllib.request.urlopen(f"{server.url}/healthz", timeout=10) as answer:
            assert answer.status == 200
        assert server.stop(number) == (0, "")
    assert "Traceback" not in errors.read_text()


def test_serve_is_the_default_command(errors: Path) -> None:
    """With and without the word the same happens."""
    with serving(errors, "serve", "--log", "memory:", "--port", "0") as server:
        assert server.stop() == (0, "")


def test_logs_are_lines_of_json_if_wanted(errors: Path) -> None:
    """`--log-format json`: each line of standard error is an object."""
    with serving(errors, "--log", "memory:", "--log-format", "json", "--verbose") as server:
        urllib.request.urlopen(server.url + "/healthz", timeout=10).close()
        server.stop()
    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert all(line["time"].endswith("Z") for line in lines)
    assert "stopping" in [line["message"] for line in lines]


def test_a_second_signal_leaves_at_once(errors: Path) -> None:
    """While it drains for a client that doesn't say goodbye, a second signal ends it."""
    with serving(errors, "--log", "memory:", "--drain", "600") as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as frozen:
            frozen.sendall(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert frozen.recv(12) == b"HTTP/1.1 101"
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_error("stopping")
            assert server.stop()[0] == 0


def test_clients_are_told_when_it_stops(errors: Path) -> None:
    """A stop closes with 1012, and the client comes back to the next server on the same log."""
    log = f"sqlite:///{errors.parent}/chat.db"

    async def chat(url: str, port: str) -> None:
        with trio.fail_after(60):
            async with open_client(url, "ann") as client, client.join("lobby") as room:
                await room.say("before")
                stopped = trio.Event()

                def restart() -> None:
                    assert servers[0].stop()[0] == 0
                    trio.from_thread.run_sync(stopped.set)
                    second.set()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, restart)
                    async for state in client.states():
                        if state == "reconnecting":
                            break
                    await stopped.wait()
                    event = await room.say("after")
                assert (event.seq, room.epoch != "") == (2, True)
                texts = [(await anext(room)).text for _ in range(2)]  # type: ignore[union-attr]
                assert texts == ["before", "after"]

    second = threading.Event()
    with serving(errors, "--log", log) as server:
        servers = [server]
        port = server.url.rpartition(":")[2]

        def serve_again() -> None:
            second.wait(60)
            with serving(errors, "--log", log, "--port", port):
                over.wait(60)

        over = threading.Event()
        thread = threading.Thread(target=serve_again)
        thread.start()
        try:
            trio.run(chat, server.url, port)
        finally:
            second.set()
            over.set()
            thread.join()


def test_a_port_that_is_taken_is_status_1(tmp_path: Path) -> None:
    """One line that names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--log", "memory:", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last == f"trio_chat: cannot listen on 127.0.0.1:{port}: another program does already"
    assert "Traceback" not in done.stderr


def _no_database(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _other_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name)")
    database.close()


@pytest.mark.parametrize("make", [_no_database, _other_database, Path.mkdir])
def test_a_log_that_is_none_is_status_1(tmp_path: Path, make: object) -> None:
    """A file that isn't our database, or no file at all: one line that names it."""
    file = tmp_path / "chat.db"
    make(file)  # type: ignore[operator]
    done = run("--log", f"sqlite:///{file}", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(file) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_other_troubles_at_the_start_are_status_1(tmp_path: Path) -> None:
    """TLS files that are none, a name or an address that isn't there, a socket's missing folder."""
    file = tmp_path / "x.pem"
    file.write_text("no certificate")
    missing = str(tmp_path / "none.pem")
    for arguments, message in [
        (("--tls-cert", str(file), "--tls-key", str(file)), "tls_cert"),
        (("--tls-cert", missing, "--tls-key", missing), missing),
        (("--host", "no-such-host.invalid"), "no-such-host.invalid"),
        (("--host", "192.0.2.1"), "192.0.2.1"),
        (("--unix", str(tmp_path / "none" / "socket")), str(tmp_path / "none" / "socket")),
        (("--unix", str(file)), f"{file}: a file that isn't a socket is in the way; it was left alone"),
        (("--unix", str(tmp_path)), f"{tmp_path}: a file that isn't a socket is in the way"),
    ]:
        done = run("--log", "memory:", "--port", "0", *arguments)
        assert (done.returncode, done.stdout) == (1, ""), (arguments, done.stderr)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("trio_chat: "), done.stderr
        assert message in last
        assert "Traceback" not in done.stderr
    assert file.read_text() == "no certificate"


def test_a_unix_socket_is_announced_and_served(errors: Path) -> None:
    """`--unix PATH` serves there, says so, and takes the socket away at the end."""
    path = errors.parent / "socket"

    async def chat() -> None:
        with trio.fail_after(30):
            async with open_client(f"unix:{path}") as client, client.join("lobby") as room:
                assert (await room.say("hi")).seq == 1

    with serving(errors, "--log", "memory:", "--unix", str(path)) as server:
        assert server.first_line == f"trio_chat serving on unix:{path}\n"
        assert stat.S_ISSOCK(path.stat().st_mode)
        trio.run(chat)
        assert server.stop()[0] == 0


def test_tls_is_announced_and_served(errors: Path) -> None:
    """With a certificate the line says https, and the client's wss connects only if it trusts it."""
    import ssl

    from trio_chat.client import CannotConnect

    authority = trustme.CA()
    cert, key = errors.parent / "cert.pem", errors.parent / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def chat(url: str) -> None:
        with trio.fail_after(30):
            async with open_client(url, ssl_context=trusting) as client, client.join("lobby") as room:
                assert (await room.say("hi")).seq == 1
            with pytest.raises(CannotConnect, match="certificate verify failed"):
                async with open_client(url):
                    raise AssertionError

    with serving(errors, "--log", "memory:", "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        trio.run(chat, server.url)
        assert server.stop()[0] == 0


def test_it_allows_itself_all_the_open_files_it_may(errors: Path) -> None:
    """The soft limit on open files is raised to the hard one."""
    resource = pytest.importorskip("resource")
    if not Path("/proc/self/limits").exists():
        pytest.skip("reads /proc")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with serving(errors, "--log", "memory:") as server:
            limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = re.search(r"Max open files +(\S+) +(\S+)", limits)
    assert found is not None
    assert found[1] == found[2]


def test_settings_come_from_everywhere(errors: Path) -> None:
    """File, environment and option together, as the process sees them."""
    file = errors.parent / "chat.toml"
    file.write_text('log = "memory:"\nport = 1\n')
    with serving(
        errors, "--port", "0", "--config", str(file), TRIO_CHAT_PORT="2", TRIO_CHAT_LOG_FORMAT="json"
    ) as server:
        server.stop()
    assert json.loads(errors.read_text().splitlines()[0])["log"] == "memory:"
