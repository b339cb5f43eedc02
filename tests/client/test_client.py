"""The client against a scripted server, in memory and under a mock clock."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_chat.client import (
    CannotConnect,
    ChatError,
    Client,
    Gap,
    Message,
    Refused,
    Reset,
    Room,
    UnknownEvent,
    open_client,
)

from .peer import ANN, LIMITS, Peer, open_peer

Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def client_of(script: Script, *, lockstep: bool = False, **options: Any) -> AsyncIterator[Client]:
    """A client, and a server that runs ``script``, at most 10,000 seconds of mock time."""
    with trio.fail_after(10_000):
        async with open_peer(lockstep=lockstep) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(script, peer)
            async with open_client(
                "ws://example.test", "ann", connect=peer.connect, rng=random.Random(1), **options
            ) as client:
                yield client


async def take(room: Room, count: int) -> list[Any]:
    """The next events: the ``seq`` of messages, everything else as it is."""
    found = [await anext(room) for _ in range(count)]
    return [event.seq if isinstance(event, Message) else event for event in found]


# --- the plain way ------------------------------------------------------------------------------------


async def test_it_says_and_hears(autojump_clock: MockClock) -> None:
    """An acknowledged message is returned as the event that it became, and heard like any other."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        hello = await server.welcome()
        assert hello["name"] == "ann"
        assert "resume" not in hello
        assert await server.joined(head=4) == {"op": "join", "id": hello["id"][:-1] + "2", "room": "lobby"}
        say = await server.receive("say")
        await server.ack(say, 5)
        await server.send("message", room="lobby", seq=5, at=2.5, user=ANN, text=say["text"], id=say["id"])
        await server.receive("leave")

    async with client_of(script) as client, client.join("lobby") as room:
        assert client.user.name == "ann"
        assert (room.epoch, room.seq) == ("e1", 4)
        event = await room.say("hi", reply_to=3)
        assert (event.seq, event.at, event.text, event.reply_to, event.user.id) == (5, 2.5, "hi", 3, "u1")
        heard = await anext(room)
        assert isinstance(heard, Message)
        assert (heard.seq, heard.id) == (5, event.id)
        assert room.seq == 5


async def test_it_asks(autojump_clock: MockClock) -> None:
    """History, members and rooms come back as values; signals come in an iteration of their own."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.receive("typing")
        asked = await server.receive("history")
        assert (asked["before"], asked["limit"]) == (9, 2)
        message = {"op": "message", "room": "lobby", "seq": 8, "at": 1.0, "user": ANN, "text": "x"}
        await server.send("history", re=asked["id"], room="lobby", messages=[message], more=True, as_of=5)
        asked = await server.receive("who")
        await server.send("members", re=asked["id"], room="lobby", members=[ANN], count=1)
        asked = await server.receive("rooms")
        await server.send(
            "rooms", re=asked["id"], rooms=[{"room": "lobby", "count": 1, "head": 8, "kind": "public"}]
        )
        await server.send("typing", room="lobby", user=ANN)
        await server.send("presence", room="lobby", user=ANN, online=False)

    async with client_of(script) as client, client.join("lobby") as room:
        room.typing()
        page = await room.history(before=9, limit=2)
        assert [message.text for message in page.messages] == ["x"]
        assert page.more
        assert [user.name for user in await room.who()] == ["ann"]
        assert [found.room for found in await client.rooms()] == ["lobby"]
        assert [type(await anext(room.signals)).__name__ for _ in range(2)] == ["TypingSignal", "Presence"]


async def test_events_of_a_later_version_are_handed_on(autojump_clock: MockClock) -> None:
    """A room event of an unknown kind takes its place in the order; unknown operations are passed over."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.send("horoscope", sign="leo")
        for text in ("[]", "7", '{"op": "message"}', '{"op": 5}', '{"room": "lobby", "seq": "x", "at": 1}'):
            await server.send_raw(text)
        await server.messages(1, 1)
        await server.send("painted", room="lobby", seq=2, at=1.0, colour="red")
        await server.messages(3, 3)

    async with client_of(script) as client, client.join("lobby") as room:
        first, painted, third = await take(room, 3)
        assert (first, third) == (1, 3)
        assert isinstance(painted, UnknownEvent)
        assert painted.fields["colour"] == "red"


async def test_what_is_no_json_ends_the_connection(autojump_clock: MockClock) -> None:
    """A server that sends something else is left, and another connection made."""

    async def script(peer: Peer) -> None:
        await (await peer.open()).send_raw("{")
        await (await peer.open()).joined()

    async with client_of(script) as client, client.join("lobby"):
        assert client.state == "open"


