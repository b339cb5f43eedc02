"""Searching, and how far somebody has read: through a whole server in memory."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_chat.chat import limits

from .talk import Client, Faults, client, clients, talking


async def found(who: Client, text: str, **fields: object) -> list[str]:
    """The texts that a search finds in one go."""
    reply = await who.ask("search", text=text, **fields)
    assert reply["op"] == "found", reply
    assert not reply["more"]
    return [message["text"] for message in reply["messages"]]


async def rooms(who: Client) -> dict[str, tuple[Any, Any, Any]]:
    """By room: read, unread, mentions."""
    reply = await who.ask("rooms")
    return {
        each["room"]: (each.get("read"), each.get("unread"), each.get("mentions")) for each in reply["rooms"]
    }


# --- searching ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["in memory", "in a file"])
async def test_messages_are_found_as_they_are_now(
    stored: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Edited ones by their new words, deleted ones not; with reactions, and as in a page of history."""
    path = tmp_path / "log.db" if stored == "in a file" else None
    async with talking(path) as server, clients(server, "ann") as (ann,):
        for text in ("red apple", "green apple", "blue pear", "苹果"):
            await ann.say(text)
            await trio.sleep(1)
        await ann.ask("edit", room="lobby", seq=1, text="yellow pear")
        await ann.ask("delete", room="lobby", seq=3)
        await ann.ask("react", room="lobby", seq=1, emoji="🍐")
        assert await found(ann, "apple") == ["green apple"]
        assert await found(ann, "PEAR") == ["yellow pear"]
        assert await found(ann, "果", room="lobby") == ["苹果"]
        (message,) = (await ann.ask("search", text="yellow"))["messages"]
        (shown,) = (await ann.ask("history", room="lobby", before=2))["messages"]
        assert message == shown
        assert message["reactions"][0]["me"]


async def test_rooms_that_one_may_not_read_are_not_searched(autojump_clock: MockClock) -> None:
    """A private room is found by its members, and no more by one who was put out."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        assert (await ann.ask("create", room="secret", kind="private"))["op"] == "ack"
        await ann.join("secret")
        await ann.say("apple of ours", room="secret")
        await ann.say("apple of all")
        assert sorted(await found(ann, "apple")) == ["apple of all", "apple of ours"]
        assert await found(bob, "apple") == ["apple of all"]
        people = {user["name"]: user["id"] for user in (await ann.ask("who", room="lobby"))["members"]}
        assert (await ann.ask("invite", room="secret", user=people["bob"]))["op"] == "ack"
        assert sorted(await found(bob, "apple")) == ["apple of all", "apple of ours"]
        assert (await ann.ask("kick", room="secret", user=people["bob"]))["op"] == "ack"
        assert await found(bob, "apple") == ["apple of all"]
        reply = await bob.ask("search", text="apple", room="secret")
        assert reply["code"] == "not_joined"


async def test_a_search_goes_on_with_next(autojump_clock: MockClock) -> None:
    """Page after page everything is found once, also past what may not be seen."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        await ann.ask("create", room="secret", kind="private")
        await ann.join("secret")
        for n in range(40):
            await ann.say(f"apple {n}", room="secret" if n % 4 else "lobby")
        for who, expected in ((ann, range(40)), (bob, range(0, 40, 4))):
            texts: list[str] = []
            fields: dict[str, object] = {}
            while True:
                reply = await who.ask("search", text="apple", limit=7, **fields)
                texts += [message["text"] for message in reply["messages"]]
                if not reply["more"]:
                    break
                fields = {"before": reply["next"]}
            assert sorted(texts) == sorted(f"apple {n}" for n in expected)


@pytest.mark.parametrize(("fields", "words"), [
    ({"text": " \n"}, "text: a word at least"), ({"text": "x", "before": "?"}, "before: the `next` of"),
    ({"text": "x", "room": "a b"}, "room: "), ({"text": "x" * 201}, "text: "), ({}, "text"),
])  # fmt: skip
async def test_a_wrong_search_is_refused(
    fields: dict[str, object], words: str, autojump_clock: MockClock
) -> None:
    """Naming the field."""
    async with talking() as server, clients(server, "ann") as (ann,):
        reply = await ann.ask("search", **fields)
        assert reply["code"] == "bad_request"
        assert words in reply["message"]


async def test_a_member_in_process_reads_too(autojump_clock: MockClock) -> None:
    """Pages, searches and its mark are those of a client."""
    async with talking() as server, clients(server, "ann") as (ann,), server.hub.join("lobby") as bot:
        for n in range(3):
            await bot.say(f"apple {n}")
        await bot.edit(2, "pear")
        page = await bot.history(limit=2)
        assert ([message.text for message in page.messages], page.more, page.as_of) == (
            ["pear", "apple 2"],
            True,
            4,
        )
        assert [message.seq for message in (await bot.history(after=0, limit=1)).messages] == [1]
        first = await bot.search("apple", limit=1)
        assert first.next is not None
        rest = await bot.search("apple", before=first.next)
        assert sorted(message.text for message in first.messages + rest.messages) == ["apple 0", "apple 2"]
        assert rest.next is None
        for call, words in (
            (bot.history(before=1, after=1), "after: "), (bot.history(limit=0), "limit: "),
            (bot.search(" "), "text: "), (bot.search("x", before="?"), "before: "),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=words):
                await call
        await ann.quiet()
        bot.read(99)
        assert [frame["seq"] for frame in await ann.quiet() if frame["op"] == "read"] == [4]
        await trio.sleep(2)
        assert await server.hub.log.marks(bot.user.id) == {"lobby": 4}


