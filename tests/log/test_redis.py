"""The Redis log: what several nodes do with one, and what becomes of it when Redis fails."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme

from log.redis_server import BINARY, MISSING, RedisServer, free_port, running_redis
from trio_chat.log import open_log, redis_link, redis_rooms, redis_scripts
from trio_chat.log.base import LogError, LogUnavailable, Position
from trio_chat.log.redis import RedisLog, open_redis_log

from .engines import Heard, said, seqs

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    redis_server.ask("FLUSHALL")
    return redis_server.url


@asynccontextmanager
async def nodes(url: str, count: int = 2) -> AsyncIterator[list[tuple[RedisLog, Heard]]]:
    """Logs of several nodes, each with a follower."""
    with trio.fail_after(30):
        async with AsyncExitStack() as stack:
            opened = []
            for _ in range(count):
                log = await stack.enter_async_context(open_redis_log(url))
                follower = Heard()
                log.subscribe(follower)
                opened.append((log, follower))
            yield opened


async def until_available(log: RedisLog) -> None:
    """Append until that works."""
    while True:
        try:
            await log.append([said(room="probe")])
        except LogUnavailable:
            await trio.lowlevel.checkpoint()
        else:
            return


# --- opening --------------------------------------------------------------------------------------------


async def test_a_redis_that_is_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: one line says so, and where."""
    monkeypatch.setattr("trio_chat.log.redis.OPEN_SECONDS", 0.5)
    with pytest.raises(LogError, match=r"^Redis at 127\.0\.0\.1:\d+: connection refused$"):
        async with open_log(f"redis://127.0.0.1:{free_port()}"):
            raise AssertionError


async def test_what_leaves_the_block_is_not_wrapped(url: str) -> None:
    """An exception of the block comes out as it is."""
    with pytest.raises(ZeroDivisionError):
        async with open_redis_log(url):
            raise ZeroDivisionError


async def test_a_password_is_needed_and_not_shown(tmp_path: Path) -> None:
    """Without it, or with a wrong one, the line says so and not what it was."""
    with running_redis(tmp_path / "redis") as server:
        server.ask("CONFIG", "SET", "requirepass", "pass/word")
        where = server.url.removeprefix("redis://")
        async with open_redis_log(f"redis://:pass%2Fword@{where}") as log:
            assert (await log.append([said()]))[0].seq == 1
        for url in (server.url, f"redis://:wrong@{where}"):
            with pytest.raises(LogError, match=f"^Redis at {where}: ") as caught:
                async with open_redis_log(url):
                    raise AssertionError
            assert "wrong@" not in str(caught.value)
            assert "\n" not in str(caught.value)


async def test_tls_verifies_the_certificate(tmp_path: Path) -> None:
    """With the right authority it works, with none or another one it doesn't."""
    authority, other, port = trustme.CA(), trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("other", other.cert_pem),
        ("key", certificate.private_key_pem),
        ("cert", certificate.cert_chain_pems[0]),
    ):
        blob.write_to_path(tmp_path / name)
    options = (
        "--tls-port",
        str(port),
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        str(tmp_path / "ca"),
    )
    options += ("--tls-cert-file", str(tmp_path / "cert"), "--tls-key-file", str(tmp_path / "key"))
    with running_redis(tmp_path / "redis", *options):
        async with open_redis_log(f"rediss://127.0.0.1:{port}/0?ca={tmp_path}/ca") as log:
            assert (await log.append([said()]))[0].seq == 1
        for url in (f"rediss://127.0.0.1:{port}", f"rediss://127.0.0.1:{port}?ca={tmp_path}/other"):
            with pytest.raises(LogError, match=r"^Redis at 127\.0\.0\.1:\d+: .*certificate verify failed"):
                async with open_redis_log(url):
                    raise AssertionError


async def test_databases_are_apart(url: str) -> None:
    """Two databases of one Redis are two logs, though Redis has the same channels for both."""
    async with nodes(url) as ((one, _), (_, heard)), open_redis_log(f"{url}/1") as other:
        await other.follow("lobby")
        listener = Heard()
        other.subscribe(listener)
        await one.append([said()])
        assert (await other.position("lobby")).head == 0
        assert one.secret != other.secret
        assert listener.heard == heard.heard == []


