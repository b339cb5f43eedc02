"""A WebSocket for an embedder's endpoint: receive, send, close.

Owns the bounded channel between the connection and the endpoint's handler. Knows no chat.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from .connection import Connection
from .frames import BINARY, TEXT, Message, close_reason, compressed, frame

logger = logging.getLogger("trio_chat.wire")

_HANDLER_SECONDS = 10.0
"""How long an endpoint's handler may go on after its client is gone; then it is cancelled."""
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_MAX_MESSAGES = 16
"""Received messages that may wait for a handler; then the peer feels it."""


class ConnectionClosed(Exception):
    """The WebSocket is closed: ``code`` and ``reason`` as far as known."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocket:
    """One client of an embedder's endpoint.

    ``request`` is its `trio_chat.UpgradeRequest`, ``user`` what the upgrade handler accepted it as (or None).
    Iterating yields messages (``str`` for text, ``bytes`` for binary) and ends when the WebSocket is closed.
    """

    def __init__(self, connection: Connection, request: Any, user: Any) -> None:
        self._connection = connection
        self.request = request
        self.user = user
        self._scope = trio.CancelScope()
        self._send, self._receive = trio.open_memory_channel[Message](_MAX_MESSAGES)
        self._unanswered = 0
        """Messages taken from the peer whose turn with the handler isn't over."""
        self._received = 0
        """How many of them the handler has; it is done with one when it asks for the next."""
        self._settled: trio.Event | None = None

    async def receive(self) -> str | bytes:
        """The next message. Raises `ConnectionClosed`. Cancelling loses nothing."""
        if self._received:
            self._received -= 1
            self._answered(1)
        try:
            opcode, payload = await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise ConnectionClosed(
                self._connection.close_code or 1006, self._connection.close_reason
            ) from None
        self._received += 1
        return payload.decode() if opcode == TEXT else payload

    def _answered(self, count: int) -> None:
        self._unanswered -= count
        if self._settled is not None and not self._unanswered:
            self._settled.set()

    def __aiter__(self) -> "WebSocket":
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def send(self, message: str | bytes) -> None:
        """Send a text (``str``) or binary message; waits while too much waits for this client.

        Raises `ConnectionClosed`. When cancelled, the message was not sent.
        """
        data = frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, bytes(message))
        outbox = self._connection.outbox
        if outbox.window_bits:
            data = compressed(data, outbox.window_bits)
        while not self._connection.unreachable:
            if outbox.offer(data):
                await trio.lowlevel.checkpoint()
                return
            await outbox.flushed()
        raise ConnectionClosed(self._connection.close_code or 1006, self._connection.close_reason)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Begin to close with ``code``. What was sent before is still delivered.

        Raises `ValueError` for a code that may not be sent (RFC 6455 7.4) or a reason beyond 123 bytes.
        """
        if not (code in _CODES or 3000 <= code <= 4999):
            raise ValueError(f"code: 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code!r}")
        if close_reason(reason) != reason:
            raise ValueError("reason: at most 123 bytes of UTF-8")
        self._connection.close(code, reason)
        await trio.lowlevel.checkpoint()

    # --- the connection's handler ------------------------------------------------------------------

    def start(self, handler: Callable[["WebSocket"], Awaitable[None]]) -> None:
        """Run the endpoint's ``handler`` beside the connection; when it returns, the WebSocket is closed."""
        self._connection.spawn(partial(self._run, handler))

    async def _run(self, handler: Callable[["WebSocket"], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await handler(self)
        except Exception as error:
            if not _only_closed(error):
                logger.exception("endpoint failed", extra=self._connection.label.fields())
                self._connection.close(1011, "internal error")
        self._answered(self._unanswered)
        self._connection.close(1000)

    async def on_open(self) -> None:
        """Nothing to do: the handler runs already."""

    def take(self, messages: list[Message]) -> list[Message]:
        """Pass on what has room."""
        for index, message in enumerate(messages):
            try:
                self._send.send_nowait(message)
            except trio.WouldBlock:
                return messages[index:]
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                break
            self._unanswered += 1
        return []

    async def on_messages(self, messages: list[Message]) -> None:
        """Pass the messages on; waits while the handler is busy."""
        for message in messages:
            self._unanswered += 1
            try:
                await self._send.send(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def settle(self) -> None:
        """Return when the handler has asked for more than there is, or has ended."""
        if self._unanswered:
            self._settled = trio.Event()
            await self._settled.wait()

    async def on_drained(self) -> None:
        """Nothing to add: `send` waits by itself."""

    def farewell(self, code: int, reason: str, retry_after: float | None) -> bytes | None:
        """Nothing to say: the close frame tells it."""
        self._send.close()
        return None

    def on_closed(self) -> None:
        """Wake whoever waits in `receive`, and give the handler a while to come to its end."""
        self._send.close()
        self._scope.deadline = trio.current_time() + _HANDLER_SECONDS


def _only_closed(error: BaseException) -> bool:
    """Whether that is `ConnectionClosed` and nothing else, as it may come out of a nursery."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_closed, error.exceptions))
    return isinstance(error, ConnectionClosed)
