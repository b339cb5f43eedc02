"""Clients that stop reading: in the swarm, and the table that compares servers by them."""

from typing import Any

import pytest
import trio
from frozen import main, markdown, parse

from swarm.planted import serve_planted
from swarm.test_swarm_runs import swarm
from trio_chat import Config, serve


async def test_frozen_members_get_everything_when_they_thaw() -> None:
    """Beyond what may wait for them, so from the log; the live ones are timed meanwhile."""
    load = ("--clients", "6", "--frozen", "2", "--senders", "4", "--size", "9000", "--rate", "150")
    times = ("--duration", "1", "--warmup", "0.2", "--thaw", "10")
    config = Config(port=0, log="memory:", rate=0, outbox=1 << 16)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, config)
        status, result, errors = await swarm(f"{server.url}/ws", *load, *times)
        nursery.cancel_scope.cancel()
    assert status == 0, (result, errors)
    frozen, sends = result["frozen"], result["total"]["sends"]
    assert (frozen["count"], frozen["whole"], frozen["told_lagging"]) == (2, 2, 2)
    assert set(frozen["received"].values()) == {sends}
    assert frozen["seconds"] is not None
    assert result["latency_ms"]["count"] == 4 * 150


@pytest.mark.parametrize(("fault", "kind"), [("dropped", "gaps"), ("duplicated", "duplicates")])
async def test_what_a_frozen_member_did_not_get_once_is_found(fault: str, kind: str) -> None:
    """The victim is the frozen one."""
    load = ("--clients", "3", "--frozen", "1", "--senders", "2", "--rate", "50")
    times = ("--duration", "0.5", "--warmup", "0.1", "--thaw", "1", "--grace", "0.5")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, fault)
        status, result, errors = await swarm(f"ws://127.0.0.1:{port}/ws", *load, *times)
        nursery.cancel_scope.cancel()
    assert status == 1, (result, errors)
    assert result["findings"][kind] == 1
    assert result["frozen"]["whole"] == 0


def run(p99: float, frozen: dict[str, Any] | None = None, **bad: int) -> dict[str, Any]:
    """One measurement."""
    return {
        "latency_ms": {"p50": 1.0, "p99": p99},
        "delivered": 1.0,
        "server_cpu": 0.5,
        "swarm_cpu": 0.3,
        "memory_mib": [50.0, 52.0, 58.0],
        "frozen": frozen,
        "bad": bad,
        "warnings": [],
        "neighbours": 0.5,
    }


def test_the_table_compares_runs_with_and_without() -> None:
    """Ratios within a round; memory from the load's beginning to its end; what is wrong; disturbance."""
    thawed = {"count": 3, "whole": 3, "told_lagging": 0, "seconds": 2.0}
    pairs = [(run(10.0), run(11.0, thawed)), (run(20.0), run(26.0, thawed, gaps=2))]
    text = markdown(parse(["--frozen", "3"]), {"node-ws": pairs, "floor": []}, {"floor": "no such thing"})
    assert "5,000 live members and 3 frozen ones, 200 events/s" in text
    assert "| 1.0 / 15.0 | 1.0 / 18.5 | **1.20** (1.10 - 1.30) | 100% | 50% | 50 to 58 (+8.0) |" in text
    assert "| 3 of 3 | 2.0 s |" in text
    assert "{'gaps': 2}" in text
    assert "no such thing" in text
    assert "0.50 cores" in text


@pytest.mark.parametrize("argv", [["--live", "0"], ["--rate", "0"], ["--server", "nobody"], ["--size", "9"]])
def test_a_bad_argument_is_one_line_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the option."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    error = capsys.readouterr().err
    assert (stop.value.code, error.count("\n")) == (2, 1)
    assert error.startswith("frozen: ")
    assert argv[0] in error


@pytest.mark.slow
def test_measures_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    """Start, load, thaw, stop, table."""
    load = ["--live", "4", "--frozen", "2", "--rate", "20", "--seconds", "1"]
    assert main([*load, "--rounds", "1", "--server", "chat-memory"]) == 0
    assert "| **trio_chat**, chat, memory |" in capsys.readouterr().out
