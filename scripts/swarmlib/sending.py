"""When each message is sent: by a fixed schedule (open loop) or by what has come back (closed loop).

Open loop: message m of the whole swarm is due at ``start + m / rate`` and belongs to sender ``m mod
senders``. Its time is stamped as *intended*: if the sender or the server is late, the latency shows it (no
coordinated omission).
"""

import time

from swarmlib.connection import Connection, State
from swarmlib.counts import Counts
from swarmlib.frames import FragmentMaker, FrameMaker
from swarmlib.protocol import Protocol

MAX_SENDS_PER_TURN = 256
"""An open loop that is far behind still reads between its sends."""
NEVER = 1 << 62


class Schedule:
    """The senders of one process; the base class sends nothing by itself."""

    def __init__(self, senders: list[Connection], protocol: Protocol, counts: Counts) -> None:
        self.senders = senders
        self.is_running = False
        self._counts = counts
        self._has_acks = protocol.has_acks
        for sender in senders:
            sender.message = protocol.message_maker(sender.client)
            make = FragmentMaker if sender.kind == "fragments" else FrameMaker
            sender.frames = make(len(sender.message(0, 0)), protocol.opcode)

    def start(self, at_ns: int) -> None:
        """Begin; the first message is due at ``at_ns``."""
        self.is_running = True

    def stop(self) -> None:
        """Nothing more becomes due."""
        self.is_running = False

    def next_due(self) -> int:
        """When `send_due` should be called next."""
        return NEVER

    def send_due(self, now: int) -> list[Connection]:
        """Send what is due; the senders whose sockets are full or broken now."""
        return []

    def returned(self, sender: Connection, number: int) -> bool:
        """``number`` messages came back to ``sender``; whether its socket still takes more."""
        return True

    @property
    def is_settled(self) -> bool:
        """Whether everything sent has come back and was acknowledged, as far as connections still live."""
        return all(
            sender.state is not State.READY
            or (sender.returned >= sender.sent and not sender.unacked and not sender.outgoing)
            for sender in self.senders
        )

    def send_again(self, sender: Connection) -> bool:
        """Send what was not acknowledged once more, as it was; whether the socket takes more."""
        frames = [sender.frames.frame(sender.message(*message)) for message in sender.unacked.items()]
        return sender.send(b"".join(frames))

    def _send(self, sender: Connection, stamp: int, number: int = 1) -> bool:
        """Send ``number`` messages stamped with ``stamp``; whether the socket takes more."""
        first = sender.sent
        sender.sent = first + number
        self._counts.sends += number
        if self._has_acks:
            sender.unacked.update(dict.fromkeys(range(first, first + number), stamp))
        data = sender.frames.frame(sender.message(first, stamp))
        for following in range(first + 1, first + number):
            data += sender.frames.frame(sender.message(following, stamp))
        try:
            return sender.send(data)
        except OSError:  # its end shows, with the reason, when it is read
            return True


class ClosedLoop(Schedule):
    """Each sender has ``window`` messages under way: one that comes back is followed by the next."""

    def __init__(self, senders: list[Connection], protocol: Protocol, counts: Counts, window: int) -> None:
        super().__init__(senders, protocol, counts)
        self._window = window
        self._first_due = NEVER

    def start(self, at_ns: int) -> None:
        super().start(at_ns)
        self._first_due = at_ns

    def next_due(self) -> int:
        return self._first_due

    def send_due(self, now: int) -> list[Connection]:
        if now < self._first_due:
            return []
        self._first_due = NEVER
        return [
            sender
            for sender in self.senders
            if sender.state is State.READY and not self._send(sender, now, self._window)
        ]

    def returned(self, sender: Connection, number: int) -> bool:
        if not self.is_running:
            return True
        return self._send(sender, time.monotonic_ns(), number)


class OpenLoop(Schedule):
    """Messages at a rate, in turn from each sender; ``total`` senders are in all processes."""

    def __init__(
        self, senders: list[Connection], protocol: Protocol, counts: Counts, rate: float, total: int
    ) -> None:
        super().__init__(sorted(senders, key=lambda sender: sender.client), protocol, counts)
        self._interval_ns = 1e9 / rate
        self._total = total
        self._round = self._place = self._start = 0
        self._due = NEVER

    def start(self, at_ns: int) -> None:
        super().start(at_ns)
        self._start = at_ns
        self._due = self._due_time() if self.senders else NEVER

    def next_due(self) -> int:
        return self._due if self.is_running else NEVER

    def send_due(self, now: int) -> list[Connection]:
        stuck = []
        for _ in range(MAX_SENDS_PER_TURN):
            if self._due > now or not self.is_running:
                break
            sender = self.senders[self._place]
            if sender.state is not State.READY or sender.is_stuffed:
                self._counts.unsent += 1
            else:
                if self._due >= self._counts.window_ns[0]:
                    self._counts.lateness[(now - self._due) // 1000] += 1
                if not self._send(sender, self._due):
                    stuck.append(sender)
            self._place += 1
            if self._place == len(self.senders):
                self._place = 0
                self._round += 1
            self._due = self._due_time()
        return stuck

    def _due_time(self) -> int:
        message = self._round * self._total + self.senders[self._place].client
        return self._start + int(message * self._interval_ns)


def make_schedule(
    senders: list[Connection],
    protocol: Protocol,
    counts: Counts,
    *,
    rate: float | None,
    window: int,
    total: int,
) -> Schedule:
    """The schedule that the settings ask for."""
    if rate is None:
        return ClosedLoop(senders, protocol, counts, window)
    return OpenLoop(senders, protocol, counts, rate, total) if rate else Schedule(senders, protocol, counts)
