"""The protocol's types: what they decode, what they refuse by name, and the rules for names."""

import json
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.chat import schema
from trio_chat.chat.schema import ClientOp, ServerOp, User, room_name, user_name

ANN = User("guest-1", "ann")

REQUESTS: list[tuple[bytes, ClientOp]] = [
    (b'{"op":"hello"}', schema.Hello()),
    (b'{"op":"hello","id":"1","name":"ann"}', schema.Hello(id="1", name="ann")),
    (b'{"op":"hello","token":"t","resume":"r"}', schema.Hello(token="t", resume="r")),
    (b'{"op":"join","room":"a"}', schema.Join(room="a")),
    (b'{"op":"join","room":"a","since":0,"epoch":"e"}', schema.Join(room="a", since=0, epoch="e")),
    (b'{"op":"join","room":"a","last":20}', schema.Join(room="a", last=20)),
    (b'{"op":"leave","room":"a"}', schema.Leave(room="a")),
    (b'{"op":"say","room":"a","text":"hi","reply_to":1}', schema.Say(room="a", text="hi", reply_to=1)),
    (b'{"op":"typing","room":"a"}', schema.Typing(room="a")),
    (b'{"op":"history","room":"a"}', schema.History(room="a", limit=50)),
    (b'{"op":"history","room":"a","before":9,"limit":200}', schema.History(room="a", before=9, limit=200)),
    (b'{"op":"leave","room":"a","for_good":true}', schema.Leave(room="a", for_good=True)),
    (b'{"op":"create","room":"a"}', schema.Create(room="a", kind="public", topic="")),
    (
        b'{"op":"create","room":"a","kind":"private","topic":"t"}',
        schema.Create(room="a", kind="private", topic="t"),
    ),
    (b'{"op":"direct","user":"u"}', schema.Direct(user="u")),
    (b'{"op":"invite","room":"a","user":"u"}', schema.Invite(room="a", user="u")),
    (
        b'{"op":"invite","room":"a","link":true,"expires_in":60}',
        schema.Invite(room="a", link=True, expires_in=60),
    ),
    (b'{"op":"ask","room":"a","text":"me"}', schema.Ask(room="a", text="me")),
    (
        b'{"op":"role","room":"a","user":"u","role":"owner"}',
        schema.ChangeRole(room="a", user="u", role="owner"),
    ),
    (b'{"op":"kick","room":"a","user":"u","reason":"r"}', schema.Kick(room="a", user="u", reason="r")),
    (b'{"op":"ban","room":"a","user":"u","seconds":1}', schema.Ban(room="a", user="u", seconds=1)),
    (b'{"op":"unban","room":"a","user":"u"}', schema.Unban(room="a", user="u")),
    (b'{"op":"mute","room":"a","user":"u"}', schema.Mute(room="a", user="u")),
    (b'{"op":"unmute","room":"a","user":"u"}', schema.Unmute(room="a", user="u")),
    (
        b'{"op":"settings","room":"a","slow_seconds":0,"archived":true,"private":false}',
        schema.ChangeSettings(room="a", slow_seconds=0, archived=True, private=False),
    ),
    (b'{"op":"join","room":"a","invitation":"i"}', schema.Join(room="a", invitation="i")),
    (b'{"op":"who","room":"a"}', schema.Who(room="a")),
    (b'{"op":"rooms"}', schema.Rooms()),
    (b'{"op":"ping","id":"p"}', schema.Ping(id="p")),
    (b'{"id":"p","op":"ping"}', schema.Ping(id="p")),
    (b'{"op":"ping","unknown":[1,2],"from":"the future"}', schema.Ping()),
]


@pytest.mark.parametrize(("data", "request_"), REQUESTS, ids=lambda value: str(value)[:40])
def test_requests_are_decoded(data: bytes, request_: ClientOp) -> None:
    """Each operation's JSON gives its type; the order of fields and unknown ones don't matter."""
    assert schema.decode_client_op(data) == request_
    assert schema.decode_client_op(schema.encode(request_)) == request_


