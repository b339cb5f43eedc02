"""Many attackers at once, in a process of their own: `attack` is its whole work.

Session ``n`` of seed ``s`` is the same in every run, whatever the others do meanwhile.
"""

import random
from collections import Counter
from collections.abc import Iterator

import attrs
import trio

from .attacks import ATTACKS, SECONDS
from .line import ENDED, Address, Line

HELD_SECONDS = 12.0
"""How long half-open handshakes are held: longer than the server waits for a head."""
HALF_OPEN_PER_SECOND = 1000
"""How fast they are begun. Much faster, and the system's queue of new connections is full: whoever comes then
has to knock again, whatever the server does."""


@attrs.define
class Plan:
    """What to do: for how long, how many sessions (0: no bound), how many at a time."""

    url: str
    seed: int
    seconds: float
    count: int
    parallel: int
    half_open: int
    only: str | None = None


@attrs.define
class Thrown:
    """What was done: sessions by attack, and handshakes that were begun only."""

    sessions: Counter[str] = attrs.field(factory=Counter)
    half_open: int = 0
    unreached: int = 0
    """Connections that the server (or the system) didn't take."""
    overlong: int = 0
    """Sessions that had to be ended."""
    broken: list[str] = attrs.field(factory=list)
    """What went wrong in the attackers themselves."""


async def attack(plan: Plan) -> Thrown:
    """Run the plan to its end."""
    thrown = Thrown()
    numbers = iter(range(plan.count or 1 << 60))
    address = Address.of(plan.url)
    with trio.move_on_after(plan.seconds or float("inf")):
        async with trio.open_nursery() as nursery:
            if plan.half_open:
                nursery.start_soon(_half_open, address, plan, thrown)
            for _ in range(plan.parallel):
                nursery.start_soon(_one_after_another, address, plan, numbers, thrown)
    return thrown


async def _one_after_another(address: Address, plan: Plan, numbers: Iterator[int], thrown: Thrown) -> None:
    names = [plan.only] if plan.only else list(ATTACKS)
    shares = [ATTACKS[name][1] for name in names]
    for number in numbers:
        rng = random.Random(f"{plan.seed} {number}")
        (name,) = rng.choices(names, shares)
        try:
            with trio.move_on_after(SECONDS) as scope:
                await _session(address, name, rng)
            thrown.sessions[name] += 1
            thrown.overlong += scope.cancelled_caught
        except ENDED:
            thrown.unreached += 1
            await trio.sleep(0.01)
        except Exception as error:  # noqa: BLE001 - told at the end
            thrown.broken.append(f"seed {plan.seed}, session {number}, {name}: {error!r}")


async def _session(address: Address, name: str, rng: random.Random) -> None:
    line = await Line.open(address, rng)
    try:
        await ATTACKS[name][0](line, rng)
    except* ENDED:
        pass  # it has had enough
    finally:
        line.reset()


async def _half_open(address: Address, plan: Plan, thrown: Thrown) -> None:
    """Connect many times and say nothing, or the beginning of a request, and hold them all."""
    rng = random.Random(f"{plan.seed} half-open")
    lines: list[Line] = []

    async def begin(piece: bytes) -> None:
        try:
            lines.append(await Line.open(address, rng))
            if piece:
                await lines[-1].send_raw(piece)
            thrown.half_open += 1
        except ENDED:
            thrown.unreached += 1

    try:
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            for number in range(plan.half_open):
                nursery.start_soon(begin, rng.choice((b"", b"", b"G", b"GET /ws HTTP/1.1\r\nHost: x\r\n")))
                await trio.sleep_until(began + number / HALF_OPEN_PER_SECOND)
        await trio.sleep(HELD_SECONDS)
    finally:
        for line in lines:
            line.reset()
