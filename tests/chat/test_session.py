"""The chat endpoint's operations, one by one, and every way to get them wrong."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.chat import limits
from trio_chat.chat.schema import User
from trio_chat.front.upgrade import Accept, UpgradeRequest
from trio_chat.testing import open_memory_server

from .talk import Frame, client, clients, talking

# --- saying who one is ---------------------------------------------------


async def test_hello_tells_who_one_is(autojump_clock: MockClock) -> None:
    """`welcome` has the name, the limits and a session; without hello one is a guest with a name made up."""
    async with talking(rate=7.0, burst=9, max_message=2048, heartbeat=50.0) as server, client(server) as ann:
        welcome = await ann.ask("hello", name="  Zoe\u0308 ")
        assert welcome["user"]["name"] == "Zoë"
        assert welcome["limits"] == {
            "max_message_bytes": 2048, "max_text_chars": 10_000, "max_rooms": 100, "rate": 7.0, "burst": 9,
            "max_file_bytes": 10 << 20,
        }  # fmt: skip
        assert welcome["heartbeat"] == 50.0
        assert welcome["session"]
        again = await ann.ask("hello")
        assert again["user"] == welcome["user"]
        async with client(server) as nobody:
            assert (await nobody.join())["user"]["name"].startswith("guest-")


async def test_the_name_in_the_query_counts_like_hello(autojump_clock: MockClock) -> None:
    """A name in use gets a number, and is free again when its holder has gone."""
    async with talking() as server:
        async with client(server, "/ws?name=ann") as one, client(server, "/ws?name=ann") as two:
            names = [(await each.ask("hello"))["user"]["name"] for each in (one, two)]
            assert names == ["ann", "ann-2"]
        await wait_all_tasks_blocked()
        async with client(server, "/ws?name=Ann") as three:
            assert (await three.ask("hello"))["user"]["name"] == "Ann"


async def test_rooms_in_the_query_are_joined(autojump_clock: MockClock) -> None:
    """``room`` may repeat; ``last`` replays that many messages of each."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for text in ("one", "two", "three"):
            await ann.say(text)
        async with client(server, "/ws?name=bob&room=lobby&room=r%C3%A4ume&last=2") as bob:
            joined = await bob.next()
            assert (joined["room"], joined["head"], joined["user"]["name"]) == ("lobby", 3, "bob")
            assert "re" not in joined
            assert (await bob.until("joined"))["room"] == "räume"
            assert await bob.texts(2) == [(2, "two"), (3, "three")]


BAD_QUERIES = [
    pytest.param("name=", "name", id="name empty"),
    pytest.param("name=" + "x" * 33, "name", id="name too long"),
    pytest.param("name=a%E2%80%AEb", "name", id="name bidirectional"),
    pytest.param("name=%ff", "name", id="name not UTF-8"),
    pytest.param("room=", "room", id="room empty"),
    pytest.param("room=a%20b", "room", id="room with a space"),
    pytest.param("room=a&last=x", "last", id="last is a word"),
    pytest.param("room=a&last=-1", "last", id="last negative"),
    pytest.param("room=a&last=" + "9" * 99, "last", id="last enormous"),
    pytest.param("room=a&room=a", "room", id="a room twice"),
]


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
async def test_bad_queries_are_errors_like_others(autojump_clock: MockClock, query: str, field: str) -> None:
    """What is wrong in the query is told in an error that names it, and the connection is kept."""
    async with talking() as server, client(server, f"/ws?{query}") as ann:
        error = await ann.until("error")
        assert error["message"].startswith(f"{field}:")
        assert (await ann.ask("ping"))["op"] == "pong"