REFUSED = [
    pytest.param(b"", "truncated", id="nothing"),
    pytest.param(b"hello", "malformed", id="not JSON"),
    pytest.param(b'{"op":"ping"', "truncated", id="half an object"),
    pytest.param(b'{"op":"ping"}{}', "trailing", id="two objects"),
    pytest.param(b"[]", "object", id="an array"),
    pytest.param(b"{}", "op", id="no op"),
    pytest.param(b'{"op":"fly"}', "fly", id="an unknown op"),
    pytest.param(b'{"op":1}', "$.op", id="op is a number"),
    pytest.param(b'{"op":null}', "$.op", id="op is null"),
    pytest.param(b'{"op":"say","text":"x"}', "room", id="room missing"),
    pytest.param(b'{"op":"say","room":"a"}', "text", id="text missing"),
    pytest.param(b'{"op":"say","room":1,"text":"x"}', "$.room", id="room is a number"),
    pytest.param(b'{"op":"say","room":"a","text":"x","files":["x"]}', "$.files", id="no hash"),
    pytest.param(b'{"op":"say","room":"a","text":"' + b"x" * 10001 + b'"}', "$.text", id="text too long"),
    pytest.param(b'{"op":"say","room":"a","text":"x","reply_to":0}', "$.reply_to", id="reply to 0"),
    pytest.param(b'{"op":"say","room":"a","text":"\\ud800"}', "", id="half a surrogate pair"),
    pytest.param(b'{"op":"edit","room":"a","seq":0,"text":"x"}', "$.seq", id="edit of 0"),
    pytest.param(b'{"op":"edit","room":"a","seq":1,"text":""}', "$.text", id="edit to nothing"),
    pytest.param(b'{"op":"delete","room":"a"}', "seq", id="delete without seq"),
    pytest.param(b'{"op":"react","room":"a","seq":1,"emoji":""}', "$.emoji", id="emoji empty"),
    pytest.param(b'{"op":"unreact","room":"a","seq":1,"emoji":"12345678901234567"}', "$.emoji", id="long"),
    pytest.param(b'{"op":"topic","room":"a","text":"' + b"x" * 251 + b'"}', "$.text", id="topic too long"),
    pytest.param(b'{"op":"create","room":"a","kind":"direct"}', "$.kind", id="created direct"),
    pytest.param(b'{"op":"create","room":"a","topic":"' + b"x" * 251 + b'"}', "$.topic", id="long topic"),
    pytest.param(b'{"op":"direct","user":""}', "$.user", id="direct with nobody"),
    pytest.param(b'{"op":"direct","user":"' + b"x" * 129 + b'"}', "$.user", id="user id too long"),
    pytest.param(b'{"op":"invite","room":"a","link":true,"expires_in":59}', "$.expires_in", id="too short"),
    pytest.param(b'{"op":"invite","room":"a","link":true,"expires_in":1e9}', "$.expires_in", id="too long"),
    pytest.param(b'{"op":"role","room":"a","user":"u","role":"admin"}', "$.role", id="admin is no role"),
    pytest.param(b'{"op":"role","room":"a","user":"u"}', "role", id="no role"),
    pytest.param(b'{"op":"kick","room":"a","user":"u","reason":"' + b"x" * 251 + b'"}', "$.reason", id="why"),
    pytest.param(b'{"op":"ban","room":"a","user":"u","seconds":0}', "$.seconds", id="a ban of nothing"),
    pytest.param(b'{"op":"mute","room":"a","user":"u","seconds":-1}', "$.seconds", id="a mute of less"),
    pytest.param(b'{"op":"settings","room":"a","slow_seconds":3601}', "$.slow_seconds", id="too slow"),
    pytest.param(b'{"op":"settings","room":"a","archived":1}', "$.archived", id="archived is 1"),
    pytest.param(b'{"op":"search","text":""}', "$.text", id="search for nothing"),
    pytest.param(b'{"op":"search","text":"x","limit":51}', "$.limit", id="too many to be found"),
    pytest.param(b'{"op":"read","room":"a","seq":-1}', "$.seq", id="read up to -1"),
    pytest.param(b'{"op":"ping","id":""}', "$.id", id="id empty"),
    pytest.param(b'{"op":"ping","id":"' + b"x" * 65 + b'"}', "$.id", id="id too long"),
    pytest.param(b'{"op":"ping","id":7}', "$.id", id="id is a number"),
    pytest.param(b'{"op":"ping","id":null}', "$.id", id="id is null"),
    pytest.param(b'{"op":"join","room":"a","since":-1}', "$.since", id="since negative"),
    pytest.param(b'{"op":"join","room":"a","since":1.5}', "$.since", id="since a fraction"),
    pytest.param(b'{"op":"join","room":"a","since":9007199254740992}', "$.since", id="since beyond 2^53"),
    pytest.param(b'{"op":"join","room":"a","since":1e400}', "", id="since infinite"),
    pytest.param(b'{"op":"join","room":"a","last":true}', "$.last", id="last is true"),
    pytest.param(b'{"op":"history","room":"a","limit":0}', "$.limit", id="limit 0"),
    pytest.param(b'{"op":"history","room":"a","limit":201}', "$.limit", id="limit 201"),
    pytest.param(b'{"op":"ack","room":"a","seq":1,"at":1}', "ack", id="a server's op"),
    pytest.param(b'{"op":"ping","deep":' + b"[" * 100_000, "", id="very deep"),
]


