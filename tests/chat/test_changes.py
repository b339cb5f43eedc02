"""What is done to messages: edited, deleted, reacted to; and the topic. Through a whole server in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from trio.testing import MockClock

from trio_chat.chat import changes, lookup
from trio_chat.chat.changes import checked_emoji
from trio_chat.chat.refusal import Refusal
from trio_chat.chat.schema import User
from trio_chat.log.base import Append, Event
from trio_chat.log.memory import MemoryLog, open_memory_log

from .talk import Client, Faults, Frame, client, clients, talking

KINDS = ("message", "edited", "deleted", "reacted", "unreacted", "topic")


async def ack(who: Client, op: str, **fields: Any) -> int:
    """Do something in the lobby that is stored; its seq."""
    reply = await who.ask(op, room="lobby", **fields)
    assert reply["op"] == "ack", reply
    seq: int = reply["seq"]
    return seq


async def refused(who: Client, op: str, **fields: Any) -> str:
    """Do something in the lobby that is refused; the code and the message."""
    reply = await who.ask(op, room="lobby", **fields)
    assert reply["op"] == "error", reply
    return f"{reply['code']}: {reply['message']}"


async def page(who: Client, **fields: Any) -> list[Frame]:
    """The messages of a page of history."""
    reply = await who.ask("history", room="lobby", **fields)
    messages: list[Frame] = reply["messages"]
    return messages


async def heard(who: Client, count: int) -> list[tuple[str, int]]:
    """Kind and seq of the next events."""
    return [(frame["op"], frame["seq"]) for frame in [await who.until(*KINDS) for _ in range(count)]]


ALL_KINDS = [
    ("message", 1), ("edited", 2), ("reacted", 3), ("reacted", 4), ("unreacted", 5), ("topic", 6),
    ("deleted", 7),
]  # fmt: skip


async def do_everything(who: Client) -> None:
    """One event of each kind."""
    await ack(who, "say", text="helo")
    await ack(who, "edit", seq=1, text="hello")
    await ack(who, "react", seq=1, emoji="👍")
    await ack(who, "react", seq=1, emoji="🎉")
    await ack(who, "unreact", seq=1, emoji="👍")
    await ack(who, "topic", text="greetings")
    await ack(who, "delete", seq=1)


@pytest.mark.parametrize("stored", ["in memory", "in a file"])
async def test_everybody_is_sent_every_kind_of_event_in_order(
    stored: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Live, caught up from memory and from the log, in process, and after a restart."""
    path = tmp_path / "log.db" if stored == "in a file" else None
    async with talking(path) as server, server.hub.join("lobby", since=0) as local:
        async with clients(server, "ann", "bob") as (ann, bob):
            await do_everything(ann)
            assert await heard(ann, 7) == await heard(bob, 7) == ALL_KINDS
            async with client(server) as late:
                assert (await late.join(since=0))["topic"] == "greetings"
                assert await heard(late, 7) == ALL_KINDS
        assert [type(await anext(local)).__name__ for _ in range(7)] == [
            "Message", "Edited", "Reacted", "Reacted", "Unreacted", "TopicChanged", "Deleted",
        ]  # fmt: skip
    if path is not None:
        async with talking(path) as server, client(server) as late:
            assert (await late.join(since=0))["topic"] == "greetings"
            assert await heard(late, 7) == ALL_KINDS
            assert [message["deleted"] for message in await page(late)] == [True]


async def test_who_may_do_what_to_a_message(autojump_clock: MockClock) -> None:
    """Each refusal has a code and names the field; nothing of it is stored."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        await ann.say("one")
        assert (
            await refused(bob, "edit", seq=1, text="x") == "forbidden: seq: only its author edits a message"
        )
        assert (await refused(bob, "delete", seq=1)).startswith("forbidden: delete other: ")
        for op, fields in (
            ("edit", {"text": "x"}), ("delete", {}), ("react", {"emoji": "👍"}), ("unreact", {"emoji": "👍"}),
        ):  # fmt: skip
            gone = "not_found: seq: there is no message 2 in this room"
            assert await refused(ann, op, seq=2, **fields) == gone
        assert (await refused(ann, "unreact", seq=1, emoji="👍")).startswith("not_found: emoji: ")
        assert await ack(bob, "react", seq=1, emoji="👍") == 2
        assert (await refused(ann, "edit", seq=2, text="x")).startswith("not_found: ")
        await ack(ann, "delete", seq=1)
        for op, fields in (
            ("edit", {"text": "x"}), ("delete", {}), ("react", {"emoji": "👍"}), ("unreact", {"emoji": "👍"}),
        ):  # fmt: skip
            assert await refused(ann, op, seq=1, **fields) == "deleted: seq: message 1 is deleted"
        assert await refused(ann, "say", text="x", reply_to=9) == (
            "bad_request: reply_to: there is no message 9 in this room"
        )
        assert (await server.hub.log.position("lobby")).head == 3


async def test_a_message_that_was_trimmed_is_not_there(autojump_clock: MockClock) -> None:
    """Nothing is done to it, and nothing answers it."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for text in ("one", "two"):
            await ann.say(text)
        server.hub.trimmed("lobby", await server.hub.log.trim("lobby", 1, 10))
        assert (await refused(ann, "react", seq=1, emoji="👍")).startswith("not_found: ")
        assert (await refused(ann, "say", text="x", reply_to=1)).startswith("bad_request: reply_to: ")
        await ack(ann, "react", seq=2, emoji="👍")


