"""Clients that come back: in the swarm, and over a server's restart."""

import json
import time
from pathlib import Path

import pytest
from restart import main, summary
from swarmlib.adapters import make_protocol
from swarmlib.connection import Connection, RoomView
from swarmlib.frames import CLOSE
from swarmlib.poller import SelectorPoller
from swarmlib.protocol import Position, message_id, message_number
from swarmlib.returning import Returns, by_second, merged, most_in_a_second, spread
from swarmlib.settings import Settings, parse_url
from websockets.frames import Opcode

from swarm.test_swarm_frames import Reader, server_frame

S = 1_000_000_000


def away(client: int = 0) -> Connection:
    """A client of which only its number matters."""
    poller = SelectorPoller()
    poller.close()
    return Connection(client, RoomView(0), poller)


def test_a_client_comes_back_when_the_server_said() -> None:
    """And not before; how late it was is recorded."""
    returns, client = Returns(0), away()
    client.retry_after = 5.0
    returns.lost(client, "restart")
    due = returns.next_due()
    assert due is not None
    assert 4.9 < (due - time.monotonic_ns()) / S <= 5.0
    assert (returns.due(due - 1), returns.due(due)) == ([], [client])
    assert client in returns.away
    returns.back(client)
    record = returns.record()
    assert (record["still_away"], record["losses"], record["waits_s"]) == (0, {"restart": 1}, [5.0])
    assert len(record["attempts_ns"]) == len(record["returned_ns"]) == len(record["late_s"]) == 1


def test_without_a_moment_waits_double_up_to_a_bound() -> None:
    """A random part of each is waited."""
    returns, client = Returns(0), away()
    returns.lost(client, "gone")
    for failures in range(12):
        due = returns.next_due()
        assert due is not None
        assert due - time.monotonic_ns() <= min(30.0, 0.5 * 2**failures) * S
        assert returns.due(due) == [client]
        returns.failed(client, "refused", None)
    assert returns.record()["refusals"] == {"refused": 12}


def test_a_refusal_may_say_when() -> None:
    """As 503 does, with ``Retry-After``."""
    returns, client = Returns(0), away()
    returns.lost(client, "gone")
    returns.due(returns.next_due() or 0)
    returns.failed(client, "refused", 7.0)
    assert 6.9 * S < (returns.next_due() or 0) - time.monotonic_ns() <= 7.0 * S


def test_records_of_all_processes_are_merged() -> None:
    """Times from the start of the load; the fullest second is any stretch of one."""
    one, other = Returns(0).record(), Returns(1).record()
    one |= {"attempts_ns": [S, 3 * S], "returned_ns": [3 * S], "away_s": [2.0], "losses": {"x": 1}}
    other |= {"attempts_ns": [int(3.6 * S)], "returned_ns": [4 * S], "losses": {"x": 2}, "still_away": 1}
    found = merged([one, other], S)
    assert (found["losses"], found["attempts"], found["returned"], found["still_away"]) == ({"x": 3}, 3, 2, 1)
    assert (found["peak_attempts_per_s"], found["peak_returned_per_s"]) == (2, 1)
    assert found["per_second"] == [
        {"at_s": 0, "attempts": 1, "returned": 0},
        {"at_s": 2, "attempts": 2, "returned": 1},
        {"at_s": 3, "attempts": 0, "returned": 1},
    ]
    assert found["away_s"] == {"least": 2.0, "p50": 2.0, "p99": 2.0, "most": 2.0}


def test_the_fullest_second() -> None:
    """Its end does not count."""
    assert most_in_a_second([]) == 0
    assert most_in_a_second([0, S // 2, S - 1, S, S + 1]) == 4
    assert by_second([], [], 0) == []
    assert spread([]) is None


def test_comes_back_as_the_same_user_at_its_position() -> None:
    """The greeting has token, position and epoch only then."""
    settings = Settings(target=parse_url("ws://127.0.0.1:1/"), room="r")
    chat = make_protocol(settings)
    first = [json.loads(frame) for frame in chat.greeting(3)]
    assert first == [{"op": "hello", "name": "r-00003"}, {"op": "join", "room": "r-0"}]
    again = [json.loads(frame) for frame in chat.greeting(3, Position(17, "e", "t"))]
    assert again == [first[0] | {"resume": "t"}, first[1] | {"since": 17, "epoch": "e"}]
    assert message_number(message_id(3, 21)) == 21
    assert message_number("nonsense") is message_number(None) is None


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"recovered": True, "epoch": "e"}, 0),
        ({"recovered": False, "epoch": "e"}, 1),
        ({"recovered": True, "epoch": "another"}, 1),
    ],
)
def test_a_join_that_does_not_resume_is_found(answer: dict[str, object], found: int) -> None:
    """Another epoch, or not recovered; the first join is never one."""
    reader = Reader("chat", verify=True)
    client = reader.connection()

    def hear(**operation: object) -> None:
        reader.feed(client, [server_frame(Opcode.TEXT, json.dumps(operation).encode())])

    for reply in ({"recovered": False, "epoch": "e"}, answer):
        client.state = client.state.JOINING
        hear(op="joined", head=4, **reply)
        assert client.seen == 4
    assert reader.traffic.findings["not resumed"] == found


def test_a_goodbye_is_no_error_for_those_who_resume() -> None:
    """It says when to come back; for all others it is one."""
    bye = server_frame(Opcode.TEXT, b'{"op":"bye","code":1012,"reason":"r","retry_after":2.5}')
    for resume in (False, True):
        reader = Reader("chat", verify=True, resume=resume)
        client = reader.connection()
        reader.feed(client, [bye, server_frame(Opcode(CLOSE), b"\x03\xf4r")])
        assert client.retry_after == (2.5 if resume else None)
        assert bool(reader.counts.errors) is not resume
        assert reader.lost == ["closed by the server with 1012 (r)"]


def test_the_summary_tells_what_is_wrong() -> None:
    """Findings, errors, and a stampede."""
    returns = merged([Returns(0).record()], 0) | {"not_sent": 0, "peak_returned_per_s": 1000}
    result = {"returns": returns, "restarts": [], "findings": {"gaps": 2}, "errors": {"x": 1}}
    assert summary(result)[1] == ["2 x gaps", "1 x x", "more within a second than paced"]


@pytest.mark.slow
def test_everybody_comes_back_after_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under load, with nothing lost and nothing twice."""
    pytest.importorskip("hdrh", reason="the extra 'swarm' is not installed")
    file = tmp_path / "result.json"
    argv = ["--clients", "30", "--senders", "10", "--rate", "40", "--every", "3", "--json", str(file)]
    status = main(argv)
    told = capsys.readouterr().out
    assert status == 0, told
    assert told.endswith("all is well\n")
    result = json.loads(file.read_text())
    assert (result["returns"]["returned"], result["returns"]["still_away"]) == (30, 0)
    assert result["total"]["acks"] == result["total"]["sends"] > 0
    assert len(result["restarts"]) == 1


@pytest.mark.parametrize("argv", [["--restarts", "0"], ["--every", "no"]])
def test_a_bad_argument_is_one_line_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the option."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    error = capsys.readouterr().err
    assert (stop.value.code, error.count("\n")) == (2, 1)
    assert error.startswith("restart: ")
    assert argv[0] in error