@pytest.mark.parametrize(("data", "named"), REFUSED)
def test_wrong_requests_are_refused_by_name(data: bytes, named: str) -> None:
    """What is wrong raises an error that names the field."""
    with pytest.raises((msgspec.MsgspecError, RecursionError)) as caught:
        schema.decode_client_op(data)
    assert named in str(caught.value)


SERVER_OPS: list[ServerOp] = [
    schema.Welcome(
        re="1",
        session="s",
        user=ANN,
        limits=schema.Limits(max_message_bytes=1, max_text_chars=2, max_rooms=3, rate=4.0, burst=5),
        heartbeat=20.0,
    ),
    schema.Joined(
        room="a",
        epoch="e",
        head=0,
        recovered=False,
        topic="",
        members=[ANN],
        count=1,
        user=ANN,
        kind="private",
        role="owner",
        slow_seconds=5.0,
        archived=True,
        muted_until=0.0,
    ),
    schema.Left(re="2", room="a"),
    schema.Left(room="a", code=4503, reason="noise"),
    schema.Ack(room="a", seq=1, at=1.5),
    schema.HistoryPage(room="a", messages=[msgspec.Raw(b'{"seq":1}')], more=True, as_of=1),
    schema.FoundMessages(messages=[], more=False),
    schema.FoundMessages(re="1", messages=[msgspec.Raw(b'{"seq":1}')], more=True, next="x"),
    schema.ReadSignal(room="a", user=ANN, seq=1),
    schema.Members(room="a", members=[], count=0),
    schema.RoomList(
        rooms=[
            schema.RoomInfo("a", 1, 2, "public"),
            schema.RoomInfo("dm", 1, 2, "direct", role="member", topic="us", archived=True, with_=ANN),
        ]
    ),
    schema.Pong(re="3"),
    schema.Error(code="bad_request", message="room: no", retry_after=2.0),
    schema.Bye(code=1012, reason="the server restarts", retry_after=1.25),
    schema.Message(room="a", seq=1, at=1.5, user=ANN, text="hi", id="x", reply_to=1, mentions=["b"]),
    schema.Message(room="a", seq=1, at=1.5, user=ANN, text="", deleted=True, mentions_all=True),
    schema.Message(
        room="a",
        seq=1,
        at=1.5,
        user=ANN,
        text="hi",
        edited_at=2.5,
        reactions=[schema.Reaction("👍", 11, ["a", "b"], me=True), schema.Reaction("👎", 1, ["c"])],
    ),
    schema.Edited(room="a", seq=2, at=1.5, user=ANN, target=1, text="ho", mentions=["b"], id="x"),
    schema.Deleted(room="a", seq=2, at=1.5, user=ANN, target=1),
    schema.Reacted(room="a", seq=2, at=1.5, user=ANN, target=1, emoji="👍"),
    schema.Unreacted(room="a", seq=2, at=1.5, user=ANN, target=1, emoji="👍"),
    schema.TopicChanged(room="a", seq=2, at=1.5, user=ANN, text=""),
    schema.Created(room="a", seq=1, at=1.5, user=ANN, kind="direct", members=[ANN, ANN], topic="us", id="x"),
    schema.MemberChanged(
        room="a",
        seq=1,
        at=1.5,
        user=ANN,
        target=ANN,
        role="banned",
        reason="noise",
        until=9.5,
        admin=True,
        invited_by="b",
        id="x",
    ),
    schema.Muted(room="a", seq=1, at=1.5, user=ANN, target=ANN, until=9.5, id="x", admin=True),
    schema.Unmuted(room="a", seq=1, at=1.5, user=ANN, target=ANN),
    schema.SettingsChanged(room="a", seq=1, at=1.5, user=ANN, slow_seconds=0.0, archived=False),
    schema.SettingsChanged(room="a", seq=1, at=1.5, user=ANN, private=True, members=[ANN], id="x"),
    schema.Asked(room="a", seq=1, at=1.5, user=ANN, text="please"),
    schema.Invited(room="a", kind="private", user=ANN),
    schema.DirectRoom(re="1", room="dm-a", with_=ANN),
    schema.InvitationLink(re="1", room="a", token="t", expires_at=9),
    schema.Presence(room="a", user=ANN, online=True),
    schema.Presence(room="a", user=ANN, online=True, away=True),
    schema.Count(room="a", count=101),
    schema.TypingSignal(room="a", user=ANN),
    schema.Lagging(room="a", seq=5),
    schema.Gap(room="a", from_=1, to=5),
]


