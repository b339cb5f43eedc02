"""What the special clients of one process do while the load runs, and what became of them.

The `worker` calls `begin` when the load starts, `act` when something is due, `end` when the load is over.
What is done to a connection goes through it: only it knows where a descriptor is watched.
"""

import heapq
import random
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from swarmlib.connection import Connection, State
from swarmlib.dripper import Dripper
from swarmlib.frames import CLOSE, client_frame
from swarmlib.mix import KINDS
from swarmlib.poller import READ, EpollPoller, SelectorPoller, Unwatched
from swarmlib.protocol import Protocol
from swarmlib.sending import NEVER
from swarmlib.settings import Settings

READ_EVERY_NS = 100_000_000
"""A slow reader reads ten times a second."""
SPAM_EVERY_NS = 50_000_000
_S = 1_000_000_000
_RDHUP = 0x2000
"""EPOLLRDHUP: the peer has ended its side; reported however much waits to be read."""
_LEAST_STAY_S = 0.5


class Personas:
    """``drop(connection, reason, at_once)`` ends a connection that is to come back; ``read`` and ``send``."""

    def __init__(
        self,
        settings: Settings,
        protocol: Protocol,
        clients: list[Connection],
        drippers: list[Dripper],
        *,
        poller: EpollPoller | SelectorPoller,
        drop: Callable[[Connection, str, bool], None],
        read: Callable[[Connection], None],
        send: Callable[[Connection, bytes], None],
        seed: int,
    ) -> None:
        self.settings = settings
        self.protocol = protocol
        self.by_kind = {kind: [client for client in clients if client.kind == kind] for kind in KINDS}
        self.drippers = drippers
        self.dropped = dict.fromkeys(KINDS, 0)
        self.spammed = 0
        self.let_go_s: list[float] = []
        """Of each half-open client that the server let go of: after how long."""
        self._poller = poller
        self._drop, self._read, self._send = drop, read, send
        self._rng = random.Random(seed)
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._number = 0
        self._began = 0
        self.is_running = False
        self._hang_ups = select.epoll() if hasattr(select, "epoll") else None
        self._silent: set[int] = set()

    def begin(self, now: int) -> None:
        """The load starts."""
        self._began, self.is_running = now, True
        for connection in self.by_kind["half_open"]:
            self._fall_silent(connection)
        for connection in self.by_kind["slow"]:
            self.slow_down(connection)
        for kind, every, act in (
            ("slow", READ_EVERY_NS, self._read_a_little),
            ("spammer", SPAM_EVERY_NS, self._spam),
            ("storm", int(self.settings.storm * _S), self._break_out),
        ):
            if self.by_kind[kind]:
                self._repeat(now + every, every, act)
        if self._silent:
            self._repeat(now, READ_EVERY_NS, self._look_for_hang_ups)
        for connection in self.by_kind["flapping"]:
            self._plan_flap(connection, now)
        for dripper in self.drippers:
            self._repeat(now, dripper.every_ns, dripper.act)

    def slow_down(self, connection: Connection) -> None:
        """From now on it is read by the clock."""
        if connection.state is State.READY and self.is_running:
            connection.poller.forget(connection.fd)
            connection.poller = Unwatched()
            connection.pace(max(1, self.settings.slow_bytes * READ_EVERY_NS // _S))

    def next_due(self) -> int:
        """When `act` should be called next."""
        return self._due[0][0] if self._due else NEVER

    def act(self, now: int) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2](now)

    def end(self) -> None:
        """The load is over: everybody behaves, so that all may get everything."""
        self.is_running = False
        self._due.clear()
        for connection in self.by_kind["slow"]:
            if connection.state is State.READY:
                connection.pace(None)
                connection.poller = self._poller
                connection.thaw(READ)
        for dripper in self.drippers:
            dripper.close()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._hang_ups is not None:
            self._hang_ups.close()

    def record(self) -> dict[str, Any]:
        """What became of them, as plain data; empty without any."""
        found: dict[str, Any] = {}
        for kind in ("flapping", "storm"):
            if self.by_kind[kind]:
                found[kind] = {"count": len(self.by_kind[kind]), "dropped": self.dropped[kind]}
        if self.by_kind["spammer"]:
            found["spammer"] = {"count": len(self.by_kind["spammer"]), "sent": self.spammed}
        if self.by_kind["slow"]:
            found["slow"] = {"count": len(self.by_kind["slow"])}
        if self.by_kind["half_open"]:
            found["half_open"] = {"count": len(self.by_kind["half_open"]), "let_go_s": self.let_go_s}
        if self.drippers:
            ends = [end for dripper in self.drippers for end in dripper.ends]
            found["slow_handshake"] = {"count": len(self.drippers), "ends": ends}
        return found

    # --- what each does -----------------------------------------------------------------------------

    def _plan(self, at: int, act: Callable[[int], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (at, self._number, act))

    def _repeat(self, at: int, every: int, act: Callable[[int], None]) -> None:
        def again(now: int) -> None:
            act(now)
            # From now, not from when it was due: what could not be done in time is not made up for.
            self._repeat(max(at + every, now), every, act)

        self._plan(at, again)

    def _plan_flap(self, connection: Connection, now: int) -> None:
        stays_s = _LEAST_STAY_S + self._rng.expovariate(1 / self.settings.flap)

        def flap(then: int) -> None:
            if connection.state is State.READY:
                self._end(connection, "its own doing: flapping", at_once=False)
            self._plan_flap(connection, then)

        self._plan(now + int(stays_s * _S), flap)

    def _end(self, connection: Connection, reason: str, *, at_once: bool) -> None:
        """Lose the connection: with a close frame, without one, or with a reset."""
        self.dropped[connection.kind] += 1
        way = self._rng.randrange(3)
        if way == 0:
            self._send(connection, client_frame((1001).to_bytes(2), CLOSE))
        elif way == 1 and connection.state is State.READY:
            linger_for_nothing = struct.pack("ii", 1, 0)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)
        if connection.state is State.READY:
            self._drop(connection, reason, at_once)

    def _break_out(self, now: int) -> None:
        for connection in self.by_kind["storm"]:
            if connection.state is State.READY:
                self._end(connection, "its own doing: storm", at_once=True)

    def _read_a_little(self, now: int) -> None:
        for connection in self.by_kind["slow"]:
            if connection.state is State.READY:
                self._read(connection)

    def _spam(self, now: int) -> None:
        number = max(1, round(self.settings.spam_rate * SPAM_EVERY_NS / _S))
        for connection in self.by_kind["spammer"]:
            if connection.state is State.READY and not connection.outgoing:
                frame = client_frame(self.protocol.spam(connection.room.number), self.protocol.opcode)
                self._send(connection, frame * number)
                self.spammed += number

    def _fall_silent(self, connection: Connection) -> None:
        if connection.state is not State.READY:
            return
        connection.poller.forget(connection.fd)
        connection.poller = Unwatched()
        if self._hang_ups is not None:
            self._hang_ups.register(connection.fd, _RDHUP)
            self._silent.add(connection.fd)

    def _look_for_hang_ups(self, now: int) -> None:
        assert self._hang_ups is not None
        for fd, _ in self._hang_ups.poll(0):
            self._hang_ups.unregister(fd)
            self._silent.discard(fd)
            self.let_go_s.append(round((time.monotonic_ns() - self._began) / _S, 1))


def merged(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The records of all processes as one: counts added up, lists put together."""
    total: dict[str, Any] = {}
    for record in records:
        for kind, found in record.items():
            into = total.setdefault(kind, {})
            for key, value in found.items():
                into[key] = into[key] + value if key in into else value
    return total
