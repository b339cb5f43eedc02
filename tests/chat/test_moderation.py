"""What moderators do, and what becomes of those to whom it is done: over real sessions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.chat import room
from trio_chat.chat.schema import User
from trio_chat.log.base import LogUnavailable
from trio_chat.log.memory import open_memory_log

from .control_events import body
from .household import NOW, House, house, user
from .talk import Client, Frame
from .test_membership import code, events, ok, private_room
from .test_room_state import Nobody, Pending, Shared, message, shared, submit, topic


async def plaza(home: House, *others: str) -> list[Client]:
    """ann's public room "plaza", everybody joined and told of nobody."""
    ann = await home.client("ann")
    await ok(ann, "create", room="plaza")
    people = [ann, *[await home.client(name) for name in others]]
    for each in people:
        await each.join("plaza")
    for each in people:
        await each.quiet()
    return people


def unnumbered(frame: Frame) -> Frame:
    return {key: value for key, value in frame.items() if key not in ("seq", "at")}


# --- removed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["kick", "ban"])
async def test_who_is_removed_is_out_at_once_everywhere(autojump_clock: MockClock, op: str) -> None:
    """All sessions of the user lose the room; those that are in no other are closed; the others see why."""
    async with house() as home:
        ann, bob, carol = await plaza(home, "bob", "carol")
        phone = await home.client("bob", "lobby", "plaza")
        await ann.quiet()
        await ok(ann, op, room="plaza", user="u-bob", reason="noise")
        what = {"kick": "removed", "ban": "banned"}[op]
        left = {"op": "left", "room": "plaza", "code": 4503, "reason": f"ann has {what} you: noise"}
        assert await bob.closed() == (4503, left["reason"])
        assert bob.heard == [left, {"op": "bye", "code": 4503, "reason": left["reason"]}]
        assert [frame for frame in await phone.quiet() if frame["op"] != "presence"] == [left]
        assert await code(phone, "say", room="plaza", text="but") == "not_joined"
        await ok(phone, "say", room="lobby", text="elsewhere")
        (event,) = events(await carol.quiet())
        role = {"kick": "none", "ban": "banned"}[op]
        assert event == {
            "op": "member", "user": user("ann"), "target": user("bob"), "role": role, "reason": "noise",
            "id": event["id"],
        }  # fmt: skip
        assert (await ann.ask("who", room="plaza"))["count"] == 2
        assert (await phone.ask("join", room="plaza")).get("code") == (None if op == "kick" else "banned")


async def test_presence_says_that_they_are_gone(autojump_clock: MockClock) -> None:
    """As if they had left."""
    async with house() as home:
        ann, _bob, carol = await plaza(home, "bob", "carol")
        await ok(ann, "kick", room="plaza", user="u-bob")
        signals = [frame for frame in await carol.quiet() if frame["op"] == "presence"]
        assert signals == [{"op": "presence", "room": "plaza", "user": user("bob"), "online": False}]


async def test_a_ban_for_a_time(autojump_clock: MockClock) -> None:
    """It is over when it is over, or when it is taken back; then one may come again."""
    async with house() as home:
        ann, bob = await plaza(home, "bob")
        phone = await home.client("bob", "lobby")
        await ok(ann, "ban", room="plaza", user="u-bob", seconds=60)
        await bob.closed()
        assert await code(phone, "join", room="plaza") == "banned"
        assert await code(ann, "invite", room="plaza", user="u-bob") == "banned"
        await trio.sleep(61)
        await phone.join("plaza")
        assert await code(ann, "unban", room="plaza", user="u-bob") == "not_found"
        await ok(ann, "ban", room="plaza", user="u-bob")
        await ok(ann, "unban", room="plaza", user="u-bob")
        await phone.join("plaza")