@pytest.mark.parametrize("op", SERVER_OPS, ids=lambda op: type(op).__name__)
def test_server_operations_round_trip(op: ServerOp) -> None:
    """``op`` comes first, absent fields are left out, and the other side decodes the same."""
    data = schema.encode(op)
    assert data.startswith(b'{"op":"')
    assert b"null" not in data
    assert schema.decode_server_op(data) == op


def test_every_type_has_a_name_of_its_own() -> None:
    """No two operations of one direction share an ``op``; only some go both ways."""
    names = [kind.__struct_config__.tag for kind in ClientOp.__args__]
    assert len(set(names)) == len(names)
    others = [kind.__struct_config__.tag for kind in ServerOp.__args__]
    assert len(set(others)) == len(others)
    assert set(names) & set(others) == {"typing", "history", "rooms", "topic", "direct", "settings", "read"}


@given(
    st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()),
    st.integers(1, 2**53),
    st.integers(0, 2**42),
)
def test_an_event_is_the_same_live_and_from_the_log(text: str, seq: int, at_ms: int) -> None:
    """The prefix, numbers and body put together are one operation, to the millisecond."""
    body = schema.encode_body(schema.MessageBody(ANN, text, "id\u00e9"))
    data = schema.encode_event(schema.event_prefix("message", "räume"), seq, at_ms, body)
    event = schema.decode_server_op(data)
    assert event == schema.Message(
        room="räume",
        seq=seq,
        at=float(f"{at_ms // 1000}.{at_ms % 1000:03}"),
        user=ANN,
        text=text,
        id="id\u00e9",
    )


# --- names ---------------------------------------------------

