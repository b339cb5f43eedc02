"""What is shown of a run: the screen, the pictures, and what the server used."""

import io
import os
import socket
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from swarmlib.settings import Settings, parse_url
from swarmlib.watch import Watch, listener, metrics_url, parse_metrics

from swarm.test_swarm_runs import LOAD, swarm
from trio_chat import Config, serve

pytest.importorskip("rich", reason="the extra 'swarm' is not installed")
pytest.importorskip("matplotlib", reason="the extra 'swarm' is not installed")


def settings(url: str = "ws://127.0.0.1:1/") -> Settings:
    """Of a run of ten seconds."""
    return Settings(target=parse_url(url), clients=200, duration=10.0, warmup=0.0)


def point(at: float, **more: Any) -> dict[str, Any]:
    """A moment of a run."""
    latency = {"count": 5, "p50": 1.0, "p90": 1.5, "p99": 2.0, "p99.9": 2.5, "max": 3.0}
    rates = {"deliveries_per_s": 1000 * at, "sends_per_s": 10.0, "acks_per_s": 10.0}
    return {"phase": "running", "at_s": at, "clients": 200, "latency_ms": latency} | rates | more


def test_the_screen_shows_numbers_and_curves() -> None:
    """The server's processor time between two points, as a share of a core."""
    from rich.console import Console
    from swarmlib.live import Screen

    out = io.StringIO()
    screen = Screen(settings(), Console(file=out, width=100))
    with screen:
        screen.show({"phase": "opening", "ready": 100})
        screen.show(point(4.0, server={"rss_bytes": 50 << 20, "cpu_s": 1.0}))
        screen.show(point(5.0, server={"rss_bytes": 60 << 20, "cpu_s": 1.5}))
        Console(file=out, width=100).print(screen._live.renderable)
    shown = out.getvalue()
    for told in ("5,000", "2.00 ms", "60.0 MiB", "50 %", "5 of 10 s", "▆█"):
        assert told in shown
    assert "100 of 200 have joined" in str(screen.opening({"ready": 100}))


def test_curves_are_as_high_as_their_highest_point() -> None:
    """And empty when there is nothing."""
    from swarmlib.live import bar, curve

    assert curve(deque([0.0, 4.0, 8.0])) == " ▄█"
    assert curve(deque([0.0])) == ""
    assert (bar(0.5, 4), bar(7.0, 4), bar(-1, 2)) == ("██░░", "████", "░░")


def document(**more: Any) -> dict[str, Any]:
    """A result, as `--json` writes it."""
    described = {"protocol": "chat", "clients": 200, "rooms": 1, "loop": "open"}
    curve = [(0.0, 0.5), (50.0, 1.0), (99.0, 2.0), (100.0, 3.0)]
    server = {"rss_bytes": 1 << 20, "connections": 3, "tasks": 9, "descriptors": 8}
    timeline = [point(1.0), point(2.0, latency_ms=None), point(3.0, server=server | {"cpu_s": 1.0})]
    timeline.append(point(4.0, server=server | {"cpu_s": 1.25}))
    return {"settings": described, "timeline": timeline, "latency_curve": curve} | more


@pytest.mark.parametrize("ending", [".png", ".svg", ".html"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_run_is_drawn(ending: str, is_empty: bool, tmp_path: Path) -> None:
    """Also one of which nothing is known; a page has the table."""
    from swarmlib.plot import draw

    file = tmp_path / f"run{ending}"
    draw(document(timeline=[], latency_curve=[]) if is_empty else document(), str(file), "gaps <0>")
    content = file.read_bytes()
    assert len(content) > 3000
    if ending == ".html":
        assert b"gaps &lt;0&gt;" in content
        assert content.count(b"<svg") == 1


def test_the_process_behind_a_port_is_found() -> None:
    """This one; and nobody behind a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    assert listener(port) is None


def test_metrics_are_read_as_far_as_they_are_known() -> None:
    """Without the memory there is nothing to show."""
    text = "# HELP x y\nprocess_resident_memory_bytes 1.5e+07\nprocess_cpu_seconds_total 2.5\nother 3\n"
    assert parse_metrics(text) == {"rss_bytes": 1.5e7, "cpu_s": 2.5}
    assert parse_metrics("process_cpu_seconds_total 2.5\n") is None
    assert parse_metrics("process_resident_memory_bytes many\n") is None
    assert metrics_url(parse_url("wss://h/ws")) == "https://h:443/metrics"


async def test_a_server_elsewhere_is_asked_for_its_metrics() -> None:
    """By its own account it has memory, processor time and connections."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, Config(port=0, log="memory:"))
        watch = Watch(replace(settings(server.url), asks_metrics=True))
        assert await trio.to_thread.run_sync(watch.asked.wait, 20)
        found = watch.stats()
        watch.end()
        nursery.cancel_scope.cancel()
    assert found is not None
    assert found["rss_bytes"] > 1 << 20
    assert found["cpu_s"] > 0
    assert found["connections"] == 0
    assert found["tasks"] > 1
    assert found["descriptors"] > 3


async def test_a_run_records_the_server_without_being_told_which_it_is(tmp_path: Path) -> None:
    """Memory and processor time at every point, and a picture of them."""
    file = tmp_path / "run.svg"
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, Config(port=0, log="memory:", rate=0))
        load = (*LOAD, "--duration", "1.5", "--rate", "50", "--plot", str(file))
        status, result, errors = await swarm(server.url, *load)
        nursery.cancel_scope.cancel()
    assert status == 0, errors
    assert all(each["server"]["rss_bytes"] > 0 for each in result["timeline"])
    assert result["server"]["cpu_share"] > 0
    assert result["latency_curve"][0][1] <= result["latency_curve"][-1][1]
    assert b"<svg" in file.read_bytes()