async def test_what_is_not_in_the_room_can_not_be_changed(autojump_clock: MockClock) -> None:
    """Who has not joined is told so."""
    async with talking() as server, client(server) as ann:
        for op, fields in (
            ("edit", {"seq": 1, "text": "x"}), ("delete", {"seq": 1}), ("react", {"seq": 1, "emoji": "👍"}),
            ("topic", {"text": "x"}),
        ):  # fmt: skip
            assert (await refused(ann, op, **fields)).startswith("not_joined: ")


async def test_sent_again_an_operation_changes_nothing(autojump_clock: MockClock) -> None:
    """With the same id it is acknowledged with its first seq, also when it could not be done any more."""
    async with talking() as server, clients(server, "ann") as (ann,):
        await do_everything_with_ids(ann)
        assert await do_everything_with_ids(ann) == list(range(1, 7))
        assert (await server.hub.log.position("lobby")).head == 6


async def do_everything_with_ids(who: Client) -> list[int]:
    return [
        await ack(who, "say", text="helo", id="1"),
        await ack(who, "edit", seq=1, text="hello", id="2"),
        await ack(who, "react", seq=1, emoji="👍", id="3"),
        await ack(who, "unreact", seq=1, emoji="👍", id="4"),
        await ack(who, "topic", text="greetings", id="5"),
        await ack(who, "delete", seq=1, id="6"),
    ]


async def test_sent_twice_at_once_an_operation_is_stored_once(autojump_clock: MockClock) -> None:
    """Before the first one is stored, the second finds nothing; the log knows it by its key."""
    async with talking() as server, clients(server, "ann") as (ann,):
        await ann.say("hi")
        for _ in range(3):
            await ann.send("react", room="lobby", seq=1, emoji="👍", id="r")
        assert [(await ann.until("ack"))["seq"] for _ in range(3)] == [2, 2, 2]


async def test_a_reaction_that_is_there_is_acknowledged_as_it_is(autojump_clock: MockClock) -> None:
    """Once more, taken back, and given anew."""
    async with talking() as server, clients(server, "ann") as (ann,):
        await ann.say("hi")
        assert [await ack(ann, "react", seq=1, emoji="👍") for _ in range(2)] == [2, 2]
        assert await ack(ann, "unreact", seq=1, emoji="👍") == 3
        assert [await ack(ann, "react", seq=1, emoji="👍") for _ in range(2)] == [4, 4]


@pytest.mark.parametrize("emoji", [
    "👍", "👍🏽", "❤️", "☹", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿", "1️⃣", "*⃣", "🇩🇪", "™️", "‼️", "ℹ️", "➕", "✓",
])  # fmt: skip
def test_these_are_emojis(emoji: str) -> None:
    """Sequences, flags, keys, and signs."""
    assert checked_emoji(emoji) == emoji


@pytest.mark.parametrize("emoji", [
    "a", "ok", "+a", "1", "👍a", "字", " ", "👍 ", "\u200d", "\ufe0f", "\u202e👍", "a⃣", "\n",
])  # fmt: skip
def test_these_are_none(emoji: str) -> None:
    """Words, digits, blanks, and what is nothing by itself."""
    with pytest.raises(Refusal, match="emoji: one emoji"):
        checked_emoji(emoji)