async def test_a_redis_that_throws_away_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Eviction and a missing append-only file are said at the start."""
    options = ("--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    with running_redis(tmp_path / "redis", *options) as server:
        async with open_redis_log(server.url):
            pass
    assert "maxmemory_policy allkeys-lru: it may throw events away" in caplog.text
    assert "aof_enabled 0: its end may take" in caplog.text


# --- nodes ----------------------------------------------------------------------------------------------


async def test_nodes_hear_of_each_others_events(url: str) -> None:
    """What one appends to a followed room comes to the other, in order; other rooms don't."""
    async with nodes(url) as ((one, heard_one), (two, heard_two)):
        for log in (one, two):
            await log.follow("lobby")
        await one.append([said("a"), said("b"), said(room="elsewhere")])
        await heard_two.until("grown")
        await two.append([said("c")])
        await heard_one.until("grown")
        assert heard_two.heard == [("grown", "lobby", [1, 2])]
        assert heard_one.heard == [("grown", "lobby", [3])]
        two.unfollow("lobby")
        await one.append([said("d")])
        await two.position("lobby")
        assert len(heard_two.heard) == 1


async def test_nodes_share_epoch_secret_keys_and_numbers(url: str) -> None:
    """Appended at the same time from three nodes, a room has one numbering, and each key once."""
    async with nodes(url, 3) as opened:
        logs = [log for log, _ in opened]
        assert len({log.secret for log in logs}) == 1

        async def speak(log: RedisLog, n: int) -> None:
            for i in range(30):
                await log.append([said(f"{n}-{i}"), said(key=f"k{i}"), said(room=f"r{i % 3}")])

        async with trio.open_nursery() as nursery:
            for n, log in enumerate(logs):
                nursery.start_soon(speak, log, n)
        for log in logs:
            assert (await log.position("lobby")) == (await logs[0].position("lobby"))
            assert seqs(await log.read("lobby", 0, 1000)) == list(range(1, 121))


async def test_trims_and_signals_are_told(url: str) -> None:
    """The other nodes learn from where on events are kept, and what is signalled."""
    async with nodes(url) as ((one, _), (two, heard)):
        await two.follow("lobby")
        await one.append([said() for _ in range(5)])
        await one.trim("lobby", 3, 100)
        one.signal("lobby", b"\x00\xff")
        await heard.until("signalled")
        assert heard.heard[1:] == [("trimmed", "lobby", 4), ("signalled", "lobby", b"\x00\xff")]


async def test_what_a_node_announces_is_known_until_it_ends(url: str) -> None:
    """Those who follow already are told, those who come later find it, and it goes with its node."""
    async with nodes(url) as ((one, _), (two, heard)):
        await two.follow("lobby")
        async with open_redis_log(url) as third:
            await third.follow("lobby")
            third.announce("lobby", b"ann")
            await heard.until("announced", "lobby")
            assert list(two.announced("lobby").values()) == [b"ann"]
            await one.follow("lobby")
            assert list(one.announced("lobby").values()) == [b"ann"]
            heard.heard.clear()
        await heard.until("announced", "lobby")
        assert two.announced("lobby") == {}


