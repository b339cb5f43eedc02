"""docs/operations.md: every setting, metric and log line is in it, and what it shows works."""

import ast
import configparser
import importlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

import trio_chat
from trio_chat import config
from trio_chat.log import open_sqlite_log
from trio_chat.log.base import Append
from trio_chat.testing import open_memory_server

from .page import Page, table, words

PAGE = Page("operations.md")
SOURCE = Path(trio_chat.__file__).parent
FIELDS = {field.name: field for field in attrs.fields(trio_chat.Config)}
SETTINGS = {row[0]: row[1:] for row in table(PAGE.section("Settings"))}


class Nonsense:
    """What no setting may be."""


def test_every_setting_is_described() -> None:
    """One row each, in the order of `Config`, and no others."""
    assert list(SETTINGS) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_the_default_is_the_real_one(name: str) -> None:
    """The table's default, read as the environment would be, is `Config`'s."""
    default = SETTINGS[name][0]
    real = getattr(trio_chat.Config(), name)
    if name == "log":
        assert real.endswith(f"/{default.split()[0]}")
    elif default:
        assert config.from_text(name, default) == real
    else:
        assert real in (None, ())


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_setting_may_be_is_what_its_error_says(name: str) -> None:
    """The table has the words of the error message."""
    wrong: object = (Nonsense(),) if FIELDS[name].default == () else Nonsense()
    with pytest.raises(trio_chat.ConfigError) as caught:
        trio_chat.Config(**{name: wrong})  # type: ignore[arg-type]
    allowed = str(caught.value).removeprefix(f"{name}: ").rpartition(", not ")[0]
    assert SETTINGS[name][2] == allowed


@pytest.mark.parametrize("name", FIELDS)
def test_the_unit_is_the_real_one(name: str) -> None:
    """Numbers have a unit, which their error message has too; sizes are bytes."""
    unit, allowed = SETTINGS[name][1], SETTINGS[name][2]
    if FIELDS[name].type in (int, float) and name != "port":
        assert unit in allowed
        assert unit
    else:
        assert not unit


@pytest.mark.parametrize("row", table(PAGE.section("Limits")), ids=lambda row: row[2])
def test_a_limit_is_the_real_one(row: list[str]) -> None:
    """The table's value is that of the name in the source."""
    module, _, name = row[2].rpartition(".")
    assert getattr(importlib.import_module(f"trio_chat.{module}"), name) == float(row[1])


def test_every_option_on_the_page_is_one() -> None:
    """Nothing is recommended that the command line refuses."""
    known = {name.replace("_", "-") for name in FIELDS}
    known |= {"config", "help", "version", "room", "name", "no-verbose", "no-guests"}
    for name in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", PAGE.text):
        assert name in known, name


def test_the_example_of_a_file_is_a_configuration(tmp_path: Path) -> None:
    """The server takes the TOML as it stands."""
    (block,) = PAGE.blocks("toml")
    file = tmp_path / "trio_chat.toml"
    file.write_text(block.text)
    loaded = config.load(environ={}, file=str(file))
    assert loaded.max_message == 128 << 10
    assert loaded.origin == ("https://www.example.org",)


def test_the_unit_is_one() -> None:
    """It starts the server with a configuration file, and waits longer than a drain takes."""
    (block,) = PAGE.blocks("ini")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.text)
    service = parser["Service"]
    assert "-m trio_chat --config " in service["ExecStart"]
    assert int(service["TimeoutStopSec"]) > trio_chat.Config().drain
    assert int(service["LimitNOFILE"]) > trio_chat.Config().max_connections
    (toml,) = PAGE.blocks("toml")
    assert f"/var/lib/{service['StateDirectory']}/" in toml.text


async def get(path: str) -> tuple[str, str]:
    """Head and body of the answer of a new server."""
    async with open_memory_server() as server:
        stream = server.open_stream()
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        async for data in stream:
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head, body


async def test_every_metric_is_described(autojump_clock: object) -> None:
    """The table has the names and types that the server exposes, and no others."""
    _, exposition = await get("/metrics")
    exposed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition, re.MULTILINE))
    described = {
        row[0]: row[1] for row in table(PAGE.section("Health and metrics").split("`/metrics`", 2)[2])
    }
    assert described == exposed
    assert len(exposed) > 10


async def test_the_health_endpoints_answer_as_described(autojump_clock: object) -> None:
    """Their bodies are on the page."""
    rows = {row[0]: row[1] for row in table(PAGE.section("Health and metrics"))}
    for path in ("/healthz", "/readyz"):
        head, body = await get(path)
        assert rows[path].startswith(f"{head.split()[1]} {body.strip()}")
    for status in re.findall(r'"(draining|log unavailable)"', (SOURCE / "door.py").read_text()):
        assert status in rows["/readyz"]


