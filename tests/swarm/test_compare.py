"""The comparison: its tables, its arguments, and one short run against a peer."""

import json
from pathlib import Path
from typing import Any

import pytest
from compare import Comparison, install_all, main, parse, servers_of, workloads_of
from comparelib import install
from comparelib.plot import bars_of, draw
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
        "swarm_cpu": 0.25,
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
    assert "| server CPU | load CPU | p99, ms | bytes | plain |" in text
    assert "**1.00** (1.00 - 1.00) | 100% | 25% | 1.50 | 110 | 304 |" in text
    assert "**2.50** (2.50 - 2.50) | 100% | 25% | 1.50 | | |" in text


def test_workloads_have_their_servers() -> None:
    """Those named for them; of the ones that were asked for, those that make sense."""

    def names(workload: str, *wanted: str) -> list[str]:
        chosen = next(each for each in WORKLOADS if each.name == workload)
        return [server.name for server in servers_of(chosen, list(wanted) or None)]

    assert {"floor", "ejabberd"} < set(names("fan-out-1"))
    assert {"socketio", "nats"} < set(names("rooms")) > {"chat-sqlite"}
    assert names("rooms", "naive") == []
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
        (["--minutes", "0"], "--minutes: 0.1 to 10000"),
        (["--plot", "picture.gif"], "--plot: a file that ends in .png"),
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


def test_a_quick_comparison_has_fewer_workloads_and_servers() -> None:
    """And ends by itself: what does not fit in the time is left out, and said."""
    arguments = parse(["--quick", "--minutes", "0.1"])
    comparison = Comparison(arguments)
    names = {workload.name for workload in workloads_of(arguments)}
    assert {"fan-out-1", "fan-out-50", "latency"} < names < {workload.name for workload in WORKLOADS}
    assert comparison.needs() == ["node", "python"]
    comparison._ends_at = 0.0
    comparison.run()
    assert not comparison.is_bad()
    assert "The time was over" in comparison.tables()


def test_a_table_of_latencies_shows_who_pays_for_frozen_members() -> None:
    """Quantiles, the ratio of the 99th, memory, and whether they got everything."""
    workload = next(workload for workload in WORKLOADS if workload.name == "frozen")
    one = run(2.0) | {"latency_ms": {"p50": 1.0, "p99": 2.0, "p99.9": 3.0}, "grown_mib": 4.0}
    one["frozen"] = {"whole": 19, "count": 20}
    two = one | {"value": 4.0, "latency_ms": {"p50": 1.5, "p99": 4.0, "p99.9": 9.0}}
    text = markdown(workload, {"node-ws": [one], "relay": [two]}, {})
    assert "| 1.50 | 4.00 | 4.00 - 4.00 | 9.00 | **2.00** (2.00 - 2.00) | 100% | 4.0 | 19 of 20 |" in text


def test_what_cannot_be_installed_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Once; the rest goes on without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install, "CACHE", tmp_path)
    install._failure.cache_clear()
    try:
        assert install_all(["prosody"]) == 1
        with pytest.raises(install.CannotInstall, match="no prosody on this machine"):
            install.install("prosody")
    finally:
        install._failure.cache_clear()
    assert capsys.readouterr().err == (
        "prosody: no prosody on this machine, and no apt-get to install it with\n"
    )


def test_packages_are_installed_again_when_the_list_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not otherwise."""
    monkeypatch.setattr(install, "CACHE", tmp_path)
    assert not install._is_current("node", ("ws@1",))
    install._remember("node", ("ws@1",))
    assert install._is_current("node", ("ws@1",))
    assert not install._is_current("node", ("ws@2",))


@pytest.mark.parametrize("ending", [".png", ".svg", ".html"])
def test_a_comparison_is_drawn(ending: str, tmp_path: Path) -> None:
    """A page has the tables too; one that nobody could measure has no bar."""
    pytest.importorskip("matplotlib", reason="the extra 'swarm' is not installed")
    file = tmp_path / f"picture{ending}"
    runs = {"node-ws": [run(100e3), run(120e3)], "relay": [run(4e6), None], "naive": [None]}
    assert bars_of(runs) == [("node-ws", 110e3, 100e3, 120e3), ("relay", 4e6, 4e6, 4e6)]
    draw({"workloads": {"fan-out-1": {"runs": runs, "skipped": {}}}}, str(file), "| a & b |")
    content = file.read_bytes()
    assert len(content) > 2000
    if ending == ".html":
        assert b"<svg" in content
        assert b"<pre>| a &amp; b |</pre>" in content
