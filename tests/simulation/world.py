"""The whole server in one process, with simulated people, faults and time: one number decides everything.

The server, its sessions, rooms, wire and log are the real ones. The clock is Trio's mock clock, the network
is `simulation.network`, SQLite does its work in the event loop and takes its time (`World._run_slowly`), and
all random numbers come from the seed. Two things of Trio's are taken hold of although they are not public, as
pytest-trio does for Hypothesis: its order of running tasks (``_ALLOW_DETERMINISTIC_SCHEDULING`` and ``_r``).
And a `Connection` gets a hash that is not its address, because the server keeps a set of them.

What is checked: see `World.fail`, `simulation.people.Person` and `World._check`.
"""

import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar
from unittest import mock

import attrs
import msgspec
import trio
import trio.testing
from trio._core import _run as trio_run

from trio_chat.chat import fanout, limits
from trio_chat.chat.schema import MessageBody
from trio_chat.chat.turns import Turns
from trio_chat.config import Config
from trio_chat.log.base import EventLog
from trio_chat.log.seams import in_event_loop
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.server import Server, serve
from trio_chat.wire.connection import Connection

from .network import End, connect
from .people import KINDS, Person, Shown, Vandal

T = TypeVar("T")

OUTBOX = 8192
PAGE = 2048
SLACK = 70_000
"""What may wait beyond the outbox's bound: replies to what was read at once, one page, one message."""
CALM_SECONDS = 600.0


@attrs.define
class Report:
    """What came of one run. ``digest`` is the same whenever the seed is."""

    seed: int
    failures: list[str]
    stored: int = 0
    shown: int = 0
    acked: int = 0
    lagged: int = 0
    refused: int = 0
    crashes: int = 0
    restarts: int = 0
    connections: int = 0
    most_waiting: int = 0
    seconds: float = 0.0
    byes: dict[int, int] = attrs.Factory(dict)
    digest: str = ""


class _Errors(logging.Handler):
    """Turns logged failures into failures of the run."""

    def __init__(self, world: "World") -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith("the log refuses events"):
            error = f": {record.exc_info[1]!r}" if record.exc_info else ""
            self._world.fail(f"logged: {record.getMessage()}{error}")