async def test_a_session_token_brings_its_user_back(autojump_clock: MockClock) -> None:
    """``resume`` gives the same id and name, or the name asked for; a token of nobody is ignored."""
    async with talking() as server:
        async with client(server, "/ws?name=ann") as ann:
            first = await ann.ask("hello")
        await wait_all_tasks_blocked()
        async with client(server) as back, client(server) as renamed, client(server) as nobody:
            assert (await back.ask("hello", resume=first["session"]))["user"] == first["user"]
            other = await renamed.ask("hello", resume=first["session"], name="eve")
            assert other["user"] == {"id": first["user"]["id"], "name": "eve"}
            forged = await nobody.ask("hello", resume=first["session"][:-1] + "x", name="bob")
            assert forged["user"]["name"] == "bob"
            assert forged["user"]["id"] != first["user"]["id"]


async def test_hello_after_join_renames_everywhere(autojump_clock: MockClock) -> None:
    """The rooms joined already hear of the new name, list it, and messages carry it."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        was = (await ann.ask("hello"))["user"]
        user = (await ann.ask("hello", name="anna"))["user"]
        assert user == {"id": was["id"], "name": "anna"}
        presence = await bob.until("presence")
        assert (presence["user"], presence["online"]) == (user, True)
        assert user in (await bob.ask("who", room="lobby"))["members"]
        await ann.say("hi")
        (event,) = await bob.events(1)
        assert event["user"] == user
        token = (await bob.ask("hello"))["session"]
        resumed = await ann.ask("hello", resume=token)
        assert resumed["user"]["name"] == "bob"
        gone = await bob.until("presence")
        assert (gone["user"], gone["online"]) == (user, False)
        assert (await bob.ask("who", room="lobby"))["count"] == 1


async def test_who_is_signed_in_keeps_name_and_id(autojump_clock: MockClock) -> None:
    """Neither query nor hello renames a user that the upgrade handler named; guests don't get that name."""

    async def upgrade(request: UpgradeRequest) -> Accept:
        return Accept(user=User("u1", "ann")) if "x-user" in request.headers else Accept()

    async with (
        open_memory_server(upgrade=upgrade) as server,
        client(server, "/ws?name=eve", headers={"X-User": "ann"}) as ann,
        client(server, "/ws?name=Ann") as guest,
    ):
        assert (await ann.ask("hello", name="eve"))["user"] == {"id": "u1", "name": "ann"}
        assert (await guest.ask("hello"))["user"]["name"] == "Ann-2"


# --- rooms ---------------------------------------------------


async def test_joined_tells_the_state_of_the_room(autojump_clock: MockClock) -> None:
    """Epoch, head, members and oneself, before any event."""
    async with talking() as server, clients(server, "ann") as (ann,):
        await ann.say("one")
        async with client(server, "/ws?name=bob") as bob:
            joined = await bob.join(id="j")
            assert joined.pop("epoch")
            names = [user["name"] for user in joined.pop("members")]
            assert (names, joined.pop("user")["name"]) == (["ann", "bob"], "bob")
            assert joined == {
                "op": "joined", "re": "j", "room": "lobby", "head": 1, "recovered": False, "topic": "",
                "count": 2, "kind": "public", "role": "member",
            }  # fmt: skip
            assert await bob.quiet() == []