async def test_a_refused_operation_raises(autojump_clock: MockClock) -> None:
    """An error becomes a `ChatError` with its code; the connection is kept."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        join = await server.receive("join")
        await server.send("error", re=join["id"], code="bad_request", message="room: no")
        await server.joined()
        say = await server.receive("say")
        await server.send("error", re=say["id"], code="muted", message="not now")

    async with client_of(script) as client:
        with pytest.raises(ChatError, match=r"room: no \(bad_request\)"):
            async with client.join("lobby"):
                pass
        async with client.join("lobby") as room:
            with pytest.raises(ChatError) as caught:
                await room.say("x")
            assert caught.value.code == "muted"
        with pytest.raises(ChatError, match="1 to 64"):
            async with client.join("no spaces"):
                pass


async def test_a_message_that_would_end_the_connection_is_not_sent(autojump_clock: MockClock) -> None:
    """What is bigger than the server takes raises here, instead of a close with 1009 there."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        await server.welcome(limits=LIMITS | {"max_message_bytes": 1024})
        await server.joined()

    async with client_of(script) as client, client.join("lobby") as room:
        with pytest.raises(ChatError, match="at most 1024 bytes"):
            await room.say("x" * 1024)


async def test_a_room_is_joined_once_at_a_time(autojump_clock: MockClock) -> None:
    """A second join of a room is a mistake; after leaving it is fine, and old events don't leak into it."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined(head=0)
        left = await server.receive("leave")
        await server.messages(1, 1)
        await server.send("left", re=left["id"], room="lobby")
        await server.joined(head=1)
        await server.messages(2, 2)

    async with client_of(script) as client:
        async with client.join("lobby"):
            with pytest.raises(ValueError, match="already"):
                async with client.join("lobby"):
                    pass
        async with client.join("lobby") as room:
            assert await take(room, 1) == [2]


async def test_being_removed_ends_the_iteration(autojump_clock: MockClock) -> None:
    """When the server removes the client from a room, its iteration and its requests raise."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.messages(1, 1)
        await server.send("left", room="lobby")

    async with client_of(script) as client, client.join("lobby") as room:
        assert await take(room, 1) == [1]
        with pytest.raises(ChatError, match="removed"):
            await anext(room)
        with pytest.raises(ChatError, match="removed"):
            await room.say("x")


# --- reconnecting -------------------------------------------------------------------------------------


async def test_it_resumes_where_it_was(autojump_clock: MockClock) -> None:
    """After a break it comes back with its session and position, and each event is seen once, in order."""
    joins = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        joins.append(await server.joined(head=10))
        await server.messages(11, 13)
        await server.cut()
        server = await peer.accept()
        assert (await server.welcome())["resume"] == "s1"
        joins.append(await server.joined(head=15))
        await server.messages(12, 16)  # two more than it asked for

    async with client_of(script) as client, client.join("lobby") as room:
        assert await take(room, 6) == [11, 12, 13, 14, 15, 16]
    assert [(join.get("since"), join.get("epoch")) for join in joins] == [(None, None), (13, "e1")]


async def test_a_say_is_repeated_with_its_id_until_acknowledged(autojump_clock: MockClock) -> None:
    """A message that was not acknowledged goes out again after each join, and its event is returned once."""
    said = []

    async def script(peer: Peer) -> None:
        for _ in range(3):
            server = await peer.open()
            await server.joined()
            said.append(await server.receive("say"))
            await server.cut()
        server = await peer.open()
        await server.joined()
        said.append(await server.receive("say"))
        await server.ack(said[-1], 7)
        assert await server.silent()

    async with client_of(script) as client, client.join("lobby") as room:
        assert (await room.say("hi")).seq == 7
        await trio.sleep(2)
    assert len({say["id"] for say in said}) == 1


async def test_waiting_says_keep_their_order(autojump_clock: MockClock) -> None:
    """Messages that wait for a connection go out in the order in which they were said."""
    said = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.cut()
        server = await peer.open()
        await trio.sleep(1)
        await server.joined()
        for seq in range(1, 11):
            said.append(await server.receive("say"))
            await server.ack(said[-1], seq)

    async with client_of(script) as client, client.join("lobby") as room, trio.open_nursery() as nursery:
        await trio.sleep(0.01)
        for number in range(10):
            nursery.start_soon(room.say, str(number))
            await trio.testing.wait_all_tasks_blocked()
    assert [say["text"] for say in said] == [str(number) for number in range(10)]


