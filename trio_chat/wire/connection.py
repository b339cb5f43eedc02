"""One WebSocket connection: the stream under trio-websocket, and its messages on top.

trio-websocket does the opening handshake, answers pings and runs the closing handshake. It works on the
`Connection` as if that were the network: the first thing that it reads is the request head, then only control
frames. Data frames never reach it: they go to the connection's `Handler` in place.

Owns the transport, the frame reader and the outbox. Refuses to know chat: a `Handler` is all it sees.

One task per connection, in the server's nursery: trio-websocket's reader, which calls
`Connection.receive_some`. It sleeps while the poller (`trio_chat.wire.poller`) reads the socket and gives
messages to the handler's ``take``; it wakes for messages that must wait (``on_messages``), control frames
and the end. A second task exists only while something waits to be written, or while the closing handshake
runs. None of them lets an exception out: a failure ends this connection (1011) and touches no other. The
reader's end is the connection's end:

- the peer closes or is gone: the reader returns;
- `Connection.close`: what waits is written, then the closing handshake runs; both within `CLOSE_SECONDS`;
- `Connection.cut`: the transport is ended at once, and the reader with it.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import attrs
import outcome
import trio
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.handshake import H11Handshake

from .frames import CLOSE, FrameReader, Message, WireError, close_reason
from .outbox import Outbox
from .poller import WAKE_BYTES, Poller
from .transport import Transport

logger = logging.getLogger("trio_chat.wire")

_NO_HANDSHAKE = H11Handshake(ConnectionType.SERVER)
"""What all connections share that are open: wsproto asks it for events, and it never has one."""
_CLOSE_BYTE = bytes((0x80 | CLOSE,))
CONTROLS_PER_SECOND = 100
MAX_CONTROLS = 200
"""Control frames of one client per second, and at once: beyond that they wait, and what follows them too. A
ping costs some 60 us, and nobody needs more than one in a few seconds."""
MAX_DELAYED_CONTROLS = 10 * CONTROLS_PER_SECOND
"""How many may have to wait, 10 seconds' worth, without a rest that gives all of `MAX_CONTROLS` back; then
the connection is closed with 4029."""
CLOSE_SECONDS = 5.0
"""How long writing what waits and the closing handshake may take together, before the connection is cut."""
SETTLE_SECONDS = 1.0
"""How long the end waits for a handler that still deals with what came before a close frame or an error."""


class Handler(Protocol):
    """What stands on a connection: a chat session, a relay member, an embedder's endpoint."""

    async def on_open(self) -> None:
        """The connection is open; nothing has been read from the peer yet."""
        ...

    def take(self, messages: list[Message]) -> list[Message]:
        """Some whole messages, in order; returns those that can't be taken without waiting."""
        ...

    async def on_messages(self, messages: list[Message]) -> None:
        """The messages that `take` returned. While this waits, nothing more is read from the peer."""
        ...

    async def settle(self) -> None:
        """Nothing more comes from the peer: return when what came is answered. Cancelled if it takes long."""
        ...

    async def on_drained(self) -> None:
        """Nothing waits in the outbox (any more): a chance to offer what had no room before."""
        ...

    def farewell(self, code: int, reason: str, retry_after: float | None) -> bytes | None:
        """The last frame before the server closes, if there is one to say."""
        ...

    def on_closed(self) -> None:
        """The connection is over."""
        ...


@attrs.frozen
class Opening:
    """How to answer an accepted upgrade: the head for trio-websocket, what followed it, and the reply's
    extras."""

    head: bytes
    rest: bytes = b""
    subprotocol: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    window_bits: int = 0
    """The window for what is sent compressed; 0: compression was not agreed."""


@attrs.frozen(eq=False)
class Taken:
    """What of some bytes needs the connection's task: messages to wait for, then a control frame or a
    protocol error; nothing of these: the reader has more, in another turn."""

    messages: list[Message]
    control: bytes = b""
    failure: WireError | None = None


_NOTHING = Taken([])


@attrs.define(eq=False)
class Label:
    """How a connection is named in the log; ``user`` is filled in when it is known."""

    connection: int
    client: str
    path: str
    user: str = ""

    def fields(self) -> dict[str, object]:
        """For a log record's ``extra``."""
        return {
            "client": self.client,
            "path": self.path or None,
            "user": self.user or None,
            "connection": self.connection,
        }


