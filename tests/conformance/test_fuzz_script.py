"""``scripts/fuzz.py``: a few seconds of it here, as long as one likes by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzlib import attacks, server
from fuzzlib.attackers import Plan
from fuzzlib.battle import fight
from fuzzlib.codec import one_round

from .conftest import SCRIPTS

FUZZ = str(SCRIPTS / "fuzz.py")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The script with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, FUZZ, *arguments], capture_output=True, text=True, timeout=200, check=False
    )


def test_the_codec_stands() -> None:
    """A thousand rounds, none of them wrong, about half of them refused."""
    done = run("codec", "--seconds", "0", "--count", "1000", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    told = re.fullmatch(
        r"1000 rounds from seed 7, (\d+) bytes, (\d+) refused, \d+ s; 0 failures\n", done.stdout
    )
    assert told is not None, done.stdout
    assert int(told[1]) > 100_000
    assert 300 < int(told[2]) < 900


def test_a_seed_makes_the_same_bytes() -> None:
    """A failure can be made again from its number."""
    assert one_round(42) == one_round(42)


def test_every_attack_has_words() -> None:
    """Each says what it does, and has its share."""
    for name, (attack, share) in attacks.ATTACKS.items():
        assert attack.__doc__, name
        assert share > 0


@LINUX
@pytest.mark.slow
def test_the_server_stands() -> None:
    """Attacked for a few seconds it goes on serving, logs no error, and holds nothing afterwards."""
    done = run("server", "--seconds", "3", "--parallel", "30", "--half-open", "300", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    thrown = re.search(r"^sessions thrown: (\d+) ", done.stdout)
    assert thrown is not None, done.stdout
    assert int(thrown[1]) > 20
    assert re.search(r"^half-open handshakes: 300; not reached: 0$", done.stdout, re.MULTILINE), done.stdout
    for phase in ("before", "during", "after"):
        times = re.search(
            rf"^  {phase} +echo [0-9./ ]+ +say [0-9./ ]+ +connect [0-9./ ]+$", done.stdout, re.MULTILINE
        )
        assert times is not None, done.stdout
    assert done.stdout.endswith("0 failures\n")


@LINUX
@pytest.mark.slow
async def test_what_is_wrong_with_a_server_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors in its log and memory that it doesn't let go of, each planted, are failures."""
    monkeypatch.setattr(server, "TARGET", Path(__file__).with_name("faulty_target.py"))
    plan = Plan(url="", seed=7, seconds=4, count=0, parallel=30, half_open=0)
    battle = await fight(plan, own_server=True)
    assert any("in the log: trio_chat.wire: handler failed" in failure for failure in battle.failures)
    assert "memory is left in use" in battle.failures
