"""Commit, then show: what is acknowledged is stored, what is stored is shown once, whatever fails."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.chat import limits
from trio_chat.chat.schema import User
from trio_chat.chat.session import Session
from trio_chat.log.base import Append, Appended, LogUnavailable, Position
from trio_chat.log.memory import MemoryLog, open_memory_log
from trio_chat.log.seams import commit_plainly

from .talk import Faults, client, clients, talking

# --- sending again ---------------------------------------------------


async def test_the_same_id_is_one_message(autojump_clock: MockClock) -> None:
    """Sent again with its ``id``, a message gets the first ack again and nobody sees it twice."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        first = await ann.ask("say", room="lobby", text="hi", id="m1")
        again = await ann.ask("say", room="lobby", text="hi", id="m1")
        assert first == again
        await bob.ask("say", room="lobby", text="hi", id="m1")
        assert await bob.texts(2) == [(1, "hi"), (2, "hi")]
        assert [frame for frame in await bob.quiet() if frame["op"] == "message"] == []


async def test_the_same_id_many_times_at_once(autojump_clock: MockClock) -> None:
    """Sent several times before the first is acknowledged: one event, as many acks."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for _ in range(5):
            await ann.send("say", room="lobby", text="hi", id="m1")
        assert {(await ann.until("ack"))["seq"] for _ in range(5)} == {1}
        assert [frame["seq"] for frame in await ann.quiet() if frame["op"] == "message"] == [1]


async def test_the_same_id_in_another_room_is_another_message(autojump_clock: MockClock) -> None:
    """The key is per room."""
    async with talking() as server, clients(server, "ann") as (ann,):
        await ann.join("other")
        assert (await ann.ask("say", room="lobby", text="a", id="m1"))["seq"] == 1
        assert (await ann.ask("say", room="other", text="b", id="m1"))["room"] == "other"
        assert await ann.texts(2) == [(1, "a"), (1, "b")]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_resumed_session_sends_again(
    autojump_clock: MockClock, tmp_path: Path, restart: bool
) -> None:
    """After a reconnect with the session's token, also across a restart, it is still one message."""
    path = tmp_path / "log.db"
    async with talking(path) as server:
        async with client(server, "/ws?name=ann&room=lobby") as ann:
            token = (await ann.ask("hello"))["session"]
            assert await ann.say("hi", id="m1") == 1
            epoch = server.hub.rooms["lobby"].epoch
        if not restart:
            await wait_all_tasks_blocked()
            async with client(server) as back:
                await back.ask("hello", resume=token)
                await back.join(since=0)
                assert await back.say("hi", id="m1") == 1
                assert await back.texts(1) == [(1, "hi")]
            return
    async with talking(path) as server, client(server) as back, client(server) as other:
        await back.ask("hello", resume=token)
        joined = await back.join(since=1, epoch=epoch)
        await other.join()
        assert (joined["head"], joined["recovered"], joined["epoch"]) == (1, True, epoch)
        assert await back.say("hi", id="m1") == 1
        assert await back.say("more", id="m2") == 2
        assert [frame["seq"] for frame in await back.quiet() if frame["op"] == "message"] == [2]
        assert [frame["seq"] for frame in await other.quiet() if frame["op"] == "message"] == [2]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_guest_without_a_token_sends_again(
    autojump_clock: MockClock, tmp_path: Path, restart: bool
) -> None:
    """Known by name, id and text for some minutes; with another text, or later, it is another message."""
    path = tmp_path / "log.db"
    async with talking(path) as server, client(server, "/ws?name=ann&room=lobby") as ann:
        assert await ann.say("hi", id="m1") == 1
        if not restart:
            await ann.websocket.aclose()
            await wait_all_tasks_blocked()
            async with client(server, "/ws?name=ann&room=lobby") as back:
                assert await back.say("hi", id="m1") == 1
                assert await back.say("ho", id="m1") == 2
            return
    async with talking(path) as server, client(server, "/ws?name=ann&room=lobby") as back:
        assert await back.say("hi", id="m1") == 1
        assert await back.say("ho", id="m1") == 2
        async with client(server, "/ws?name=eve&room=lobby") as eve:
            assert await eve.say("hi", id="m1") == 3