class Connection(trio.abc.Stream):
    """See the module. ``on_over`` is called once, when all is over and the descriptor is free."""

    __slots__ = (
        "_attending", "_controls_delayed", "_controls_until", "_finished", "_handler", "_head", "_nursery",
        "_on_over", "_opened", "_parked", "_poller", "_reader", "_rest", "_transport", "_unsaid",
        "_websocket",
        "close_code", "close_reason", "label", "outbox", "silent_ticks", "stalled_ticks",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        nursery: trio.Nursery,
        label: Label,
        on_over: Callable[["Connection"], None],
        poller: Poller | None = None,
        *,
        max_message: int,
        max_waiting: int,
        window_bits: int = 0,
    ) -> None:
        self._transport = transport
        self._nursery = nursery
        self.label = label
        self._on_over = on_over
        self._poller = poller
        self._parked: trio.lowlevel.Task | None = None
        self.outbox = Outbox(transport.try_send, self._start_writer, max_waiting, window_bits)
        self._reader: FrameReader | None = FrameReader(max_message, deflate=bool(window_bits))
        self._handler: Handler | None = None
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._head = b""
        self._rest = b""
        self._opened: trio.Event | None = trio.Event()
        self.close_code: int | None = None
        self.close_reason = ""
        self._attending = False
        self._controls_until = 0.0
        self._controls_delayed = 0
        self._finished = False
        self._unsaid: trio.Event | None = None
        self.silent_ticks = 0
        self.stalled_ticks = 0

    # --- the life of a connection ------------------------------------------------------------------

    async def open(self, opening: Opening, make_handler: Callable[["Connection"], Handler]) -> None:
        """Run the opening handshake; when this returns the connection lives on in its own task, or has
        failed.

        Cancelling cuts the connection.
        """
        self._head, self._rest = opening.head, opening.rest
        try:
            request = await trio_websocket.wrap_server_stream(
                cast(trio.Nursery, self), self, message_queue_size=0, receive_buffer_size=None
            )
            self._websocket = await request.accept(
                subprotocol=opening.subprotocol, extra_headers=list(opening.headers)
            )
            _forget_handshake(self._websocket)
            self._handler = make_handler(self)
            await self._handler.on_open()
        except (trio.BrokenResourceError, trio_websocket.ConnectionClosed):
            self.cut(1006, "connection lost")
        except Exception:
            logger.exception("connection failed", extra=self.label.fields())
            self.cut(1011, "internal error")
        except BaseException:
            self.cut(1001, "the server stops")
            raise
        finally:
            assert self._opened is not None
            self._opened.set()
            self._opened = None

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        """trio-websocket starts its reader with this, as in a nursery; here it is in safe hands."""
        self._nursery.start_soon(self._live, reader)

    async def _live(self, reader: Callable[[], Awaitable[None]]) -> None:
        """The connection's task."""
        try:
            await reader()
            if self._unsaid is not None:  # both closed at once: ours is still to be written
                await self._unsaid.wait()
        except (trio.BrokenResourceError, trio_websocket.ConnectionClosed):
            pass
        except Exception:
            logger.exception("connection failed", extra=self.label.fields())
            self._ended(1011, "internal error")
        finally:
            self._ended(1006, "connection lost")
            self.outbox.shut()
            if self._handler is not None:
                try:
                    self._handler.on_closed()
                except Exception:
                    logger.exception("handler failed at the end", extra=self.label.fields())
            with trio.CancelScope(shield=True):
                await self._transport.aclose()
            # They know us and we know them: let go of, they are freed now. A garbage collection of what is as
            # old as a connection may be hours away.
            self._handler = self._websocket = None
            self._on_over(self)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run ``function`` in a task beside the connection, which fails with it."""
        self._nursery.start_soon(self._run_beside, function)

    async def _run_beside(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except Exception:  # noqa: BLE001 - logged there
            self._handler_failed()

    def close(
        self, code: int, reason: str = "", *, retry_after: float | None = None, forget: bool = False
    ) -> None:
        """Begin to close with ``code``; returns at once. What waits is still written, unless ``forget``.

        Only the first call counts.
        """
        if self.close_code is not None:
            return
        self._ended(code, reason)
        if forget:
            self.outbox.drop_waiting()
        last = self._handler.farewell(code, reason, retry_after) if self._handler is not None else None
        if last is not None:
            self.outbox.force(last)
        self.outbox.finish()
        self._unsaid = trio.Event()
        self._nursery.start_soon(self._say_goodbye)

    async def _say_goodbye(self) -> None:
        assert self.close_code is not None
        assert self._unsaid is not None
        try:
            with trio.move_on_after(CLOSE_SECONDS) as scope:
                if self._opened is not None:
                    await self._opened.wait()
                await self.outbox.flushed()
                if self._websocket is not None:  # else the opening handshake failed, or all is over
                    await self._websocket.aclose(self.close_code, close_reason(self.close_reason))
        except (trio.BrokenResourceError, trio_websocket.ConnectionClosed):
            self._transport.cut()
        except Exception:
            logger.exception("closing failed", extra=self.label.fields())
            self._transport.cut()
        finally:
            self._unsaid.set()
        if scope.cancelled_caught:
            self._transport.cut()

    def cut(self, code: int, reason: str) -> None:
        """End the connection at once, without a word to the peer; ``code`` is for the log."""
        self._ended(code, reason)
        self._transport.cut()

    @property
    def busy(self) -> bool:
        """Nothing is read from the peer: it is still opening, or what it asked for has to wait."""
        return self._opened is not None or self._attending

    def unanswered_seconds(self) -> float:
        """For how long the peer's system has not confirmed what was sent to it; 0 where that isn't known."""
        return self._transport.unanswered_seconds()

    @property
    def closing(self) -> bool:
        """The connection ends or has ended."""
        return self.close_code is not None

    @property
    def unreachable(self) -> bool:
        """Nothing offered now will arrive: it ends or has ended, or a write has failed."""
        return self.close_code is not None or self.outbox.finished

    def how_it_ended(self) -> str:
        """Close code and reason, for the log."""
        return f"{self.close_code} {self.close_reason}".rstrip()

    def _ended(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason

    # --- what trio-websocket sees ------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The request head first, then control frames; data frames go to the handler on the way."""
        if self._head:
            head, self._head = self._head, b""
            return head
        if self._opened is not None:
            await self._opened.wait()
        while not self._finished:
            taken = await self._next()
            if taken is None:
                return b""
            if taken.messages and self.close_code is None:
                await self._attend(taken.messages)
            ends = taken.failure is not None or taken.control[:1] == _CLOSE_BYTE
            if ends and self.close_code is None:
                await self._settle()
            if taken.failure is not None:
                self._reader = None
                self.close(taken.failure.code, taken.failure.reason)
            if taken.control and not ends:
                await self._pace_controls()
                if self.close_code is not None:
                    continue  # trio-websocket can't answer a ping once it has begun to close
            if taken.control:
                return taken.control
        return b""

    async def _pace_controls(self) -> None:
        """Delay a client that sends too many pings and pongs; end one that won't stop."""
        now = trio.current_time()
        if self._controls_until <= now:  # it has rested; that we were late ourselves is no rest
            self._controls_delayed = 0
        self._controls_until = max(now, self._controls_until) + 1 / CONTROLS_PER_SECOND
        early = self._controls_until - now - MAX_CONTROLS / CONTROLS_PER_SECOND
        if early > 0 and self.outbox.finished and self.close_code is None:
            self.cut(1006, "connection lost")  # nobody is there to be slowed down
        elif early > 0 and self.close_code is None:
            self._controls_delayed += 1
            if self._controls_delayed > MAX_DELAYED_CONTROLS:
                self.close(
                    4029,
                    f"more than {CONTROLS_PER_SECOND} control frames per second for too long",
                    retry_after=MAX_CONTROLS / CONTROLS_PER_SECOND,
                )
            else:
                self._attending = True
                await trio.sleep(early)
                self._attending = False

    async def _next(self) -> Taken | None:
        """What of the next bytes needs this task; None at the end of the stream."""
        if self._reader is not None and self._reader.pending:
            await (
                trio.lowlevel.checkpoint()
            )  # a read may hold thousands of control frames, or 64 MiB inflated
            return self._digest(b"")
        if self._rest:
            data, self._rest = self._rest, b""
            return self._digest(data)
        sock = self._transport.socket
        if sock is None or self._poller is None:
            data = await self._transport.receive()
            return self._digest(data) if data else None
        fd = sock.fileno()
        if fd < 0:
            return None
        self._poller.add(fd, self._on_readable)
        self._parked = trio.lowlevel.current_task()
        try:
            return cast("Taken | None", await trio.lowlevel.wait_task_rescheduled(self._unpark))
        finally:
            self._parked = None
            self._poller.remove(fd)

    def _unpark(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None  # a callback of the same turn must not wake the task a second time
        return trio.lowlevel.Abort.SUCCEEDED

    def _on_readable(self) -> int:
        """The poller's callback: read, and wake the task only for what it has to do itself."""
        sock = self._transport.socket
        if self._parked is None or sock is None:
            return 0
        try:
            data = self._transport.receive_now()
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        taken = self._digest(data) if data else None
        if taken is not _NOTHING:
            assert self._poller is not None
            self._poller.remove(sock.fileno())
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task, outcome.Value(taken))
            return max(WAKE_BYTES, len(data))
        return len(data)

    def _digest(self, data: bytes) -> Taken:
        """Give the messages in ``data`` to the handler, as far as it takes them without waiting."""
        self.silent_ticks = 0
        if self._reader is None:
            return _NOTHING  # after a protocol error nothing means anything any more; wait for the peer's end
        failure: WireError | None = None
        try:
            messages, control = self._reader.feed(data)
        except WireError as error:
            failure, messages, control = error.with_traceback(None), error.messages, b""
        if messages and self.close_code is None:
            assert self._handler is not None
            try:
                messages = self._handler.take(messages)
            except Exception:  # noqa: BLE001 - logged there
                self._handler_failed()
                messages = []
        if not messages and not control and failure is None and not self._reader.pending:
            return _NOTHING
        return Taken(messages, control, failure)

    async def _attend(self, messages: list[Message]) -> None:
        """Have the handler take messages that it must wait for."""
        assert self._handler is not None
        self._attending = True
        try:
            await self._handler.on_messages(messages)
        except Exception:  # noqa: BLE001 - logged there
            self._handler_failed()
        finally:
            self._attending = False

    async def _settle(self) -> None:
        """Let what came before the end be answered before it, if that takes no longer than it may."""
        if self._handler is not None:
            with trio.move_on_after(SETTLE_SECONDS):
                await self._handler.settle()

    def _handler_failed(self) -> None:
        logger.exception("handler failed", extra=self.label.fields())
        self.close(1011, "internal error")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """trio-websocket's own frames: never between the halves of another."""
        if self._handler is not None and not self.closing:
            self.outbox.force(bytes(data))
            if data[0] & 0x0F == CLOSE:  # the answer to the peer's: nothing may follow it
                self._closed_by_peer()
                self.outbox.finish()
            await self.outbox.flushed()
            return
        await self.outbox.flushed()
        await self._write(bytes(data))
        if self._reader is None:
            await self._transport.end_writing()  # so that a peer that waits for our end doesn't wait

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until nothing waits."""
        await self.outbox.flushed()

    async def aclose(self) -> None:
        """The closing handshake is over: the reader, and with it the connection, ends by itself."""
        self._closed_by_peer()
        self._finished = True
        await trio.lowlevel.checkpoint()

    def _closed_by_peer(self) -> None:
        if self._websocket is not None and (closed := self._websocket.closed) is not None:
            self._ended(int(closed.code), closed.reason or "closed by the client")

    # --- writing -------------------------------------------------------------------------------------

    def _start_writer(self) -> None:
        self._nursery.start_soon(self._run_writer)

    async def _run_writer(self) -> None:
        if self._handler is None:
            return  # all is over
        try:
            await self.outbox.run(self._write, self._handler.on_drained)
        except trio.BrokenResourceError:
            self._transport.cut()
            self.outbox.shut()  # and so wake whoever waits for it
        except Exception:  # noqa: BLE001 - logged there
            self._handler_failed()

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            sent = await self._transport.send_some(view)
            self.outbox.progressed = True
            view = view[sent:]


def _forget_handshake(websocket: trio_websocket.WebSocketConnection) -> None:
    """Let go of the parser and the request of the opening handshake, which wsproto keeps for good: 2.8 KB of
    the 13.7 of an idle connection.

    trio-websocket has no public way to its wsproto connection. Should a version of it keep that elsewhere,
    nothing is saved and nothing breaks.
    """
    protocol = getattr(websocket, "_wsproto", None)
    if isinstance(protocol, WSConnection) and protocol.connection is not None:
        protocol.handshake = _NO_HANDSHAKE
