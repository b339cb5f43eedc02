"""Attackers, a server and a probe: who does what when, and what is said at the end.

The phases: a short attack first, so that the server has in memory what every server has after a while; quiet,
measured; the attack; a wait until the server holds no more than before; quiet again, measured.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from .attackers import Plan
from .probe import Probe, Times
from .server import Held, ServerProcess, started

FUZZ = Path(__file__).parents[1] / "fuzz.py"
WARM_UP_SECONDS = 4.0
SHORT_SECONDS = 5.0
"""A shorter attack goes without the first one."""
QUIET_SECONDS = 3.0
SETTLE_SECONDS = 40.0
"""How long the server may take to let go of everybody: heads, closing handshakes, silent peers."""
SPARE_BLOCKS = 1.25
"""The blocks in use afterwards may be so many times those before: caches fill, of statements for example."""
SPARE_MIB = 80.0
"""What the system's allocator may keep of what was used: it depends on what lies beside it."""
SLOWER = 5.0
"""The median afterwards may be so many times the one before: other work on the machine is in it."""


@attrs.define
class Battle:
    """What came out of it."""

    thrown: dict[str, int] = attrs.field(factory=dict)
    half_open: int = 0
    unreached: int = 0
    latencies: dict[str, dict[str, Times]] = attrs.field(factory=dict)
    before: Held | None = None
    peak_mib: float = 0.0
    after: Held | None = None
    failures: list[str] = attrs.field(factory=list)

    def lines(self) -> list[str]:
        """For people."""
        sessions = ", ".join(f"{name} {count}" for name, count in sorted(self.thrown.items()))
        told = [
            f"sessions thrown: {sum(self.thrown.values())} ({sessions})",
            f"half-open handshakes: {self.half_open}; not reached: {self.unreached}",
            "milliseconds (median / 99 % / longest):",
            *(
                f"  {phase:7} {'   '.join(each.told() for each in times.values())}"
                for phase, times in self.latencies.items()
            ),
        ]
        if self.before is not None and self.after is not None:
            told.append(f"held before: {self.before}; at most {self.peak_mib:.1f} MiB; after: {self.after}")
        return [*told, *(f"WRONG: {failure}" for failure in self.failures), f"{len(self.failures)} failures"]


@asynccontextmanager
async def _server(url: str | None, tls: bool) -> AsyncIterator[ServerProcess]:
    if url is not None:
        yield ServerProcess(url)
    else:
        async with started(tls=tls) as server:
            yield server


async def fight(plan: Plan, *, own_server: bool, tls: bool = False) -> Battle:
    """Carry out ``plan`` against its URL, or against a server of our own."""
    battle = Battle()
    async with _server(None if own_server else plan.url, tls) as server:
        plan = attrs.evolve(plan, url=server.url)
        probe = Probe(server.url, f"probe-{plan.seed}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe.run)
            await trio.sleep(1)
            fresh = await server.held()
            if not 0 < plan.seconds < SHORT_SECONDS:
                warm_up = attrs.evolve(
                    plan, seed=plan.seed + 1, seconds=WARM_UP_SECONDS, count=0, half_open=0
                )
                await _throw(warm_up, Battle())
            battle.before = await _settled(server, fresh)
            with probe.phase() as battle.latencies["before"]:
                await trio.sleep(QUIET_SECONDS)
            async with trio.open_nursery() as watching:
                watching.start_soon(_watch, server, battle)
                with probe.phase() as battle.latencies["during"]:
                    await _throw(plan, battle)
                watching.cancel_scope.cancel()
            battle.after = await _settled(server, fresh)
            with probe.phase() as battle.latencies["after"]:
                await trio.sleep(QUIET_SECONDS)
            _judge(battle, server, probe, fresh)
            nursery.cancel_scope.cancel()
    return battle


async def _throw(plan: Plan, battle: Battle) -> None:
    """Have a process of its own attack."""
    done = await trio.run_process(
        [sys.executable, str(FUZZ), "attack", json.dumps(attrs.asdict(plan))],
        capture_stdout=True, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        battle.failures.append(f"the attackers failed: {done.stdout.decode()[-2000:]}")
        return
    told = json.loads(done.stdout)
    battle.thrown, battle.half_open, battle.unreached = told["sessions"], told["half_open"], told["unreached"]
    battle.failures += told["broken"]


async def _watch(server: ServerProcess, battle: Battle) -> None:
    """Note the most memory that is seen."""
    while True:
        battle.peak_mib = max(battle.peak_mib, server.memory_mib())
        await trio.sleep(0.1)


async def _settled(server: ServerProcess, fresh: Held | None) -> Held | None:
    """Wait until the server holds no more connections than it did at first."""
    held = await server.held()
    with trio.move_on_after(SETTLE_SECONDS):
        while held is not None and fresh is not None and not _is_rid_of_all(held, fresh):
            await trio.sleep(1)
            held = await server.held()
    return held


def _is_rid_of_all(held: Held, fresh: Held) -> bool:
    """Whether nobody is left but the probe, whose calls come and go."""
    return held.sockets <= fresh.sockets + 1 and held.tasks <= fresh.tasks + 2


def _judge(battle: Battle, server: ServerProcess, probe: Probe, fresh: Held | None) -> None:
    """What is wrong."""
    if not server.is_alive:
        battle.failures.append("the server has ended")
    battle.failures += [f"in the log: {line}" for line in server.troubles()]
    battle.failures += probe.failures
    for name, times in battle.latencies["before"].items():
        if battle.latencies["after"][name].median() > SLOWER * times.median() + 0.005:
            battle.failures.append(f"{name} is slower than before the attack")
    before, after = battle.before, battle.after
    if before is None or after is None or fresh is None:
        return
    for what, wrong in (
        ("connections are left", not _is_rid_of_all(after, fresh)),
        ("memory is left in use", after.blocks > SPARE_BLOCKS * before.blocks),
        ("memory has not come back to its level", after.memory_mib > before.memory_mib + SPARE_MIB),
    ):
        if wrong:
            battle.failures.append(what)
