"""What a client keeps of a room it is in: the position, the buffer of events, the latest signals.

Owns the question which event is the next one and whether there is space for it. Plain and synchronous but for
the two iterations; knows no connection and no requests: `trio_chat.client` asks it what to send and
tells it what came.

Rules: the position moves when an event enters the buffer, and never backwards within an epoch. A room that is
*behind* takes no events until it has been joined again from its position.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import trio
from msgspec import UNSET

from .chat import schema
from .chat.schema import Gap, Message
from .client_link import ClientError

_SPARE = 8
"""A buffer may grow to this many times its size while the socket is needed for something else."""
_MAX_SIGNALS = 100


class ChatError(ClientError):
    """The server refused an operation. ``code`` for programs (``not_joined``), ``message`` for people;
    ``retry_after``: after how many seconds it may be possible."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.retry_after = retry_after


@attrs.frozen
class Reset:
    """In a room's events: the server could not go on from the last position, and events may be missing.

    The log began anew, or never went as far. What follows comes after ``head`` in ``epoch``.
    """

    room: str
    epoch: str
    head: int


@attrs.frozen
class UnknownEvent:
    """A room event of a kind that this version doesn't know; ``fields`` is all of it."""

    room: str
    seq: int
    fields: dict[str, Any]


Change = schema.Edited | schema.Deleted | schema.Reacted | schema.Unreacted
"""What was done to the message ``target``."""
Numbered = Message | Change | schema.TopicChanged | Gap | UnknownEvent
Event = Numbered | Reset
Signal = schema.Presence | schema.Count | schema.TypingSignal | schema.ReadSignal


def as_event(op: object) -> Numbered | None:
    """``op`` as a room event: whatever has a room, a ``seq`` and an ``at``, and gaps."""
    if isinstance(op, Message | Change | schema.TopicChanged | Gap):
        return op
    fields = op if isinstance(op, dict) else msgspec.to_builtins(op) if isinstance(op, schema.Op) else {}
    room, seq = fields.get("room"), fields.get("seq")
    if isinstance(room, str) and isinstance(seq, int) and "at" in fields:
        return UnknownEvent(room, seq, fields)
    return None


class Hole(Exception):
    """The server has left events out: from the first to the last number of the text."""


@attrs.frozen
class Position:
    """After which event of which life of the log; ``epoch`` None: whichever the server has."""

    epoch: str | None
    seq: int


class Inbox:
    """A room from its first join to its leaving; see the module."""

    def __init__(self, name: str, start: Position | None, last: int | None, size: int) -> None:
        self.name = name
        self.position = start
        self.start: Position | None = None
        """The position that the first join has begun at: nothing is handed out before."""
        self.invitation: str | None = None
        self.live = False
        """Joined over the present connection: events may come, requests may be sent."""
        self.behind = False
        self.settled = trio.Event()
        """The first join has been answered, or there is nothing to wait for any more."""
        self.error: Exception | None = None
        self.info: schema.Joined | None = None
        self.signals: deque[Signal] = deque(maxlen=_MAX_SIGNALS)
        self.signal_lot = trio.lowlevel.ParkingLot()
        self.ended = False
        self._last = last
        self._size = size
        self._replayed_to = 0
        self._send, self._receive = trio.open_memory_channel[Event](size * _SPARE)

    # --- joining ---------------------------------------------------------------------------------------

    def join_op(self, request_id: str) -> schema.Join:
        """How to join from here; a room that is behind takes what comes, unless somebody waits for it."""
        self.live = False
        if self.behind and self.hungry:
            self.behind = False
        op = schema.Join(
            id=request_id, room=self.name, invitation=UNSET if self.invitation is None else self.invitation
        )
        if self.position is None:
            op.last = UNSET if self._last is None else self._last
        elif not self.behind:
            op.since = self.position.seq
            op.epoch = UNSET if self.position.epoch is None else self.position.epoch
        return op

    def joined(self, asked: schema.Join, op: schema.Joined) -> Reset | None:
        """The answer to ``asked``. Returns the event to say that the position is lost, if it is."""
        self.live, self.info = True, op
        lost = None
        if asked.since is not UNSET:
            if op.recovered:
                self.position = Position(op.epoch, asked.since)
            else:
                self._replayed_to = 0
                lost = Reset(op.room, op.epoch, op.head)
        elif not self.behind:
            # Of the events up to the head, `last` brings as many as are kept, and perhaps messages only.
            last = 0 if asked.last is UNSET else asked.last
            self.position = Position(op.epoch, max(0, op.head - last))
            self._replayed_to = op.head
        self.start = self.start or self.position
        return lost

    def end(self, error: Exception | None) -> None:
        """Nothing will come any more: what is buffered remains, then the iterations end."""
        self.live = False
        self.ended = True
        self.error = self.error or error
        self._send.close()
        self.signal_lot.unpark_all()
        self.settled.set()

    # --- events ----------------------------------------------------------------------------------------

    def next_position(self, event: Numbered) -> Position | None:
        """The position that ``event`` leads to; None if it isn't wanted. Raises `Hole`."""
        if not self.live or self.behind or self.position is None:
            return None
        first, last = (event.from_, event.to) if isinstance(event, Gap) else (event.seq, event.seq)
        if last <= self.position.seq:
            return None
        if first > max(self.position.seq, self._replayed_to) + 1:
            raise Hole(f"the server left out events {self.position.seq + 1} to {first - 1} of {self.name}")
        return Position(self.position.epoch, last)

    def offer(self, event: Event, position: Position, *, spare: bool) -> bool:
        """Buffer ``event`` and move to ``position`` if there is space; with ``spare`` there is more of it."""
        used = self._receive.statistics().current_buffer_used
        if used >= (self._size * _SPARE if spare else self._size):
            return False
        self._send.send_nowait(event)
        self.position = position
        return True

    @property
    def empty(self) -> bool:
        """No event is buffered."""
        return not self._receive.statistics().current_buffer_used

    @property
    def hungry(self) -> bool:
        """Somebody waits for an event."""
        return self._receive.statistics().tasks_waiting_receive > 0

    async def take(self) -> Event:
        """The next event. Raises `StopAsyncIteration`, or what ended the client."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self.error is not None:
                raise self.error from None
            raise StopAsyncIteration from None

    def signal(self, signal: Signal) -> None:
        """Keep a signal; the oldest gives way."""
        self.signals.append(signal)
        self.signal_lot.unpark()


class Signals:
    """Presence, typing and what others have read: iterate it. Keeps the latest 100."""

    def __init__(self, inbox: Inbox, poke: Callable[[], None]) -> None:
        self._inbox = inbox
        self._poke = poke

    def __aiter__(self) -> "Signals":
        return self

    async def __anext__(self) -> Signal:
        """The next signal. Ends when the room is left or the client is closed."""
        inbox = self._inbox
        if inbox.signals:
            await trio.lowlevel.checkpoint()
        while not inbox.signals:
            if inbox.ended:
                raise StopAsyncIteration
            self._poke()
            await inbox.signal_lot.park()
        return inbox.signals.popleft()
