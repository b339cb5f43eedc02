"""Rooms that people make, and who is let in: over real sessions."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_chat.chat import governing, invitations, schema
from trio_chat.chat.governing import direct_name
from trio_chat.chat.invitations import Invitation

from .household import NOW, House, house, user
from .talk import Client, Frame, client, talking


async def ok(client: Client, op: str, **fields: Any) -> int:
    """Do something that is acknowledged; its seq."""
    reply = await client.ask(op, **fields)
    assert reply["op"] == "ack", reply
    seq: int = reply["seq"]
    return seq


async def code(client: Client, op: str, **fields: Any) -> str:
    """Ask for something that is refused; the error's code."""
    reply = await client.ask(op, **fields)
    assert reply["op"] == "error", reply
    found: str = reply["code"]
    return found


async def private_room(house: House, *members: str) -> list[Client]:
    """ann's private room "den" with these members, everybody joined and told of nobody."""
    ann = await house.client("ann")
    await ok(ann, "create", room="den", kind="private")
    await ann.join("den")
    others = [await house.client(name) for name in members]
    for name, each in zip(members, others, strict=True):
        await ok(ann, "invite", room="den", user=f"u-{name}")
        await each.join("den")
    for each in (ann, *others):
        await each.quiet()
    return [ann, *others]


def events(frames: list[Frame]) -> list[Frame]:
    """The numbered ones, without number and time."""
    return [
        {key: value for key, value in frame.items() if key not in ("seq", "at", "room")}
        for frame in frames
        if "seq" in frame and "at" in frame and frame["op"] != "ack"
    ]


# --- creating ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["public", "private"])
async def test_whoever_creates_a_room_owns_it(autojump_clock: MockClock, kind: str) -> None:
    """It is acknowledged as the first event; `joined` says what the room is and what one is there."""
    async with house() as home:
        ann = await home.client("ann")
        reply = await ann.ask("create", room="den", kind=kind, topic="tea", id="c")
        assert reply == {"op": "ack", "re": "c", "room": "den", "seq": 1, "at": pytest.approx(NOW, abs=60)}
        joined = await ann.join("den", last=1)
        assert (joined["kind"], joined["role"], joined["topic"]) == (kind, "owner", "tea")
        created = await ann.until("created")
        assert (created["user"], created["kind"], created["topic"]) == (user("ann"), kind, "tea")


async def test_a_name_is_taken_once(autojump_clock: MockClock) -> None:
    """By whoever was first; the same request sent again is answered as before."""
    async with house() as home:
        ann, bob = await home.clients("ann", "bob")
        assert await ok(ann, "create", room="den", id="c") == 1
        assert await ok(ann, "create", room="den", id="c") == 1
        assert await code(ann, "create", room="den", id="d") == "exists"
        assert await code(bob, "create", room="den", id="c") == "exists"
        await bob.join("lobby")
        await bob.say("hi")
        assert await code(ann, "create", room="lobby") == "exists"
        assert await code(ann, "create", room="no such/name") == "bad_request"
        assert await code(ann, "create", room=direct_name("u-ann", "u-bob")) == "bad_request"
        reply = await ann.ask("create", room="x", kind="secret")
        assert reply["message"] == "kind: one of public, private"


async def test_two_create_it_at_once(autojump_clock: MockClock) -> None:
    """One of them does."""
    async with house() as home:
        several = await home.clients("ann", "bob", "carol")
        for each in several:
            await each.send("create", room="den", id="c")
        replies = [await each.until("ack", "error") for each in several]
        assert sorted(reply["op"] for reply in replies) == ["ack", "error", "error"]
        assert home.hub.rooms == {}


async def test_who_waited_in_a_private_rooms_name_is_put_out(autojump_clock: MockClock) -> None:
    """An empty room is nobody's: whoever sits there is not let in by that."""
    async with house() as home:
        ann, eve = await home.clients("ann", "eve")
        await eve.join("den")
        await ok(ann, "create", room="den", kind="private")
        assert (await eve.until("left"))["reason"] == "the room is private now"
        assert await eve.closed() == (4503, "the room is private now")
        assert [frame for frame in eve.heard if frame["op"] == "created"] == []


