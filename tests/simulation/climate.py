"""What a run's number decides before anything happens: limits, settings, and all that would be chance.

Limits are drawn small, so that a few dozen events reach all of them. Two things of Trio's are taken hold of
although they are not public, as pytest-trio does for Hypothesis: its order of running tasks
(``_ALLOW_DETERMINISTIC_SCHEDULING`` and ``_r``). And a `Connection` gets a hash that is not its address,
because the server keeps a set of them.
"""

import gc
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

import attrs
import trio
from trio._core import _run as trio_run

from trio_chat import server
from trio_chat.chat import fanout, limits, relay, retention
from trio_chat.chat.policy import OnOverflow, RoomPolicy
from trio_chat.chat.turns import Turns
from trio_chat.config import Config
from trio_chat.log import sqlite_file
from trio_chat.log.sqlite_file import Sync
from trio_chat.wire.connection import Connection
from trio_chat.wire.transport import StreamTransport, Transport

from .network import End
from .sockets import Descriptors, SimulatedPoller, SimulatedSocket

POLICY_ROOM = "quiet"
KEEPING_ROOM = "räume"
"""Nothing is ever removed from it."""
MIN_KEPT_SECONDS = 8.0
"""How long a message is known again at least, where old ones are removed."""


def unix_time() -> float:
    """The server's clock."""
    return 1_700_000_000.0 + trio.current_time()


@attrs.frozen
class Climate:
    """The circumstances of one run."""

    fair: bool
    """Only connections fail: then nobody who reads may wait for anything."""
    sync: Sync
    """With ``full``, the power may be cut."""
    keep: int
    """Events kept in rooms whose old ones are removed; 0: all of all rooms."""
    on_overflow: OnOverflow
    """What holds for the room `POLICY_ROOM`."""
    slowness: float
    """How often the disk takes its time."""
    latency: float
    """Seconds that the network may take, at most."""
    rate: float
    outbox: int
    heartbeat: float
    drain: float
    limits: dict[str, int]
    relay_pending: int
    at_once: int
    """Members beyond which a room is served in steps."""
    steps: tuple[int, ...]
    """Members in one step of a pass of the fan-out."""

    @classmethod
    def drawn(cls, rng: random.Random) -> "Climate":
        """One of them."""
        fair = rng.random() < 0.25
        return cls(
            fair=fair,
            sync=rng.choice(("full", "normal")),
            keep=rng.choice((0, 0, 5, 30)),
            on_overflow=rng.choice(("catch_up", "catch_up", "disconnect", "block")),
            slowness=rng.choice((0.0, 0.05) if fair else (0.0, 0.05, 0.5)),
            latency=rng.choice((0.0, 0.05, 0.05)),
            rate=rng.choice((0.0, 0.0, 8.0)),
            outbox=rng.choice((4096, 8192)),
            heartbeat=rng.choice((0.8, 1.5, 5.0)),
            drain=rng.choice((2.0, 6.0)),
            limits={
                "PAGE_BYTES": rng.choice((1024, 2048, 4096)),
                "PAGE_EVENTS": rng.choice((3, 20)),
                "MAX_TAIL_EVENTS": rng.choice((4, 16, 64)),
                "MAX_BATCH": rng.choice((2, 8, 32)),
                "MAX_WAITING_APPENDS": rng.choice((4, 16, 64)),
                "MAX_LISTED_MEMBERS": rng.choice((5, 30)),
                "MAX_WHO_MEMBERS": 50,
                "MAX_LISTED_ROOMS": 20,
                "MAX_THROTTLED_SECONDS": 2,
            },
            relay_pending=rng.choice((2000, 1 << 20)),
            at_once=rng.choice((1, 1, 4, 64)),
            steps=rng.choice(((1,), (1,), (1, 5, 40), (16,))),
        )

    def policy(self, room: str) -> RoomPolicy:
        """What holds for a room."""
        return RoomPolicy(
            on_overflow=self.on_overflow if room == POLICY_ROOM else "catch_up",
            keep_events=0 if room == KEEPING_ROOM else self.keep,
        )

    def config(self) -> Config:
        """The server's settings."""
        return Config(
            log="memory:",
            rate=self.rate,
            burst=20,
            max_per_ip=100_000,
            outbox=self.outbox,
            max_message=8192,
            heartbeat=self.heartbeat,
            drain=self.drain,
        )

    @property
    def most_waiting(self) -> int:
        """Bytes that may ever wait for one client: the outbox's bound, and the answers to what was read
        before it was reached: one page or list, and one ack for each append that may be on its way."""
        on_their_way = self.limits["MAX_WAITING_APPENDS"] + 2 * self.limits["MAX_BATCH"]
        return self.outbox + 2 * max(4200, self.limits["PAGE_BYTES"]) + 6000 + 120 * on_their_way


def _transport(stream: End, descriptors: Descriptors, rng: random.Random) -> Transport:
    """Most connections come over what looks like a socket, some over any stream."""
    dice = rng.random()
    if dice < 0.2:
        return StreamTransport(stream)
    return SimulatedSocket(stream, descriptors, like_tls=dice < 0.4)


@contextmanager
def settled(climate: Climate, seed: int, rng: random.Random) -> Iterator[None]:
    """Have everything be as ``climate`` and ``seed`` say."""
    descriptors = Descriptors()
    with ExitStack() as stack:
        patch = lambda owner, name, value: stack.enter_context(mock.patch.object(owner, name, value))  # noqa: E731
        for name, value in climate.limits.items():
            patch(limits, name, value)
        patch(retention, "MIN_KEPT_SECONDS", MIN_KEPT_SECONDS)
        patch(retention, "SWEEP_SECONDS", 1.0)
        patch(retention, "BATCH", 7)
        patch(fanout, "AT_ONCE", climate.at_once)
        patch(relay, "_AT_ONCE", 2)
        patch(relay, "MAX_PENDING_BYTES", climate.relay_pending)
        patch(Turns, "writes", lambda turns, data_bytes: rng.choice(climate.steps))
        patch(server, "StreamTransport", partial(_transport, descriptors=descriptors, rng=rng))
        patch(server.Poller, "create", lambda: SimulatedPoller(descriptors, rng, climate.latency))
        patch(sqlite_file.secrets, "token_urlsafe", lambda size: f"{rng.getrandbits(48):x}")
        patch(sqlite_file.secrets, "token_bytes", rng.randbytes)
        if gc.isenabled():  # when what dies is a matter of chance; and it saves a tenth of the time
            gc.disable()
            stack.callback(gc.enable)
        patch(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        stack.callback(setattr, Connection, "__hash__", Connection.__hash__)
        Connection.__hash__ = lambda self: self.label.connection  # type: ignore[method-assign]
        state = trio_run._r.getstate()
        stack.callback(trio_run._r.setstate, state)
        trio_run._r.seed(seed)
        yield