async def test_what_a_dead_node_has_announced_goes_with_its_lease(
    url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that ends without a word is noticed by those who see what it has announced."""
    monkeypatch.setattr(redis_rooms, "LEASE_SECONDS", 0.3)
    key = redis_scripts.nodes_key("lobby")
    async with nodes(url) as ((one, heard), (two, _)):
        redis_server.ask("HSET", key, "deadbeefdeadbeef", "bob")
        redis_server.ask("SET", redis_scripts.node_key("deadbeefdeadbeef"), "1", "PX", "600")
        await one.follow("lobby")
        assert list(one.announced("lobby").values()) == [b"bob"]
        heard.heard.clear()
        await heard.until("announced", "lobby")
        assert one.announced("lobby") == {}
        redis_server.ask("HSET", key, "deadbeefdeadbeef", "bob")
        await two.follow("lobby")
        assert two.announced("lobby") == {}


async def test_a_node_that_was_taken_for_dead_announces_again(
    url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out while it was stopped: what it has to say is said once more."""
    monkeypatch.setattr(redis_rooms, "LEASE_SECONDS", 0.3)
    async with nodes(url) as ((one, heard), (two, _)):
        await one.follow("lobby")
        await two.follow("lobby")
        two.announce("lobby", b"ann")
        await heard.until("announced", "lobby")
        heard.heard.clear()
        for key in redis_server.ask("KEYS", "trio_chat:node:*").decode().split():
            if key.startswith("trio_chat"):
                redis_server.ask("DEL", key)
        await heard.until("announced", "lobby")


async def test_a_node_that_was_removed_by_mistake_announces_again(url: str) -> None:
    """Somebody took it for dead when it had just come back."""
    async with nodes(url) as ((one, heard), (two, _)):
        await one.follow("lobby")
        await two.follow("lobby")
        two.announce("lobby", b"ann")
        await heard.until("announced", "lobby")
        (node,) = one.announced("lobby")
        heard.heard.clear()
        followed = one._rooms.get("lobby")
        assert followed is not None
        one._rooms._remove(followed, node)
        await heard.until("announced", "lobby")
        async with open_redis_log(url) as third:
            await third.follow("lobby")
            assert list(third.announced("lobby").values()) == [b"ann"]


# --- failures -------------------------------------------------------------------------------------------


async def test_everything_is_there_after_kill_9_of_redis(tmp_path: Path) -> None:
    """Killed and started again, Redis has what was acknowledged, and the epoch; nodes hear of what they
    missed."""
    with running_redis(tmp_path / "redis") as server:
        async with nodes(server.url) as ((one, _), (two, heard)):
            await two.follow("lobby")
            await one.append([said(key=f"k{i}") for i in range(20)])
            before = await one.position("lobby")
            server.kill()
            await heard.until("available")
            with pytest.raises(LogUnavailable, match="Redis at"):
                await one.append([said()])
            with pytest.raises(LogUnavailable):
                await two.read("lobby", 0, 10)
            server.start()
            await heard.until("available", None)
            await until_available(one)
            assert await one.position("lobby") == await two.position("lobby") == before
            assert [each.duplicate for each in await one.append([said(key="k3")])] == [True]
            await one.append([said()])
            await heard.until("grown", "lobby", [21])
            assert not any(each[0] == "restarted" for each in heard.heard)


async def test_a_redis_that_lost_everything_begins_anew(tmp_path: Path) -> None:
    """With an empty Redis, rooms have another epoch and begin at 1, and followers are told."""
    with running_redis(tmp_path / "redis", "--appendonly", "no") as server:
        async with nodes(server.url) as ((one, _), (two, heard)):
            await two.follow("lobby")
            await one.append([said() for _ in range(5)])
            await heard.until("grown", "lobby")
            before, secret = await one.position("lobby"), one.secret
            server.kill()
            server.start()
            await heard.until("restarted", "lobby")
            after = heard.heard[-2][2] if heard.heard[-1][0] == "available" else heard.heard[-1][2]
            assert (after.head, after.first) == (0, 1)
            assert after.epoch != before.epoch
            await until_available(one)
            assert await one.position("lobby") == await two.position("lobby") == after
            assert (await one.append([said()]))[0].seq == 1
            assert one.secret == secret
            async with open_redis_log(server.url) as third:
                assert third.secret == secret


async def test_a_flushed_redis_is_noticed_by_the_next_append(url: str, redis_server: RedisServer) -> None:
    """Without any loss of the connection: nothing is stored as if nothing had happened."""
    async with nodes(url) as ((one, heard), _):
        await one.follow("lobby")
        await one.append([said() for _ in range(5)])
        before = await one.position("lobby")
        redis_server.ask("FLUSHALL")
        with pytest.raises(LogUnavailable, match="has lost events"):
            await one.append([said()])
        await heard.until("restarted", "lobby")
        assert (await one.append([said()]))[0].seq == 1
        assert (await one.position("lobby")).epoch != before.epoch


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_room_that_went_back_has_another_epoch(
    url: str, redis_server: RedisServer, lost: int
) -> None:
    """A Redis that lost the last events, as after a failover, isn't taken for the one that had them."""
    async with nodes(url) as ((one, heard), (two, _)):
        await one.follow("lobby")
        await one.append([said() for _ in range(5)])
        before = await one.position("lobby")
        head = str(5 - lost)
        events = redis_scripts.events_key("lobby")
        for seq in range(6 - lost, 6):
            for where in redis_server.ask("XRANGE", events, str(seq), str(seq)).decode().split("\r\n"):
                if where.startswith(f"{seq}-"):
                    redis_server.ask("XDEL", events, where)
        redis_server.ask("XSETID", events, f"{head}-{1 << 50}")
        redis_server.ask("HSET", redis_scripts.room_key("lobby"), "head", head)
        with pytest.raises(LogUnavailable, match="has lost events"):
            await one.append([said()])
        (told,) = [each[2] for each in heard.heard if each[0] == "restarted"]
        assert told == await two.position("lobby") == Position(told.epoch, 5 - lost, 1)
        assert told.epoch != before.epoch
        assert (await one.append([said()]))[0].seq == 6 - lost


async def test_another_last_event_is_another_room(url: str, redis_server: RedisServer) -> None:
    """Lost events whose numbers were given again since are found out by the time of the last known one."""
    async with nodes(url) as ((one, heard), (two, _)):
        await one.follow("lobby")
        await one.append([said()])
        before = await one.position("lobby")
        redis_server.ask("DEL", redis_scripts.room_key("lobby"), redis_scripts.events_key("lobby"))
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
        redis_server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        epoch = before.epoch
        redis_server.ask("HSET", redis_scripts.room_key("lobby"), "epoch", epoch, "head", "2", "first", "1")
        redis_server.ask("XADD", redis_scripts.events_key("lobby"), "1-5", "message", "}")
        redis_server.ask("XADD", redis_scripts.events_key("lobby"), "2-6", "message", "}")
        await heard.until("restarted", "lobby")
        await until_available(two)
        assert (await two.position("lobby")).epoch != epoch


async def test_a_full_redis_refuses_and_recovers(url: str, redis_server: RedisServer) -> None:
    """Out of memory: appends are refused with a reason, reads go on, and nothing was stored."""
    async with nodes(url, 1) as ((log, _),):
        await log.append([said()])
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(LogUnavailable, match=r"it is full \(maxmemory\)"):
                await log.append([said()])
            assert seqs(await log.read("lobby", 0, 10)) == [1]
        finally:
            redis_server.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await log.append([said()]))[0].seq == 2