async def test_trouble_that_passes_is_waited_for(autojump_clock: MockClock) -> None:
    """`unavailable` and `rate_limited` with `retry_after` are tried again, with the same id."""
    said, at = [], []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        join = await server.receive("join")
        await server.send("error", re=join["id"], code="unavailable", message="disk full", retry_after=2.0)
        await server.joined()
        for code in ("unavailable", "rate_limited"):
            said.append(await server.receive("say"))
            at.append(trio.current_time())
            await server.send("error", re=said[-1]["id"], code=code, message="later", retry_after=3.0)
        said.append(await server.receive("say"))
        at.append(trio.current_time())
        await server.ack(said[-1], 1)

    async with client_of(script) as client, client.join("lobby") as room:
        assert (await room.say("hi")).seq == 1
    assert len({say["id"] for say in said}) == 1
    assert [round(late - early) for early, late in pairwise(at)] == [3, 3]


async def test_a_lost_position_is_said(autojump_clock: MockClock) -> None:
    """`recovered: false` becomes a `Reset` between the events; trimmed events become a `Gap`."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined(head=5)
        await server.messages(6, 6)
        await server.cut()
        server = await peer.open()
        assert (await server.joined(head=2, epoch="e2", recovered=False))["since"] == 6
        await server.messages(3, 3)
        await server.cut()
        server = await peer.open()
        join = await server.joined(head=9, epoch="e2")
        assert (join["since"], join["epoch"]) == (3, "e2")
        await server.send("gap", room="lobby", **{"from": 4, "to": 7})
        await server.messages(8, 9)

    async with client_of(script) as client, client.join("lobby") as room:
        events = await take(room, 6)
        assert events[:3] == [6, Reset("lobby", "e2", 2), 3]
        assert isinstance(events[3], Gap)
        assert (events[3].from_, events[3].to) == (4, 7)
        assert events[4:] == [8, 9]
        assert (room.epoch, room.seq) == ("e2", 9)


async def test_a_hole_makes_it_ask_again(autojump_clock: MockClock) -> None:
    """A server that leaves an event out is not believed: the client reconnects and asks for it."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.messages(1, 1)
        await server.messages(3, 3)
        server = await peer.open()
        assert (await server.joined(head=3))["since"] == 1
        await server.messages(2, 3)

    async with client_of(script) as client, client.join("lobby") as room:
        assert await take(room, 3) == [1, 2, 3]


async def test_the_last_messages_come_first(autojump_clock: MockClock) -> None:
    """A join with `last` begins with past events; a break in between goes on from there."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        assert (await server.joined(head=8))["last"] == 4
        await server.messages(5, 5)
        await server.messages(7, 7)  # 6 was no message
        await server.cut()
        server = await peer.open()
        join = await server.joined(head=8)
        assert (join["since"], "last" in join) == (7, False)
        await server.messages(8, 9)

    async with client_of(script) as client, client.join("lobby", last=4) as room:
        assert await take(room, 4) == [5, 7, 8, 9]


async def test_a_position_from_elsewhere_is_resumed(autojump_clock: MockClock) -> None:
    """Session, epoch and since may come from an earlier run of the program."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        assert (await server.welcome())["resume"] == "from-disk"
        join = await server.joined(head=9, epoch="e0")
        assert (join["since"], join["epoch"]) == (7, "e0")
        await server.messages(8, 9)

    async with (
        client_of(script, session="from-disk") as client,
        client.join("lobby", since=7, epoch="e0") as room,
    ):
        assert await take(room, 2) == [8, 9]
        assert client.session == "s1"


class Unhurried(trio.abc.ReceiveStream):
    """A stream whose bytes come late, and so many at a time."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await trio.sleep(0.01)
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_a_room_begins_before_its_first_event(autojump_clock: MockClock) -> None:
    """Events that come right behind the answer to the join are not counted as handed out: who resumes from
    the position at that moment gets them."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        for number in range(20):
            await server.joined(head=4)
            await server.messages(5, 6, room=f"room-{number}")
            await server.receive("leave")

    async def connect() -> trio.abc.Stream:
        stream = await peer.connect()
        assert isinstance(stream, trio.StapledStream)
        return trio.StapledStream(stream.send_stream, Unhurried(stream.receive_stream))

    async with open_peer() as peer, trio.open_nursery() as nursery:
        nursery.start_soon(script, peer)
        async with open_client("ws://example.test", "ann", connect=connect) as client:
            for number in range(20):
                async with client.join(f"room-{number}") as room:
                    assert (room.epoch, room.seq) == ("e1", 4)
                    assert await take(room, 2) == [5, 6]