async def test_whom_nobody_knows(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After a restart a user is found by what they said here, by role or ban, or not at all."""
    async with house(tmp_path / "log.db") as home:
        ann, bob, _ = await plaza(home, "bob", "carol")
        await bob.say("spam", "plaza")
        await ok(ann, "role", room="plaza", user="u-carol", role="moderator")
    async with house(tmp_path / "log.db") as home:
        ann = await home.client("ann", "plaza")
        assert await code(ann, "ban", room="plaza", user="u-zoe") == "not_found"
        assert await code(ann, "kick", room="plaza", user="u-bob") == "not_found"
        await ok(ann, "ban", room="plaza", user="u-bob")
        await ok(ann, "kick", room="plaza", user="u-carol")
    async with house(tmp_path / "log.db") as home:
        ann = await home.client("ann", "plaza")
        event = await ann.ask("unban", room="plaza", user="u-bob", id="x")
        assert event["op"] == "ack"
        assert (await ann.until("member"))["target"] == user("bob")


async def test_nobody_acts_on_equals_or_above(autojump_clock: MockClock) -> None:
    """Nor on oneself; administrators can't be touched at all."""
    async with house() as home:
        ann, bob, _carol, _root = await plaza(home, "bob", "carol", "root")
        for name in ("bob", "carol"):
            await ok(ann, "role", room="plaza", user=f"u-{name}", role="moderator")
        for op in ("kick", "ban", "mute"):
            for actor, target in ((bob, "carol"), (bob, "ann"), (bob, "bob"), (ann, "root"), (ann, "ann")):
                assert await code(actor, op, room="plaza", user=f"u-{target}") == "forbidden"
        assert await code(bob, "role", room="plaza", user="u-bob", role="owner") == "forbidden"
        await ok(bob, "role", room="plaza", user="u-bob", role="member")
        assert await code(bob, "kick", room="plaza", user="u-carol") == "forbidden"


async def test_roles_that_are_so_already(autojump_clock: MockClock) -> None:
    """Nothing changes; somebody from outside is invited first."""
    async with house() as home:
        ann, _bob = await private_room(home, "bob")
        await home.client("eve")
        assert await code(ann, "role", room="den", user="u-bob", role="member") == "exists"
        assert await code(ann, "role", room="den", user="u-eve", role="member") == "not_found"
        assert await code(ann, "role", room="den", user="u-ann", role="owner") == "exists"


async def test_an_administrator_makes_an_owner(autojump_clock: MockClock) -> None:
    """An open room gets one, and with it the rights that go with being owned."""
    async with house() as home:
        bob, root = await home.clients("bob", "root", room="lobby")
        await ok(bob, "topic", room="lobby", text="anything")
        assert (await root.ask("who", room="lobby"))["roles"] == {"u-root": "admin"}
        await ok(root, "role", room="lobby", user="u-root", role="owner")
        assert (await root.until("member"))["admin"] is True
        assert await code(bob, "topic", room="lobby", text="mine") == "forbidden"


# --- muted, slow, archived ---------------------------------------------------------------------------


async def test_who_is_muted_reads(autojump_clock: MockClock) -> None:
    """And hears on joining until when."""
    async with house() as home:
        ann, bob = await plaza(home, "bob")
        said = await bob.say("before", "plaza")
        await ok(ann, "mute", room="plaza", user="u-bob", seconds=60)
        for op, fields in (("say", {"text": "x"}), ("edit", {"seq": said, "text": "x"}),
                           ("react", {"seq": said, "emoji": "👍"})):  # fmt: skip
            error = await bob.ask(op, room="plaza", **fields)
            assert (error["code"], 0 < error["retry_after"] <= 60) == ("muted", True)
        await bob.ask("leave", room="plaza")
        joined = await bob.join("plaza")
        assert joined["muted_until"] == pytest.approx(NOW + 60, abs=60)
        await trio.sleep(61)
        await bob.say("after", "plaza")
        assert await code(ann, "unmute", room="plaza", user="u-bob") == "not_found"
        await ok(ann, "mute", room="plaza", user="u-bob")
        await bob.ask("leave", room="plaza")
        assert (await bob.join("plaza"))["muted_until"] == 0
        error = await bob.ask("say", room="plaza", text="x")
        assert (error["code"], "retry_after" in error) == ("muted", False)
        await ok(ann, "unmute", room="plaza", user="u-bob")
        await bob.say("again", "plaza")
        assert "muted_until" not in await bob.join("lobby")


async def test_slow_mode(autojump_clock: MockClock) -> None:
    """One message in so many seconds for each member; sent again it is the same; moderators don't wait."""
    async with house() as home:
        ann, bob, carol = await plaza(home, "bob", "carol")
        await ok(ann, "settings", room="plaza", slow_seconds=30)
        assert await ok(bob, "say", room="plaza", text="one", id="m1") == 3
        assert await ok(bob, "say", room="plaza", text="one", id="m1") == 3
        error = await bob.ask("say", room="plaza", text="two", id="m2")
        assert (error["code"], 0 < error["retry_after"] <= 30) == ("slow_mode", True)
        assert await code(bob, "say", room="plaza", text="two") == "slow_mode"
        await carol.say("three", "plaza")
        for _ in range(3):
            await ann.say("I may", "plaza")
        await trio.sleep(30)
        await bob.say("two", "plaza")
        await ok(ann, "settings", room="plaza", slow_seconds=0)
        for _ in range(3):
            await bob.say("fast", "plaza")


async def test_slow_mode_forgets_who_may_speak_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of speakers is bounded by those who have to wait."""
    monkeypatch.setattr(room, "_MAX_SAID", 3)
    async with house() as home:
        ann, *others = await plaza(home, "bob", "carol", "dave", "eve")
        await ok(ann, "settings", room="plaza", slow_seconds=10)
        for each in others:
            await each.say("hi", "plaza")
            await trio.sleep(5)
        said = home.hub.rooms["plaza"].said
        assert set(said) == {"u-dave", "u-eve"}


async def test_an_archived_room_is_read_only(autojump_clock: MockClock) -> None:
    """For everybody, until it is opened again."""
    async with house() as home:
        ann, bob, root = await plaza(home, "bob", "root")
        said = await bob.say("before", "plaza")
        await ok(ann, "settings", room="plaza", archived=True)
        for each in (ann, bob, root):
            for op, fields in (
                ("say", {"text": "x"}), ("topic", {"text": "x"}), ("invite", {"user": "u-eve"}),
                ("invite", {"link": True}), ("react", {"seq": said, "emoji": "👍"}),
            ):  # fmt: skip
                expected = "forbidden" if (each, op) == (bob, "topic") else "archived"
                assert await code(each, op, room="plaza", **fields) == expected
        assert await code(bob, "edit", room="plaza", seq=said, text="x") == "archived"
        await bob.ask("leave", room="plaza")
        assert (await bob.join("plaza"))["archived"] is True
        assert len((await bob.ask("history", room="plaza"))["messages"]) == 1
        await ok(ann, "settings", room="plaza", archived=False)
        await bob.say("after", "plaza")


async def test_a_usual_room_costs_one_look(autojump_clock: MockClock) -> None:
    """Nothing is asked of the state for a message where nobody is muted and nothing is slow or archived."""
    async with house() as home:
        _ann, bob = await plaza(home, "bob")

        class Untouchable:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError(name)

        home.hub.rooms["plaza"].state = Untouchable()  # type: ignore[assignment]
        await bob.say("hi", "plaza")
        assert await bob.texts(1) == [(2, "hi")]


async def test_nothing_to_set(autojump_clock: MockClock) -> None:
    """An empty request is a mistake; one setting that somebody may not change keeps all as they are."""
    async with house() as home:
        ann, bob = await plaza(home, "bob")
        assert await code(ann, "settings", room="plaza") == "bad_request"
        await ok(ann, "role", room="plaza", user="u-bob", role="moderator")
        assert await code(bob, "settings", room="plaza", slow_seconds=5, private=True) == "forbidden"
        await ok(bob, "settings", room="plaza", slow_seconds=5)
        assert home.hub.rooms["plaza"].state.slow_seconds == 5


# --- sent again, at once, and too late ---------------------------------------------------------------

AGAIN: list[tuple[str, dict[str, Any]]] = [
    ("invite", {"user": "u-carol"}), ("role", {"user": "u-bob", "role": "moderator"}),
    ("kick", {"user": "u-bob"}), ("ban", {"user": "u-bob"}), ("unban", {"user": "u-eve"}),
    ("mute", {"user": "u-bob"}), ("unmute", {"user": "u-mute"}), ("settings", {"slow_seconds": 5}),
    ("settings", {"private": True}), ("topic", {"text": "tea"}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "fields"), AGAIN, ids=lambda value: value if isinstance(value, str) else "")
async def test_sent_again_it_happens_once(autojump_clock: MockClock, op: str, fields: dict[str, Any]) -> None:
    """With the same id the first answer comes again, though it would be refused now; of others it doesn't."""
    async with house() as home:
        ann, *_ = await plaza(home, "bob", "mute", "dave")
        await home.clients("eve", "carol")
        await ok(ann, "ban", room="plaza", user="u-eve")
        await ok(ann, "mute", room="plaza", user="u-mute")
        seq = await ok(ann, op, room="plaza", id="x", **fields)
        head = home.hub.rooms["plaza"].head
        for _ in range(2):
            assert await ok(ann, op, room="plaza", id="x", **fields) == seq
        assert home.hub.rooms["plaza"].head == head == seq


async def test_two_kick_each_other(autojump_clock: MockClock) -> None:
    """Changes of a room are decided one after the other: who is first is right."""
    async with house() as home:
        ann, bob, carol = await plaza(home, "bob", "carol")
        await ok(ann, "role", room="plaza", user="u-bob", role="moderator")
        await ok(ann, "role", room="plaza", user="u-carol", role="owner")
        await ann.send("role", room="plaza", user="u-bob", role="member", id="a")
        await bob.send("ban", room="plaza", user="u-dave", id="b")
        await carol.send("role", room="plaza", user="u-bob", role="owner", id="c")
        assert (await ann.until("ack"))["re"] == "a"
        replies = [await each.until("ack", "error") for each in (bob, carol)]
        state = home.hub.rooms["plaza"].state
        assert [reply.get("code") for reply in replies] == ["forbidden", None]
        assert state.entries["u-bob"].role == "owner"


async def test_what_was_on_its_way_counts_for_nothing(autojump_clock: MockClock) -> None:
    """The right is lost just before: the event is in the log, and the state as if it weren't."""
    async with house() as home:
        _ann, bob = await plaza(home, "bob")
        hub = home.hub
        demoted = Pending(
            topic("ours", room="plaza", user=User("u-bob", "bob")), hub.rooms["plaza"], Nobody()
        )
        hub.submit(demoted)
        await hub.settled()
        assert (hub.rooms["plaza"].state.topic, hub.rooms["plaza"].head) == ("", 2)
        await bob.ask("leave", room="plaza")
        assert (await bob.join("plaza"))["topic"] == ""


async def test_the_log_is_down(autojump_clock: MockClock, errors: Callable[[], list[str]]) -> None:
    """It is told, nothing has changed, and sent again it happens."""

    class Full(Shared):
        full = False

        async def append(self, batch: Any) -> Any:
            if self.full:
                raise LogUnavailable("the disk is full")
            return await super().append(batch)

    log = Full(lambda: 1e9, lambda commit: commit())
    async with house(log=log) as home:
        ann, bob = await plaza(home, "bob")
        log.full = True
        error = await ann.ask("ban", room="plaza", user="u-bob", id="x")
        assert (error["code"], error["retry_after"]) == ("unavailable", 2.0)
        error = await bob.ask("leave", room="plaza", for_good=True)
        assert error["op"] == "left"  # there is nothing to give up
        await bob.join("plaza")
        log.full = False
        await ok(ann, "ban", room="plaza", user="u-bob", id="x")
        await bob.closed()


async def test_another_node_removes_somebody(autojump_clock: MockClock) -> None:
    """Whoever is here and was banned there is out, as soon as it is heard."""
    log = shared()
    async with house(log=log) as home:
        bob = await home.client("bob", "lobby")
        root, banned = User("u-root", "root"), User("u-bob", "bob")
        append = message()
        append.kind, append.body = "member", body("member", root, target=banned, role="banned", admin=True)
        await log.by_another(append)
        assert (await bob.closed())[0] == 4503


async def test_a_batch_in_which_somebody_is_banned(autojump_clock: MockClock) -> None:
    """What they said before the ban in the same batch is shown to the others, and they are out."""
    async with house() as home:
        ann, bob = await plaza(home, "bob")
        banned = User("u-bob", "bob")
        append = message(room="plaza")
        append.kind, append.body = (
            "member",
            body("member", User("u-ann", "ann"), target=banned, role="banned"),
        )
        await submit(home.hub, message("one", "plaza"), append, message("two", "plaza"))
        assert [frame["op"] for frame in await ann.quiet()][:3] == ["message", "member", "message"]
        assert (await bob.closed())[0] == 4503
        assert [frame["op"] for frame in bob.heard] == ["left", "bye"]


# --- in process --------------------------------------------------------------------------------------


async def test_a_member_in_process_governs(autojump_clock: MockClock) -> None:
    """All of it, with the rights of its user, and as an administrator if it was joined as one."""
    async with house() as home:
        bob = await home.client("bob")
        async with home.hub.join("den", user=User("bot", "bot")) as bot:
            assert not bot.admin
            assert await bot.create("private", topic="bots", id="c") == 1
            assert await bot.create("private", topic="bots", id="c") == 1
            assert await bot.invite("u-bob") == 2
            await bob.join("den")
            assert await bot.set_role("u-bob", "moderator") == 3
            assert await bot.mute("u-bob", seconds=60) == 4
            assert await bot.unmute("u-bob") == 5
            assert await bot.kick("u-bob", reason="why not") == 6
            assert await bot.ban("u-bob", seconds=60, reason="again") == 7
            assert await bot.unban("u-bob") == 8
            assert await bot.set(slow_seconds=5, archived=True, private=False) == 9
            assert home.hub.rooms["den"].state.kind == "public"
            with pytest.raises(ValueError, match="user: is not banned"):
                await bot.unban("u-bob")
            with pytest.raises(ValueError, match="user: "):
                await bot.kick("x" * 129)
            with pytest.raises(ValueError, match="this room is archived"):
                await bot.say("hi")
        async with home.hub.join("den", user=User("u-zoe", "zoe"), admin=True) as zoe:
            assert zoe.admin
            await zoe.set(archived=False)
            async with home.hub.join("den", user=User("u-root", "root")) as root:
                assert root.admin


async def test_a_member_in_process_is_removed(autojump_clock: MockClock) -> None:
    """Its iteration ends, and it has no say any more; leaving the block afterwards does no harm."""
    async with house() as home:
        ann, _ = await plaza(home, "bob")
        async with home.hub.join("plaza", user=User("bot", "bot")) as bot, trio.open_nursery() as nursery:
            heard = []

            async def listen() -> None:
                heard.extend([event async for event in bot])

            nursery.start_soon(listen)
            await ann.say("hi", "plaza")
            await wait_all_tasks_blocked()
            await ok(ann, "kick", room="plaza", user="bot")
            await wait_all_tasks_blocked()
            assert [getattr(event, "text", "") for event in heard][:1] == ["hi"]
            await ann.say("secret", "plaza")
            assert not any(getattr(event, "text", "") == "secret" for event in heard)
            with pytest.raises(ValueError, match="ann has removed you"):
                await bot.say("but")
            with pytest.raises(ValueError, match="ann has removed you"):
                await bot.kick("u-bob")
            with pytest.raises(StopAsyncIteration):
                await bot.__anext__()
            assert (await ann.ask("who", room="plaza"))["count"] == 2
        assert (await ann.ask("who", room="plaza"))["count"] == 2


async def test_the_end_of_the_server(autojump_clock: MockClock) -> None:
    """Whoever waits for a change in process is told that it does not come."""

    class Stuck(Shared):
        async def append(self, batch: Any) -> Any:
            await trio.sleep_forever()

    async with open_memory_log() as memory:
        log = Stuck(memory._clock, memory._commit_through)
        raised = []
        async with trio.open_nursery() as nursery:

            async def bot() -> None:
                async with home.hub.join("den", user=User("bot", "bot")) as room:
                    with pytest.raises(LogUnavailable, match="the server has ended") as caught:
                        await room.create()
                    raised.append(caught.value)
                    with pytest.raises(LogUnavailable):
                        await room.create()

            async with house(log=log) as home:
                nursery.start_soon(bot)
                await wait_all_tasks_blocked()
        assert len(raised) == 1
