"""Well-behaved clients who measure what the others feel: round trips, stored messages, new connections.

A talker in a room of its own says something and waits until it is shown (and must see every number once);
an echo goes through a relay room; a caller asks for ``/healthz`` on a new connection. `Probe.phase` gathers
the times of a while.
"""

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import trio
import trio_websocket

from .line import Address, any_certificate

SAY_SECONDS, ECHO_SECONDS, CALL_SECONDS = 0.2, 0.02, 0.1
"""Between two of each."""
TOO_LONG = 15.0
"""An answer that takes longer is a failure."""


@attrs.define
class Times:
    """Seconds that something took, in the phase under way."""

    name: str
    seconds: list[float] = attrs.field(factory=list)

    def told(self) -> str:
        """Median, the 99th percentile and the longest, in milliseconds."""
        if not self.seconds:
            return f"{self.name} none"
        ordered = sorted(self.seconds)
        p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        return (
            f"{self.name} {ordered[len(ordered) // 2] * 1e3:.1f} / {p99 * 1e3:.1f} / {ordered[-1] * 1e3:.1f}"
        )

    def median(self) -> float:
        """In seconds."""
        return sorted(self.seconds)[len(self.seconds) // 2] if self.seconds else float("inf")


class Probe:
    """See the module. `run` is its work; it is cancelled at the end."""

    def __init__(self, url: str, name: str) -> None:
        self._address = Address.of(url)
        self._url = url.replace("http", "ws", 1)
        self._name = name
        self._tls = any_certificate() if self._address.tls else None
        self.times = {name: Times(name) for name in ("echo", "say", "connect")}
        self.failures: list[str] = []
        self._seq = 0

    @contextmanager
    def phase(self) -> Iterator[dict[str, Times]]:
        """The times of what happens meanwhile."""
        self.times = {name: Times(name) for name in self.times}
        yield self.times

    async def run(self) -> None:
        """Measure until cancelled; a failure is noted, and tried again."""
        async with trio.open_nursery() as nursery:
            for work in (self._say, self._echo, self._connect):
                nursery.start_soon(self._keep_on, work)

    async def _keep_on(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except* (OSError, trio.TooSlowError, trio.BrokenResourceError, trio_websocket.ConnectionClosed,
                     trio_websocket.HandshakeError) as error:  # fmt: skip
                self.failures.append(f"{work.__name__.strip('_')}: {error.exceptions[0]!r}")
            await trio.sleep(0.2)

    async def _timed(self, name: str, work: Callable[[], Awaitable[None]], every: float) -> None:
        began = time.perf_counter()
        with trio.fail_after(TOO_LONG):
            await work()
        took = time.perf_counter() - began
        self.times[name].seconds.append(took)
        await trio.sleep(max(0.0, every - took))

    async def _say(self) -> None:
        path = f"/ws?name={self._name}"
        async with trio_websocket.open_websocket_url(self._url + path, self._tls) as websocket:
            join = {"op": "join", "room": self._name, "since": self._seq}
            await websocket.send_message(json.dumps(join))

            async def say() -> None:
                await websocket.send_message(
                    json.dumps({"op": "say", "room": self._name, "text": "still there?"})
                )
                while (event := json.loads(await websocket.get_message()))["op"] != "message":
                    pass
                if event["seq"] != self._seq + 1:
                    self.failures.append(f"say: {event['seq']} came after {self._seq}")
                self._seq = event["seq"]

            while True:
                await self._timed("say", say, SAY_SECONDS)

    async def _echo(self) -> None:
        path = f"/relay/{self._name}"
        async with trio_websocket.open_websocket_url(self._url + path, self._tls) as websocket:

            async def echo() -> None:
                await websocket.send_message(b"x")
                await websocket.get_message()

            while True:
                await self._timed("echo", echo, ECHO_SECONDS)

    async def _connect(self) -> None:
        async def ask() -> None:
            stream: trio.abc.Stream = await trio.open_tcp_stream(self._address.host, self._address.port)
            if self._tls is not None:
                stream = trio.SSLStream(stream, self._tls, https_compatible=True)
            async with stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = await stream.receive_some()
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failures.append(f"connect: {bytes(answer[:60])!r}")

        while True:
            await self._timed("connect", ask, CALL_SECONDS)
