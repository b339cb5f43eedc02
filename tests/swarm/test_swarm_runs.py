"""Whole runs of ``scripts/swarm.py`` against a small server with a planted fault."""

import json
import signal
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from comparelib.certificate import Certificate

from swarm.conftest import SCRIPTS
from swarm.planted import FAULTS, serve_planted

pytest.importorskip("hdrh", reason="the extra 'swarm' is not installed")

LOAD = ("--clients", "6", "--senders", "2", "--duration", "0.3", "--warmup", "0.1", "--grace", "0.5")
LIMIT_S = 30


async def swarm(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, result and standard error of one run."""
    command = [sys.executable, str(SCRIPTS / "swarm.py"), *arguments, "--json", "-", "--processes", "1"]
    with trio.fail_after(LIMIT_S):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr.decode()


async def run_against(fault: str, path: str, *arguments: str) -> tuple[int, dict[str, int], dict[str, Any]]:
    """Exit status, findings above zero and result of a run against a server with ``fault``."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, fault)
        status, result, errors = await swarm(f"ws://127.0.0.1:{port}{path}", *LOAD, *arguments)
        nursery.cancel_scope.cancel()
    assert result, errors
    return status, {kind: count for kind, count in result["findings"].items() if count}, result


CHAT = {
    "none": {},
    "dropped": {"gaps": 1},
    "duplicated": {"duplicates": 1},
    "reordered": {"order": 1},
    "lying ack": {"acks wrong": 1},
    "altered": {"members disagree": 1},
    "no ack": {"acks missing": 1, "delivered, not acked": 1},
}
BROADCAST = {"none": {}, "dropped": {"gaps": 1}, "duplicated": {"duplicates": 1}, "reordered": {"order": 1}}


def test_every_fault_is_tried() -> None:
    """None is planted without being looked for."""
    assert set(CHAT) == set(FAULTS)


@pytest.mark.parametrize("fault", CHAT)
async def test_verifying_finds_what_is_planted_in_chat(fault: str) -> None:
    """Exactly that, and status 1."""
    status, findings, result = await run_against(fault, "/ws", "--rate", "100", "--verify")
    assert (status, findings, result["errors"]) == (int(fault != "none"), CHAT[fault], {})
    assert result["acks"] > 0
    assert result["latency_ms"]["count"] > 0


@pytest.mark.parametrize("fault", BROADCAST)
async def test_verifying_finds_what_is_planted_in_a_broadcast(fault: str) -> None:
    """By the senders' own numbers."""
    status, findings, _ = await run_against(fault, "/any", "--rate", "100", "--senders", "1", "--verify")
    assert (status, findings) == (int(fault != "none"), BROADCAST[fault])


@pytest.mark.parametrize("size", ["64", "100000"])
async def test_verifies_over_tls(size: str, tmp_path: Path) -> None:
    """What one read brings may be many records, or less than one."""
    certificate = Certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, "dropped", context)
        options = ("--ca", certificate.ca, "--size", size, "--verify", "--senders", "1", "--window", "1")
        _, result, errors = await swarm(f"wss://127.0.0.1:{port}/any", *LOAD, *options)
        nursery.cancel_scope.cancel()
    assert result, errors
    assert (result["findings"]["gaps"], result["errors"]) == (1, {})


async def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    """In one line; the authority of another run is not this one's."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    certificate, other = Certificate(tmp_path / "one"), Certificate(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, "none", context)
        status, _, errors = await swarm(f"wss://127.0.0.1:{port}/", "--ca", other.ca, *LOAD, "--quiet")
        nursery.cancel_scope.cancel()
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("swarm: TLS: unable to get local issuer certificate")


@pytest.mark.parametrize("fault", ["none", "dropped", "duplicated"])
@pytest.mark.parametrize("path", ["/ws", "/any"])
async def test_counting_alone_finds_what_is_missing_or_too_many(fault: str, path: str) -> None:
    """Without looking into any frame."""
    _, findings, _ = await run_against(fault, path, "--rate", "100", "--sample", "0")
    assert findings == BROADCAST[fault]


@pytest.mark.parametrize("path", ["/ws", "/any"])
async def test_a_closed_loop_keeps_its_window(path: str) -> None:
    """Every message goes to every client, and the next follows."""
    status, findings, result = await run_against("none", path, "--window", "3", "--verify")
    assert (status, findings) == (0, {})
    assert result["total"]["sends"] > 2 * 3
    assert result["total"]["deliveries"] == 6 * result["total"]["sends"]


async def test_nobody_listens() -> None:
    """One line, status 1."""
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        status, _, errors = await swarm(f"ws://127.0.0.1:{port}/", *LOAD, "--quiet")
    assert (status, errors) == (1, f"swarm: connection refused: nothing listens on 127.0.0.1:{port}\n")


async def test_a_host_that_is_not_there_is_one_line() -> None:
    """However many workers find out."""
    status, _, errors = await swarm("ws://no-such-host.invalid/", *LOAD, "--quiet", "--processes", "2")
    assert status == 1
    assert errors.startswith("swarm: no-such-host.invalid: ")
    assert errors.count("\n") == 1


async def test_a_limit_of_the_server_is_told_with_advice() -> None:
    """429 names the option that raises the limit."""

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse, 0)
        port = listeners[0].socket.getsockname()[1]
        status, _, errors = await swarm(f"http://localhost:{port}", *LOAD, "--quiet")
        nursery.cancel_scope.cancel()
    assert status == 1
    assert errors.startswith(
        "swarm: refused with 429 Too Many Requests: start the server with --max-per-ip 6"
    )
    assert errors.count("\n") == 1


async def test_ctrl_c_prints_what_there_is() -> None:
    """The run ends early and in order, with status 0."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, "none")
        command = [
            sys.executable,
            str(SCRIPTS / "swarm.py"),
            f"ws://127.0.0.1:{port}/ws",
            *LOAD,
            "--duration",
            "60",
        ]
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        with trio.fail_after(LIMIT_S):
            process = await nursery.start(run)
            told = output = b""
            while b"deliveries/s" not in told:
                told += await process.stderr.receive_some()
            process.send_signal(signal.SIGINT)
            async for piece in process.stdout:
                output += piece
            assert await process.wait() == 0
        nursery.cancel_scope.cancel()
    assert b"(interrupted)" in output
