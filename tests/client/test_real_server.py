"""The client against the real server, over TCP on 127.0.0.1."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_chat
from trio_chat.chat.schema import ReadSignal
from trio_chat.client import CannotConnect, ChatError, Found, Message, Refused, Room, open_client


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[trio_chat.Server]:
    """A server for the time of the block, stopped gracefully at its end."""
    config = trio_chat.Config(**({"port": 0, "log": "memory:", "rate": 0.0, "drain": 2.0} | settings))
    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            server: trio_chat.Server = await nursery.start(trio_chat.serve, config)
            try:
                yield server
            finally:
                server.stop()


async def hear(room: Room, count: int) -> list[tuple[int, str]]:
    """The next messages: seq and text."""
    found = []
    while len(found) < count:
        event = await anext(room)
        assert isinstance(event, Message), event
        found.append((event.seq, event.text))
    return found


async def test_two_talk() -> None:
    """What one says the other hears, in order; names, presence, typing, history and members are told."""
    async with (
        serving() as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "ann") as other,
    ):
        assert ann.user.name == "ann"
        assert other.user.name != "ann"
        async with ann.join("lobby") as here:
            async with other.join("lobby") as there:
                event = await here.say("hello 中文")
                assert await hear(there, 1) == [(1, "hello 中文")]
                assert (await there.say("hi", reply_to=event.seq)).reply_to == 1
                assert await hear(here, 2) == [(1, "hello 中文"), (2, "hi")]
                assert len(await here.who()) == 2
                assert [info.room for info in await here._client.rooms()] == ["lobby"]
                page = await there.history(before=2)
                assert [message.text for message in page.messages] == ["hello 中文"]
                assert not page.more
                there.typing()
                signals = {type(await anext(here.signals)).__name__ for _ in range(2)}
                assert signals == {"Presence", "TypingSignal"}
            with pytest.raises(ChatError, match="reply_to"):
                await here.say("x", reply_to=1000)


async def test_refusals_are_told() -> None:
    """A path without an endpoint, a name that breaks the rules, nobody there."""
    async with serving() as server:
        with pytest.raises(Refused) as caught:
            async with open_client(f"{server.url}/nowhere"):
                pass
        assert caught.value.code == 404
        with pytest.raises(ChatError, match="1 to 32 characters"):
            async with open_client(server.url, "x" * 33):
                pass
    with pytest.raises(CannotConnect, match="Connection refused"):
        async with open_client(server.url):
            pass


async def test_it_keeps_to_the_server_s_rate() -> None:
    """Saying as fast as it goes never gets the client throttled off: it knows the rate from `welcome`."""
    async with serving(rate=50.0, burst=10) as server, open_client(server.url, "ann") as client:
        async with client.join("lobby") as room:
            for number in range(100):
                await room.say(str(number))
            assert await hear(room, 100) == [(n + 1, str(n)) for n in range(100)]
        assert client.trouble is None


async def test_a_slow_reader_gets_everything() -> None:
    """Far more than fits into any buffer between server and reader arrives once and in order."""
    text = "x" * 2000
    async with (
        serving(outbox=16384) as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "bob") as bob,
        ann.join("lobby", buffer=10) as here,
        bob.join("lobby", buffer=10) as there,
    ):
        async with trio.open_nursery() as nursery:

            async def talk(worker: int) -> None:
                for number in range(100):
                    await here.say(f"{worker} {number} {text}")

            for worker in range(20):
                nursery.start_soon(talk, worker)
            heard = await hear(there, 500)
        # Meanwhile 2000 have been said; the rest was never read, or thrown away.
        heard += await hear(there, 1500)
        assert [seq for seq, _ in heard] == list(range(1, 2001))
        assert [seq for seq, _ in await hear(here, 2000)] == list(range(1, 2001))


async def test_restarts_lose_and_double_nothing(tmp_path: Path) -> None:
    """While the server restarts again and again each say is stored once, and heard once in order."""
    settings = {"log": f"sqlite:///{tmp_path / 'chat.db'}", "drain": 0.2}
    rng = random.Random(1)
    port = 0
    over = trio.Event()
    heard: list[tuple[int, str]] = []

    async def talk(url: str, worker: int) -> None:
        async with (
            open_client(url, f"worker{worker}", rng=random.Random(worker)) as client,
            client.join("lobby") as room,
        ):
            for number in range(100):
                await room.say(f"{worker} {number}")
                await trio.sleep(rng.random() * 0.05)

    async def listen(url: str, task_status: trio.TaskStatus[None]) -> None:
        async with (
            open_client(url, "listener", rng=random.Random(99)) as client,
            client.join("lobby") as room,
        ):
            task_status.started()
            heard.extend(await hear(room, 400))

    async def users(url: str) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen, url)
            for worker in range(4):
                nursery.start_soon(talk, url, worker)
        over.set()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for life in range(9):
                async with serving(port=port, **settings) as server:
                    if not port:
                        port = server.port
                        nursery.start_soon(users, server.url)
                    with trio.move_on_after(0.3 + rng.random() if life < 8 else 100):
                        await over.wait()
                    if rng.random() < 0.5:
                        for connection in list(server.connections):
                            connection.cut(1006, "test")
    assert [seq for seq, _ in heard] == list(range(1, 401))
    for worker in range(4):
        assert [text for _, text in heard if text.split()[0] == str(worker)] == [
            f"{worker} {number}" for number in range(100)
        ]


async def test_a_user_comes_back_as_the_same() -> None:
    """With the session of an earlier client the id is the same, and the position goes on."""
    async with serving() as server:
        async with open_client(server.url, "ann") as client:
            async with client.join("lobby") as room:
                await room.say("1")
                await room.say("2")
                await hear(room, 1)
                position = room.epoch, room.seq
            user, session = client.user, client.session
        async with open_client(server.url, "ann", session=session) as client:
            assert client.user == user
            async with client.join("lobby", since=position[1], epoch=position[0]) as room:
                assert await hear(room, 1) == [(2, "2")]


async def test_what_is_done_to_messages() -> None:
    """Edits, reactions, deletions, the topic, what is read and what is found: events, pages, and refusals."""
    async with (
        serving() as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "bob") as bob,
        ann.join("lobby") as here,
        bob.join("lobby") as there,
    ):
        await here.say("helo")
        assert await here.edit(1, "hello @bob") == 2
        assert await there.react(1, "👋") == await there.react(1, "👋") == 3
        assert await there.unreact(1, "👋") == 4
        assert await there.react(1, "🎉") == 5
        assert await there.set_topic("greetings") == 6
        assert there.topic == ""
        events = [await anext(there) for _ in range(6)]
        assert [type(event).__name__ for event in events] == [
            "Message", "Edited", "Reacted", "Unreacted", "Reacted", "TopicChanged",
        ]  # fmt: skip
        assert there.topic == "greetings"
        page = await there.history()
        (message,) = page.messages
        assert (message.text, message.mentions, page.as_of) == ("hello @bob", [bob.user.id], 6)
        assert isinstance(message.reactions, list)
        assert [(each.emoji, each.me) for each in message.reactions] == [("🎉", True)]
        assert (await bob.search("HELLO")).messages == page.messages
        there.read(5)
        while not isinstance(signal := await anext(here.signals), ReadSignal):
            pass
        assert (signal.user, signal.seq) == (bob.user, 5)
        with pytest.raises(ChatError, match="only its author") as refused:
            await there.edit(1, "x")
        assert refused.value.code == "forbidden"
        assert await here.delete(1) == 7
        assert (await there.history()).messages[0].deleted
        assert await here.search("hello") == Found([], None)
        for n in range(3):
            await here.say(f"apple {n}")
        first = await here.search("apple", limit=2)
        assert [len(first.messages), first.next is None] == [2, False]
        rest = await here.search("apple", limit=2, before=first.next)
        assert ([message.seq for message in rest.messages], rest.next) == ([8], None)