async def test_leaving_ends_everything(autojump_clock: MockClock) -> None:
    """After `left` no event of the room comes; one may join again; the last one out takes the room along."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        assert await bob.ask("leave", room="lobby", id="x") == {"op": "left", "re": "x", "room": "lobby"}
        await ann.say("alone")
        assert await bob.quiet() == []
        assert (await bob.join())["head"] == 1
        for each in (ann, bob):
            await each.ask("leave", room="lobby")
        await ann.quiet()
        assert not server.hub.rooms


SINCE: list[tuple[str, Frame, bool, list[int]]] = [
    ("from the beginning", {"since": 0}, True, [1, 2, 3, 4, 5]),
    ("a position", {"since": 3}, True, [4, 5]),
    ("the head", {"since": 5}, True, []),
    ("with the right epoch", {"since": 4, "epoch": True}, True, [5]),
    ("with another epoch", {"since": 4, "epoch": "another"}, False, []),
    ("beyond the head", {"since": 6}, False, []),
    ("far beyond the head", {"since": 2**53 - 1}, False, []),
    ("the last two", {"last": 2}, False, [4, 5]),
    ("the last none", {"last": 0}, False, []),
    ("more than there are", {"last": 1000}, False, [1, 2, 3, 4, 5]),
    ("since before last", {"since": 4, "last": 3}, True, [5]),
    ("nothing", {}, False, []),
]


@pytest.mark.parametrize(
    ("fields", "recovered", "missed"), [row[1:] for row in SINCE], ids=[row[0] for row in SINCE]
)
async def test_joining_at_a_position(
    autojump_clock: MockClock, fields: Frame, recovered: bool, missed: list[int]
) -> None:
    """`joined` says whether the position could be honoured; then come exactly the missed events, and live
    ones."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for i in range(1, 6):
            await ann.say(f"m{i}")
        async with client(server) as bob:
            if fields.get("epoch") is True:
                fields = {**fields, "epoch": server.hub.rooms["lobby"].epoch}
            joined = await bob.join(**fields)
            assert (joined["head"], joined["recovered"]) == (5, recovered)
            await ann.say("live")
            events = await bob.events(len(missed) + 1)
            assert [event["seq"] for event in events] == [*missed, 6]
            assert [event for event in await bob.quiet() if event["op"] == "message"] == []


async def test_who_and_rooms(autojump_clock: MockClock) -> None:
    """`members` lists the room's users, `rooms` every room with events or members, the latest first."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        await ann.join("silent")
        await ann.join("old")
        await ann.say("x", "old")
        await trio.sleep(1)
        await ann.say("y")
        members = await bob.ask("who", room="lobby")
        assert ([user["name"] for user in members["members"]], members["count"]) == (["ann", "bob"], 2)
        rooms = (await bob.ask("rooms"))["rooms"]
        assert {(room["room"], room["count"], room["head"]) for room in rooms} == {
            ("lobby", 2, 1), ("old", 1, 1), ("silent", 1, 0),
        }  # fmt: skip
        assert rooms[0]["room"] == "lobby"
        await ann.ask("leave", room="old")
        assert {"room": "old", "count": 0, "head": 1, "kind": "public"} in (await bob.ask("rooms"))["rooms"]


async def test_a_room_has_one_name(autojump_clock: MockClock) -> None:
    """A name that isn't in NFC is the same room."""
    async with talking() as server, clients(server, "ann", room="räume") as (ann,):
        assert (await ann.ask("join", room="ra\u0308ume"))["code"] == "already_joined"
        assert (await ann.ask("say", room="ra\u0308ume", text="hi"))["room"] == "räume"


