"""One WebSocket to a chat server, seen from the client: from its opening to the reason of its end.

Owns addresses, the opening handshake, the order of what is sent, the pace that the server asks for, and
noticing a server that is gone. Refuses to know rooms, requests and what to do next: `trio_chat.client` does.

Rules:

1. A link ends with exactly one exception: `Ended` (come back) or `Refused` (don't). Up to close code 4499 the
   first, from 4500 the second; an HTTP status counts likewise (`refusal_of_status`).
2. Only the link's own task writes to the stream. A caller that is cancelled can't leave half a frame behind.
3. Silence ends a link only while somebody waits in `Link.receive`: a slow client is no dead server.
"""

import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from urllib.parse import urlsplit

import attrs
import h11
import msgspec
import trio
import trio_websocket
import wsproto.utilities
from msgspec import UNSET

from .chat import schema

Connect = Callable[[], Awaitable[trio.abc.Stream]]

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest frame is a page of history: 200 messages of at most 64 KiB."""
_RECEIVE_BYTES = 64 * 1024
_CLOSE_SECONDS = 2.0
"""How long leaving may take: the server's answer to a close frame, then the connection is cut."""
_PACE = 0.95
"""Share of the server's rate that is used: two clocks that differ a little don't add up to a throttle."""


class ClientError(Exception):
    """Base of everything that goes wrong with a client, other than programming errors."""


class CannotConnect(ClientError):
    """The first connection could not be made; the text says why."""


class Refused(ClientError):
    """The server doesn't want this client (back). ``code``: a close code (from 4500) or an HTTP status."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class Ended(Exception):
    """The connection ended, and another one may be made, after ``retry_after`` seconds if that is given."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


# --- addresses ------------------------------------------------------------------------------------------


