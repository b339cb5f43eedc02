"""One process of the swarm: opens its share of the clients, runs the load, reports over a pipe.

Single-threaded. Clients that send or are timed are read at once. The others are only counted, and a read
costs the kernel over 2 us however little it brings: they are swept every few milliseconds, so that one read
takes what several writes brought. Told by the coordinator: ``("start", ns)``, ``("stop",)``, ``("expect",
ends)``. Tells it: ``("opening", n)``, ``("ready", ...)``, ``("tick", ...)``, ``("sent", ...)``, ``("done",
...)``, or ``("failed", line)``. Ends by itself when the coordinator is gone.
"""

import contextlib
import gc
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

from swarmlib.adapters import make_protocol
from swarmlib.connection import Connection, RoomView, State
from swarmlib.counts import Counts
from swarmlib.deflate import DeflatingFrameMaker
from swarmlib.dripper import Dripper
from swarmlib.frames import CLOSE, client_frame
from swarmlib.mix import RETURNING, TIMED
from swarmlib.opener import Opener, OpenError
from swarmlib.personas import Personas
from swarmlib.poller import MAX_READY, READ, WRITE, make_poller
from swarmlib.process_stats import process_stats
from swarmlib.protocol import Position, sender_tag
from swarmlib.reckoning import Reckoning
from swarmlib.returning import Returns
from swarmlib.sending import NEVER, make_schedule
from swarmlib.settings import Settings
from swarmlib.traffic import Traffic
from swarmlib.verify import SenderTranscript

TICK_S = 0.5
_S = 1_000_000_000
LONGEST_SWEEP_NS = _S // 100
SWEEP_CLIENT_NS = 20_000
"""With more than 500 clients sweeps may be rarer: a read for each every so often takes a tenth of a core."""
SHORTEST_SWEEP_NS = _S // 2000
SWEEP_SLICE = 8
"""Swept clients between two looks at those that are read at once: 30 us."""
FULL_READ_BYTES = 32 * 1024
"""A sweep that finds so much at one client comes too late: its socket's buffer (128 KiB) must never fill."""


class CoordinatorGone(Exception):
    """Nobody is left to report to."""


def work(index: int, settings: Settings, pipe: Pipe) -> None:
    """The body of worker process ``index``."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # ctrl-C is the coordinator's, which tells the workers to stop
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        raise_descriptor_limit()
        Worker(index, settings, pipe).run()
    except OpenError as error:
        with contextlib.suppress(BrokenPipeError):  # another worker has said it, and the coordinator is gone
            pipe.send(("failed", str(error)))
    except (CoordinatorGone, BrokenPipeError):
        pass


def raise_descriptor_limit() -> None:
    """As many descriptors as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def interleaved(senders: list[int], others: list[int]) -> list[int]:
    """Both in one list, the senders spread evenly: where a sender stands in the order of joining matters.

    One that is served first could send its next message while the rest are still being served.
    """
    total = len(senders) + len(others)
    result, rest, taken = [], iter(others), 0
    for place in range(total):
        # Sender number k stands in the middle of the k-th of len(senders) equal stretches.
        if taken < len(senders) and place >= (taken + 0.5) * total / len(senders) - 0.5:
            result.append(senders[taken])
            taken += 1
        else:
            result.append(next(rest))
    return result