async def test_ids_of_different_users_never_meet(autojump_clock: MockClock) -> None:
    """However ids and users are spelled, one user's message can't stand in for another's."""
    async with open_memory_log() as log, talking(log=log) as server:
        hub = server.hub
        seqs = []
        for user_id, message_id in (("b:c", "a"), ("c", "a:b"), ("a:c", "b:"), (":c", "a:b")):
            async with hub.join("lobby", user=User(user_id, "x")) as room:
                seqs.append((await room.say("hi", id=message_id)).seq)
        assert seqs == [1, 2, 3, 4]


# --- a log that fails ---------------------------------------------------


async def test_a_log_that_is_unavailable(
    autojump_clock: MockClock, errors: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The sender gets `unavailable` with a time to try again, nobody sees anything, and it recovers by
    itself; the log says once when it begins and once when it is over."""
    caplog.set_level(logging.INFO, "trio_chat.hub")
    faults = Faults()
    async with talking(faults=faults) as server, clients(server, "ann", "bob") as (ann, bob):
        assert await ann.say("one", id="m1") == 1
        await bob.events(1)
        faults.down = True
        for _ in range(3):
            error = await ann.ask("say", room="lobby", text="two", id="m2")
            assert (error["op"], error["code"], error["retry_after"]) == ("error", "unavailable", 2.0)
            assert error["re"] == "m2"
        assert await bob.quiet() == []
        assert server.hub.log_failing
        assert (await ann.ask("history", room="lobby"))["messages"][-1]["text"] == "one"
        faults.down = False
        assert await ann.say("two", id="m2") == 2
        assert not server.hub.log_failing
        assert await bob.texts(1) == [(2, "two")]
        await ann.say("three")
    assert len(errors()) == 1
    said = [record.getMessage() for record in caplog.records if record.name == "trio_chat.hub"]
    assert said[1:] == ["the log takes events again"]


@pytest.mark.parametrize("sqlite", [False, True])
async def test_a_commit_that_failed_after_it_took_effect(
    autojump_clock: MockClock, errors: Callable[[], list[str]], tmp_path: Path, sqlite: bool
) -> None:
    """Its sender is told to try again and is then acknowledged; everybody sees it then, once, in order."""
    faults = Faults([None, "after"])
    path = tmp_path / "log.db" if sqlite else None
    async with talking(path, faults=faults) as server, clients(server, "ann", "bob") as (ann, bob):
        assert await ann.say("one", id="m1") == 1
        assert (await ann.ask("say", room="lobby", text="two", id="m2"))["code"] == "unavailable"
        assert await ann.say("two", id="m2") == 2
        for each in (ann, bob):
            assert await each.texts(2) == [(1, "one"), (2, "two")]
        assert await bob.say("three") == 3
        for each in (ann, bob):
            assert await each.texts(1) == [(3, "three")]
            assert [frame for frame in await each.quiet() if frame["op"] != "ack"] == []
    assert len(errors()) == 1


async def test_others_go_on_after_a_commit_that_took_effect_in_secret(
    autojump_clock: MockClock, errors: Callable[[], list[str]]
) -> None:
    """The sender never comes back: the next message shows what was stored before it, to members and
    followers alike."""
    faults = Faults([None, "after"])
    async with (
        talking(faults=faults) as server,
        clients(server, "ann", "bob") as (ann, bob),
        server.hub.join("lobby", since=0) as follower,
    ):
        await ann.say("one")
        await ann.ask("say", room="lobby", text="two")
        async with client(server, "/ws?name=late") as late:
            assert (await late.join())["head"] == 1
            assert await bob.say("three") == 3
            for each in (ann, bob):
                assert await each.texts(3) == [(1, "one"), (2, "two"), (3, "three")]
            assert await late.texts(2) == [(2, "two"), (3, "three")]
            followed = []
            async for event in follower:
                followed.append(event.text)  # type: ignore[union-attr]
                if len(followed) == 3:
                    break
            assert followed == ["one", "two", "three"]
    assert len(errors()) == 1


async def test_a_follower_hears_of_what_is_acknowledged(
    autojump_clock: MockClock, errors: Callable[[], list[str]]
) -> None:
    """A member in process gets an event that took effect in secret when its sender sends it again."""
    faults = Faults(["after"])
    async with (
        talking(faults=faults) as server,
        clients(server, "ann") as (ann,),
        server.hub.join("lobby") as follower,
    ):
        await ann.ask("say", room="lobby", text="one", id="m1")
        await ann.say("one", id="m1")
        with trio.fail_after(10):
            assert (await anext(follower)).text == "one"  # type: ignore[union-attr]
    assert len(errors()) == 1


class Unreadable:
    """A log whose reading can be switched off."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.off = False

    def __getattr__(self, name: str) -> object:
        found = getattr(self._log, name)
        if name not in ("read", "read_before", "position", "rooms"):
            return found

        async def read(*args: object, **options: object) -> object:
            if self.off:
                raise LogUnavailable("planted")
            return await found(*args, **options)

        return read


async def test_a_log_that_cannot_be_read_is_read_later(autojump_clock: MockClock) -> None:
    """A join or history while the log can't be read is an `unavailable`; catching up waits for it."""

    async with open_memory_log() as memory:
        log = Unreadable(memory)
        async with talking(log=log) as server, clients(server, "ann") as (ann,):  # type: ignore[arg-type]
            for i in range(limits.MAX_TAIL_EVENTS + 50):
                await ann.say(f"m{i}")
                await ann.events(1)
            log.off = True
            for op, fields in (("join", {"room": "new"}), ("history", {"room": "lobby"}), ("rooms", {})):
                reply = await ann.ask(op, **fields)
                assert (reply["op"], reply["code"]) == ("error", "unavailable")
                assert reply["retry_after"] > 0
            async with client(server) as bob:
                await bob.join(since=0)
                await trio.sleep(3)
                assert bob.heard == []
                log.off = False
                texts = await bob.texts(limits.MAX_TAIL_EVENTS + 50)
                assert [seq for seq, _ in texts] == list(range(1, limits.MAX_TAIL_EVENTS + 51))
            await ann.join("new")


async def test_who_waits_for_the_log_gets_everything_else(autojump_clock: MockClock) -> None:
    """A member that is behind while the log can't be read has its answers, its other rooms and its goodbye
    at once."""
    async with open_memory_log() as memory:
        log = Unreadable(memory)
        async with talking(log=log) as server, clients(server, "ann") as (ann,):  # type: ignore[arg-type]
            for i in range(limits.MAX_TAIL_EVENTS + 50):
                await ann.say(f"m{i}")
            async with client(server) as bob:
                await bob.join("other")
                await ann.join("other")
                log.off = True
                await bob.join(since=0)
                with trio.fail_after(0.5):
                    assert (await bob.ask("ping"))["op"] == "pong"
                    await bob.say("in the meantime", "other")
                    assert (await bob.until("message"))["text"] == "in the meantime"
                    server.server.stop()
                    assert (await bob.until("bye"))["code"] == 1012
                    assert await bob.closed() == (1012, "the server restarts")


async def test_who_is_gone_when_the_log_answers_joins_nothing(autojump_clock: MockClock) -> None:
    """A connection that ends while its first join waits for the log is in no room afterwards."""

    class Late(MemoryLog):
        """A log that takes a second to be read, whatever is cancelled meanwhile."""

        async def position(self, room: str) -> Position:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                return await super().position(room)

    async with talking(log=Late(trio.current_time, commit_plainly)) as server:
        await server.open_stream().send_all(
            b"GET /ws?room=lobby HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await trio.sleep(0.5)
    assert server.server.connections == set()
    assert server.hub.rooms == {}


# --- batches and backpressure ---------------------------------------------------


class Slow(MemoryLog):
    """A log whose commits take a second; it notes their sizes."""

    def __init__(self) -> None:
        super().__init__(trio.current_time, commit_plainly)
        self.batches: list[int] = []

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        await trio.sleep(1)
        self.batches.append(len(batch))
        return await super().append(batch)


async def test_what_waits_is_one_commit(autojump_clock: MockClock) -> None:
    """While a commit is under way appends gather; the next commit takes them all, and order is kept."""
    log = Slow()
    async with talking(log=log) as server, clients(server, "ann", "bob") as (ann, bob):
        for i in range(50):
            await (ann, bob)[i % 2].send("say", room="lobby", text=f"m{i}")
        texts = [text for _, text in await ann.texts(50)]
        assert sorted(texts) == sorted(f"m{i}" for i in range(50))
        for odd in (0, 1):
            own = [text for text in texts if int(text[1:]) % 2 == odd]
            assert own == sorted(own, key=lambda text: int(text[1:]))
        assert len(log.batches) <= 3
        assert sum(log.batches) == 50


async def test_senders_wait_when_too_much_waits(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many appends waiting as may, sessions stop reading; nothing is refused and nothing is lost."""
    monkeypatch.setattr(limits, "MAX_WAITING_APPENDS", 8)
    monkeypatch.setattr(limits, "MAX_BATCH", 4)
    log = Slow()
    async with talking(log=log) as server, clients(server, "ann", "bob") as (ann, bob):
        for i in range(40):
            await ann.send("say", room="lobby", text=f"a{i}")
            await bob.send("say", room="lobby", text=f"b{i}")
        await trio.sleep(0.5)
        assert server.hub._queued <= 8
        texts = [text for _, text in await ann.texts(80)]
        assert [text for text in texts if text[0] == "a"] == [f"a{i}" for i in range(40)]
        assert [text for text in texts if text[0] == "b"] == [f"b{i}" for i in range(40)]
        assert max(log.batches) == 4


async def test_nothing_is_shown_before_it_is_stored(autojump_clock: MockClock) -> None:
    """Neither the event nor the ack comes while the commit is under way."""
    log = Slow()
    async with talking(log=log) as server, clients(server, "ann", "bob") as (ann, bob):
        began = trio.current_time()
        await ann.send("say", room="lobby", text="hi")
        await bob.events(1)
        assert trio.current_time() - began >= 1
        await ann.until("ack")


# --- the end ---------------------------------------------------


async def test_a_graceful_stop_acknowledges_what_was_submitted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Everything submitted before is stored, acknowledged and shown; everybody gets `bye` with a time of its
    own, and 1012."""
    log = Slow()
    async with talking(log=log, drain=20.0) as server, clients(server, "ann", "bob", "eve") as everybody:
        ann = everybody[0]
        for i in range(20):
            await ann.send("say", room="lobby", text=f"m{i}", id=str(i))
        await wait_all_tasks_blocked()
        server.server.stop()
        times = []
        for each in everybody:
            assert await each.closed() == (1012, "the server restarts")
            assert [frame["seq"] for frame in each.heard if frame["op"] == "message"] == list(range(1, 21))
            bye = each.heard[-1]
            assert (bye["op"], bye["code"]) == ("bye", 1012)
            times.append(bye["retry_after"])
        assert [frame["re"] for frame in ann.heard if frame["op"] == "ack"] == [str(i) for i in range(20)]
        assert len(set(times)) == 3
        assert all(0 < after <= 3 for after in times)


async def test_a_stop_does_not_wait_for_who_does_not_read(autojump_clock: MockClock) -> None:
    """A client that never answers the close frame delays the end by no more than ``drain``."""
    async with talking(drain=3.0) as server:
        stream = server.open_stream()
        await stream.send_all(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await wait_all_tasks_blocked()
        began = trio.current_time()
        server.server.stop()
        while await stream.receive_some():
            pass
        assert trio.current_time() - began <= 3.1


# --- what must not happen, and harms nobody else --------------------------------------------------------


async def test_a_log_that_fails_unexpectedly_refuses(
    autojump_clock: MockClock, errors: Callable[[], list[str]]
) -> None:
    """Whatever an engine raises, the sender is told and the server goes on."""

    def fail(commit: Callable[[], None]) -> None:
        raise ZeroDivisionError

    through: list[Callable[[Callable[[], None]], None]] = [fail]

    def faults(commit: Callable[[], None]) -> None:
        (through.pop() if through else commit_plainly)(commit)

    async with talking(faults=faults) as server, clients(server, "ann") as (ann,):
        await ann.send("say", room="lobby", text="hi", id="m1")
        assert (await ann.until("error"))["code"] == "unavailable"
        assert await ann.say("hi", id="m1") == 1
    assert errors()[0] == "the log failed unexpectedly"


async def test_a_sender_that_cannot_be_answered_harms_nobody(
    autojump_clock: MockClock, errors: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is stored and shown, and the others of its batch are answered."""

    def fail(session: Session, *_: object) -> None:
        if session.user.name == "ann":
            raise ZeroDivisionError
        told(session, *_)

    told: Callable[..., None] = Session.stored
    monkeypatch.setattr(Session, "stored", fail)
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        await ann.send("say", room="lobby", text="a")
        assert await bob.say("b") == 2
        assert await bob.texts(2) == [(1, "a"), (2, "b")]
    assert errors() == ["a sender could not be answered"]
