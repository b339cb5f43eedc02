"""Personas and scenarios: who is who, what a file may say, and whole runs in which everybody misbehaves."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from swarmlib.adapters import make_protocol
from swarmlib.cli import main, parse, settings_from
from swarmlib.connection import Connection, RoomView, State
from swarmlib.dripper import Dripper
from swarmlib.frames import FragmentMaker
from swarmlib.mix import KINDS, Mix, MixError, mix_from, parse_mix
from swarmlib.personas import Personas, merged
from swarmlib.poller import READ, make_poller
from swarmlib.scenario import names
from swarmlib.settings import Settings
from swarmlib.verify import Findings, SenderTranscript
from wsproto.frame_protocol import FrameProtocol

from swarm.planted import serve_planted
from swarm.test_swarm_runs import swarm
from trio_chat import Config, serve

URL = "ws://127.0.0.1:9/"
EVERYBODY = (
    "talker=2,fragments=1,lurker=2,spammer=1,flapping=2,storm=2,slow=1,half-open=1,frozen=1,slow-handshake=1"
)
TIMES = (
    "--rate", "40", "--duration", "1.5", "--warmup", "0.2", "--flap", "0.4", "--storm", "0.6", "--grace", "5",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/ws", "/relay"])
async def test_everybody_gets_everything_however_the_others_behave(path: str) -> None:
    """Those who come back, too; who was never to get anything is not missed."""
    config = Config(port=0, log="memory:", rate=200, outbox=1 << 16)
    load = ("--mix", EVERYBODY, *TIMES, "--size", "500", "--spam-rate", "40", "--slow-bytes", "30000")
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, config)
        status, result, errors = await swarm(f"{server.url}{path}", *load)
        nursery.cancel_scope.cancel()
    assert status == 0, (result, errors)
    personas = result["personas"]
    assert set(personas) == {"flapping", "storm", "spammer", "slow", "half_open", "slow_handshake"}
    assert personas["storm"]["dropped"] >= 2
    assert personas["flapping"]["dropped"] >= 1
    assert personas["spammer"]["sent"] > 0
    assert personas["half_open"]["count"] == 1
    assert result["returns"]["returned"] >= 3
    assert (result["frozen"]["count"], result["frozen"]["whole"]) == (1, 1)
    assert result["latency_ms"]["count"] == 5 * 60  # those who are timed: talkers, fragments, lurkers


@pytest.mark.parametrize(("fault", "kind"), [("dropped", "gaps"), ("duplicated", "duplicates")])
async def test_a_fault_is_found_in_the_middle_of_a_mix(fault: str, kind: str) -> None:
    """Exactly that one."""
    mix = "talker=2,lurker=2,slow=1,half-open=1"
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, fault)
        status, result, errors = await swarm(f"ws://127.0.0.1:{port}/ws", "--mix", mix, *TIMES)
        nursery.cancel_scope.cancel()
    assert status == 1, (result, errors)
    assert {name: count for name, count in result["findings"].items() if count} == {kind: 1}


@pytest.mark.parametrize(
    ("fault", "kind"), [("none", ""), ("lost on resume", "gaps"), ("twice on resume", "duplicates")]
)
async def test_what_goes_wrong_when_clients_come_back_is_found(fault: str, kind: str) -> None:
    """Only that: the transcript goes on over all connections of a client."""
    mix = "talker=2,lurker=1,storm=3,flapping=2"
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_planted, fault)
        status, result, errors = await swarm(f"ws://127.0.0.1:{port}/ws", "--mix", mix, *TIMES)
        nursery.cancel_scope.cancel()
    assert status == int(fault != "none"), (result, errors)
    assert {name for name, count in result["findings"].items() if count} == ({kind} if kind else set())
    assert result["personas"]["storm"]["dropped"] >= 3


def test_it_is_seen_when_a_server_lets_a_silent_client_go() -> None:
    """However much waits to be read."""
    ours, servers = socket.socketpair()
    run = made("--mix", "talker=1,half-open=1")
    poller = make_poller()
    silent = Connection(1, RoomView(0), poller)
    silent.sock, silent.fd, silent.kind, silent.state = ours, ours.fileno(), "half_open", State.READY
    poller.watch(silent.fd, READ)
    nothing: Any = None
    personas = Personas(
        run, make_protocol(run), [silent], [], poller=make_poller(), drop=nothing, read=nothing, send=nothing,
        seed=0,
    )  # fmt: skip
    personas.begin(0)
    servers.sendall(b"unread")
    personas.act(personas.next_due())
    assert personas.let_go_s == []
    assert poller.wait(0) == []
    servers.close()
    personas.act(personas.next_due())
    personas.act(personas.next_due())
    assert len(personas.record()["half_open"]["let_go_s"]) == 1
    personas.close()
    poller.close()
    ours.close()


async def test_a_handshake_that_takes_too_long_is_told() -> None:
    """When the server ended it, and with what answer."""

    async def impatient(stream: trio.SocketStream) -> None:
        assert b"GET / HTTP/1.1\r\n".startswith((await stream.receive_some())[:16])
        await stream.send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        async for _ in stream:  # closed with something unread in it, it would be reset
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, impatient, 0)
        address = listeners[0].socket.getsockname()[:2]
        await trio.to_thread.run_sync(_drip, ("127.0.0.1", address[1]))
        nursery.cancel_scope.cancel()


def _drip(address: tuple[str, int]) -> None:
    """Drive a dripper until its first try is over."""
    dripper = Dripper(address, socket.AF_INET, "h", "/")
    gives_up = time.monotonic() + 10
    while not dripper.ends and time.monotonic() < gives_up:
        dripper.act(time.monotonic_ns())
    dripper.close()
    assert [how for _, how in dripper.ends] == ["408 Request Timeout"]


@given(st.binary(min_size=1, max_size=300))
def test_fragments_make_the_message_again(payload: bytes) -> None:
    """As another implementation reads them."""
    reader = FrameProtocol(client=False, extensions=[])
    reader.receive_bytes(FragmentMaker(len(payload), 2).frame(payload))
    frames = list(reader.received_frames())
    assert b"".join(frame.payload for frame in frames) == payload
    assert [frame.message_finished for frame in frames][-1]
    assert len(frames) >= len(payload) // 3


def test_a_mix_without_anybody_who_talks_is_silent() -> None:
    """The usual rate is for those who do."""
    assert made("--mix", "lurker=3").rate == 0


def test_clients_are_numbered_by_persona() -> None:
    """Senders first, frozen ones last; those that never join have no number."""
    mix = parse_mix("lurker=2, talker=1,frozen=1,slow-handshake=5,fragments=1")
    assert (mix.members, mix.senders) == (5, 2)
    kinds = ["talker", "fragments", "lurker", "lurker", "frozen"]
    assert [mix.kind_of(client) for client in range(5)] == kinds
    with pytest.raises(IndexError):
        mix.kind_of(5)


def test_a_mix_is_scaled_and_keeps_everybody() -> None:
    """One at least of whom there were any."""
    assert Mix(talker=10, slow=1).scaled(0.2) == Mix(talker=2, slow=1)
    assert Mix(lurker=3).scaled(3) == Mix(lurker=9)


@pytest.mark.parametrize("counts", [{"nobody": 1}, {"talker": -1}, {"talker": True}, {"talker": "1"}, {}])
def test_what_is_no_mix_is_refused(counts: dict[str, object]) -> None:
    """With what there may be."""
    with pytest.raises(MixError):
        mix_from(counts)


def test_records_of_processes_add_up() -> None:
    """Counts are added, lists put together."""
    one = {"storm": {"count": 1, "dropped": 2}, "half_open": {"count": 1, "let_go_s": [1.0]}}
    two = {"half_open": {"count": 2, "let_go_s": [3.0]}}
    assert merged([one, two, {}]) == {
        "storm": {"count": 1, "dropped": 2},
        "half_open": {"count": 3, "let_go_s": [1.0, 3.0]},
    }


def test_who_was_away_begins_anew_with_what_comes_first() -> None:
    """What was missing before the interruption stays missing."""
    transcript, findings = SenderTranscript(), Findings()
    transcript.see([(0, 0, 1), (0, 2, 1)])
    assert transcript.lacks({0: 4})
    transcript.interrupt(findings)
    assert +findings == {"gaps": 1}
    transcript.see([(0, 7, 1)])
    assert not transcript.lacks({0: 8, 1: 3})
    transcript.finish({0: 9, 1: 3}, 0, findings)
    assert +findings == {"gaps": 2}


def made(*argv: str) -> Settings:
    """What a command line means."""
    return settings_from(*parse([URL, *argv]))


def test_every_ready_scenario_can_be_run() -> None:
    """Those that were asked for are there."""
    wanted = {"classroom", "town-hall", "small-rooms", "incident-room", "thundering-herd", "soak"}
    assert wanted <= set(names())
    for name in names():
        settings = made("--scenario", name)
        assert settings.is_mixed
        assert settings.verify
    assert made("--scenario", "town-hall").mix.lurker == 10_000
    rooms = made("--scenario", "small-rooms")
    assert (rooms.rooms, rooms.clients, rooms.senders) == (1000, 4000, 1000)


def test_options_win_over_a_scenario_and_a_scale_over_both() -> None:
    """Also to no effect where a default is given."""
    settings = made("--scenario", "small-rooms", "--rate", "10", "--scale", "0.1", "--size", "64")
    assert (settings.rate, settings.rooms, settings.clients, settings.size) == (1.0, 100, 400, 64)
    assert made("--scenario", "soak").duration == 3600
    assert made("--scenario", "soak", "--duration", "5").duration == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rate = 5", "a table [mix]"),
        ("[mix]\nnobody = 3", f"[mix] no such persona as 'nobody': {', '.join(KINDS)}"),
        ("speed = 5\n[mix]\ntalker = 1", "no such key as 'speed'"),
        ("rate = 'x'\n[mix]\ntalker = 1", "rate: a number, not 'x'"),
        ("rooms = 1.5\n[mix]\ntalker = 1", "rooms: a whole number, not 1.5"),
        ("deflate = 1\n[mix]\ntalker = 1", "deflate: true or false, not 1"),
        ("content = 'song'\n[mix]\ntalker = 1", "content: one of filler, talk, not 'song'"),
        ("about = 1\n[mix]\ntalker = 1", "about and server: text"),
        ("rooms = 2\n[mix]\ntalker = 1", "--rooms: 1 to 1, not 2"),
        ("not toml", "line 1"),
    ],
)
def test_a_mistake_in_a_scenario_is_one_line(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the key and what it may be."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert main([URL, "--scenario", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("swarm: ")
    assert error.count("\n") == 1
    assert told in error


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--scenario", "party"], "--scenario: no such scenario as 'party': classroom,"),
        (["--mix", "talker"], "--mix: KIND=NUMBER"),
        (["--mix", "slow-handshake=3"], "--mix: nobody is in it"),
        (["--scale", "0"], "--scale: above 0"),
        (["--mix", "talker=1", "--flap", "0"], "--flap: 0.1 to 86400, not 0"),
    ],
)
def test_a_bad_argument_is_one_line(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And status 2."""
    assert main([URL, *argv]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
