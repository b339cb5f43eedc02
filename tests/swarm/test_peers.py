"""The servers that ours is compared with: each does what the tables take for granted.

Nothing is installed here: those that are missing are skipped. ``scripts/compare.py --install`` gets them.
"""

import subprocess
import sys

import pytest
from comparelib.install import is_installed
from comparelib.servers import PEERS, SERVERS, Server, running
from comparelib.workloads import swarm

OTHERS = [server for server in SERVERS if not server.is_ours and not server.tls]
LOAD = (
    "--clients", "12", "--senders", "3", "--rate", "60", "--duration", "0.5", "--warmup", "0.1", "--verify",
    "--processes", "1", "--quiet", "--json", "-",
)  # fmt: skip


def measure(server: Server, path: str, *options: str, echo: bool = False) -> dict[str, int]:
    """What the swarm found wrong, and how often something was delivered."""
    if server.needs and not is_installed(server.needs):
        pytest.skip(f"{server.needs} is not installed")
    with running(server, echo=echo) as started:
        found = swarm([started.url + path, *options, *LOAD], 60)
    bad = {kind: count for kind, count in (found["findings"] | found["errors"]).items() if count}
    return bad | {"sends": found["total"]["sends"], "deliveries": found["total"]["deliveries"]}


@pytest.mark.slow
@pytest.mark.parametrize("server", OTHERS, ids=lambda server: server.name)
def test_a_peer_gives_everybody_everything(server: Server) -> None:
    """Once and in order, its senders included."""
    found = measure(server, server.path, "--protocol", server.protocol)
    assert found == {"sends": found["sends"], "deliveries": 12 * found["sends"]}
    assert found["sends"] >= 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "server", [each for each in OTHERS if each.has_rooms], ids=lambda server: server.name
)
def test_a_peer_with_rooms_keeps_them_apart(server: Server) -> None:
    """A message goes to the four members of its room."""
    is_plain = server.protocol == "plain"
    protocol, path = ("relay", "/relay") if is_plain else (server.protocol, server.path)
    found = measure(server, path, "--protocol", protocol, "--rooms", "3")
    assert found == {"sends": found["sends"], "deliveries": 4 * found["sends"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "server", [each for each in OTHERS if each.protocol == "plain"], ids=lambda server: server.name
)
def test_a_peer_that_echoes_answers_its_sender_alone(server: Server) -> None:
    """And nobody else."""
    found = measure(server, server.path, "--protocol", "echo", echo=True)
    assert found == {"sends": found["sends"], "deliveries": found["sends"]}


def test_a_daemon_that_nobody_knows_is_told() -> None:
    """With those that there are."""
    command = [sys.executable, str(PEERS / "daemon.py"), "postfix", "."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "daemon.py NAME DIRECTORY: one of mosquitto, nats, ejabberd, prosody\n"