class World:
    """One run. Made by `simulate`."""

    def __init__(self, seed: int, steps: int, people: int, folder: Path) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.steps = steps
        self.folder = folder
        self.rooms = ["lobby", "räume", "quiet"]
        self.path = folder / "log-0.db"
        self.report = Report(seed, [])
        self.calm = False
        self.shown = self.lagged = self.refused = 0
        self.byes: dict[int, int] = {}
        self.in_history: list[tuple[str, int, Shown]] = []
        self.nursery: trio.Nursery
        self.server: Server | None = None
        self.people = [self._person(i) for i in range(people)]
        self.vandals = [Vandal(self, self._rng()) for _ in range(max(1, people // 10))]
        self._disk = self._rng()
        self._slowness = self.rng.choice((0.0, 0.05, 0.5))
        self._faults: list[str | None] = []
        self._life: trio.Nursery | None = None
        self._over = False
        self._ended = trio.Event()

    def _rng(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    def _person(self, number: int) -> Person:
        rng = self._rng()
        kind = KINDS[number % len(KINDS)]
        rooms = ["lobby", *(room for room in self.rooms[1:] if rng.random() < 0.4)]
        return Person(self, f"p{number}", kind, rooms, rng)

    def rate(self, kind: str) -> float:
        """How often a person of this kind does something, per second."""
        return {"chatty": 3.0, "quiet": 0.2}.get(kind, 0.7)

    def fail(self, what: str) -> None:
        """An invariant is broken: note it, and end the run."""
        self.report.failures.append(f"at {trio.current_time():.3f}: {what}")
        self.nursery.cancel_scope.cancel()

    # --- the server ------------------------------------------------------------------------

    async def connect(self, rng: random.Random) -> End | None:
        """A new connection, or None while there is no server."""
        await trio.lowlevel.checkpoint()
        if self.server is None or self._life is None:
            return None
        self.report.connections += 1
        ours, theirs = connect(rng, rng.choice((500, 4000, 65536)), 0.0 if self.calm else 0.05)
        self._life.start_soon(self.server.serve_stream, theirs, "127.0.0.1")
        return ours

    async def _run_server(self) -> None:
        """The server's lives, one after another."""
        while not self._over:
            async with open_sqlite_log(
                self.path,
                sync="normal",
                clock=_unix_time,
                commit_through=self._commit_through,
                runner=self._run_slowly,
            ) as log:
                async with trio.open_nursery() as self._life:
                    server = self.server = await self._life.start(self._serve, log)
                self.server = None
                hub = server.hub
                if server._open or hub.guests._holders or any(room.members for room in hub.rooms.values()):
                    self.fail(f"left over: {server._open} connections, {list(hub.guests._holders)}")
            await trio.sleep(self.rng.random() * 2)
        self._ended.set()

    async def _serve(self, log: EventLog, task_status: trio.TaskStatus[Server]) -> None:
        config = Config(
            log="memory:",
            rate=0,
            max_per_ip=100_000,
            outbox=OUTBOX,
            max_message=8192,
            heartbeat=5.0,
            drain=8.0,
        )
        await serve(config, log=log, listen=False, clock=_unix_time, rng=self._rng(), task_status=task_status)

    async def _run_slowly(self, work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
        """As in a worker thread: it takes its time before and after, and once begun it isn't cancelled."""
        async with limiter:
            reads = limiter.total_tokens > 1
            if reads and not self.calm and self._disk.random() < 0.03:
                raise OSError(5, "Input/output error")
            if not self.calm and self._disk.random() < self._slowness:
                await trio.sleep(self._disk.random() * 0.05)
            result = work()
            if not self.calm and self._disk.random() < self._slowness:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self._disk.random() * 0.02)
            return result

    def _commit_through(self, commit: Callable[[], None]) -> None:
        fault = self._faults.pop(0) if self._faults else None
        if fault == "before":
            raise OSError(28, "No space left on device")
        if fault == "crash before":
            self.crash()
            raise OSError(5, "crashed")
        commit()
        if fault == "after":
            raise OSError(5, "Input/output error")
        if fault == "crash after":
            self.crash()
            raise OSError(5, "crashed")

    def crash(self) -> None:
        """End the server as ``kill -9`` does: the next life begins with the files as they are now."""
        if self.server is None or self._life is None:
            return
        self.report.crashes += 1
        image = self.folder / f"log-{self.report.crashes}.db"
        for suffix in ("", "-wal"):
            if (part := self.path.with_name(self.path.name + suffix)).exists():
                shutil.copyfile(part, image.with_name(image.name + suffix))
        self.path = image
        self.server = None
        self._life.cancel_scope.cancel()
        for person in self.people:
            if person._link is not None:
                person._link.end.reset()

    def stop(self) -> None:
        """End the server as SIGTERM does."""
        if self.server is not None:
            self.report.restarts += 1
            self.server.stop()
            self.server = None

    # --- the run ---------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole of it; afterwards `report` says what came of it."""
        with trio.CancelScope(deadline=trio.current_time() + 4 * CALM_SECONDS) as scope:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._run_server)
                self.nursery.start_soon(self._watch)
                for each in (*self.people, *self.vandals):
                    self.nursery.start_soon(each.live)
                await self._direct()
                await self._come_to_rest()
                self._over = True
                self.stop()
                await self._ended.wait()
                self.nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            self.report.failures.append("the run did not come to its end")
        if not self.report.failures:
            await self._check()

    async def _direct(self) -> None:
        """What happens to everybody, step by step."""
        rng = self.rng
        for _ in range(self.steps):
            await trio.sleep(rng.expovariate(2.0))
            dice = rng.random()
            if dice < 0.35:
                rng.choice(self.people).cut()
            elif dice < 0.55:
                self._faults += rng.choices(("before", "after", None), k=rng.randrange(1, 6))
            elif dice < 0.60:
                self._faults += rng.choices((None, None, "crash before", "crash after"), k=3)
            elif dice < 0.63:
                self.crash()
            elif dice < 0.66:
                self.stop()
            elif dice < 0.80:
                for person in self.people:
                    if rng.random() < 0.5:
                        person.cut()

    async def _come_to_rest(self) -> None:
        """No more faults; everybody reads and comes back; then all must have everything."""
        self._faults.clear()
        self.calm = True
        for person in self.people:
            person.wake()
        deadline = trio.current_time() + CALM_SECONDS
        said = False
        while trio.current_time() < deadline:
            await trio.sleep(1)
            if self.server is None or any(p.unacked or p.joined != set(p.rooms) for p in self.people):
                continue
            if not said:  # so that what was stored in secret is shown
                said = True
                for room in self.rooms:
                    for person in self.people:
                        if room in person.rooms:
                            person.unacked["last " + room] = person.submitted["last " + room] = (room, "last")
                            break
                continue
            heads = {room: max((p.positions[room][1] for p in self.people if room in p.rooms), default=0)
                     for room in self.rooms}  # fmt: skip
            if all(p.positions[room][1] == heads[room] for p in self.people for room in p.rooms):
                return
        for person in self.people:
            self.fail(
                f"{person.name} ({person.kind}) is not at rest: {person.positions}, joined {person.joined} of"
                f" {person.rooms}, not acknowledged {list(person.unacked)}"
            )

    async def _watch(self) -> None:
        """Look at what waits for each client, and that nobody who counts as live has been left behind."""
        while True:
            await trio.sleep(0.1)
            if self.server is None:
                continue
            for connection in self.server.connections:
                waiting = connection.outbox.waiting_bytes
                self.report.most_waiting = max(self.report.most_waiting, waiting)
                if waiting > OUTBOX + SLACK:
                    self.fail(f"{waiting} bytes wait for one client")
            for room in self.server.hub.rooms.values():
                for member in room.members:
                    if member.live and member.cursor < room.delivered:
                        self.fail(f"a live member of {room.name} is at {member.cursor}, not {room.delivered}")

    # --- afterwards ----------------------------------------------------------------------------

    async def _check(self) -> None:
        """Compare the transcripts with what the file holds."""
        wrong = self.report.failures.append
        stored: dict[str, list[Shown]] = {}
        async with open_sqlite_log(self.path, sync="normal", runner=in_event_loop) as log:
            for room in self.rooms:
                events = await log.read(room, 0, 1_000_000, max_bytes=1 << 30)
                if [event.seq for event in events] != list(range(1, len(events) + 1)):
                    wrong(f"{room} is stored with holes")
                bodies = [msgspec.json.decode("{" + event.body, type=MessageBody) for event in events]
                stored[room] = [
                    Shown(body.user.id, body.id if isinstance(body.id, str) else None, body.text)
                    for body in bodies
                ]
        found: dict[tuple[str, str, str], list[int]] = {}
        for room, messages in stored.items():
            for seq, message in enumerate(messages, 1):
                if message.id is not None:
                    found.setdefault((room, message.user, message.id), []).append(seq)
        for person in self.people:
            for room, seen in person.seen.items():
                for seq, shown in seen.items():
                    if seq > len(stored[room]) or stored[room][seq - 1] != shown:
                        wrong(f"{person.name} was shown {seq} of {room}, which is not what is stored")
            for key, seq in person.acked.items():
                room, text = person.submitted[key]
                seqs = found.get((room, person.user_id or "", key), [])
                if seqs != [seq] or stored[room][seq - 1].text != text:
                    wrong(
                        f"{person.name}: {key} was acknowledged as {seq} of {room}, but is stored as {seqs}"
                    )
            for key in person.submitted:
                if len(found.get((person.submitted[key][0], person.user_id or "", key), [])) > 1:
                    wrong(f"{person.name}: {key} is stored twice")
            for order in person.orders:
                once = [key for key in order if key not in person.resent and key in person.acked]
                for room in person.rooms:
                    seqs = [person.acked[key] for key in once if person.submitted[key][0] == room]
                    if seqs != sorted(seqs):
                        wrong(f"{person.name} said {once} of {room} in order, but they are stored as {seqs}")
        for room, seq, shown in self.in_history:
            if seq > len(stored[room]) or stored[room][seq - 1] != shown:
                wrong(f"a page of history had {seq} of {room}, which is not what is stored")
        self._sum_up(stored)

    def _sum_up(self, stored: dict[str, list[Shown]]) -> None:
        report = self.report
        report.stored = sum(map(len, stored.values()))
        report.acked = sum(len(person.acked) for person in self.people)
        report.shown, report.lagged, report.refused = self.shown, self.lagged, self.refused
        report.byes = dict(sorted(self.byes.items()))
        report.seconds = trio.current_time()
        trace = [(person.name, person.positions, sorted(person.acked.items())) for person in self.people]
        texts = [(room, [message.text for message in messages]) for room, messages in stored.items()]
        plain = repr(([(name, {r: s for r, (_, s) in p.items()}, a) for name, p, a in trace], texts))
        report.digest = f"{_fnv(plain.encode() + repr(attrs.asdict(report)).encode()):016x}"


def _fnv(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _unix_time() -> float:
    return 1_700_000_000.0 + trio.current_time()


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Limits that are reached soon, and nothing left to chance."""
    with ExitStack() as stack:
        patch = lambda owner, name, value: stack.enter_context(mock.patch.object(owner, name, value))  # noqa: E731
        patch(limits, "PAGE_BYTES", PAGE)
        patch(limits, "PAGE_EVENTS", 20)
        patch(limits, "MAX_TAIL_EVENTS", 16)
        patch(limits, "MAX_BATCH", 8)
        patch(limits, "MAX_WAITING_APPENDS", 16)
        patch(fanout, "AT_ONCE", 4)
        patch(Turns, "writes", lambda turns, size: 1)
        patch(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        stack.callback(setattr, Connection, "__hash__", Connection.__hash__)
        Connection.__hash__ = lambda self: self.label.connection  # type: ignore[method-assign]
        state = trio_run._r.getstate()
        stack.callback(trio_run._r.setstate, state)
        trio_run._r.seed(seed)
        yield


def simulate(
    seed: int,
    steps: int = 40,
    people: int = 21,
    planted: AbstractContextManager[object] | None = None,
) -> Report:
    """One run. With the same arguments it is the same to the last byte."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder, _deterministic(seed):
        world = World(seed, steps, people, Path(folder))
        handler = _Errors(world)
        logger = logging.getLogger("trio_chat")
        logger.addHandler(handler)
        propagate, logger.propagate = logger.propagate, False
        try:
            with planted or nullcontext():
                trio.run(world.run, clock=trio.testing.MockClock(autojump_threshold=0))
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate
        return world.report