LEVELS = {"exception": "ERROR", "error": "ERROR", "warning": "WARNING", "info": "INFO", "debug": "DEBUG"}


def log_lines() -> Iterator[tuple[str, str, list[str]]]:
    """Every line that the server may log: level, logger, and the constant parts of the message."""
    for path in SOURCE.rglob("*.py"):
        if path.name.startswith(("client", "terminal")):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        loggers = {
            node.targets[0].id: node.value.args[0].value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "logging.getLogger"
            if isinstance(node.value.args[0], ast.Constant) and isinstance(node.value.args[0].value, str)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in loggers
                and node.func.attr in LEVELS
            ):
                text = node.args[0]
                assert isinstance(text, ast.Constant)
                assert isinstance(text.value, str)
                logger = loggers[node.func.value.id].removeprefix("trio_chat.")
                yield LEVELS[node.func.attr], logger, re.split(r"%[srd]", text.value)


def test_every_log_line_is_described() -> None:
    """Each has a row with its level, the part of the server that logs it, and its words."""
    rows = [(row[0], row[1]) for row in table(PAGE.section("Logs"))]
    found = set()
    for level, logger, parts in log_lines():
        pattern = re.escape(f"{logger}: ") + "[A-Z ]+".join(map(re.escape, parts))
        matching = [row for row in rows if row[0] == level and re.fullmatch(pattern, row[1])]
        assert matching, f"{level} {logger}: {'...'.join(parts)}"
        found |= set(matching)
    assert set(rows) == found


async def test_a_backup_can_be_restored_with_a_new_epoch(tmp_path: Path) -> None:
    """The two commands for `sqlite3` do what the page says: nothing of the events changes but the epoch."""
    _, backup, new_epoch, _ = (
        block.text for block in PAGE.blocks("sh") if "sqlite3" in block.text or "tls" in block.text
    )
    assert '".backup backup.db"' in backup
    file = tmp_path / "trio-chat.db"
    async with open_sqlite_log(str(file)) as log:
        await log.append([Append("lobby", "message", '"text":"hi"}')])
        before = await log.position("lobby")
        with sqlite3.connect(file) as source, sqlite3.connect(tmp_path / "backup.db") as target:
            source.backup(target)
        source.close()
        target.close()
    statement = re.search(r'"(UPDATE .*)"', new_epoch)
    assert statement is not None
    with sqlite3.connect(tmp_path / "backup.db") as connection:
        connection.execute(statement[1])
    connection.close()
    async with open_sqlite_log(str(tmp_path / "backup.db")) as log:
        after = await log.position("lobby")
        assert after.epoch != before.epoch
        assert attrs.evolve(after, epoch="") == attrs.evolve(before, epoch="")


async def test_an_older_file_can_be_rewritten(tmp_path: Path) -> None:
    """The command makes a file that gives space back of one that doesn't, with the same events in it."""
    statement = re.search(r'"(PRAGMA .*)"', PAGE.section("The log file"))
    assert statement is not None
    file = tmp_path / "trio-chat.db"
    async with open_sqlite_log(str(file)) as log:
        await log.append([Append("lobby", "message", '"text":"hi"}')])
    for script, mode in (("PRAGMA auto_vacuum = none; VACUUM", 0), (statement[1], 2)):
        with sqlite3.connect(file) as connection:
            connection.executescript(script)
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (mode,)
        connection.close()
        async with open_sqlite_log(str(file)) as log:
            assert [event.body for event in await log.read("lobby", 0, 10)] == ['"text":"hi"}']


def test_numbers_in_the_text_are_the_real_ones() -> None:
    """What the sentences say is what the code does."""
    from trio_chat import door, listeners, server
    from trio_chat.chat import retention
    from trio_chat.log import sqlite_file, sqlite_trim

    text = words(PAGE.text)
    for phrase in (
        f"{server._SPARE_CONNECTIONS:,} connections more than max_connections",
        f"with their number, {server._RETURNS_PER_SECOND} per second",
        f"the server asks for {listeners._BACKLOG}",
        f"more than {door.UPGRADE_SECONDS:g} seconds; the client got 503",
        f"at most {sqlite_file.MAX_WAL_BYTES >> 20} MiB after a burst",
        f"for more than {sqlite_file.BUSY_SECONDS:g} seconds",
        f"never in its first {retention.MIN_KEPT_SECONDS:g} seconds",
        f"when it starts, and {retention.SWEEP_SECONDS:g} seconds after it has done",
        f"oldest end, {retention.BATCH} at a time",
        f"Free space beyond {sqlite_trim.FREE_PAGES * 4096 >> 20} MiB, or an eighth of the file",
    ):
        assert phrase in text, phrase