async def test_a_session_that_is_no_good_any_more_is_dropped(autojump_clock: MockClock) -> None:
    """If the server refuses a hello with `resume`, the client says hello without it."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        hello = await server.receive("hello")
        await server.send("error", re=hello["id"], code="bad_request", message="resume: unknown")
        assert "resume" not in await server.welcome()

    async with client_of(script, session="stale") as client:
        assert client.user.id == "u1"


# --- when to come back --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1012, 4029])
async def test_the_server_says_when_to_come_back(autojump_clock: MockClock, code: int) -> None:
    """`retry_after` of a `bye`, and `Retry-After` of a refused upgrade, are kept to the second."""
    came_back = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.send("bye", code=code, reason="not now", retry_after=7.5)
        left_at = trio.current_time()
        await server.close(code)
        _, request = await peer.request()
        came_back.append(trio.current_time() - left_at)
        left_at = trio.current_time()
        await request.reject(503, extra_headers=[(b"Retry-After", b"30")], body=b"draining")
        await peer.open()
        came_back.append(trio.current_time() - left_at)

    async with client_of(script) as client:
        assert await states_until_open_again(client) == ["open", "reconnecting", "open"]
    assert [round(seconds, 1) for seconds in came_back] == [7.5, 30.0]


async def states_until_open_again(client: Client) -> list[str]:
    """The states that the client passes through, from now to after the next break."""
    seen: list[str] = []
    async for state in client.states():
        seen.append(state)
        if seen[-2:] == ["reconnecting", "open"]:
            break
    return seen


async def test_it_backs_off_with_full_jitter(autojump_clock: MockClock) -> None:
    """Without a word from the server the waits are random below a bound that doubles up to 30 seconds."""
    connected_at = []

    async def script(peer: Peer) -> None:
        server = await peer.open()
        peer.refuse_next = 40
        await server.cut()
        await peer.open()
        connected_at.extend(peer.connected_at)

    async with client_of(script) as client:
        await states_until_open_again(client)
    waits = [late - early for early, late in pairwise(connected_at)]
    assert len(waits) == 41
    assert all(wait <= min(30.0, 0.5 * 2**n) + 0.001 for n, wait in enumerate(waits))
    assert max(waits) > 20
    assert min(waits[10:]) < 10


async def test_a_server_that_hangs_up_at_once_is_not_hammered(autojump_clock: MockClock) -> None:
    """Welcomes that don't last don't start the backoff anew."""
    seconds = []

    async def script(peer: Peer) -> None:
        for _ in range(12):
            await (await peer.open()).close(1011)
        seconds.append(trio.current_time())
        await (await peer.open()).close(4503)

    started = trio.current_time()
    async with client_of(script) as client:
        async for _ in client.states():
            pass
    assert seconds[0] - started > 20


@pytest.mark.parametrize("code", [4500, 4501, 4503, 4510, 4999])
async def test_it_stays_away_when_told_to(autojump_clock: MockClock, code: int) -> None:
    """From 4500 on nothing is tried again: whatever waits raises `Refused` with the code and the reason."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        await server.receive("say")
        await server.send("bye", code=code, reason="banned")
        await server.close(code)
        await trio.sleep(100)
        assert len(peer.connected_at) == 1

    async with client_of(script) as client, client.join("lobby") as room:
        with pytest.raises(Refused, match="banned") as caught:
            await room.say("hi")
        assert caught.value.code == code
        with pytest.raises(Refused):
            await anext(room)
        with pytest.raises(Refused):
            await client.rooms()
        assert client.state == "closed"


@pytest.mark.parametrize("code", [1000, 1001, 1009, 1011, 1012, 1013, 3000, 4008, 4029, 4499])
async def test_it_comes_back_otherwise(autojump_clock: MockClock, code: int) -> None:
    """Up to 4499 the client reconnects by itself."""

    async def script(peer: Peer) -> None:
        await (await peer.open()).close(code, "x")
        server = await peer.open()
        await server.joined()

    async with client_of(script) as client, client.join("lobby"):
        assert client.state == "open"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, b"origin not allowed", r"origin not allowed \(403\)"),
        (404, b"", r"Not Found \(404\)"),
        (401, b"<html>", r"Unauthorized \(401\)"),
    ],
)
async def test_a_refused_upgrade_is_final(
    autojump_clock: MockClock, status: int, body: bytes, message: str
) -> None:
    """A status that says no is raised, with the words of the answer."""

    async def script(peer: Peer) -> None:
        _, request = await peer.request()
        await request.reject(status, body=body)

    with pytest.raises(Refused, match=message):
        async with alone(script):
            raise AssertionError