@attrs.frozen
class Address:
    """Where a chat endpoint is. ``unix``: the path of a Unix socket, then host and port mean nothing."""

    host: str
    port: int
    resource: str
    tls: bool
    unix: str | None = None

    @property
    def authority(self) -> str:
        """What goes into the ``Host`` header: RFC 9110 section 7.2, without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """The address that ``url`` means: ``ws``, ``wss``, ``http``, ``https``, no scheme (ws), or ``unix:PATH``.

    The path is ``/ws`` unless the URL has one. Raises `ValueError`, one line.
    """
    if url.startswith("unix:"):
        if url == "unix:" or "\0" in url:
            raise ValueError(f"url: like unix:PATH, not {url!r}")
        return Address("localhost", 80, "/ws", tls=False, unix=url.removeprefix("unix:"))
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: like ws://HOST:PORT, not {url!r}: {error}") from None
    if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"url: like ws://HOST:PORT, https://HOST or unix:PATH, not {url!r}")
    if not url.isprintable() or " " in url:
        raise ValueError(f"url: no spaces or control characters, not {url!r}")
    tls = parts.scheme in ("wss", "https")
    resource = (parts.path if parts.path != "/" else "") or "/ws"
    if parts.query:
        resource += f"?{parts.query}"
    return Address(parts.hostname, port or (443 if tls else 80), resource, tls)


async def open_stream(address: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect. Raises `OSError`."""
    if address.unix is not None:
        return await trio.open_unix_socket(address.unix)
    if address.tls:
        context = ssl_context or ssl.create_default_context()
        secure = await trio.open_ssl_over_tcp_stream(
            address.host, address.port, ssl_context=context, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return secure
    return await trio.open_tcp_stream(address.host, address.port)


# --- the opening handshake ----------------------------------------------------------------------------


class _Tap(trio.abc.Stream):
    """The stream, watched: when something was heard, and what the server answered to the upgrade.

    trio-websocket waits for ever when the connection ends before the answer is complete; here that raises.
    """

    def __init__(self, stream: trio.abc.Stream, opening: trio.CancelScope) -> None:
        self._stream = stream
        self._opening = opening
        self._head = bytearray()
        self._accepted = False
        self.heard_at = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            if self._accepted:
                raise
            raise Ended("the connection broke before the server answered") from None
        self.heard_at = trio.current_time()
        if not self._accepted:
            self._follow_answer(data)
        return data

    def _follow_answer(self, data: bytes | bytearray) -> None:
        self._head += data
        line = bytes(self._head[:13]).split(b" ")
        status = int(line[1][:3]) if len(line) > 1 and line[1][:3].isdigit() else 0
        if status == HTTPStatus.SWITCHING_PROTOCOLS:
            # Whether the key is right is wsproto's business; from here on an end of the stream is an end.
            self._accepted = b"\r\n\r\n" in self._head[-len(data) - 3 :]
        if not data and not self._accepted:
            if status and status != HTTPStatus.SWITCHING_PROTOCOLS:
                raise refusal_of_status(status)
            raise Ended("the server closed the connection without an answer")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        # Closed before the handshake is complete: trio-websocket couldn't make sense of the answer, and
        # would let the opening wait. Later, cancelling a scope that was left has no effect.
        self._opening.cancel()
        await self._stream.aclose()


def refusal_of_status(
    status: int, headers: tuple[tuple[bytes, bytes], ...] = (), body: bytes | None = None
) -> Ended | Refused:
    """What a refused upgrade means: 429 and 5xx pass, with ``Retry-After``; the rest stays as it is."""
    text = (body or b"").decode("utf-8", "replace").strip().partition("\n")[0][:200]
    if not text or text.startswith("<"):
        with suppress(ValueError):
            text = HTTPStatus(status).phrase
    if status in (408, 425, 429) or status >= 500:
        after = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
        seconds = float(after) if after.isdigit() else None
        return Ended(f"the server answered {status}: {text}", retry_after=seconds)
    return Refused(status, text or "the server refused the connection")


# --- a link -------------------------------------------------------------------------------------------


class Link:
    """An open WebSocket. See `open_link`."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, tap: _Tap, heartbeat: float) -> None:
        self._websocket = websocket
        self._tap = tap
        # Unbounded, because the callers bound it: a request waits for its answer before the next one.
        self._send, self._unsent = trio.open_memory_channel[str](math.inf)
        self._written = trio.Event()
        self._closing = False
        self._bye: schema.Bye | None = None
        self._receiving_since: float | None = None
        self._pinged_at = trio.current_time()
        self._pace: tuple[float, float] | None = None
        self._tokens = 0.0
        self._tokens_at = 0.0
        self.heartbeat = heartbeat
        """Seconds of silence before a ping; two and a half times as long ends the link."""

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent."""
        return not self._unsent.statistics().current_buffer_used

    def pace(self, rate: float, burst: int) -> None:
        """Send no faster than this from now on (operations per second; 0: no limit).

        Half of the burst is left alone: the server never counts a client as throttled that spares it.
        """
        self._pace = (rate * _PACE, max(1.0, burst / 2)) if rate else None
        self._tokens = max(1.0, burst / 2)
        self._tokens_at = trio.current_time()

    def send(self, op: schema.Op) -> None:
        """Queue an operation. Sent in order; lost without a word if the link ends before."""
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            self._send.send_nowait(schema.encode(op).decode())

    async def receive(self) -> str | bytes:
        """The next message. Raises `Ended` or `Refused`. Cancelling loses nothing."""
        self._receiving_since = trio.current_time()
        try:
            return await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as closed:
            if self._closing:
                # Our own goodbye: `close` still waits for the server's, and must not be cut short.
                await trio.sleep_forever()
            raise self._end(closed.reason) from None
        finally:
            self._receiving_since = None

    def farewell(self, bye: schema.Bye) -> None:
        """The server has said why it is about to close."""
        self._bye = bye

    def _end(self, reason: trio_websocket.CloseReason | None) -> Exception:
        code = reason.code if reason is not None else 1006
        text = (reason.reason if reason is not None else None) or ""
        retry_after = None
        if self._bye is not None:
            code = self._bye.code if code in (1005, 1006) else code
            text = self._bye.reason or text
            retry_after = None if self._bye.retry_after is UNSET else self._bye.retry_after
        if code >= 4500:
            return Refused(code, text or "the server ended the connection")
        lost = "the connection was lost" if code == 1006 else f"the server closed the connection ({code})"
        return Ended(text or lost, retry_after=retry_after)

    async def _write(self) -> None:
        try:
            async for frame in self._unsent:
                await self._wait_for_pace(schema.cost(len(frame.encode())))
                await self._websocket.send_message(frame)
        except trio_websocket.ConnectionClosed:
            pass  # `receive` says why
        finally:
            self._written.set()

    async def _wait_for_pace(self, cost: int) -> None:
        if self._pace is None:
            return
        rate, burst = self._pace
        now = trio.current_time()
        self._tokens = min(burst, self._tokens + (now - self._tokens_at) * rate) - cost
        self._tokens_at = now
        if self._tokens < 0:
            await trio.sleep(-self._tokens / rate)

    async def _watch(self) -> None:
        """Ping a silent server, and end the link when it stays silent."""
        while True:
            await trio.sleep(self.heartbeat / 2)
            now = trio.current_time()
            since = self._receiving_since
            silence = 0.0 if since is None else now - max(since, self._tap.heard_at)
            if silence > 2.5 * self.heartbeat:
                raise Ended("the server has fallen silent")
            # While nothing is read, trio-websocket can't answer the server's pings: ours show that we live.
            if (since is None or silence >= self.heartbeat) and now - self._pinged_at >= self.heartbeat:
                self._pinged_at = now
                self.send(schema.Ping())

    async def close(self) -> None:
        """Send what is queued, then close; cut after `_CLOSE_SECONDS`."""
        self._closing = True
        with trio.move_on_after(_CLOSE_SECONDS):
            self._send.close()
            await self._written.wait()
            await self._websocket.aclose(1000)


@asynccontextmanager
async def open_link(address: Address, connect: Connect, *, timeout: float) -> AsyncIterator[Link]:
    """Connect and shake hands within ``timeout`` seconds; close at the end of the block.

    Raises `Ended` and `Refused`, also into the block: when the link ends, the block is cancelled. If
    it is cancelled from outside, the connection is cut.
    """
    try:
        async with trio.open_nursery() as nursery:
            stream: trio.abc.Stream | None = None
            try:
                with trio.move_on_after(timeout) as opening:
                    try:
                        stream = await connect()
                    except OSError as error:
                        raise Ended(_describe(error, address)) from None
                    except trio.BrokenResourceError as error:
                        raise Ended(f"TLS: {error.__cause__ or error}") from None
                    tap = _Tap(stream, opening)
                    websocket = await trio_websocket.wrap_client_stream(
                        nursery,
                        tap,  # type: ignore[arg-type]  # any stream will do
                        address.authority,
                        address.resource,
                        subprotocols=[schema.SUBPROTOCOL],
                        max_message_size=_MAX_MESSAGE_BYTES,
                        receive_buffer_size=_RECEIVE_BYTES,
                    )
                if opening.cancelled_caught:
                    late = trio.current_time() >= opening.deadline
                    raise Ended(
                        f"no answer within {timeout:g} seconds"
                        if late
                        else "there is no WebSocket server there"
                    )
                link = Link(websocket, tap, timeout)
                nursery.start_soon(link._write)
                nursery.start_soon(link._watch)
                yield link
                await link.close()
            finally:
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _verdict(group) from None


def _verdict(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one reason in a group of them; the group itself if something unforeseen is in it."""
    leaves = [error for error in _leaves(group) if not isinstance(error, trio.Cancelled)]
    for error in leaves:
        if isinstance(error, trio_websocket.ConnectionRejected):
            return refusal_of_status(error.status_code, error.headers, error.body)
        # What wsproto makes of bytes that are no WebSocket escapes from trio-websocket's reader.
        if isinstance(error, h11.ProtocolError | wsproto.utilities.ProtocolError):
            return Ended("there is no WebSocket server there")
    if leaves and all(isinstance(error, Ended | ClientError) for error in leaves):
        return next((error for error in leaves if not isinstance(error, Ended)), leaves[0])
    return leaves[0] if len(leaves) == 1 else group


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _describe(error: OSError, address: Address) -> str:
    where = address.unix or f"{address.host}:{address.port}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {where}: {getattr(error, 'verify_message', '') or error.reason or error}"
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # happy eyeballs: one failure for each address
        cause = cause.exceptions[0]
    deepest = cause if isinstance(cause, OSError) else error
    # Trio puts the address into the text, the resolver gives a number that is no errno.
    if deepest.errno is not None and not isinstance(deepest, socket.gaierror):
        return f"cannot connect to {where}: {os.strerror(deepest.errno)}"
    return f"cannot connect to {where}: {deepest.strerror or deepest}"


def decode(data: str | bytes) -> object:
    """The operation in a server's frame; a plain dict if this version doesn't know it. Raises `Ended`."""
    try:
        return schema.decode_server_op(data)
    except msgspec.ValidationError:
        pass
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Ended("the server sent something that isn't JSON") from None
    return msgspec.json.decode(data)
