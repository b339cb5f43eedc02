"""The comparison: its tables, its arguments, and one short run against a peer."""

import json
from pathlib import Path
from typing import Any

import pytest
from compare import main, servers_of
from comparelib.quiet import Neighbours, wait_until_quiet
from comparelib.servers import SERVERS, CannotStart, Server, running
from comparelib.table import markdown, ratios
from comparelib.workloads import WORKLOADS, RunFailed, swarm

FAN_OUT = WORKLOADS[0]


def run(value: float, cpu: float = 1.0, **bad: int) -> dict[str, Any]:
    """One measurement."""
    return {
        "value": value,
        "server_cpu": cpu,
        "latency_ms": {"p99": 1.5},
        "bad": bad,
        "neighbours": 0.0,
    }


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which one of the two failed is left out."""
    runs = {"node-ws": [run(100), None, run(300)], "relay": [run(200), run(999), run(900)]}
    assert ratios(runs, "relay", "node-ws") == [2.0, 3.0]
    assert ratios(runs, "floor", "node-ws") == []


def test_a_table_shows_medians_spread_and_what_is_wrong() -> None:
    """Also what was skipped, and why."""
    runs = {"node-ws": [run(100e3), run(200e3)], "relay": [run(3e6, 0.5), run(4e6, 0.5, gaps=3)], "naive": []}
    text = markdown(FAN_OUT, runs, {"naive": "no such package"})
    assert "| 150.0 k | 100.0 k - 200.0 k | **1.00** (1.00 - 1.00) |" in text
    assert "| 3.50 M | 3.00 M - 4.00 M | **25.00** (20.00 - 30.00) | **50.00** (40.00 - 60.00) |" in text
    assert "50% (not saturated)" in text
    assert "{'gaps': 3}" in text
    assert "no such package" in text
    assert "disturbed" not in text


def test_a_table_of_compressed_fan_out_shows_bytes() -> None:
    """On the wire and uncompressed, where a server compresses; ratios to the baseline of the workload."""
    workload = next(workload for workload in WORKLOADS if workload.name == "deflate-1")
    packed = run(20e3) | {"bytes_per_delivery": 110.4, "plain_bytes_per_delivery": 304.0}
    plain = run(50e3) | {"bytes_per_delivery": 304.0, "plain_bytes_per_delivery": None}
    text = markdown(workload, {"node-ws-deflate": [packed], "node-ws": [plain]}, {})
    assert "| server CPU | p99, ms | bytes | plain |" in text
    assert "**1.00** (1.00 - 1.00) | 100% | 1.50 | 110 | 304 |" in text
    assert "**2.50** (2.50 - 2.50) | 100% | 1.50 | | |" in text


def test_workloads_have_their_servers() -> None:
    """Those named for them; of the ones that were asked for, those that make sense."""

    def names(workload: str, *wanted: str) -> list[str]:
        chosen = next(each for each in WORKLOADS if each.name == workload)
        return [server.name for server in servers_of(chosen, list(wanted) or None)]

    assert "floor" not in names("fan-out-1")
    assert names("fan-out-1", "floor") == ["floor"]
    assert names("tls-1", "relay-tls", "floor") == ["relay-tls"]
    assert not {"chat-memory", "chat-sqlite"} & set(names("echo"))
    known = {server.name for server in SERVERS}
    assert all(known >= {*workload.servers, workload.baseline} for workload in WORKLOADS)
    assert all(workload.baseline in workload.servers for workload in WORKLOADS if workload.servers)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--only", "nothing"], "--only"),
        (["--server", "nobody"], "--server"),
        (["--rounds", "0"], "--rounds: 1 to 100"),
        (["--seconds", "0"], "--seconds: 0.5 to 600"),
        (["--patience", "-1"], "--patience: 0 to 3600"),
        (["--json", "/no/such/directory/x"], "--json: cannot write"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    error = capsys.readouterr().err
    assert (stop.value.code, error.count("\n")) == (2, 1)
    assert error.startswith("compare: ")
    assert told in error


def test_measures_a_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Start, load, stop, table, JSON."""
    pytest.importorskip("hdrh", reason="the extra 'swarm' is not installed")
    file = tmp_path / "runs.json"
    argv = [
        "--only",
        "fan-out-1",
        "--server",
        "floor",
        "--rounds",
        "1",
        "--seconds",
        "0.5",
        "--json",
        str(file),
    ]
    assert main(argv) == 0
    assert "| floor: a bare Python loop of `send` |" in capsys.readouterr().out
    found = json.loads(file.read_text())["workloads"]["fan-out-1"]["runs"]["floor"][0]
    assert found["value"] > 0
    assert found["bad"] == {}


def test_a_server_that_does_not_start_is_told_in_one_line() -> None:
    """Its last words are the reason."""

    def broken(echo: bool, directory: Path) -> list[str]:
        return ["sh", "-c", "echo first >&2; echo the reason >&2"]

    with (
        pytest.raises(CannotStart, match=r"^the reason$"),
        running(Server("x", "x", "plain", "/", broken), echo=False),
    ):
        pass


def test_a_swarm_that_cannot_measure_is_told_in_one_line() -> None:
    """Its line is the reason."""
    with pytest.raises(RunFailed, match=r"^swarm: .*--clients"):
        swarm(["ws://127.0.0.1:1", "--clients", "0"], 60)


def test_every_server_has_a_name_of_its_own() -> None:
    """`--server` must be able to choose."""
    assert len({server.name for server in SERVERS}) == len(SERVERS)


def test_waiting_for_quiet_is_bounded() -> None:
    """A busy machine is measured all the same, and told."""
    neighbours = Neighbours()
    wait_until_quiet(0.0)
    assert neighbours.cores() >= 0.0
