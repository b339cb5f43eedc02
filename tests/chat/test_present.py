"""A message as it is now, folded from its events."""

import msgspec
import pytest

from trio_chat.chat import schema
from trio_chat.chat.present import Change, Present
from trio_chat.chat.schema import MessageBody, User
from trio_chat.log.base import Appended, Event

ANN, BOB, EVE = User("a", "ann"), User("b", "bob"), User("e", "eve")


def said(text: str = "helo", **fields: object) -> Event:
    body = MessageBody(ANN, text, **fields)  # type: ignore[arg-type]
    return Event(5, 1_000, "message", schema.encode_body(body))


def change(seq: int, kind: str, user: User, **fields: object) -> Event:
    body = schema.encode_body(Change(user, 5, **fields))  # type: ignore[arg-type]
    return Event(seq, 1_000 * seq, kind, body, 5)


def present(*changes: Event, **fields: object) -> Present:
    found = Present(said(**fields))  # type: ignore[arg-type]
    for each in changes:
        found.fold(each)
    return found


def shown(found: Present, me: str = "x") -> dict[str, object]:
    data = found.shown("lobby", me)
    schema.decode_server_op(data)
    fields: dict[str, object] = msgspec.json.decode(data)
    assert (fields.pop("op"), fields.pop("room"), fields.pop("seq")) == ("message", "lobby", 5)
    assert fields.pop("at") == 1.0
    assert fields.pop("user") == {"id": "a", "name": "ann"}
    return fields


def test_what_nothing_was_done_to_is_as_it_was_said() -> None:
    """All of its fields are there, in their order."""
    body = {"id": "m1", "reply_to": 3, "mentions": ["b"], "mentions_all": True}
    assert list(shown(present(**body)).items()) == [("text", "helo"), *body.items()]


def test_the_last_edit_of_the_author_counts() -> None:
    """With its time, and whom it mentions instead; what others edit doesn't count."""
    found = present(
        change(6, "edited", ANN, text="hello @bob", mentions=["b"]),
        change(7, "edited", ANN, text="hello @eve @all", mentions=["e"], mentions_all=True),
        change(8, "edited", BOB, text="hell"),
        mentions=["x"], id="m1",
    )  # fmt: skip
    assert shown(found) == {
        "text": "hello @eve @all", "id": "m1", "mentions": ["e"], "mentions_all": True, "edited_at": 7.0,
    }  # fmt: skip
    assert found.text == "hello @eve @all"
    assert shown(present(change(6, "edited", ANN, text="x"), mentions=["x"], mentions_all=True)) == {
        "text": "x", "edited_at": 6.0,
    }  # fmt: skip


def test_a_deleted_message_says_nothing_whatever_follows() -> None:
    """Text, mentions, files and reactions are gone; what it answered and its id stay."""
    found = present(
        change(6, "reacted", BOB, emoji="👍"),
        change(7, "edited", ANN, text="x"),
        change(8, "deleted", BOB),
        change(9, "edited", ANN, text="y"),
        change(10, "reacted", EVE, emoji="👍"),
        mentions=["x"], mentions_all=True, reply_to=2, id="m1",
    )  # fmt: skip
    assert shown(found) == {"text": "", "id": "m1", "reply_to": 2, "deleted": True}
    assert found.text == ""
    assert found.seq == 10


def test_reactions_are_counted_once_per_user_and_emoji() -> None:
    """By emoji in the order of their first use; one that nobody has any more is not there."""
    found = present(
        change(6, "reacted", BOB, emoji="👍"),
        change(7, "reacted", EVE, emoji="🎉"),
        change(8, "reacted", EVE, emoji="👍"),
        change(9, "reacted", EVE, emoji="👍"),
        change(10, "reacted", ANN, emoji="💥"),
        change(11, "unreacted", ANN, emoji="💥"),
        change(12, "unreacted", ANN, emoji="👍"),
    )
    assert shown(found, "e")["reactions"] == [
        {"emoji": "👍", "count": 2, "users": ["b", "e"], "me": True},
        {"emoji": "🎉", "count": 1, "users": ["e"], "me": True},
    ]
    found.fold(change(13, "unreacted", BOB, emoji="👍"))
    assert shown(found, "b")["reactions"] == [
        {"emoji": "👍", "count": 1, "users": ["e"]},
        {"emoji": "🎉", "count": 1, "users": ["e"]},
    ]
    assert found.changes == {"b": 2, "e": 3, "a": 3}


def test_of_many_who_reacted_the_first_ten_are_named() -> None:
    """The count is that of all, and so is `me`."""
    found = present(*(change(6 + n, "reacted", User(f"u{n}", "u"), emoji="👍") for n in range(12)))
    (reaction,) = shown(found, "u11")["reactions"]  # type: ignore[misc]
    assert reaction == {"emoji": "👍", "count": 12, "users": [f"u{n}" for n in range(10)], "me": True}


def test_an_event_counts_once() -> None:
    """One that is counted already, or is of a kind that is none of these, changes nothing."""
    found = present(change(6, "reacted", BOB, emoji="👍"), change(7, "unreacted", BOB, emoji="👍"))
    before = shown(found)
    found.fold(change(6, "reacted", BOB, emoji="👍"))
    found.fold(change(8, "pinned", BOB))
    assert (shown(found), found.seq, found.changes.total()) == (before, 7, 2)


def test_a_request_is_known_again_by_user_and_id() -> None:
    """Also one whose event has no effect any more."""
    found = present(change(6, "deleted", ANN), change(7, "reacted", BOB, emoji="👍", id="r1"))
    assert found.stored("b", "r1") == Appended(7, 7_000, duplicate=True)
    assert found.stored("a", "r1") is found.stored("b", "r2") is found.stored("b", msgspec.UNSET) is None


@pytest.mark.parametrize("kind", ["edited", "deleted", "reacted", "unreacted"])
def test_the_fold_takes_what_the_wire_has(kind: str) -> None:
    """The bytes of an event about a message are an operation of the protocol."""
    fields: dict[str, object] = {"edited": {"text": "x"}, "deleted": {}}.get(kind, {"emoji": "👍"})
    event = change(6, kind, BOB, id="x", **fields)
    data = schema.encode_event(schema.event_prefix(kind, "lobby"), 6, 6_000, event.body)
    op = schema.decode_server_op(data)
    assert (op.target, op.user, op.id) == (5, BOB, "x")  # type: ignore[union-attr]