async def test_said_in_the_same_moment(autojump_clock: MockClock) -> None:
    """What came first makes it an open room, and it is not created any more."""
    async with house() as home:
        ann, eve = await home.clients("ann", "eve")
        await eve.join("den")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(eve.say, "first", "den")
            reply: Frame = {}

            async def create() -> None:
                reply.update(await ann.ask("create", room="den", kind="private"))

            nursery.start_soon(create)
        assert reply.get("code", "exists") == "exists"
        assert (await eve.ask("who", room="den"))["op"] == "members" or reply["op"] == "ack"


# --- direct rooms ------------------------------------------------------------------------------------


async def test_a_room_of_two(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Either finds it under the same name, the other one is told, both list it, and nobody else gets in."""
    for restarted in (False, True):
        async with house(tmp_path / "log.db") as home:
            ann, bob, eve, root = await home.clients("ann", "bob", "eve", "root")
            reply = await ann.ask("direct", user="u-bob", id="d")
            name = reply["room"]
            assert reply == {"op": "direct", "re": "d", "room": name, "with": user("bob")}
            assert name == direct_name("u-bob", "u-ann")
            told = [frame for frame in await bob.quiet() if frame["op"] == "invited"]
            expected = {"op": "invited", "room": name, "kind": "direct", "user": user("ann")}
            assert told == ([] if restarted else [expected])
            assert (await bob.ask("direct", user="u-ann"))["with"] == user("ann")
            for each, other in ((ann, "bob"), (bob, "ann")):
                joined = await each.join(name)
                assert (joined["kind"], joined["role"], joined["head"]) == ("direct", "member", 1)
                (info,) = (await each.ask("rooms"))["rooms"]
                assert (info["room"], info["kind"], info["with"]) == (name, "direct", user(other))
            for each in (eve, root):
                assert await code(each, "join", room=name) == "private"
                assert (await each.ask("rooms"))["rooms"] == []
            assert await code(ann, "leave", room=name, for_good=True) == "forbidden"
            assert await code(ann, "kick", room=name, user="u-bob") == "forbidden"


async def test_direct_rooms_that_cannot_be(autojump_clock: MockClock) -> None:
    """With oneself, and with nobody; their names are nobody else's, whether they are there or not."""
    async with house() as home:
        ann, eve = await home.clients("ann", "eve")
        assert await code(ann, "direct", user="u-ann") == "bad_request"
        assert await code(ann, "direct", user="u-zoe") == "not_found"
        assert await code(ann, "direct", user="") == "bad_request"
        assert await code(eve, "join", room=direct_name("u-ann", "u-zoe")) == "private"
        await eve.join("dm-short")


# --- invitations -------------------------------------------------------------------------------------


async def test_an_invited_user_is_told_everywhere_and_let_in(autojump_clock: MockClock) -> None:
    """The event is there for the members, the signal for all sessions of whoever is invited, once."""
    async with house() as home:
        (ann,) = await private_room(home)
        bob, phone = await home.clients("bob", "bob")
        assert await code(bob, "join", room="den") == "private"
        assert await ok(ann, "invite", room="den", user="u-bob", id="i") == 2
        assert await ok(ann, "invite", room="den", user="u-bob", id="i") == 2
        expected = {"op": "member", "user": user("ann"), "id": "i", "target": user("bob"), "role": "member"}
        assert events(await ann.quiet()) == [expected]
        for each in (bob, phone):
            signal = {"op": "invited", "room": "den", "kind": "private", "user": user("ann")}
            assert await each.quiet() == [signal]
        assert (await bob.join("den"))["role"] == "member"
        assert await code(ann, "invite", room="den", user="u-bob") == "exists"
        assert await code(ann, "invite", room="den", user="u-zoe") == "not_found"
        assert await code(ann, "invite", room="den") == "bad_request"
        assert await code(ann, "invite", room="den", user="u-bob", link=True) == "bad_request"


async def test_everybody_may_invite_to_a_public_room(autojump_clock: MockClock) -> None:
    """It makes nobody more than they were, and is told once."""
    async with house() as home:
        ann, bob = await home.clients("ann", "bob", room="lobby")
        carol = await home.client("carol")
        await ok(ann, "invite", room="lobby", user="u-carol")
        assert (await carol.until("invited"))["kind"] == "public"
        assert await code(bob, "invite", room="lobby", user="u-carol") == "exists"
        assert (await carol.join("lobby"))["role"] == "member"


async def test_a_link_lets_in(autojump_clock: MockClock) -> None:
    """Whoever has it becomes a member by it, and stays one without it; the members see who invited."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        link = await ann.ask("invite", room="den", link=True, expires_in=3600)
        assert (link["op"], link["room"]) == ("invitation", "den")
        assert link["expires_at"] == pytest.approx(NOW + 3600, abs=120)
        carol = await home.client("carol")
        joined = await carol.join("den", invitation=link["token"], last=1)
        assert (joined["role"], joined["kind"]) == ("member", "private")
        expected = {
            "op": "member", "user": user("carol"), "target": user("carol"), "role": "member",
            "invited_by": "u-ann",
        }  # fmt: skip
        assert events(await bob.quiet()) == [expected]
        await carol.ask("leave", room="den")
        assert (await carol.join("den"))["role"] == "member"
        await carol.ask("leave", room="den")
        assert (await carol.join("den", invitation=link["token"]))["head"] == joined["head"]
        dave, phone = await home.clients("dave", "dave")
        for each in (dave, phone):
            await each.send("join", room="den", invitation=link["token"])
        assert [(await each.until("joined", "error"))["op"] for each in (dave, phone)] == ["joined"] * 2
        assert len(events(await bob.quiet())) == 1


async def test_links_that_let_nobody_in(autojump_clock: MockClock) -> None:
    """Expired, forged, for another room, of somebody who may not invite any more, for somebody banned."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        await ok(ann, "role", room="den", user="u-bob", role="moderator")
        assert await code(bob, "invite", room="den", link=True, expires_in=5) == "bad_request"
        short = (await bob.ask("invite", room="den", link=True, expires_in=60))["token"]
        link = (await bob.ask("invite", room="den", link=True))["token"]
        eve = await home.client("eve")
        for token in (link[:-1], link[1:], "x", "", ".", "é", "x.y", link.replace(".", "")):
            assert await code(eve, "join", room="den", invitation=token) == "private", token
        session = (await eve.ask("hello"))["session"]
        assert await code(eve, "join", room="den", invitation=session) == "private"
        await ok(ann, "create", room="cave", kind="private")
        assert await code(eve, "join", room="cave", invitation=link) == "private"
        await trio.sleep(61)
        assert await code(eve, "join", room="den", invitation=short) == "expired"
        await ok(ann, "ban", room="den", user="u-eve")
        assert await code(eve, "join", room="den", invitation=link) == "banned"
        await ok(ann, "unban", room="den", user="u-eve")
        await ok(ann, "role", room="den", user="u-bob", role="member")
        assert await code(bob, "invite", room="den", link=True) == "forbidden"
        reply = await eve.ask("join", room="den", invitation=link)
        assert (reply["code"], "may not invite any more" in reply["message"]) == ("private", True)
        await ok(ann, "role", room="den", user="u-bob", role="moderator")
        await eve.join("den", invitation=link)


async def test_an_administrators_link(autojump_clock: MockClock) -> None:
    """It lets in to a room that the administrator has no role in; who comes in by it is no administrator."""
    async with house() as home:
        (ann,) = await private_room(home)
        root = await home.client("root", "den")
        link = (await root.ask("invite", room="den", link=True))["token"]
        bob = await home.client("bob")
        assert (await bob.join("den", invitation=link))["role"] == "member"
        assert home.hub.rooms["den"].state.role_of("u-root", NOW) == "none"
        assert events(await ann.quiet())[-1]["admin"] is True


def test_tokens_are_for_one_purpose() -> None:
    """What the secret signs for something else is no invitation, nor is what another secret has signed."""
    made = Invitation("den", "u-ann", 5, admin=True)
    token = invitations.token_of(b"s" * 32, made)
    assert invitations.read(b"s" * 32, token) == made
    assert invitations.read(b"t" * 32, token) is None
    assert "u-ann" not in token
    assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()


async def test_asking_to_be_let_in(autojump_clock: MockClock) -> None:
    """The members see it; whoever asked is still outside, and can't ask all the time."""
    async with house() as home:
        (ann,) = await private_room(home)
        eve = await home.client("eve")
        assert await ok(eve, "ask", room="den", text="it's me", id="a") == 2
        assert await ok(eve, "ask", room="den", text="it's me", id="a") == 2
        assert events(await ann.quiet()) == [
            {"op": "asked", "user": user("eve"), "id": "a", "text": "it's me"}
        ]
        again = await eve.ask("ask", room="den")
        assert (again["code"], again["retry_after"]) == ("slow_mode", pytest.approx(600, abs=60))
        assert await code(eve, "join", room="den") == "private"
        await trio.sleep(governing.ASK_AGAIN_SECONDS)
        assert await ok(eve, "ask", room="den") == 3
        await ok(ann, "invite", room="den", user="u-eve")
        assert await code(eve, "ask", room="den") == "exists"
        assert await code(eve, "ask", room="nowhere") == "forbidden"
        assert "nowhere" not in home.hub.rooms


# --- leaving -----------------------------------------------------------------------------------------


async def test_leaving_for_good(autojump_clock: MockClock) -> None:
    """It ends the membership in all sessions; the door is closed behind, and sent again it is the same."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        phone = await home.client("bob", "den")
        await ann.quiet()
        reply = await bob.ask("leave", room="den", for_good=True, id="l")
        assert reply == {"op": "left", "re": "l", "room": "den"}
        left = {"op": "left", "room": "den", "reason": "you have left for good"}
        assert [frame for frame in await phone.quiet() if frame["op"] == "left"] == [left]
        assert (await phone.ask("ping"))["op"] == "pong"
        assert await bob.quiet() == []
        gone = {"op": "member", "user": user("bob"), "id": "l", "target": user("bob"), "role": "none"}
        assert events(await ann.quiet()) == [gone]
        assert await bob.ask("leave", room="den", for_good=True, id="l") == reply
        assert await code(bob, "leave", room="den", for_good=True) == "private"
        assert await code(bob, "join", room="den") == "private"


async def test_the_last_owner_stays(autojump_clock: MockClock) -> None:
    """Until somebody else is owner, or nobody else is left."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        refused = await ann.ask("leave", room="den", for_good=True)
        assert (refused["code"], refused["message"][:9]) == ("forbidden", "make some")
        assert await code(ann, "role", room="den", user="u-ann", role="member") == "forbidden"
        assert (await ann.ask("who", room="den"))["count"] == 2
        await ok(ann, "role", room="den", user="u-bob", role="owner")
        assert (await ann.ask("leave", room="den", for_good=True))["op"] == "left"
        assert (await bob.ask("leave", room="den", for_good=True))["op"] == "left"


async def test_leaving_a_public_room_for_good(autojump_clock: MockClock) -> None:
    """It gives up a role; without one there is nothing to give up, and it is just leaving."""
    async with house() as home:
        ann, bob = await home.clients("ann", "bob", room="lobby")
        assert (await bob.ask("leave", room="lobby", for_good=True))["op"] == "left"
        assert await code(bob, "leave", room="lobby", for_good=True) == "not_joined"
        assert home.hub.rooms["lobby"].head == 0
        await ok(ann, "invite", room="lobby", user="u-bob")
        assert (await bob.ask("leave", room="lobby", for_good=True))["op"] == "left"
        assert home.hub.rooms["lobby"].head == 2


# --- lists -------------------------------------------------------------------------------------------


async def test_private_rooms_are_listed_for_their_members(autojump_clock: MockClock, tmp_path: Path) -> None:
    """And for nobody else, before and after a restart, whether the room is in memory or not."""
    path = tmp_path / "log.db"
    async with house(path) as home:
        ann, bob = await private_room(home, "bob")
        await ok(ann, "create", room="plaza", topic="all")
        await ok(ann, "settings", room="den", archived=True)
    for _ in range(2):
        async with house(path) as home:
            ann, bob, eve, root = await home.clients("ann", "bob", "eve", "root")
            plaza = {"room": "plaza", "count": 0, "head": 1, "kind": "public", "topic": "all"}
            den = {"room": "den", "count": 0, "head": 3, "kind": "private", "archived": True}
            for _ in range(2):
                found = (await ann.ask("rooms"))["rooms"]
                assert sorted(found, key=lambda room: room["room"]) == [
                    den | {"role": "owner"}, plaza | {"role": "owner"},
                ]  # fmt: skip
                assert (await bob.ask("rooms"))["rooms"] == [den | {"role": "member"}, plaza]
            for each in (eve, root):
                assert (await each.ask("rooms"))["rooms"] == [plaza]
                await each.join("plaza")
                assert [room["room"] for room in (await each.ask("rooms"))["rooms"]] == ["plaza"]
                await each.ask("leave", room="plaza")
            await bob.join("den")
            (info, _) = (await bob.ask("rooms"))["rooms"]
            assert info["count"] == 1
            assert [room["room"] for room in (await eve.ask("rooms"))["rooms"]] == ["plaza"]


async def test_lists_follow_what_happens(autojump_clock: MockClock) -> None:
    """Whoever is removed, and whoever is invited, sees it in the next list."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        carol = await home.client("carol")
        await bob.join("lobby")
        await ok(ann, "kick", room="den", user="u-bob")
        assert [room["room"] for room in (await bob.ask("rooms"))["rooms"]] == ["lobby"]
        await ok(ann, "invite", room="den", user="u-carol")
        assert [room["room"] for room in (await carol.ask("rooms"))["rooms"]] == ["den", "lobby"]
        await ok(ann, "settings", room="den", private=False)
        found = {room["room"]: room["kind"] for room in (await bob.ask("rooms"))["rooms"]}
        assert found == {"den": "public", "lobby": "public"}


async def test_lists_know_the_topic(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Of rooms that are open and of those that are not in memory."""
    for topic in ("tea", ""):
        async with house(tmp_path / "log.db") as home:
            ann = await home.client("ann", "lobby")
            await ok(ann, "topic", room="lobby", text=topic)
            for _ in range(2):
                (info,) = (await ann.ask("rooms"))["rooms"]
                assert info.get("topic", "") == topic
                await ann.send("leave", room="lobby")


async def test_who_says_who_is_more_than_a_member(autojump_clock: MockClock) -> None:
    """Roles by user id, administrators too; nobody's absence from the list of roles says anything."""
    async with house() as home:
        ann, _ = await private_room(home, "bob")
        await home.client("root", "den")
        carol = await home.client("carol")
        await ok(ann, "role", room="den", user="u-bob", role="moderator")
        await ok(ann, "invite", room="den", user="u-carol")
        await carol.join("den")
        members = await carol.ask("who", room="den")
        assert members["roles"] == {"u-ann": "owner", "u-bob": "moderator", "u-root": "admin"}
        assert (members["count"], "absent" in members) == (4, False)
        await ann.ask("leave", room="den")
        members = await carol.ask("who", room="den")
        assert (members["absent"], members["count"]) == ([user("ann")], 3)
        assert members["roles"]["u-ann"] == "owner"


async def test_moderators_see_who_is_kept_out_and_silent(autojump_clock: MockClock) -> None:
    """As long as they are; the others don't."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        await home.clients("eve", "dave")
        await ok(ann, "ban", room="den", user="u-eve")
        await ok(ann, "ban", room="den", user="u-dave", seconds=60)
        await ok(ann, "mute", room="den", user="u-bob", seconds=60)
        members = await ann.ask("who", room="den")
        assert (members["banned"], members["muted"]) == ([user("eve"), user("dave")], ["u-bob"])
        assert {"banned", "muted"}.isdisjoint(await bob.ask("who", room="den"))
        await trio.sleep(61)
        members = await ann.ask("who", room="den")
        assert (members["banned"], "muted" in members) == ([user("eve")], False)


# --- secrecy -----------------------------------------------------------------------------------------

QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("say", {"text": "hi"}), ("edit", {"seq": 1, "text": "x"}), ("delete", {"seq": 1}),
    ("react", {"seq": 1, "emoji": "👍"}), ("unreact", {"seq": 1, "emoji": "👍"}), ("topic", {"text": "x"}),
    ("typing", {}), ("history", {}), ("who", {}), ("invite", {"user": "u-eve"}), ("invite", {"link": True}),
    ("kick", {"user": "u-ann"}), ("ban", {"user": "u-ann"}), ("unban", {"user": "u-ann"}),
    ("mute", {"user": "u-ann"}), ("unmute", {"user": "u-ann"}), ("role", {"user": "u-eve", "role": "owner"}),
    ("settings", {"private": False}), ("leave", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "fields"), QUESTIONS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_private_room_is_like_none_from_outside(
    autojump_clock: MockClock, op: str, fields: dict[str, Any]
) -> None:
    """Whatever is asked about it is answered as for a room that isn't there, and nothing reaches it."""
    async with house() as home:
        (ann,) = await private_room(home)
        eve = await home.client("eve", "lobby")
        answers = []
        for room in ("den", "nowhere"):
            await eve.send(op, room=room, id="q", **fields)
            error = await eve.until("error")
            answers.append((error["code"], error["message"].replace(room, "")))
        assert answers[0] == answers[1]
        assert answers[0][0] == "not_joined"
        assert await ann.quiet() == []


async def test_who_is_in_a_private_room_is_told_to_nobody_else(autojump_clock: MockClock) -> None:
    """Presence, typing and events stay within."""
    async with house() as home:
        ann, bob = await private_room(home, "bob")
        eve = await home.client("eve", "lobby")
        await ann.send("typing", room="den")
        await ann.say("secret", "den")
        await bob.ask("leave", room="den")
        await bob.join("den")
        assert await eve.quiet() == []


async def test_who_becomes_somebody_else_stays_only_where_that_one_may(autojump_clock: MockClock) -> None:
    """A membership is the user's and not the connection's; coming back as oneself needs no invitation."""
    async with talking() as server, client(server, "/ws?name=ann&room=lobby") as ann:
        token = (await ann.ask("hello"))["session"]
        await ok(ann, "create", room="den", kind="private")
        await ann.join("den")
        async with client(server, "/ws?name=eve") as eve:
            other = (await eve.ask("hello"))["session"]
        await ann.quiet()
        await ann.ask("hello", resume=other)
        left = [frame for frame in await ann.quiet() if frame["op"] == "left"]
        assert [frame["room"] for frame in left] == ["den"]
        assert await code(ann, "join", room="den") == "private"
        await ok(ann, "say", room="lobby", text="still here")
        async with client(server) as again:
            await again.ask("hello", resume=token)
            assert (await again.join("den"))["role"] == "owner"


async def test_a_room_that_becomes_private(autojump_clock: MockClock) -> None:
    """Whoever is there stays; whoever comes later needs an invitation; opened again, everybody may come."""
    async with house() as home:
        ann = await home.client("ann")
        await ok(ann, "create", room="plaza")
        await ann.join("plaza")
        bob, eve = await home.clients("bob", "eve")
        await bob.join("plaza")
        await ok(ann, "settings", room="plaza", private=True)
        changed = await bob.until("settings")
        assert (changed["private"], changed["members"]) == (True, [user("ann"), user("bob")])
        assert await code(eve, "join", room="plaza") == "private"
        assert [room["room"] for room in (await eve.ask("rooms"))["rooms"]] == []
        assert [room["room"] for room in (await bob.ask("rooms"))["rooms"]] == ["plaza"]
        await ok(ann, "settings", room="plaza", private=False)
        assert (await eve.join("plaza"))["kind"] == "public"


def test_direct_names() -> None:
    """The same for both, another one for others, and a room's name."""
    name = direct_name("u-ann", "u-bob")
    assert name == direct_name("u-bob", "u-ann")
    assert name != direct_name("u-ann", "u-eve")
    assert schema.room_name(name) == name
    assert governing.is_direct_name(name)
    assert not governing.is_direct_name(name[:-1])
    assert not governing.is_direct_name(name[:-1] + "1")
    assert not governing.is_direct_name("xx" + name[2:])
