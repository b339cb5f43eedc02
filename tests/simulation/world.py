"""The whole server in one process, with simulated people, faults and time: one number decides everything.

The server, its sessions, rooms, wire and log are the real ones. The clock is Trio's mock clock, the network
is `simulation.network`, SQLite does its work in the event loop on what `simulation.disk` makes of a disk, and
all random numbers come from the seed (`simulation.climate`).

A run has two parts. First the world does what it can to everybody (`World._direct`). Then it is calm: no more
faults, everybody reads and comes back, and within `CALM_SECONDS` all must be at rest (`World._unrest`). What
must hold: see `simulation.transcript`, `simulation.people`, `simulation.others` and `simulation.checks`.
"""

import hashlib
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import attrs
import trio
import trio.testing

from trio_chat.log.seams import in_event_loop
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.log.sqlite_file import LogFile

from . import checks
from .climate import MIN_KEPT_SECONDS, Climate, settled
from .link import Link
from .lives import Lives
from .others import Bot, LibraryUser, RelayUser
from .people import Person
from .transcript import Shown, Transcript
from .vandals import Vandal

STEPS = 30
PEOPLE = 40
MIX = (
    "chatty", "slow", "flapping", "frozen", "chatty", "relay", "library", "half-open", "bot", "spamming",
    "vandal", "quiet", "chatty", "slow", "flapping", "frozen", "relay", "half-open", "quiet", "vandal",
)  # fmt: skip
"""Of so many clients, who they are."""
RELAYED_AT_ONCE = 1 << 16
"""Bytes that the relay may hand to a member for whom nothing waits yet: some messages of some senders."""
CALM_SECONDS = 300.0
LONGEST_SECONDS = 3600.0


@attrs.define
class Report:
    """What came of one run. ``digest`` is the same whenever the seed is."""

    seed: int
    failures: list[str] = attrs.Factory(list)
    story: list[str] = attrs.Factory(list)
    """What happened to everybody."""
    stored: int = 0
    shown: int = 0
    acked: int = 0
    relayed: int = 0
    removed: int = 0
    lagged: int = 0
    refused: int = 0
    changed: int = 0
    """Edits, deletions and reactions that were acknowledged."""
    crashes: int = 0
    restarts: int = 0
    connections: int = 0
    most_waiting: int = 0
    seconds: float = 0.0
    byes: dict[int, int] = attrs.Factory(dict)
    digest: str = ""


