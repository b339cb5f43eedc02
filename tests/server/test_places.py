"""Places: how many may be in, in all and from one address; each place comes back whatever happens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

import trio_chat
from trio_chat import door

from .peers import (
    Answer,
    Refused,
    ask,
    connected,
    head,
    open_stream,
    read_all,
    reset,
    serving,
    troubles,
    until,
)

Upgrade = Callable[[trio_chat.UpgradeRequest], Awaitable[Any]]


async def is_free(server: trio_chat.Server) -> bool:
    """Whether one more is let in."""
    try:
        async with connected(server, "/relay/probe") as probe:
            await probe.send_frame(8, b"")
            await probe.closed()
    except Refused:
        return False
    return True


async def test_a_full_server_is_503_with_retry_after() -> None:
    """Beyond `max_connections` upgrades are refused, plain requests are not; a place freed is used again."""
    async with serving(max_connections=2) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(server)) for _ in range(2)]
        answer = await ask(server, "/ws", upgrade=True)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert answer.text == "this server is full"
        assert (await ask(server, "/healthz")).status == 200
        peers[0].reset()
        await until(lambda: len(server.connections) == 1)
        assert await is_free(server)


async def test_one_address_gets_429_beyond_its_share() -> None:
    """The limit is the client's, not the peer's: another client behind a trusted proxy has its own."""
    async with serving(max_per_ip=2, trusted_proxy=("127.0.0.1",)) as server, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(connected(server, headers={"X-Forwarded-For": "192.0.2.1"}))
        answer = await ask(server, "/ws", {"X-Forwarded-For": "192.0.2.1"}, upgrade=True)
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert "more than 2 connections from 192.0.2.1" in answer.text
        await stack.enter_async_context(connected(server, headers={"X-Forwarded-For": "192.0.2.2"}))


async def test_a_network_of_ipv6_is_one_address() -> None:
    """All of a /64 count together: who has one has 2**64 addresses."""
    async with (
        serving(max_per_ip=1, trusted_proxy=("127.0.0.1",)) as server,
        connected(server, headers={"X-Forwarded-For": "2001:db8::1"}),
    ):
        answer = await ask(server, "/ws", {"X-Forwarded-For": "2001:db8::ffff"}, upgrade=True)
        assert answer.status == 429
        async with connected(server, headers={"X-Forwarded-For": "2001:db8:0:1::1"}):
            pass


@asynccontextmanager
async def one_place(upgrade: Upgrade) -> AsyncIterator[trio_chat.Server]:
    """A server with a single place, which must be free again at the end."""
    async with serving(max_connections=1, upgrade=upgrade) as server:
        yield server
        assert not server.connections
        await until(lambda: server._open == 0)
        assert server._door.places._taken == 0
        assert not server._door.places._per_client


async def test_a_place_comes_back_when_the_handler_rejects() -> None:
    """With a status, or visibly."""
    visibly = trio_chat.Reject.visibly(4501, "who are you")
    answers: list[trio_chat.Accept | trio_chat.Reject] = [trio_chat.Accept(), visibly, trio_chat.Reject(403)]

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept | trio_chat.Reject:
        return answers.pop()

    async with one_place(upgrade) as server:
        assert (await ask(server, "/ws", upgrade=True)).status == 403
        async with connected(server) as peer:
            assert await peer.closed() == (4501, "who are you")
        await until(lambda: not server.connections)
        assert await is_free(server)
        await until(lambda: not server.connections)


async def test_a_place_comes_back_when_the_handler_crashes(caplog: pytest.LogCaptureFixture) -> None:
    """By an exception, or by an answer that is none."""
    broken = [ValueError("no"), None, "yes", KeyError()]

    async def upgrade(request: trio_chat.UpgradeRequest) -> Any:
        answer = broken.pop() if broken else trio_chat.Accept()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with one_place(upgrade) as server:
        for _ in range(4):
            answer = await ask(server, "/ws", upgrade=True)
            assert (answer.status, answer.text) == (500, "internal error")
        assert len(troubles(caplog)) == 4
        assert await is_free(server)
        await until(lambda: not server.connections)


async def test_a_place_comes_back_when_the_handler_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the handler's time: 503 for the client that waits, nothing for the one that has left."""
    monkeypatch.setattr(door, "UPGRADE_SECONDS", 0.2)
    cancelled: list[str] = []

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        if len(cancelled) < 2:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(request.path)
        return trio_chat.Accept()

    async with one_place(upgrade) as server:
        stream = await open_stream(server)
        await stream.send_all(head())
        await stream.aclose()
        await until(lambda: cancelled == ["/ws"])
        answer = await ask(server, "/relay/x", upgrade=True)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert cancelled == ["/ws", "/relay/x"]
        assert troubles(caplog) == ["trio_chat.server: the upgrade handler took too long"] * 2
        assert await is_free(server)
        await until(lambda: not server.connections)


async def test_a_place_comes_back_when_the_room_is_none() -> None:
    """A relay room's name is looked at after the handler: 404 and 400 free the place too."""

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        return trio_chat.Accept()

    async with one_place(upgrade) as server:
        for path, status in (("/relay/", 404), ("/relay/a/b", 404), ("/relay/x?echo=2", 400)):
            assert (await ask(server, path, upgrade=True)).status == status
        assert await is_free(server)
        await until(lambda: not server.connections)


async def test_a_place_comes_back_when_the_client_leaves_at_once() -> None:
    """Reset right behind the request, again and again: nothing is counted twice or forgotten."""

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        await trio.lowlevel.checkpoint()
        return trio_chat.Accept()

    async with serving(max_connections=50, upgrade=upgrade) as server:
        for number in range(100):
            stream = await open_stream(server)
            await stream.send_all(head("/ws?room=lobby" if number % 2 else "/relay/x"))
            if number % 3:
                await trio.lowlevel.checkpoint()
            reset(stream)
        await until(lambda: server._open == 0)
        assert server._door.places._taken == 0
        assert not server.connections
        assert not server.hub.rooms
        assert not server.hub.relay.rooms


async def test_heads_that_never_come_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of too many is told why and let go; whoever sends its head is served, before and after."""
    monkeypatch.setattr(door, "MAX_UNREAD", 3)
    async with serving() as server, AsyncExitStack() as stack:
        waiting = []
        for _ in range(5):
            stream = await stack.enter_async_context(await open_stream(server))
            await stream.send_all(b"GET /ws HTTP/1.1\r\n")
            waiting.append(stream)
            await until(lambda: server._open == len(waiting))
        for stream in waiting[:2]:
            answer = Answer.parse(await read_all(stream))
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.text == "too many requests are incomplete"
        for _ in range(3):
            async with connected(server) as peer:
                await peer.join()