async def test_too_many_rooms(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a join is refused by name; after leaving one there is place again."""
    monkeypatch.setattr(limits, "MAX_ROOMS_PER_SESSION", 3)
    async with talking() as server, client(server) as ann:
        for room in "abc":
            await ann.join(room)
        error = await ann.ask("join", room="d")
        assert (error["code"], error["message"][:5]) == ("too_many_rooms", "room:")
        await ann.ask("leave", room="a")
        await ann.join("d")


# --- messages ---------------------------------------------------


async def test_a_message_comes_to_everybody_alike(autojump_clock: MockClock) -> None:
    """The sender gets an ack with seq and time, and the event like all others: the same bytes."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        ack = await ann.ask("say", room="lobby", text="h\u00e9 <b>\u0000\U0001f600</b>", id="m1")
        first, second = (await ann.events(1))[0], (await bob.events(1))[0]
        assert first == second
        assert (ack["seq"], ack["at"], ack["room"]) == (first["seq"], first["at"], "lobby")
        assert first == {
            "op": "message", "room": "lobby", "seq": 1, "at": ack["at"], "id": "m1",
            "text": "h\u00e9 <b>\u0000\U0001f600</b>", "user": (await ann.ask("hello"))["user"],
        }  # fmt: skip
        await bob.say("re", reply_to=1, id="m2")
        assert (await ann.events(1))[0]["reply_to"] == 1


async def test_a_client_without_ids_is_acknowledged_too(autojump_clock: MockClock) -> None:
    """``id`` is optional: the ack has no ``re`` then, and the same text twice is two messages."""
    async with talking() as server, client(server) as ann:
        await ann.join()
        for _ in range(2):
            await ann.send("say", room="lobby", text="same")
        acks = [await ann.until("ack") for _ in range(2)]
        assert [(ack["seq"], "re" in ack) for ack in acks] == [(1, False), (2, False)]


async def test_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    """Also when some have to wait for the log, and whatever their number."""
    async with talking() as server, client(server) as ann:
        await ann.join()
        order = []
        for i in range(60):
            kind = ("ping", "who", "history", "rooms", "fly", "ping")[i % 6]
            await ann.send(kind, room="lobby", id=str(i))
            order.append(str(i))
        assert [(await ann.next())["re"] for _ in order] == order


async def test_history_pages(autojump_clock: MockClock) -> None:
    """``before``, ``after``, neither; ``more`` says whether there is anything beyond in that direction."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for i in range(1, 8):
            await ann.say(f"m{i}")

        async def page(**fields: int) -> tuple[list[int], bool]:
            reply = await ann.ask("history", room="lobby", **fields)
            return [message["seq"] for message in reply["messages"]], reply["more"]

        assert await page() == ([1, 2, 3, 4, 5, 6, 7], False)
        assert await page(limit=3) == ([5, 6, 7], True)
        assert await page(before=5, limit=2) == ([3, 4], True)
        assert await page(before=3, limit=2) == ([1, 2], False)
        assert await page(before=1) == ([], False)
        assert await page(before=0) == ([], False)
        assert await page(before=1000, limit=1) == ([7], True)
        assert await page(after=0, limit=3) == ([1, 2, 3], True)
        assert await page(after=5, limit=2) == ([6, 7], False)
        assert await page(after=5) == ([6, 7], False)
        assert await page(after=7) == ([], False)
        assert await page(after=1000) == ([], False)
        reply = await ann.ask("history", room="lobby", limit=1)
        assert reply["messages"][0] == (await ann.events(7))[6]


async def test_history_of_long_messages(autojump_clock: MockClock) -> None:
    """A page that ends early, because its messages are long, says that there is more; nothing is lost."""
    async with talking() as server, clients(server, "ann") as (ann,):
        for _ in range(20):
            await ann.say("😀" * 10_000)
            await ann.until("message")
        for name, start in (("before", 1000), ("after", 0)):
            found: list[int] = []
            position, more = start, True
            while more:
                reply = await ann.ask("history", room="lobby", limit=20, **{name: position})
                seqs = [message["seq"] for message in reply["messages"]]
                assert len(seqs) < 20
                found = seqs + found if name == "before" else found + seqs
                position, more = (seqs[0] if name == "before" else seqs[-1]), reply["more"]
            assert found == list(range(1, 21))


# --- wrong requests ---------------------------------------------------

WRONG = [
    pytest.param("hello", "bad_request", "", id="not JSON"),
    pytest.param("", "bad_request", "", id="empty"),
    pytest.param("[]", "bad_request", "", id="an array"),
    pytest.param("{}", "bad_request", "op", id="no op"),
    pytest.param('{"op":"fly"}', "bad_request", "op", id="unknown op"),
    pytest.param('{"op":7}', "bad_request", "op", id="op is a number"),
    pytest.param('{"op":"ping","id":7}', "bad_request", "id", id="id is a number"),
    pytest.param('{"op":"ping","id":""}', "bad_request", "id", id="id is empty"),
    pytest.param('{"op":"ping","id":"' + "x" * 65 + '"}', "bad_request", "id", id="id is too long"),
    pytest.param('{"op":"join"}', "bad_request", "room", id="room missing"),
    pytest.param('{"op":"join","room":7}', "bad_request", "room", id="room is a number"),
    pytest.param('{"op":"join","room":"a b"}', "bad_request", "room", id="room with a space"),
    pytest.param('{"op":"join","room":"' + "x" * 65 + '"}', "bad_request", "room", id="room too long"),
    pytest.param('{"op":"join","room":"a","since":-1}', "bad_request", "since", id="since negative"),
    pytest.param('{"op":"join","room":"a","since":"1"}', "bad_request", "since", id="since is text"),
    pytest.param('{"op":"join","room":"a","last":-1}', "bad_request", "last", id="last negative"),
    pytest.param('{"op":"join","room":"a","epoch":1}', "bad_request", "epoch", id="epoch is a number"),
    pytest.param('{"op":"join","room":"lobby"}', "already_joined", "room", id="joined twice"),
    pytest.param('{"op":"leave","room":"other"}', "not_joined", "room", id="leave: not joined"),
    pytest.param('{"op":"say","room":"other","text":"x"}', "not_joined", "room", id="say: not joined"),
    pytest.param('{"op":"say","room":"lobby"}', "bad_request", "text", id="text missing"),
    pytest.param('{"op":"say","room":"lobby","text":""}', "bad_request", "text", id="text empty"),
    pytest.param('{"op":"say","room":"lobby","text":null}', "bad_request", "text", id="text null"),
    pytest.param(
        '{"op":"say","room":"lobby","text":"' + "x" * 10_001 + '"}', "bad_request", "text", id="text too long"
    ),
    pytest.param(
        '{"op":"say","room":"lobby","text":"x","reply_to":1}',
        "bad_request",
        "reply_to",
        id="reply to nothing",
    ),
    pytest.param('{"op":"typing","room":"other"}', "not_joined", "room", id="typing: not joined"),
    pytest.param('{"op":"who","room":"other"}', "not_joined", "room", id="who: not joined"),
    pytest.param('{"op":"history","room":"other"}', "not_joined", "room", id="history: not joined"),
    pytest.param('{"op":"history","room":"lobby","limit":0}', "bad_request", "limit", id="limit 0"),
    pytest.param('{"op":"history","room":"lobby","limit":201}', "bad_request", "limit", id="limit 201"),
    pytest.param(
        '{"op":"history","room":"lobby","before":1,"after":1}', "bad_request", "after", id="before and after"
    ),
    pytest.param('{"op":"hello","name":""}', "bad_request", "name", id="name empty"),
    pytest.param('{"op":"hello","name":"a\\nb"}', "bad_request", "name", id="name with a line feed"),
    pytest.param('{"op":"hello","name":7}', "bad_request", "name", id="name is a number"),
    pytest.param('{"op":"hello","token":"x"}', "bad_token", "token", id="token"),
    pytest.param('{"op":"ping","x":' + "[" * 30000 + "]" * 30000 + "}", "bad_request", "", id="deep"),
]


@pytest.mark.parametrize(("text", "code", "field"), WRONG)
async def test_wrong_requests_are_named_and_forgiven(
    autojump_clock: MockClock, text: str, code: str, field: str
) -> None:
    """The error has a code, names the field, repeats the ``id``; the connection is kept, nothing changed."""
    async with talking() as server, clients(server, "ann", "bob") as (ann, bob):
        with_id = text.replace('{"op"', '{"id":"r1","op"', 1) if '"id"' not in text else text
        await ann.raw(with_id)
        error = await ann.next()
        assert (error["op"], error["code"]) == ("error", code)
        assert error["message"]
        if field:
            assert field in error["message"]
            if '"id":"r1"' in with_id:
                assert error["re"] == "r1"
        assert (await ann.ask("ping"))["op"] == "pong"
        assert await ann.say("fine") == 1
        assert [frame["op"] for frame in await bob.quiet()] == ["message"]


async def test_too_many_wrong_requests(autojump_clock: MockClock) -> None:
    """Some are forgiven, more with time; then comes a `bye` and 4510."""
    async with talking() as server, client(server) as ann, client(server) as patient:
        for _ in range(limits.MAX_BAD_REQUESTS + 1):
            await ann.raw("x")
        assert await ann.closed() == (4510, "too many bad requests")
        assert [frame["op"] for frame in ann.heard[-2:]] == ["error", "bye"]
        assert ann.heard[-1]["code"] == 4510
        for _ in range(3 * limits.MAX_BAD_REQUESTS):
            await patient.raw("x")
            assert (await patient.next())["op"] == "error"
            await trio.sleep(1)


# --- the rate ---------------------------------------------------


async def test_a_client_above_its_rate_is_slowed_down(autojump_clock: MockClock) -> None:
    """After the burst operations pass at the rate, all of them, in order."""
    async with talking(rate=10.0, burst=5) as server, client(server) as ann:
        began = trio.current_time()
        for i in range(25):
            await ann.send("ping", id=str(i))
        assert [(await ann.next())["re"] for i in range(25)] == [str(i) for i in range(25)]
        assert trio.current_time() - began == pytest.approx(2.0, abs=0.2)


async def test_long_operations_count_several_times(autojump_clock: MockClock) -> None:
    """Bytes have a rate too: one operation for each 4 KiB that has begun."""
    async with talking(rate=10.0, burst=5) as server, client(server) as ann:
        await ann.ask("join", room="lobby")
        await trio.sleep(10)
        began = trio.current_time()
        for _ in range(10):
            await ann.ask("say", room="lobby", text="x" * 9000)
        assert trio.current_time() - began == pytest.approx((10 * 3 - 5) / 10, abs=0.4)


@pytest.mark.parametrize(("burst", "rest"), [(5, 1.0), (40, 4.0), (1000, 60.0)])
async def test_a_client_that_will_not_slow_down_is_closed(
    autojump_clock: MockClock, burst: int, rest: float
) -> None:
    """Who keeps exceeding its rate gets 4029, and before it a `bye` that names the time in which its burst
    comes back, within bounds."""
    async with talking(rate=10.0, burst=burst) as server, client(server) as ann:
        for _ in range(burst):
            await ann.ask("ping")
        began = trio.current_time()
        for _ in range(300):
            await ann.send("ping")
        assert await ann.closed() == (4029, "more than 10 operations per second for too long")
        assert trio.current_time() - began == pytest.approx(limits.MAX_THROTTLED_SECONDS, abs=1)
        assert ann.heard[-1]["op"] == "bye"
        assert ann.heard[-1]["retry_after"] == pytest.approx(rest, abs=0.2)


async def test_a_client_that_waits_for_its_answers_is_only_slowed_down(autojump_clock: MockClock) -> None:
    """Whoever sends the next request after the reply to the last one may go on for ever, at the rate."""
    async with talking(rate=10.0, burst=5) as server, client(server) as ann:
        for _ in range(20):
            await ann.send("ping")
        for _ in range(20):
            await ann.next()
        began = trio.current_time()
        for _ in range(1000):
            assert (await ann.ask("ping"))["op"] == "pong"
        assert trio.current_time() - began == pytest.approx(100, rel=0.1)


async def test_bursts_with_pauses_are_no_offence(autojump_clock: MockClock) -> None:
    """A burst that exceeds the rate is forgotten after a pause, however often."""
    async with talking(rate=10.0, burst=5) as server, client(server) as ann:
        for _ in range(20):
            for _ in range(8):
                await ann.send("ping")
            for _ in range(8):
                assert (await ann.next())["op"] == "pong"
            await trio.sleep(60)