ROOMS = [
    ("lobby", "lobby"),
    ("a", "a"),
    ("a-b_c.9", "a-b_c.9"),
    ("x" * 64, "x" * 64),
    ("räume", "räume"),
    ("ra\u0308ume", "räume"),
    ("中文", "中文"),
    ("हिन्दी", "हिन्दी"),
    ("٣", "٣"),
    ("e\u0301" * 64, "é" * 64),
]
BAD_ROOMS = [
    "", "x" * 65, "a b", "a/b", "#lobby", "a\n", "a\0", "😀", "½", "²", "a\u200b", "a\u202e", "\ud800", " a",
    "e\u0301" * 65, "a:b", "a'b", "<b>", "Ⅷ", "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize(("given_name", "name"), ROOMS)
def test_room_names(given_name: str, name: str) -> None:
    """Letters, digits and marks of any script, ``-``, ``_`` and ``.``, in NFC."""
    assert room_name(given_name) == name
    assert room_name(name) == name


@pytest.mark.parametrize("name", BAD_ROOMS, ids=lambda name: ascii(name[:10]))
def test_bad_room_names_are_refused(name: str) -> None:
    """Anything else is refused by a sentence that names the field."""
    with pytest.raises(ValueError, match=r"^room: 1 to 64 letters"):
        room_name(name)


CASES: dict[str, list[tuple[str, str | None]]] = json.loads(
    Path(__file__).with_name("names.json").read_text()
)
"""What a name becomes, or null; the page's own rules are held against the same file."""


@pytest.mark.parametrize(
    ("kind", "given_name", "name"),
    [(kind, *case) for kind, cases in CASES.items() for case in cases],
    ids=lambda value: ascii(value)[:30],
)
def test_names_that_the_page_knows_too(kind: str, given_name: str, name: str | None) -> None:
    """The server and the page agree on what is a name."""
    rule = {"rooms": room_name, "users": user_name}[kind]
    if name is not None:
        assert rule(given_name) == name
    else:
        with pytest.raises(ValueError, match=r"^(room|name): "):
            rule(given_name)


RULES = [
    (room_name, "..", "room: something beside dots"),
    (room_name, "lobby\u034f", "room: no invisible characters"),
    (room_name, "\u0301", "room: does not begin with a combining mark"),
    (user_name, "ann\u034f", "name: no invisible characters"),
    (user_name, "\u2800", "name: no invisible characters"),
    (user_name, "\u0301", "name: does not begin with a combining mark"),
    (user_name, "\ufffd", "name: no U+FFFD, which stands for what could not be read as UTF-8"),
    (user_name, "a\u202eb", "name: no control, bidirectional or other format characters"),
]


@pytest.mark.parametrize(("rule", "name", "message"), RULES, ids=lambda value: ascii(value)[:20])
def test_the_broken_rule_is_told(rule: Callable[[str], str], name: str, message: str) -> None:
    """Not only that a name is wrong, but why."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rule(name)


USERS = [
    ("ann", "ann"),
    ("  ann  ", "ann"),
    ("\tann\n", "ann"),
    ("Ann Lee", "Ann Lee"),
    ("\u3000ann\u00a0", "ann"),
    ("Zoe\u0308", "Zoë"),
    ("李雷", "李雷"),
    ("😀", "😀"),
    ("x" * 32, "x" * 32),
    ("e\u0301" * 32, "é" * 32),
    (" " * 100 + "ann", "ann"),
    ('O\'Neil <3 & "quotes"', 'O\'Neil <3 & "quotes"'),
]
BAD_USERS = [
    "", "   ", "x" * 33, "a\nb", "a\0b", "a\x7fb", "a\u202eb", "a\u2066b", "a\u200bb", "a\u200db",
    "\ufeffann", "a\u2028b", "a\ue000", "a\u0378", "\ud800", "e\u0301" * 33, "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize(("given_name", "name"), USERS)
def test_user_names(given_name: str, name: str) -> None:
    """Anything visible, trimmed and in NFC."""
    assert user_name(given_name) == name
    assert user_name(name) == name


@pytest.mark.parametrize("name", BAD_USERS, ids=lambda name: ascii(name[:10]))
def test_bad_user_names_are_refused(name: str) -> None:
    """Empty, too long, control, bidirectional, zero-width, private, unassigned: refused, naming the field."""
    with pytest.raises(ValueError, match=r"^name: "):
        user_name(name)


@given(st.text(max_size=80))
def test_rules_are_stable(value: str) -> None:
    """A name that passed passes again unchanged, is NFC, and fits; nothing but `ValueError` is raised."""
    for rule, most in ((room_name, 64), (user_name, 32)):
        try:
            name = rule(value)
        except ValueError:
            continue
        assert rule(name) == name == unicodedata.normalize("NFC", name)
        assert 1 <= len(name) <= most


@pytest.mark.parametrize("rule", [room_name, user_name])
def test_long_names_cost_no_time(rule: object) -> None:
    """Normalising many combining marks takes quadratic time, so it must not be done to what is too long."""
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"1 to"):
        rule("a" + "\u0301\u0316" * 40_000)  # type: ignore[operator]
    assert time.perf_counter() - began < 1


REQUEST_IDS = [
    (b'{"op":"fly","id":"x"}', "x"),
    (b'{"id":"x","op":1}', "x"),
    (b'{"id":7}', msgspec.UNSET),
    (b'{"id":""}', msgspec.UNSET),
    (b'{"id":"' + b"x" * 65 + b'"}', msgspec.UNSET),
    (b"[]", msgspec.UNSET),
    (b"null", msgspec.UNSET),
    (b"{", msgspec.UNSET),
    (b"[" * 100_000, msgspec.UNSET),
    (b'"\xff"', msgspec.UNSET),
]


@pytest.mark.parametrize(("data", "found"), REQUEST_IDS, ids=lambda value: str(value)[:20])
def test_the_id_of_a_wrong_request_is_found_if_it_has_one(data: bytes, found: object) -> None:
    """An error can carry ``re`` even when the request itself makes no sense."""
    assert schema.request_id(data) == found
