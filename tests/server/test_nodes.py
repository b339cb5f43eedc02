"""Several nodes, one chat: whole servers that share a real Redis."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from chat.talk import Client, client
from log.redis_server import BINARY, MISSING, RedisServer, running_redis

from trio_chat.chat import elsewhere, limits
from trio_chat.chat.schema import User
from trio_chat.config import Config
from trio_chat.front.upgrade import Accept, UpgradeRequest
from trio_chat.log import redis_link, redis_rooms
from trio_chat.testing import MemoryServer, open_memory_server

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    redis_server.ask("FLUSHALL")
    return redis_server.url


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks and leases are short, so that nothing takes long."""
    monkeypatch.setattr(limits, "PRESENCE_TICK", 0.02)
    monkeypatch.setattr(limits, "SIGNAL_TICK", 0.02)
    monkeypatch.setattr(redis_rooms, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(redis_link, "CALL_SECONDS", 1.0)


@asynccontextmanager
async def nodes(*urls: str, upgrade: Any = None, **settings: Any) -> AsyncIterator[list[MemoryServer]]:
    """A server for each URL of a log."""
    with trio.fail_after(50):
        async with AsyncExitStack() as stack:
            opened = []
            for url in urls:
                config = Config(**({"log": url, "rate": 0, "max_per_ip": 10_000} | settings))
                opened.append(await stack.enter_async_context(open_memory_server(config, upgrade=upgrade)))
            yield opened


@asynccontextmanager
async def members(*servers: MemoryServer) -> AsyncIterator[list[Client]]:
    """A client on each server, called c0, c1, ..., all in the lobby, and everybody knows of everybody."""
    async with AsyncExitStack() as stack:
        found = []
        for n, server in enumerate(servers):
            found.append(await stack.enter_async_context(client(server, f"/ws?name=c{n}")))
            await found[-1].join()
        for server in servers:
            await until(lambda room=server.hub.rooms["lobby"]: room.count == len(found))
        yield found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


async def say_until_stored(talker: Client, text: str, **fields: Any) -> dict[str, Any]:
    """Say it again, with the same id, as long as the log is unavailable; returns the ack."""
    while True:
        reply = await talker.ask("say", room="lobby", text=text, **fields)
        if reply["op"] == "ack":
            return reply
        assert reply["code"] == "unavailable"
        assert reply["retry_after"] > 0
        await trio.sleep(0.05)


async def test_everybody_sees_the_same_events(url: str) -> None:
    """Said on three nodes at the same time, all messages come to everybody, in one order, without a gap."""
    async with nodes(url, url, url) as servers, members(*servers) as people:

        async def talk(person: Client, n: int) -> None:
            for i in range(40):
                await person.send("say", room="lobby", text=f"{n}-{i}")
                if i % 10 == 0:
                    await trio.sleep(0.001)

        seen: list[list[tuple[int, str]]] = [[] for _ in people]

        async def listen(person: Client, n: int) -> None:
            seen[n] = await person.texts(120)

        async with trio.open_nursery() as nursery:
            for n, person in enumerate(people):
                nursery.start_soon(talk, person, n)
                nursery.start_soon(listen, person, n)
        assert [seq for seq, _ in seen[0]] == list(range(1, 121))
        assert seen[0] == seen[1] == seen[2]
        assert not any(frame["op"] in ("gap", "lagging") for person in people for frame in person.heard)


async def test_presence_and_typing_cross_nodes(url: str, redis_server: RedisServer) -> None:
    """Who comes, types and goes on one node is told on the other; those who come later find them listed."""
    async with nodes(url, url) as (one, two), members(one) as (ann,):
        await until(lambda: redis_server.ask("HLEN", "trio_chat:{lobby}:nodes") == b":1\r\n")
        async with client(two, "/ws?name=bob") as bob:
            joined = await bob.join()
            assert sorted(user["name"] for user in joined["members"]) == ["bob", "c0"]
            assert joined["count"] == 2
            presence = await ann.until("presence")
            assert (presence["user"]["name"], presence["online"]) == ("bob", True)
            await bob.send("typing", room="lobby")
            assert (await ann.until("typing"))["user"]["name"] == "bob"
        presence = await ann.until("presence")
        assert (presence["user"]["name"], presence["online"]) == ("bob", False)
        assert (await ann.ask("who", room="lobby"))["count"] == 1


async def test_a_name_that_is_known_from_elsewhere_is_taken(url: str) -> None:
    """As far as a node has the room, guests of others have their names there too."""
    async with nodes(url, url) as (one, two), members(one, two) as _, client(two, "/ws?name=c0") as late:
        assert (await late.ask("hello"))["user"]["name"] == "c0-2"


async def test_large_rooms_count_those_elsewhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is listed, users of other nodes are counted."""
    monkeypatch.setattr(limits, "MAX_LISTED_MEMBERS", 3)
    async with nodes(url, url) as servers, members(*[servers[0]] * 5, servers[1]) as people:
        assert (await people[-1].ask("who", room="lobby"))["count"] == 6
        joined = await people[-1].ask("leave", room="lobby")
        joined = await people[-1].join()
        assert (joined["count"], len(joined["members"])) == (6, 3)


async def test_a_guest_is_the_same_on_every_node(url: str) -> None:
    """A resume token of one node is good on the other, and so is an id that was sent there."""
    async with nodes(url, url) as (one, two):
        async with client(one) as ann:
            welcome = await ann.ask("hello", name="ann")
            await ann.join()
            seq = await ann.say("hello", id="m1")
        async with client(two) as again:
            back = await again.ask("hello", resume=welcome["session"])
            assert back["user"] == welcome["user"]
            joined = await again.join(since=0)
            assert joined["recovered"]
            assert await again.say("hello", id="m1") == seq
            assert await again.texts(1) == [(1, "hello")]


async def test_members_stay_while_redis_is_killed(tmp_path: Path, errors: Callable[[], list[str]]) -> None:
    """Senders are told `unavailable`, readers stay, readiness says so; then everything comes, once."""
    with running_redis(tmp_path / "redis") as redis:
        async with nodes(redis.url, redis.url) as servers, members(*servers) as (ann, bob):
            await ann.say("one", id="m1")
            redis.kill()
            reply = await ann.ask("say", room="lobby", text="two", id="m2")
            assert (reply["code"], reply["retry_after"] > 0) == ("unavailable", True)
            await until(lambda: all(server.hub.log_failing for server in servers))
            redis.start()
            assert (await say_until_stored(ann, "two", id="m2"))["seq"] == 2
            assert (await say_until_stored(bob, "three", id="m3"))["seq"] == 3
            for person in (ann, bob):
                assert await person.texts(3) == [(1, "one"), (2, "two"), (3, "three")]
            await until(lambda: not any(server.hub.log_failing for server in servers))


async def test_a_redis_that_lost_everything_sends_members_to_rejoin(tmp_path: Path) -> None:
    """Their connections end with 1012; coming back, they learn by the epoch that the room began anew."""
    with running_redis(tmp_path / "redis", "--appendonly", "no") as redis:
        async with nodes(redis.url, redis.url) as (one, two):
            async with members(one, two) as (ann, bob):
                await ann.say("one")
                await bob.texts(1)
                epoch = two.hub.rooms["lobby"].epoch
                redis.kill()
                redis.start()
                for person in (ann, bob):
                    assert await person.closed() == (1012, "the event log has lost events")
                    assert [frame["code"] for frame in person.heard if frame["op"] == "bye"] == [1012]
            async with client(two) as again:
                joined = await again.join(since=1, epoch=epoch)
                assert (joined["recovered"], joined["head"]) == (False, 0)
                assert joined["epoch"] != epoch
                assert (await say_until_stored(again, "anew"))["seq"] == 1


async def test_members_in_process_go_on_after_a_loss(tmp_path: Path) -> None:
    """They have no connection to lose: they hear what comes after."""
    with running_redis(tmp_path / "redis", "--appendonly", "no") as redis:
        async with nodes(redis.url) as (one,), one.hub.join("lobby") as bot:
            for i in range(3):
                await bot.say(str(i))
            room = one.hub.rooms["lobby"]
            epoch = room.epoch
            redis.kill()
            redis.start()
            await until(lambda: room.epoch != epoch and not one.hub.log_failing)
            said = await bot.say("anew")
            assert said.seq == 1
            async for event in bot:
                if getattr(event, "text", "") == "anew":
                    break


async def test_what_becomes_of_messages_and_rooms_crosses_nodes(url: str) -> None:
    """Edits, reactions, deletions, topics and bans made on one node count on the other, in history too."""

    async def by_query(request: UpgradeRequest) -> Accept:
        return Accept(user=User(f"u-{request.query['as']}", request.query["as"]))

    async with nodes(url, url, upgrade=by_query) as (one, two):
        async with client(one, "/ws?as=ann") as ann, client(two, "/ws?as=bob") as bob:
            assert (await ann.ask("create", room="plaza", kind="public"))["op"] != "error"
            for person in (ann, bob):
                await person.join("plaza")
            first = await ann.say("one", "plaza")
            assert (await ann.ask("edit", room="plaza", seq=first, text="two"))["op"] == "ack"
            assert (await bob.ask("react", room="plaza", seq=first, emoji="👍"))["op"] == "ack"
            assert (await ann.ask("topic", room="plaza", text="news"))["op"] == "ack"
            assert (await bob.until("edited"))["text"] == "two"
            assert (await ann.until("reacted"))["emoji"] == "👍"
            assert (await bob.until("topic"))["text"] == "news"
            assert two.hub.rooms["plaza"].state.topic == "news"
            history = [await person.ask("history", room="plaza") for person in (ann, bob)]
            for (message,) in (page["messages"] for page in history):
                assert (message["text"], message["reactions"][0]["users"]) == ("two", ["u-bob"])
            await until(lambda: one.hub.rooms["plaza"].count == 2)
            reply = await ann.ask("ban", room="plaza", user="u-bob")
            assert reply["op"] == "ack", reply
            assert (await bob.closed())[0] == 4503
        async with client(two, "/ws?as=bob") as again:
            assert (await again.ask("join", room="plaza"))["code"] == "banned"


async def test_a_node_that_is_behind_looks_at_the_log(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who has seen more than this node has, elsewhere, is not told that it doesn't exist."""
    async with nodes(url, url) as (one, two), members(one, two) as (ann, _):
        monkeypatch.setattr(two.hub.elsewhere, "grown", lambda room, events: None)
        for i in range(3):
            await ann.say(str(i))
        assert two.hub.rooms["lobby"].head == 0
        async with client(two) as again:
            joined = await again.join(since=2, epoch=one.hub.rooms["lobby"].epoch)
            assert (joined["recovered"], joined["head"]) == (True, 3)
            assert await again.texts(1) == [(3, "2")]
        async with client(two) as future:
            assert not (await future.join(since=99))["recovered"]


async def test_events_that_never_came_are_read_from_the_log(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice that is lost leaves a hole, which is filled after a moment."""
    monkeypatch.setattr(elsewhere, "HOLE_SECONDS", 0.1)
    async with nodes(url, url) as (one, two), members(one, two) as (ann, bob):
        real = two.hub.elsewhere.grown
        with monkeypatch.context() as patch:
            patch.setattr(two.hub.elsewhere, "grown", lambda room, events: None)
            await ann.say("lost")
            await bob.ask("ping")
            await two.hub.log.position("lobby")
            patch.setattr(two.hub.elsewhere, "grown", real)
        await ann.say("seen")
        assert await bob.texts(2) == [(1, "lost"), (2, "seen")]


async def test_a_room_is_governed_from_any_node(url: str) -> None:
    """A private room, its members and what becomes of them are the same on each; whoever is banned on one is
    put out on the other, and so is who was in the room before it was made private."""

    async def by_query(request: UpgradeRequest) -> Accept:
        return Accept(user=User(f"u-{request.query['as']}", request.query["as"]))

    async with (
        nodes(url, url, upgrade=by_query, admin=("u-root",)) as (one, two),
        client(one, "/ws?as=ann") as ann,
        client(two, "/ws?as=bob") as bob,
        client(two, "/ws?as=eve") as eve,
    ):
        for each in (ann, bob, eve):
            await each.join("lobby")
        await eve.join("den")
        assert (await ann.ask("create", room="den", kind="private"))["op"] == "ack"
        assert (await eve.until("left"))["room"] == "den"
        await ann.join("den")
        await until(lambda: len(one.hub.rooms["lobby"].users) == 3)
        assert (await ann.ask("invite", room="den", user="u-bob"))["op"] == "ack"
        assert (await bob.join("den"))["role"] == "member"
        assert [info["room"] for info in (await bob.ask("rooms"))["rooms"]] == ["den", "lobby"]
        assert [info["room"] for info in (await eve.ask("rooms"))["rooms"]] == ["lobby"]
        assert (await eve.ask("join", room="den"))["code"] == "private"
        assert (await ann.ask("role", room="den", user="u-bob", role="moderator"))["op"] == "ack"
        await bob.until("member")
        link = (await bob.ask("invite", room="den", link=True))["token"]
        await ann.ask("ban", room="den", user="u-bob", reason="noise")
        assert (await bob.until("left"))["reason"] == "ann has banned you: noise"
        assert (await bob.ask("join", room="den"))["code"] == "banned"
        assert (await eve.ask("join", room="den", invitation=link))["code"] == "private"
        direct = await eve.ask("direct", user="u-ann")
        assert (await ann.ask("direct", user="u-eve"))["room"] == direct["room"]