def test_error_texts_in_the_troubleshooting_are_the_real_ones() -> None:
    """The first column quotes what the server says."""
    source = " ".join("".join(re.findall(r'"([^"\n]*)"', p.read_text())) for p in SOURCE.rglob("*.py"))
    for quote in (
        "another program does already", "is in use by another trio_chat server",
        "a file that isn't a socket is in the way",
        "is another application's database", "it is not a database", "was written by a newer trio_chat",
        "a Redis log needs more",
        "Forwarded and X-Forwarded-For name different clients", "Connection: Upgrade is missing",
        "this port speaks plain HTTP, not TLS", "The web client is not built",
    ):  # fmt: skip
        assert quote in source
        assert quote in words(PAGE.section("Troubleshooting"))


# --- proxies ------------------------------------------------------------------------------------------------


def proxy_config(name: str, listen: int, upstream: int, directory: Path) -> tuple[str, str]:
    """The page's snippet as a whole configuration without TLS: its text, and how to check and run it."""
    (block,) = PAGE.blocks(name)
    text = block.text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    if name == "nginx":
        text = re.sub(r"^ *(ssl_certificate|server_name).*\n", "", text, flags=re.MULTILINE)
        text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{listen};")
        places = "".join(
            f"{kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off; pid {directory}/pid; error_log stderr;\nevents {{}}\n"
            f"http {{ access_log off;\n{places}{text} }}\n",
            "nginx -e stderr -c {file}",
        )
    if name == "haproxy":
        return re.sub(r"bind .*", f"bind 127.0.0.1:{listen}", text), "haproxy -db -f {file}"
    text = text.replace("chat.example.org", f"http://127.0.0.1:{listen}")
    return f"{{\n    admin off\n}}\n{text}", "caddy run --adapter caddyfile --config {file}"


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is the same machine only there")
@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy"])
async def test_a_proxy_passes_the_chat_on(name: str, tmp_path: Path) -> None:
    """Behind the page's snippet a client can talk, has its own address, and can't forge one."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    listen, upstream = free_port(), free_port()
    text, command = proxy_config(name, listen, upstream, tmp_path)
    file = tmp_path / "proxy.conf"
    file.write_text(text)
    seen: list[trio_chat.UpgradeRequest] = []

    async def look(request: trio_chat.UpgradeRequest) -> trio_chat.Accept | trio_chat.Reject:
        seen.append(request)
        return trio_chat.Accept()

    settings = trio_chat.Config(port=upstream, log="memory:", trusted_proxy=("127.0.0.1",))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def serve(task_status: trio.TaskStatus[trio_chat.Server]) -> None:
                await trio_chat.serve(settings, upgrade=look, task_status=task_status)

            await nursery.start(serve)
            arguments = command.format(file=file).split()
            process = await nursery.start(start_proxy, arguments, {"HOME": str(tmp_path)})
            await reachable(listen)
            url = f"http://127.0.0.1:{listen}"
            async with trio_chat.open_client(url, "ann", patient=True) as ann, ann.join("lobby") as room:
                assert (await room.say("hello")).seq == 1
            assert await status(listen, {"X-Forwarded-For": "203.0.113.9", "Origin": url}) == 101
            assert (
                await status(listen, {"Forwarded": "for=203.0.113.9", "X-Forwarded-Host": "evil.example"})
                == 101
            )
            assert await status(listen, {"Origin": "https://evil.example"}) == 403
            assert await status(listen, {}, "/metrics") in (403, 404)
            process.terminate()
            nursery.cancel_scope.cancel()
    assert {request.client for request in seen} == {"127.0.0.1", "127.0.0.2"}
    assert {request.peer for request in seen} == {"127.0.0.1"}
    assert {request.host for request in seen} == {f"127.0.0.1:{listen}"}


async def start_proxy(
    command: list[str], more: dict[str, str], task_status: trio.TaskStatus[trio.Process]
) -> None:
    """Run a proxy until cancelled."""
    await trio.run_process(
        command, env=os.environ | more, check=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        task_status=task_status,
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def reachable(port: int) -> None:
    """Until somebody listens, and what is behind it answers."""
    while True:
        try:
            if await status(port, {}, "/readyz") == 200:
                return
        except OSError:
            pass
        await trio.sleep(0.05)


async def status(port: int, headers: dict[str, str], path: str = "/ws") -> int:
    """The status that a request from 127.0.0.2 gets: a handshake's on /ws."""
    sent = {"Host": f"127.0.0.1:{port}", **headers}
    if path == "/ws":
        sent |= {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    async with await trio.open_tcp_stream("127.0.0.1", port, local_address="127.0.0.2") as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b""
        while b"\r\n" not in answer:
            data = await stream.receive_some()
            if not data:
                raise ConnectionError("no answer")
            answer += data
    return int(answer.split()[1])