@asynccontextmanager
async def alone(script: Script, **options: Any) -> AsyncIterator[Client]:
    """Like `client_of`, for tests in which opening fails: the exception comes out by itself."""
    async with open_peer() as peer, trio.open_nursery() as nursery:
        failed: list[Exception] = []
        nursery.start_soon(script, peer)
        try:
            with trio.fail_after(1000):
                async with open_client("ws://example.test", connect=peer.connect, **options) as client:
                    yield client
        except Exception as error:  # noqa: BLE001 - carried over the nurseries
            failed.append(error)
        nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]


async def test_a_first_connection_that_fails_raises(autojump_clock: MockClock) -> None:
    """The first connection is tried once, unless the client is patient."""

    async def never(peer: Peer) -> None:
        peer.refuse_next = 3

    with pytest.raises(CannotConnect, match="Connection refused"):
        async with alone(never):
            raise AssertionError

    async def late(peer: Peer) -> None:
        peer.refuse_next = 3
        await peer.open()

    async with client_of(late, patient=True) as client:
        assert client.state == "open"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 101", "without an answer"),
        (b"220 mail.example ESMTP\r\n", "without an answer"),
        (b"220 mail.example ESMTP\r\n\r\n", "no WebSocket server"),
        (b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "no WebSocket server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", r"hi \(200\)"),
        (b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nunfinished", r"Not Found \(404\)"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
    ],
)
async def test_strange_answers_are_no_hang(autojump_clock: MockClock, answer: bytes, message: str) -> None:
    """Whatever comes instead of an upgrade is told at once, in one line."""

    async def script(peer: Peer) -> None:
        stream = await peer.stream()
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        await stream.aclose()

    began_at = trio.current_time()
    with pytest.raises((CannotConnect, Refused), match=message):
        async with alone(script):
            raise AssertionError
    assert trio.current_time() - began_at < 1


@pytest.mark.parametrize("upgraded", [False, True])
async def test_no_answer_is_no_hang_either(autojump_clock: MockClock, upgraded: bool) -> None:
    """A server that says nothing, before or after the upgrade, is given up after `timeout` seconds."""

    async def script(peer: Peer) -> None:
        _, request = await peer.request()
        if upgraded:
            await request.accept()

    began_at = trio.current_time()
    with pytest.raises(CannotConnect, match="within 5 seconds"):
        async with alone(script, timeout=5):
            raise AssertionError
    assert trio.current_time() - began_at == pytest.approx(5)


async def test_a_refused_name_raises(autojump_clock: MockClock) -> None:
    """A hello that the server doesn't take ends the opening with the server's words."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        hello = await server.receive("hello")
        await server.send("error", re=hello["id"], code="bad_request", message="name: too long")

    with pytest.raises(ChatError, match="name: too long"):
        async with alone(script, name="x"):
            raise AssertionError


async def test_a_visible_refusal_is_read(autojump_clock: MockClock) -> None:
    """A server that accepts the upgrade only to close with a reason is understood."""

    async def script(peer: Peer) -> None:
        server = await peer.accept()
        await server.send("bye", code=4501, reason="sign in first")
        await server.close(4501, "sign in first")

    with pytest.raises(Refused, match=r"sign in first \(4501\)"):
        async with alone(script):
            raise AssertionError


async def test_a_silent_server_is_left(autojump_clock: MockClock) -> None:
    """A connection over which nothing comes, not even a pong, is given up and made anew."""

    async def script(peer: Peer) -> None:
        silent = await peer.accept()
        await silent.welcome(heartbeat=4.0)
        server = await peer.open()
        assert 8 < trio.current_time() - began_at < 20
        await server.joined()

    began_at = trio.current_time()
    async with client_of(script) as client:
        await trio.sleep(20)
        async with client.join("lobby"):
            pass


async def test_a_quiet_server_is_kept(autojump_clock: MockClock) -> None:
    """As long as pings are answered, an hour without events is no reason to reconnect."""

    async def script(peer: Peer) -> None:
        server = await peer.open()
        await server.joined()
        with trio.move_on_after(3600):
            while True:
                assert await server.silent()
        await server.messages(1, 1)
        assert len(peer.connected_at) == 1

    async with client_of(script) as client, client.join("lobby") as room:
        assert await take(room, 1) == [1]