# --- reading --------------------------------------------------------------------------------------------


async def test_how_far_one_has_read_is_kept_for_the_user(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It is told with the next join, on every connection and after a restart, and never goes back."""
    path, session = tmp_path / "log.db", ""
    for restart in range(2):
        async with talking(path) as server, client(server) as ann:
            if restart:
                await ann.ask("hello", resume=session)
                assert (await ann.join())["read"] == 3
                continue
            session = (await ann.ask("hello", name="ann"))["session"]
            assert "read" not in await ann.join()
            for n in range(5):
                await ann.say(str(n))
            for seq in (2, 3, 1):
                await ann.send("read", room="lobby", seq=seq)
            async with client(server) as other:
                await other.ask("hello", resume=session)
                assert (await other.join())["read"] == 3


async def test_unread_messages_and_mentions_are_counted(autojump_clock: MockClock) -> None:
    """Those of others beyond the mark, in rooms that have one; with every marker that was sent before."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        me = (await ann.ask("hello"))["user"]
        assert await rooms(ann) == {"lobby": (None, None, None)}
        for text in ("one", "two @ann", "three @all", "four @bob", "@annabel"):
            await bob.say(text)
        await ann.say("mine @ann")
        await ann.send("read", room="lobby", seq=1)
        assert await rooms(ann) == {"lobby": (1, 4, 2)}
        await ann.send("read", room="lobby", seq=3)
        assert await rooms(ann) == {"lobby": (3, 2, 0)}
        await ann.send("read", room="lobby", seq=99)
        assert await rooms(ann) == {"lobby": (6, 0, 0)}
        assert await rooms(bob) == {"lobby": (None, None, None)}
        await trio.sleep(5)
        assert await server.hub.log.marks(me["id"]) == {"lobby": 6}


async def test_others_are_told_how_far_somebody_has_read(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathered over a tick; in a larger room only the user's own connections, wherever they are."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        session = (await ann.ask("hello"))["session"]
        await ann.say("one")
        await ann.say("two")
        async with client(server) as other:
            await other.ask("hello", resume=session)
            await bob.quiet()
            for seq in (1, 2, 1):
                await ann.send("read", room="lobby", seq=seq)
            (told,) = [frame for frame in await bob.quiet() if frame["op"] == "read"]
            assert (told["user"]["name"], told["seq"], told["room"]) == ("ann", 2, "lobby")
            assert [frame["seq"] for frame in await other.quiet() if frame["op"] == "read"] == [2]
            monkeypatch.setattr(limits, "MAX_READ_SIGNALS", 1)
            await ann.say("three")
            await ann.send("read", room="lobby", seq=3)
            assert [frame["op"] for frame in await bob.quiet()] == ["message"]
            assert [frame["seq"] for frame in await other.quiet() if frame["op"] == "read"] == [3]


async def test_marks_that_can_not_be_stored_are_stored_later(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is disturbed by it."""
    faults = Faults()
    async with talking(tmp_path / "log.db", faults=faults) as server, clients(server, "ann") as (ann,):
        await ann.say("one")
        faults.down = True
        await ann.send("read", room="lobby", seq=1)
        await trio.sleep(3)
        assert "read markers can't be stored" in caplog.text
        faults.down = False
        await trio.sleep(3)
        me = (await ann.ask("hello"))["user"]["id"]
        assert await server.hub.log.marks(me) == {"lobby": 1}


async def test_the_last_marks_are_stored_when_the_server_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Right before its end, too."""
    path = tmp_path / "log.db"
    async with talking(path) as server, clients(server, "ann") as (ann,):
        me = (await ann.ask("hello"))["user"]["id"]
        await ann.say("one")
        await ann.send("read", room="lobby", seq=1)
        await ann.ask("ping")
    async with talking(path) as server:
        assert await server.hub.log.marks(me) == {"lobby": 1}


async def test_who_is_not_in_the_room_reads_nothing(autojump_clock: MockClock) -> None:
    """The only answer that there is."""
    async with talking() as server, client(server) as ann:
        assert (await ann.ask("read", room="lobby", seq=1))["code"] == "not_joined"


async def test_who_is_away_says_so(autojump_clock: MockClock) -> None:
    """The others are told once, and when it ends: by the user, or with the last connection."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        session = (await bob.ask("hello"))["session"]
        for away, told in ((True, [True]), (True, []), (False, [None])):
            await bob.send("away", away=away)
            assert [frame.get("away") for frame in await ann.quiet() if frame["op"] == "presence"] == told
        await bob.send("away", away=True)
        async with client(server) as other:
            await other.ask("hello", resume=session)
            await other.join()
            assert (await other.ask("who", room="lobby"))["away"] == [
                (await other.ask("hello"))["user"]["id"]
            ]
        await bob.websocket.aclose()
        await ann.quiet()
        async with client(server) as again:
            await again.ask("hello", resume=session)
            await again.join()
            assert "away" not in await again.ask("who", room="lobby")