class Worker:
    """The state of one process."""

    def __init__(self, index: int, settings: Settings, pipe: Pipe) -> None:
        self.settings = settings
        self.pipe = pipe
        self.protocol = make_protocol(settings)
        self.counts = Counts()
        self.poller = make_poller()
        self.sweeper = make_poller()
        self.connections: dict[int, Connection] = {}
        self.traffic = Traffic(
            settings, self.protocol, self.counts,
            on_ready=self._ready, on_lost=self._lost, on_returned=self._returned, send=self._send,
        )  # fmt: skip
        self.opener = Opener(settings, self.protocol, on_open=self._opened, send=self._send)
        self.clients = self._make_clients(index)
        senders = [client for client in self.clients if client.is_sender]
        self.schedule = make_schedule(
            senders,
            self.protocol,
            self.counts,
            rate=settings.rate,
            window=settings.window,
            total=settings.senders,
        )
        self.returns = Returns(index)
        self.personas = Personas(
            settings, self.protocol, self.clients, self._make_drippers(index),
            poller=self.poller, drop=self._drop, read=self.traffic.read, send=self._send, seed=index,
        )  # fmt: skip
        self.ready = 0
        self.start_ns = 0
        self.is_stopped = False
        self.reckoning = Reckoning(settings)
        self._next_tick = 0
        self._longest_sweep_ns = max(LONGEST_SWEEP_NS, len(self.clients) * SWEEP_CLIENT_NS)
        self._sweep_ns = LONGEST_SWEEP_NS
        self.thawed_s: float | None = None
        """How long the frozen clients took to get everything."""
        self._next_sweep = NEVER
        self.poller.watch(pipe.fileno(), READ)

    def _make_clients(self, index: int) -> list[Connection]:
        settings = self.settings
        mine = range(index, settings.clients, settings.processes)
        senders = [client for client in mine if client < settings.senders]
        others = [client for client in mine if client >= settings.senders]
        rooms: dict[int, RoomView] = {}
        share = settings.sample_share()
        clients = []
        for place, client in enumerate(interleaved(senders, others)):
            number = settings.room_of(client)
            connection = Connection(client, rooms.setdefault(number, RoomView(number)), self.poller)
            # At least one is watched, and those that are stand evenly in the order of joining.
            connection.is_watched = int((place + 1) * share) > int(place * share) or (
                share > 0 and place == len(mine) // 2
            )
            connection.kind = settings.kind_of(client)
            connection.is_frozen = connection.kind == "frozen"
            connection.is_late = connection.kind not in TIMED
            connection.comes_back = settings.resume or (settings.is_mixed and connection.kind in RETURNING)
            connection.is_watched = connection.is_watched or connection.is_frozen
            if client < settings.senders:
                connection.is_sender = True
                connection.tag = sender_tag(client)
            clients.append(connection)
        return clients

    def _make_drippers(self, index: int) -> list[Dripper]:
        number = self.settings.mix.slow_handshake
        mine = range(index, number, self.settings.processes)
        target = self.settings.target
        return [
            Dripper(self.opener.address, self.opener.family, target.authority, self.protocol.path(0))
            for _ in mine
        ]

    def run(self) -> None:
        """All phases, one after the other."""
        settings = self.settings
        opening_at = time.monotonic()
        self._open_all()
        ready = {
            "latencies_us": self.opener.latencies_us,
            "allowed_rate": self.traffic.allowed_rate,
            "agreed": self.opener.agreed,
            "opened": (opening_at, time.monotonic()),
        }
        self.pipe.send(("ready", ready))
        gc.collect()
        gc.freeze()
        while not self.start_ns:
            self._turn(time.monotonic_ns() + _S // 10)
        begin = self.start_ns + int(settings.warmup * _S)
        end = begin + int(settings.duration * _S)
        self.counts.window_ns = (begin, end)
        self._defer_reading()
        self.schedule.start(self.start_ns)
        self.personas.begin(self.start_ns)
        self._run_until(begin)
        first = self._snapshot()
        self._run_until(end)
        last = self._snapshot()
        self.counts.window_ns = (begin, min(end, time.monotonic_ns()))
        self.schedule.stop()
        self.personas.end()
        grace_ends = time.monotonic_ns() + int(settings.grace * _S)
        while time.monotonic_ns() < grace_ends and not (self.schedule.is_settled and self._is_complete):
            self._turn(time.monotonic_ns() + _S // 50)
        self.pipe.send(("sent", self._sent()))
        self._thaw()
        self._settle(int(max(settings.grace, settings.thaw if settings.frozen else 0.0) * _S))
        self.pipe.send(("done", {"first": first, "last": last} | self._final()))
        self._close_all()

    # --- phases -------------------------------------------------------------------------------------

    def _defer_reading(self) -> None:
        """From now on, sweep the clients that are only counted, and let those freeze that are to."""
        for client in self.clients:
            if client.is_frozen and client.state is State.READY:
                client.freeze()
            elif client.state is State.READY and not client.is_sender and not client.is_watched:
                self.poller.forget(client.fd)
                client.poller = self.sweeper
                self.sweeper.watch(client.fd, READ)
                self._next_sweep = 0

    def _thaw(self) -> None:
        for client in self.clients:
            if client.is_frozen and client.state is State.READY:
                client.thaw(READ | WRITE if client.outgoing else READ)

    def _snapshot(self) -> dict[str, Any]:
        if self._next_sweep != NEVER:
            self._sweep()
        pid = self.settings.server_pid
        return self.counts.snapshot() | {"server": process_stats(pid) if pid is not None else None}

    def _open_all(self) -> None:
        waiting = iter(self.clients)
        told_at = 0.0
        while self.ready < len(self.clients):
            if self.is_stopped:
                raise OpenError("stopped while the connections were being opened")
            if self.counts.errors:
                raise OpenError(next(iter(self.counts.errors)))
            self.opener.start_some(waiting, len(self.clients))
            self.opener.check_stalled()
            self._turn(time.monotonic_ns() + _S // 50, ticks=False)
            if time.monotonic() - told_at > TICK_S:
                told_at = time.monotonic()
                self.pipe.send(("opening", self.ready))

    def _run_until(self, end: int) -> None:
        while not self.is_stopped and time.monotonic_ns() < end:
            self._turn(end)

    def _settle(self, grace_ns: int) -> None:
        """Wait until every client has got what was sent in its room, at most ``grace_ns``."""
        gives_up = time.monotonic_ns() + grace_ns + 10 * _S  # for the coordinator's answer
        while self.reckoning.expected is None and time.monotonic_ns() < gives_up:
            self._turn(time.monotonic_ns() + _S // 50)
        began = time.monotonic_ns()
        while time.monotonic_ns() < began + grace_ns and not self._has_settled(began):
            self._turn(time.monotonic_ns() + _S // 50)

    @property
    def _is_complete(self) -> bool:
        """Nobody is away."""
        return not self.returns.away

    def _has_settled(self, began: int) -> bool:
        waiting = [
            client
            for client in self.clients
            if client.state is State.READY and self.reckoning.is_behind(client)
        ]
        if self.thawed_s is None and self._is_complete and not any(client.is_frozen for client in waiting):
            self.thawed_s = round((time.monotonic_ns() - began) / 1e9, 3)
        return not waiting and self._is_complete

    def _sent(self) -> dict[str, Any]:
        """What this process has sent, for the others to expect."""
        rooms = {client.room.number: client.room for client in self.clients}
        return {
            "senders": {client.client: client.sent for client in self.clients if client.sent},
            "refused": {number: room.refused for number, room in rooms.items() if room.refused},
            "heads": {number: room.head for number, room in rooms.items()},
        }

    def _final(self) -> dict[str, Any]:
        findings = self.traffic.findings
        whole = self.reckoning.judge(self.clients, findings)
        findings["acks missing"] += (
            sum(len(client.unacked) for client in self.clients if client.state is State.READY)
            if self.protocol.has_acks
            else 0
        )
        frozen = [client.received for client in self.clients if client.is_frozen]
        return {
            "frozen": {
                "received": frozen,
                "whole": whole,
                "thawed_s": self.thawed_s,
                "lagging": self.counts.lagging,
            },
            "findings": dict(+findings),
            "errors": dict(self.counts.errors),
            "returns": self.returns.record(),
            "personas": self.personas.record(),
            "told_off": self.counts.told_off,
            "unsent": self.counts.unsent,
            "signals": self.counts.signals,
            "opened": (self.counts.opened, self.counts.opened_plain_bytes),
            "total": self.counts.snapshot(),
        } | self.counts.take_latencies()

    def _close_all(self) -> None:
        goodbye = client_frame((1000).to_bytes(2), CLOSE)
        for client in self.clients:
            if client.state is not State.CLOSED:
                self._send(client, goodbye)
                client.close()
        self.poller.close()
        self.sweeper.close()
        self.personas.close()

    # --- one turn -------------------------------------------------------------------------------------

    def _turn(self, until: int, *, ticks: bool = True) -> None:
        """Wait until something is ready or due, at most until the time ``until``, and do it."""
        now = time.monotonic_ns()
        wake = min(until, self.schedule.next_due(), self._next_sweep, self._next_tick if ticks else until)
        wake = min(wake, self.personas.next_due(), self.returns.next_due() or wake)
        ready = self.poller.wait(0.0 if self.settings.spin else max(0.0, (wake - now) / 1e9))
        if ready:
            self._read_ready(ready)
        elif self.settings.spin:
            self.counts.idle_ns += time.monotonic_ns() - now
        now = time.monotonic_ns()
        if now >= self._next_sweep:
            self._sweep()
            self._next_sweep = now + self._sweep_ns
        if now >= self.schedule.next_due():
            for stuck in self.schedule.send_due(now):
                stuck.poller.change(stuck.fd, READ | WRITE)
        if now >= self.personas.next_due():
            self.personas.act(now)
        for connection in self.returns.due(now):
            self._open(connection, self.opener.start)
        if ticks and now >= self._next_tick:
            self._next_tick = now + int(TICK_S * _S)
            self.pipe.send(
                ("tick", self.counts.snapshot() | self.counts.take_latencies() | {"ready": self.ready})
            )

    def _read_ready(self, ready: list[tuple[int, int]]) -> None:
        connections, opening, read = self.connections, self.opener.opening, self.traffic.read
        for fd, events in ready:
            connection = connections.get(fd)
            if connection is not None:
                if events != READ and not self._writable(connection, events):
                    continue
                read(connection)
            elif fd in opening:
                self._open(opening[fd], self.opener.step)
            elif fd == self.pipe.fileno():
                self._command()

    def _sweep(self) -> None:
        """Read all clients that are only counted, and choose when to do so again."""
        self.traffic.largest_read = 0
        while ready := self.sweeper.wait(0):
            for start in range(0, len(ready), SWEEP_SLICE):
                self._read_ready(ready[start : start + SWEEP_SLICE])
                self._read_ready(self.poller.wait(0))
            if len(ready) < MAX_READY:
                break
        if self.traffic.largest_read > FULL_READ_BYTES:
            self._sweep_ns = max(self._sweep_ns // 2, SHORTEST_SWEEP_NS)
        elif self.traffic.largest_read < FULL_READ_BYTES // 4:
            self._sweep_ns = min(self._sweep_ns * 2, self._longest_sweep_ns)

    def _writable(self, connection: Connection, events: int) -> bool:
        """Write what waits; whether there is something to read too."""
        if events & WRITE and connection.outgoing:
            try:
                if connection.flush():
                    connection.poller.change(connection.fd, READ)
            except OSError as error:
                self._lost(connection, f"connection lost: {error.strerror}")
                return False
        return events & ~WRITE != 0

    def _command(self) -> None:
        try:
            kind, *rest = self.pipe.recv()
        except (EOFError, OSError):
            raise CoordinatorGone from None
        if kind == "start":
            self.start_ns = rest[0]
        elif kind == "stop":
            self.is_stopped = True
        elif kind == "expect":
            self.reckoning.expected = rest[0]

    # --- what happens to a connection ----------------------------------------------------------------

    def _opened(self, connection: Connection, rest: bytes) -> None:
        self.connections[connection.fd] = connection
        if isinstance(
            connection.transcript, SenderTranscript
        ):  # it comes back, and nobody tells it what it missed
            connection.transcript.interrupt(self.traffic.findings)
        if connection.inflater is not None and connection.is_sender:
            connection.frames = DeflatingFrameMaker(connection.inflater.window_bits)
        seen = connection.seen
        position = None if seen is None else Position(seen, connection.epoch, connection.token)
        greeting = self.protocol.greeting(connection.client, position)
        if greeting:
            opcode = self.protocol.opcode
            self._send(connection, b"".join(client_frame(part, opcode) for part in greeting))
        if self.protocol.is_ready_when_open:
            self.traffic.joined(connection, 0)
        if rest:
            self.traffic.digest_bytes(connection, rest)

    def _ready(self, connection: Connection) -> None:
        self.ready += 1
        self.opener.joined(connection)
        if connection in self.returns.away:
            self.returns.back(connection)
            if connection.kind == "slow":
                self.personas.slow_down(connection)
            self.returns.resent += len(connection.unacked)
            if connection.unacked and not self.schedule.send_again(connection):
                connection.poller.change(connection.fd, READ | WRITE)

    def _open(self, connection: Connection, step: Callable[[Connection], None]) -> None:
        """Take a step in opening a connection; one that was open before may fail, and tries again."""
        try:
            step(connection)
        except OpenError as error:
            if connection not in self.returns.away:
                raise
            self.opener.abandon(connection)
            self.returns.failed(connection, str(error), error.retry_after)

    def _lost(self, connection: Connection, reason: str) -> None:
        if connection.state is State.CLOSED:
            return
        if connection.state is State.READY:
            self.ready -= 1
        self.connections.pop(connection.fd, None)
        self.opener.opening.pop(connection.fd, None)
        self._close(connection)
        if not (connection.comes_back and self.start_ns):
            self.counts.errors[reason] += 1
        elif connection in self.returns.away:
            self.returns.failed(connection, reason, connection.retry_after)
        else:
            self.returns.lost(connection, reason)

    def _close(self, connection: Connection) -> None:
        connection.poller.forget(connection.fd)
        connection.close()
        if connection.kind == "slow":
            connection.poller = self.poller

    def _drop(self, connection: Connection, reason: str, at_once: bool) -> None:
        """A persona ends its own connection, to come back."""
        self.ready -= 1
        del self.connections[connection.fd]
        self._close(connection)
        self.returns.lost(connection, reason, at_once=at_once)

    def _returned(self, connection: Connection, number: int) -> None:
        if not self.schedule.returned(connection, number):
            connection.poller.change(connection.fd, READ | WRITE)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.state is State.CLOSED:
            return
        try:
            if not connection.send(data):
                connection.poller.change(connection.fd, READ | WRITE)
        except OSError as error:
            self._lost(connection, f"connection lost: {error.strerror}")