async def test_one_message_takes_so_much(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty emojis; and of one user so many changes, but taking back and deleting is always possible."""
    monkeypatch.setattr(changes, "MAX_CHANGES_BY_ONE", 6)
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        await ann.say("hi")
        async with server.hub.join("lobby") as bot:
            for n in range(5):
                await bot.react(1, chr(0x1F600 + n))
        async with server.hub.join("lobby") as bot:
            monkeypatch.setattr(changes, "MAX_EMOJIS", 5)
            with pytest.raises(ValueError, match="emoji: at most 5 different"):
                await bot.react(1, "👍")
            await bot.react(1, "\U0001f600")
        for _ in range(3):
            await ack(ann, "react", seq=1, emoji="\U0001f600")
            await ack(ann, "unreact", seq=1, emoji="\U0001f600")
        assert (await refused(ann, "edit", seq=1, text="x")).startswith("too_many: seq: ")
        assert (await refused(ann, "react", seq=1, emoji="\U0001f600")).startswith("too_many: seq: ")
        await ack(bob, "react", seq=1, emoji="\U0001f600")
        await ack(ann, "delete", seq=1)


async def test_history_shows_messages_as_they_are_however_old(autojump_clock: MockClock) -> None:
    """Far behind everything that memory holds, with `as_of` and who asks."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        async with server.hub.join("lobby") as bot:
            for n in range(600):
                await bot.say(str(n))
        await ann.say("me")
        await ack(ann, "react", seq=3, emoji="👍")
        await ack(bob, "react", seq=3, emoji="👍")
        await ack(ann, "edit", seq=601, text="you")
        reply = await ann.ask("history", room="lobby", after=1, limit=3)
        assert [message["text"] for message in reply["messages"]] == ["1", "2", "3"]
        (reaction,) = reply["messages"][1]["reactions"]
        assert (reaction["emoji"], reaction["count"], reaction["me"]) == ("👍", 2, True)
        assert (reply["as_of"], reply["more"]) == (604, True)
        assert [message["text"] for message in await page(bob, limit=2)] == ["599", "you"]
        async with client(server) as carol:
            await carol.join()
            (reaction,) = (await page(carol, before=4, limit=1))[0]["reactions"]
            assert reaction == {"emoji": "👍", "count": 2, "users": reaction["users"]}


@attrs.define
class Hasty:
    """A log in which events are found that are not stored for good yet."""

    log: MemoryLog
    early: list[Append] = attrs.Factory(list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def read_about(self, *args: Any, **options: Any) -> list[Event]:
        if self.early:
            await self.log.append(self.early)
            self.early = []
        return await self.log.read_about(*args, **options)


async def test_what_is_being_committed_does_not_count(autojump_clock: MockClock) -> None:
    """An edit beyond the head is not shown, and not held against anybody."""
    async with open_memory_log() as memory:
        log = Hasty(memory)
        async with talking(log=log) as server, clients(server, "ann") as (ann,):  # type: ignore[arg-type]
            await ann.say("hi")
            user = msgspec.json.encode(server.hub.rooms["lobby"].listed(1)[0]).decode()
            log.early = [Append("lobby", "deleted", f'"user":{user},"target":1}}', target=1)]
            assert [message["text"] for message in await page(ann)] == ["hi"]
            log.early = [Append("lobby", "deleted", f'"user":{user},"target":1}}', target=1)]
            await ack(ann, "react", seq=1, emoji="👍")


async def test_a_page_with_too_much_done_to_it_is_shorter(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut at the far end, `more` says so, and page after page everything is shown once."""
    monkeypatch.setattr(lookup, "MAX_CHANGES", 20)
    async with talking() as server, clients(server, "ann") as (ann,):
        for n in range(8):
            await ann.say(str(n))
        for n in range(8):
            for emoji in range(7):
                await ack(ann, "react", seq=n + 1, emoji=chr(0x1F600 + emoji))
        for direction in ("before", "after"):
            found: list[Frame] = []
            more, place = True, {} if direction == "before" else {"after": 0}
            while more:
                reply = await ann.ask("history", room="lobby", **place)
                assert 1 <= len(reply["messages"]) <= 2
                more = reply["more"]
                found = reply["messages"] + found if direction == "before" else found + reply["messages"]
                place = {direction: reply["messages"][0 if direction == "before" else -1]["seq"]}
            assert [message["text"] for message in found] == [str(n) for n in range(8)]
            assert all(len(message["reactions"]) == 7 for message in found)


async def test_a_page_of_long_edits_is_as_large_as_any(autojump_clock: MockClock) -> None:
    """What the edits say counts, not what was said first."""
    async with talking(max_message=1 << 20) as server, clients(server, "ann") as (ann,):
        for n in range(12):
            await ann.say(str(n))
            await ack(ann, "edit", seq=2 * n + 1, text="长" * 10_000)
        reply = await ann.ask("history", room="lobby")
        assert 5 <= len(reply["messages"]) < 9
        assert reply["more"]
        assert reply["messages"][-1]["seq"] == 23
        reply = await ann.ask("history", room="lobby", after=0)
        assert 5 <= len(reply["messages"]) < 9
        assert (reply["more"], reply["messages"][0]["seq"]) == (True, 1)


class Counting:
    """A log that counts what is read about messages."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read_about(self, *args: Any, **options: Any) -> Sequence[Event]:
        events = await self._log.read_about(*args, **options)
        self.count += len(events)
        return events


async def test_a_thousand_reactions_are_not_read_a_thousand_times(autojump_clock: MockClock) -> None:
    """What is known of a message that much is done to is kept; only what is new is read."""
    async with open_memory_log() as memory:
        log = Counting(memory)
        async with talking(log=log) as server:  # type: ignore[arg-type]
            async with server.hub.join("lobby") as bot:
                await bot.say("hi")
            for n in range(300):
                async with server.hub.join("lobby", user=User(f"u{n}", f"u{n}")) as bot:
                    await bot.react(1, "👍")
            assert log.count < 300 + 50 * 50
            found = await server.hub.changes.lookup.message(await server.hub.open_room("lobby"), 1)
            assert len(found.reactions["👍"]) == 300


async def test_mentions_are_found_by_the_server(autojump_clock: MockClock) -> None:
    """Of those present and of who has just left, in a message and in an edit of it."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        people = {user["name"]: user["id"] for user in (await ann.ask("who", room="lobby"))["members"]}
        async with client(server, "/ws?name=carol") as carol:
            people["carol"] = (await carol.join())["user"]["id"]
            await carol.say("bye")
        await ann.until("message")
        await ann.say("@bob and @CAROL, not @eve")
        event = await ann.until("message")
        assert event["mentions"] == [people["bob"], people["carol"]]
        await ack(ann, "edit", seq=2, text="@all, @ann")
        event = await ann.until("edited")
        assert (event["mentions"], event["mentions_all"]) == ([people["ann"]], True)
        (message,) = await page(bob, limit=1)
        assert (message["mentions"], message["mentions_all"]) == ([people["ann"]], True)
        await ann.say("nobody@bob")
        assert "mentions" not in await ann.until("message")


async def test_all_are_mentioned_in_small_rooms_only(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a room without roles that has more users, it is text like any other."""
    monkeypatch.setattr(changes, "MENTION_ALL_USERS", 2)
    async with talking() as server, clients(server, "ann", "bob") as (ann, _):
        await ann.say("@all")
        assert (await ann.until("message"))["mentions_all"]
        async with server.hub.join("lobby"):
            await ann.say("@all")
            assert "mentions_all" not in await ann.until("message")


async def test_when_the_log_is_down_it_is_told(
    autojump_clock: MockClock, errors: Callable[[], list[str]]
) -> None:
    """A change that can't be stored is answered like a message that can't, and can be sent again."""
    faults = Faults()
    async with talking(faults=faults) as server, clients(server, "ann") as (ann,):
        await ann.say("hi")
        faults.down = True
        reply = await ann.ask("react", room="lobby", seq=1, emoji="👍", id="r")
        assert (reply["code"], reply["retry_after"]) == ("unavailable", 2.0)
        faults.down = False
        assert len(errors()) == 1
        assert await ack(ann, "react", seq=1, emoji="👍", id="r") == 2


async def test_a_member_in_process_does_what_others_do(autojump_clock: MockClock) -> None:
    """Each method returns the seq of its event, and raises ValueError for what it may not."""
    async with talking() as server, clients(server, "ann") as (ann,), server.hub.join("lobby") as bot:
        await ann.say("hi")
        assert (await bot.say("@ann helo")).mentions is not msgspec.UNSET
        assert await bot.edit(2, "hello", id="e") == await bot.edit(2, "hello", id="e") == 3
        assert await bot.react(1, "👍") == await bot.react(1, "👍") == 4
        assert await bot.unreact(1, "👍") == 5
        assert await bot.set_topic("greetings") == 6
        assert await bot.delete(2) == 7
        for call, words in (
            (bot.edit(1, "x"), "only its author"), (bot.delete(1), "delete other"),
            (bot.react(1, "x"), "emoji: "), (bot.react(9, "👍"), "no message 9"),
            (bot.edit(1, ""), "text: "), (bot.set_topic("x" * 251), "text: "),
            (bot.unreact(1, "👍"), "not reacted"), (bot.edit(0, "x"), "seq: "),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=words):
                await call
        assert await heard(ann, 7) == [
            ("message", 1), ("message", 2), ("edited", 3), ("reacted", 4), ("unreacted", 5), ("topic", 6),
            ("deleted", 7),
        ]  # fmt: skip
