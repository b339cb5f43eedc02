"""The connection to Redis: one for everything, made anew whenever it is lost, no call without an end.

Owns the connection and the words for what is wrong with it. Knows commands, scripts and push messages, and
nothing of rooms.

Replies and published messages come over the same connection, and so in the order in which Redis made them. A
call that isn't answered within `CALL_SECONDS` ends the connection, since nobody would know what the next
reply belongs to. While there is none, calls fail at once.
"""

import logging
import os
import ssl
import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import attrs
import coredis
import trio
from coredis.connection import TCPConnection, TCPLocation

from trio_chat.log.base import LogError, LogUnavailable
from trio_chat.log.redis_scripts import ALL_SCRIPTS, Script

CALL_SECONDS: Final = 5.0
"""How long a call may take. With ``appendfsync always`` a busy disk may need seconds."""
CONNECT_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = (0.05, 1.0)
"""The first wait before connecting again, and the longest; each one is twice the one before."""

_GONE = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
"""What coredis' streams raise at the end of a connection."""

Argument = str | bytes | int
Reply = object


@attrs.frozen
class Place:
    """Where Redis is, and who we are there."""

    host: str
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None

    def __str__(self) -> str:
        return f"Redis at {self.host}:{self.port}"


def parse_url(url: str) -> Place:
    """The place that ``redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/DB][?ca=FILE]`` names. Raises `LogError`."""
    allowed = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], with rediss:// also ?ca=FILE"
    try:
        parts = urlsplit(url)
        database = parts.path.removeprefix("/") or "0"
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        ca = options.pop("ca", None)
        tls = parts.scheme == "rediss"
        if not parts.hostname or parts.fragment or options or not database.isdecimal() or (ca and not tls):
            raise ValueError
        return Place(
            unquote(parts.hostname),
            parts.port or 6379,
            int(database),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
            tls,
            ca,
        )
    except ValueError:
        shown = url if "@" not in url else f"{url.partition('://')[0]}://...@{url.rpartition('@')[2]}"
        raise LogError(f"{shown}: a Redis log is {allowed}") from None