class World:
    """One run. Made by `simulate`."""

    def __init__(self, rng: random.Random, report: Report, steps: int, people: int, folder: Path) -> None:
        self.rng = rng
        self.report = report
        self.steps = steps
        self.climate = Climate.drawn(rng)
        self.rooms = ["lobby", "räume", "quiet", *(f"room-{number}" for number in range(people // 40))]
        self.pace = min(1.0, 24 / people)
        """How much everybody does: a larger crowd is no louder, but each of its words reaches more."""
        self.calm = False
        self.in_history: list[tuple[str, int, Shown]] = []
        self.pages: list[checks.Page] = []
        self.links: dict[Link, None] = {}
        """The open connections of those who speak WebSocket themselves."""
        self.nursery: trio.Nursery
        self.people: list[Person] = []
        self.bots: list[Bot] = []
        self.library: list[LibraryUser] = []
        self.relayers: list[RelayUser] = []
        self.vandals: list[Vandal] = []
        for number in range(people):
            self._invite(f"p{number}", MIX[number % len(MIX)], self.draw())
        self.lives = Lives(self.climate, folder, self.bots, self.draw(), self.fail, self._on_killed)
        self.disk = self.lives.disk
        self._ended = trio.Event()

    def draw(self) -> random.Random:
        """Random numbers of somebody's own."""
        return random.Random(self.rng.getrandbits(64))

    def _invite(self, name: str, kind: str, rng: random.Random) -> None:
        rooms = rng.sample(self.rooms[1:], rng.choice((1, 1, 2)))
        if rng.random() < 4 / (4 + len(self.rooms)):
            rooms.insert(0, "lobby")
        if kind == "relay":
            self.relayers.append(RelayUser(self, name, rng.choice(("left", "right")), rng))
        elif kind == "vandal":
            self.vandals.append(Vandal(self, rng))
        elif kind == "bot":
            self.bots.append(Bot(self, name, rooms[0], rng))
        elif kind == "library":
            self.library.append(LibraryUser(self, name, rooms, rng))
        else:
            self.people.append(Person(self, name, kind, rooms, rng))

    @property
    def transcripts(self) -> list[Transcript]:
        """Of everybody who keeps one."""
        return [*self.people, *self.bots, *self.library]

    def fail(self, what: str) -> None:
        """An invariant is broken: note it, and end the run."""
        self.report.failures.append(f"at {trio.current_time():.3f}: {what}")
        self.nursery.cancel_scope.cancel()

    def _tell(self, what: str) -> None:
        self.report.story.append(f"at {trio.current_time():.3f}: {what}")

    # --- the run ---------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole of it; afterwards the report says what came of it."""
        with trio.CancelScope(deadline=trio.current_time() + LONGEST_SECONDS) as scope:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._run_server)
                self.nursery.start_soon(self._watch)
                for each in (*self.people, *self.library, *self.relayers, *self.vandals):
                    self.nursery.start_soon(self._guarded, each)
                await self._direct()
                await self._come_to_rest()
                self.lives.end()
                await self._ended.wait()
                self.nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            self.report.failures.append("the run did not come to its end")
        if not self.report.failures:
            await self._check()

    async def _run_server(self) -> None:
        await self.lives.run()
        self._ended.set()

    async def _guarded(self, client: Person | LibraryUser | RelayUser | Vandal) -> None:
        """What a client can't make sense of is the server's fault, and ends the run like all others."""
        try:
            await client.live()
        except* Exception as group:  # noqa: BLE001
            self.fail(f"{client.name} gave up: {group.exceptions!r}")

    async def _direct(self) -> None:
        """What happens to everybody, step by step."""
        rng = self.rng
        connected = [*self.people, *self.library, *self.relayers]
        for _ in range(self.steps):
            await trio.sleep(rng.expovariate(2.0))
            dice = rng.random()
            if dice < 0.25:
                self._cut(rng.sample(connected, 1 + len(connected) // 20))
            elif dice < 0.32:
                self._cut([each for each in connected if rng.random() < 0.5])
            elif self.climate.fair:
                continue
            elif dice < 0.53:
                self._plan(self.disk.faults, "commits", ("before", "after", None), rng.randrange(1, 6))
            elif dice < 0.61:
                ends = (None, None, "crash before", "crash within", "crash after")
                self._plan(self.disk.faults, "commits", ends, 3)
            elif dice < 0.69:
                self._plan(self.disk.sync_faults, "syncs", (None, None, "fails", "power cut"), 3)
            elif dice < 0.74:
                self.lives.kill(power_cut=self.climate.sync == "full")
            elif dice < 0.80:
                self._tell("stopped")
                self.lives.stop()
            elif dice < 0.87:
                self.nursery.start_soon(self._trouble, "full", rng.random() * 6)
            elif dice < 0.93:
                self.nursery.start_soon(self._trouble, "unreadable", rng.random() * 4)
        self.disk.faults.clear()
        self.disk.sync_faults.clear()

    def _cut(self, clients: list[Person | LibraryUser | RelayUser]) -> None:
        self._tell(f"cut off: {', '.join(client.name for client in clients)}")
        for client in clients:
            client.cut()

    def _plan(self, plan: list[str | None], what: str, choices: Sequence[str | None], count: int) -> None:
        faults = self.rng.choices(choices, k=count)
        self._tell(f"for the next {what}: {faults}")
        plan += faults

    async def _trouble(self, what: str, seconds: float) -> None:
        """The disk is full, or can't be read, for a while."""
        self._tell(f"the disk is {what} for {seconds:.3f} seconds")
        setattr(self.disk, what, True)
        await trio.sleep(seconds)
        setattr(self.disk, what, False)
        self.disk.trouble_at = trio.current_time()

    def _on_killed(self) -> None:
        self._tell("killed")
        for link in self.links:
            link.tampered = True

    async def _come_to_rest(self) -> None:
        """No more faults; everybody reads and comes back; then all must have everything."""
        self._tell("calm")
        self.calm = self.disk.calm = True
        for person in self.people:
            person.wake()
        deadline = trio.current_time() + CALM_SECONDS
        spoken = False
        while (unrest := self._unrest(spoken=spoken)) or not spoken:
            if unrest is None:  # all are there; now what was stored in secret is shown
                spoken = True
                for room in self.rooms:
                    speaker = next((person for person in self.people if room in person.rooms), None)
                    if speaker is not None:
                        speaker.submit(room)
            if trio.current_time() > deadline:
                self.fail(f"not at rest: {unrest}")
            await trio.sleep(1)

    def _unrest(self, *, spoken: bool) -> str | None:
        """Why the world is not at rest yet. ``spoken``: everything that was ever stored has been shown."""
        server = self.lives.server
        if server is None or self.disk.full or self.disk.unreadable:
            return "there is no server, or no disk"
        for person in self.people:
            if person.unacked or person.joined != set(person.rooms):
                return f"{person.name} ({person.kind}) is in {person.joined}, waits for {[*person.unacked]}"
        if not spoken:
            return None
        deaf = next((each for each in self.relayers if not each.at_rest(self.relayers)), None)
        return (
            checks.behind(self.transcripts)
            or checks.left_in(server, self.transcripts)
            or (f"{deaf.name} has not heard everybody through the relay" if deaf is not None else None)
        )

    async def _watch(self) -> None:
        """Look at what waits for each client, and that nobody has been left behind."""
        most, report = self.climate.most_waiting, self.report
        while True:
            await trio.sleep(0.2)
            if self.lives.server is None:
                continue
            for connection in self.lives.server.connections:
                waiting = connection.outbox.waiting_bytes
                if connection.label.path.startswith("/relay/"):
                    waiting -= RELAYED_AT_ONCE
                report.most_waiting = max(report.most_waiting, waiting)
            if report.most_waiting > most:
                self.fail(f"{report.most_waiting} bytes wait for one client, not at most {most}")
            if wrong := checks.left_behind(self.lives.server):
                self.fail(wrong)

    # --- afterwards ----------------------------------------------------------------------------

    async def _check(self) -> None:
        """Compare the transcripts with what the file holds."""
        async with open_sqlite_log(self.disk.path, sync="normal", runner=in_event_loop) as log:
            stored = await checks.read(log, self.rooms, self.lives.archive)
        wrong = self.report.failures
        wrong += stored.wrong
        known_seconds = MIN_KEPT_SECONDS if self.climate.keep else float("inf")
        for transcript in self.transcripts:
            wrong += checks.compare(transcript, stored, known_seconds)
        for room, seq, shown in self.in_history:
            if not stored.has(room, seq, shown):
                wrong.append(f"a page of history had {seq} of {room}, which is not what is stored")
        wrong += filter(None, (checks.page_of(stored, page) for page in self.pages))
        self._sum_up(stored)

    def _sum_up(self, stored: checks.Stored) -> None:
        report, lives = self.report, self.lives
        report.stored = sum(map(len, stored.events.values()))
        report.shown = sum(len(seen) for each in self.transcripts for seen in each.seen.values())
        report.removed = sum(map(len, lives.archive.values()))
        report.acked = sum(len(each.acked) for each in self.transcripts)
        report.crashes, report.restarts, report.connections = lives.crashes, lives.restarts, lives.connections
        report.byes = dict(sorted(report.byes.items()))
        report.seconds = trio.current_time()
        trace = [(each.name, each.positions, sorted(each.acked.items())) for each in self.transcripts]
        heard = [(each.name, each.heard) for each in self.relayers]
        everything = repr((trace, heard, stored.events, attrs.asdict(report)))
        report.digest = hashlib.blake2b(everything.encode(), digest_size=8).hexdigest()


class _Errors(logging.Handler):
    """Turns logged failures into failures of the run."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith("the log refuses events"):
            error = f": {record.exc_info[1]!r}" if record.exc_info else ""
            self._world.fail(f"logged: {record.getMessage()}{error}")


@contextmanager
def _hearing_errors(world: World) -> Iterator[None]:
    handler = _Errors(world)
    logger = logging.getLogger("trio_chat")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def simulate(
    seed: int,
    steps: int = STEPS,
    people: int = PEOPLE,
    planted: AbstractContextManager[object] | None = None,
) -> Report:
    """One run. With the same arguments it is the same to the last byte."""
    report = Report(seed)
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        world = World(random.Random(seed), report, steps, people, Path(folder))
        with (
            settled(world.climate, seed, world.draw()),
            mock.patch.object(LogFile, "connect", world.disk.connecting(LogFile.connect)),
            mock.patch.object(LogFile, "sync_wal", world.disk.syncing()),
            _hearing_errors(world),
            planted or nullcontext(),
        ):
            trio.run(world.run, clock=trio.testing.MockClock(autojump_threshold=0))
    return report