async def test_a_redis_that_stands_still_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, Redis is given up after a time; going on, it is found again, and a key tells what was
    stored."""
    monkeypatch.setattr(redis_link, "CALL_SECONDS", 0.3)
    with running_redis(tmp_path / "redis") as server:
        async with nodes(server.url, 1) as ((log, heard),):
            await log.append([said()])
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            with pytest.raises(LogUnavailable, match=r"no answer within 0\.3 s"):
                await log.append([said(key="k")])
            await heard.until("available")
            with pytest.raises(LogUnavailable):
                await log.append([said(key="k")])
            server.process.send_signal(signal.SIGCONT)
            await until_available(log)
            await log.append([said(key="k")])
            assert seqs(await log.read("lobby", 0, 10)) == [1, 2]


async def test_forgotten_scripts_are_sent_again(url: str, redis_server: RedisServer) -> None:
    """A Redis that forgets its scripts gets them with the call."""
    async with nodes(url, 1) as ((log, _),):
        redis_server.ask("SCRIPT", "FLUSH")
        done = await log.append([said(), said(room="b")])
        assert [each.seq for each in done] == [1, 1]
        redis_server.ask("SCRIPT", "FLUSH")
        assert seqs(await log.read("lobby", 0, 10)) == [1]


async def test_a_replica_takes_no_events(url: str, redis_server: RedisServer) -> None:
    """Appends to a master that has become a replica are refused; the next connection may find another."""
    async with nodes(url, 1) as ((log, _),):
        redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        try:
            with pytest.raises(LogUnavailable, match="replica"):
                await log.append([said()])
        finally:
            redis_server.ask("REPLICAOF", "NO", "ONE")
        await until_available(log)
        assert (await log.append([said()]))[0].seq == 1
