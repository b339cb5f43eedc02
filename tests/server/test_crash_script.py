"""``scripts/crash.py``: a few rounds of ``kill -9`` here, fifty by hand."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "crash.py"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_what_was_promised_survives_kill_9() -> None:
    """Nothing acknowledged is lost, nothing shown isn't stored, no holes, each id once."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "4", "--clients", "6", "--seed", "6"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    *rounds, end, summary = done.stdout.splitlines()
    assert [line.split(":")[0] for line in rounds] == [f"round {number}" for number in range(1, 5)]
    assert all(line.endswith(": ok") for line in (*rounds, end))
    numbers = re.fullmatch(
        r"4 kills in \d+ s \(seed 6\): (\d+) acknowledged, (\d+) shown, (\d+) sent again by token "
        r"and (\d+) by name \((\d+) had been stored\), 0 violations",
        summary,
    )
    assert numbers is not None, summary
    acknowledged, shown, by_token, by_name, stored_before = map(int, numbers.groups())
    assert shown == 6 * acknowledged
    assert min(acknowledged, by_token, by_name) > 0
    assert stored_before <= by_token + by_name


@pytest.fixture
def crash() -> ModuleType:
    """The script as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import crash
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return crash


# A cancelled handshake of trio-websocket leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
async def test_a_client_whose_handshake_was_killed_gives_up(crash: ModuleType) -> None:
    """At once: trio-websocket alone would wait for a minute."""
    client = crash.Client("c0", "r", ["r"], by_token=True, rng=random.Random(0))
    with trio.socket.socket() as listener, trio.fail_after(30):
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.talk, f"http://127.0.0.1:{listener.getsockname()[1]}", trio.Event())
            accepted, _ = await listener.accept()
            await accepted.recv(1)
            accepted.close()
            client.give_up()


def test_a_lie_is_found_out(crash: ModuleType) -> None:
    """Each promise broken on purpose is a violation."""

    def client() -> Any:
        made = crash.Client("c0", "r", ["r"], by_token=True, rng=random.Random(0))
        made._joined({"op": "joined", "room": "r", "epoch": "e", "head": 0, "recovered": True})
        return made

    def message(seq: int, message_id: str = "c0-1") -> dict[str, object]:
        return {"op": "message", "room": "r", "seq": seq, "id": message_id, "text": "x"}

    stored = {("r", 1): ("c0-1", "x")}
    honest = client()
    honest._take(message(1))
    honest._take({"op": "ack", "re": "c0-1", "room": "r", "seq": 1})
    assert crash.compare([honest], stored) == []
    for lies in (
        [message(2)],
        [message(1), message(1)],
        [message(1, "c9-9")],
        [{"op": "ack", "re": "c0-1", "room": "r", "seq": 2}],
        [
            {"op": "ack", "re": "c0-1", "room": "r", "seq": 1},
            {"op": "ack", "re": "c0-1", "room": "r", "seq": 2},
        ],
        [{"op": "gap", "room": "r", "from": 1, "to": 2}],
        [{"op": "error", "code": "unavailable", "message": "x"}],
    ):
        deceived = client()
        for lie in lies:
            deceived._take(lie)
        assert crash.compare([deceived], stored), lies