class Link:
    """See the module. `run` is its task.

    ``on_up`` is awaited each time there is a new connection, before anybody else may use it; it raises
    `LogUnavailable` to have another one. ``on_push`` gets each push message, ``on_down`` is told the reason.
    """

    def __init__(
        self,
        place: Place,
        on_up: Callable[[], Awaitable[None]],
        on_push: Callable[[Sequence[object]], None],
        on_down: Callable[[str], None],
    ) -> None:
        self.place = place
        self._on_up = on_up
        self._on_push = on_push
        self._on_down = on_down
        self._connection: TCPConnection | None = None
        self._up = False
        self.why = "no answer"
        """Why there is no connection, if there is none."""
        context = None
        if place.tls:
            try:
                context = ssl.create_default_context(cafile=place.ca)
            except OSError as error:
                raise LogError(f"ca: a file with certificates (PEM); {place.ca}: {error.strerror}") from None
        self._ssl_context = context
        # It logs each failure to connect with a traceback, and leaves streams to the collector. What is
        # wrong is said here, in a line.
        warnings.filterwarnings("ignore", "Unclosed <MemoryObject", ResourceWarning)
        logging.getLogger("coredis").setLevel(logging.CRITICAL + 1)

    async def run(self) -> None:
        """Keep a connection, until cancelled."""
        shortest, longest = _RETRY_SECONDS
        wait = shortest
        while True:
            if await self._connect_once():
                wait = shortest
            await trio.sleep(wait)
            wait = min(2 * wait, longest)

    async def _connect_once(self) -> bool:
        """Connect, and stay as long as the connection does; returns whether it came up."""
        place = self.place
        connection = TCPConnection(
            TCPLocation(place.host, place.port),
            connect_timeout=CONNECT_SECONDS,
            stream_timeout=CALL_SECONDS,
            username=place.username,
            password=place.password,
            db=place.db,
            client_name="trio_chat",
            ssl_context=self._ssl_context,
            socket_keepalive=True,
        )
        came_up = False
        async with trio.open_nursery() as nursery:
            ended = trio.Event()
            with trio.move_on_after(CONNECT_SECONDS + CALL_SECONDS) as setting_up:
                await nursery.start(self._hold, connection, ended)
                if connection.usable:
                    self._connection = connection
                    nursery.start_soon(self._listen, connection)
                    try:
                        await self._load_scripts()
                        await self._on_up()
                        came_up = self._up = True
                    except LogUnavailable as error:
                        self.why = str(error).removeprefix(f"{place}: ")
            if came_up:
                await ended.wait()
            elif setting_up.cancelled_caught:
                self.why = "no answer"
            self._connection, self._up = None, False
            nursery.cancel_scope.cancel()
        self._on_down(self.why)
        return came_up

    async def _hold(
        self,
        connection: TCPConnection,
        ended: trio.Event,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """The connection's own tasks."""
        started = _Once(task_status)
        try:
            await connection.run(task_status=started)
            self.why = "the connection is lost"
        except (Exception, ExceptionGroup) as error:  # noqa: BLE001 - each of them is the end of this one
            self.why = reason(error)
        finally:
            ended.set()
            started.started()

    async def _listen(self, connection: TCPConnection) -> None:
        with suppress(coredis.exceptions.ConnectionError):
            async for message in connection.push_messages:
                self._on_push(message)

    async def _load_scripts(self) -> None:
        for script in ALL_SCRIPTS:
            await self.call("SCRIPT", "LOAD", script.text)

    def cut(self) -> None:
        """End the connection; another one is made."""
        if self._connection is not None:
            self._connection.invalidate("not trusted any more")

    @property
    def up(self) -> bool:
        """Whether there is a connection that was set up."""
        return self._up

    @property
    def major_version(self) -> int:
        """The first number of the version that Redis (or what speaks like it) says it has."""
        version = self._connection.server_version if self._connection is not None else None
        number = (version or "0").partition(".")[0]
        return int(number) if number.isdecimal() else 0

    # --- calls -------------------------------------------------------------------------------------------

    def send(self, *command: Argument) -> "Call":
        """Send a command; commands are carried out in the order in which they are sent.

        Raises `LogUnavailable`.
        """
        name, *arguments = command
        assert isinstance(name, str)
        connection = self._connection
        try:
            if connection is None:
                raise LogUnavailable(f"{self.place}: {self.why}")
            request = connection.create_request(
                name.encode(), *arguments, decode=False, disconnect_on_cancellation=False
            )
        except (coredis.exceptions.RedisError, *_GONE):
            raise LogUnavailable(f"{self.place}: the connection is lost") from None
        return Call(self, request)

    def send_unanswered(self, *command: Argument) -> None:
        """Send a command that has push messages for an answer, as those about channels have.

        Raises `LogUnavailable`.
        """
        name, *arguments = command
        assert isinstance(name, str)
        try:
            if self._connection is None:
                raise LogUnavailable(f"{self.place}: {self.why}")
            self._connection.send_command(name.encode(), *arguments)
        except (coredis.exceptions.RedisError, *_GONE):
            raise LogUnavailable(f"{self.place}: the connection is lost") from None

    async def call(self, *command: Argument) -> Reply:
        """Send a command and return its reply. Raises `LogUnavailable`."""
        return await self.send(*command).reply()

    def send_script(self, script: Script, keys: Sequence[str], *arguments: Argument) -> "Call":
        """Send a script. Raises `LogUnavailable`."""
        call = self.send("EVALSHA", script.digest, len(keys), *keys, *arguments)
        call.again = ("EVAL", script.text, len(keys), *keys, *arguments)
        return call

    async def run_script(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run a script and return its reply. Raises `LogUnavailable`."""
        return await self.send_script(script, keys, *arguments).reply()


@attrs.define
class Call:
    """A command that was sent."""

    link: Link
    request: "Awaitable[object]"
    again: tuple[Argument, ...] | None = None

    async def reply(self) -> Reply:
        """Its reply. Cancelled, it may or may not be carried out. Raises `LogUnavailable`."""
        try:
            return await self.request
        except coredis.exceptions.NoScriptError:
            if self.again is None:
                raise
            return await self.link.call(*self.again)
        except TimeoutError:
            self.link.cut()
            raise LogUnavailable(f"{self.link.place}: no answer within {CALL_SECONDS:g} s") from None
        except (coredis.exceptions.RedisError, OSError, *_GONE) as error:
            if isinstance(error, coredis.exceptions.ReadOnlyError):
                self.link.cut()  # a replica by now: the next connection may find the master
            raise LogUnavailable(f"{self.link.place}: {reason(error)}") from None


class _Once:
    """A task status that may be told several times."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def started(self, value: object = None) -> None:
        status, self._task_status = self._task_status, None
        if status is not None:
            status.started()


def reason(error: BaseException) -> str:
    """What is wrong, in a few words for people."""
    while True:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        vague = type(error) is OSError and error.errno is None
        vague = vague or isinstance(error, BaseExceptionGroup | coredis.exceptions.ConnectionError)
        if inner is None or not vague:
            break
        error = inner
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, coredis.exceptions.ReadOnlyError):
        return "it is a replica, which takes no events"
    if isinstance(error, coredis.exceptions.AuthenticationError):
        return f"it refuses us: {text}"
    if "maxmemory" in text:
        return "it is full (maxmemory)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or text}"
    if isinstance(error, OSError):
        return (os.strerror(error.errno) if error.errno else text or type(error).__name__).lower()
    if isinstance(error, _GONE):
        return "the connection is lost"
    return text or type(error).__name__


def texts(reply: Reply) -> list[str]:
    """An array of strings, decoded."""
    return [item.decode() if isinstance(item, bytes) else str(item) for item in cast("list[object]", reply)]
