"""The state of a room: a fold over its control events, which takes nothing from who has no right."""

import random
from itertools import product
from typing import Any

import pytest

from trio_chat.chat.schema import User
from trio_chat.chat.state import RoomState, decode_state, encode_state
from trio_chat.log.base import Event

from .control_events import ANN, BOB, CAROL, DAVE, EVE, ROOT, Fold, body, room_of

PEOPLE = (ANN, BOB, CAROL, DAVE, EVE)

# --- creation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["public", "private"])
def test_who_creates_a_room_owns_it(kind: str) -> None:
    """The first event says what it is."""
    fold = Fold()
    assert fold("created", ANN, kind=kind)
    assert (fold.state.kind, fold.state.sort, fold.role(ANN)) == (kind, kind, "owner")
    assert fold.role(BOB) == ("member" if kind == "public" else "none")


def test_a_direct_room_has_two_members() -> None:
    """Neither is above the other, and each finds the other."""
    fold = room_of("direct")
    assert [fold.role(user) for user in (BOB, CAROL, DAVE)] == ["member", "member", "none"]
    assert (fold.state.other(BOB.id), fold.state.other(CAROL.id)) == (CAROL, BOB)
    assert RoomState().other(BOB.id) is None


def test_a_direct_room_without_members() -> None:
    """Whoever wrote that, it is nobody's."""
    fold = Fold()
    assert fold("created", BOB, kind="direct")
    assert fold.role(BOB) == "none"


def test_a_room_is_created_first_or_not_at_all() -> None:
    """Something was said before: it stays the room that it was."""
    fold = Fold()
    assert fold("topic", BOB, text="hello")
    assert not fold("created", ANN, kind="private")
    assert (fold.state.kind, fold.state.sort, fold.state.topic) == ("public", "open", "hello")


# --- topic and settings ----------------------------------------------------------------------------


def test_the_topic() -> None:
    """It is whatever the last one who may has said, nothing included."""
    fold = room_of("public")
    assert fold("topic", BOB, text="tea")
    assert not fold("topic", CAROL, text="coffee")
    assert fold.state.topic == "tea"
    assert fold("topic", ANN, text="")
    assert fold.state.topic == ""


def test_settings() -> None:
    """Each needs its own role; an event with one too many changes nothing."""
    fold = room_of("public")
    assert fold("settings", BOB, slow_seconds=5)
    assert not fold("settings", BOB, slow_seconds=9, archived=True)
    assert (fold.state.slow_seconds, fold.state.archived, fold.state.restricted) == (5, False, True)
    assert fold("settings", ANN, slow_seconds=0, archived=True)
    assert (fold.state.slow_seconds, fold.state.archived, fold.state.restricted) == (0, True, True)
    assert fold("settings", ANN, archived=False)
    assert not fold.state.restricted


def test_a_room_becomes_private_and_public() -> None:
    """Whoever was there stays a member, with the role they had; who is banned does not come in by that."""
    fold = room_of("public")
    assert fold("settings", ANN, private=True, members=[ANN, BOB, DAVE, EVE])
    roles = [fold.role(user) for user in PEOPLE]
    assert roles == ["owner", "moderator", "member", "member", "none"]
    assert fold("settings", ANN, private=False)
    assert fold.state.kind == "public"
    fold = room_of("open")
    assert not fold("settings", CAROL, private=True)
    assert fold("settings", ROOT, admin=True, private=True)
    assert (fold.state.sort, fold.role(CAROL)) == ("private", "none")


# --- roles -----------------------------------------------------------------------------------------

MEMBER_EVENTS = [
    # author, target, role, lawful in the private room of `room_of`
    (ANN, CAROL, "moderator", True),
    (ANN, CAROL, "owner", True),
    (ANN, BOB, "member", True),
    (ANN, DAVE, "member", True),
    (ANN, DAVE, "moderator", False),  # invited first
    (ANN, EVE, "member", False),  # unbanned first
    (ANN, EVE, "none", True),
    (ANN, EVE, "banned", True),  # until another time
    (BOB, EVE, "none", True),
    (BOB, CAROL, "none", True),
    (BOB, CAROL, "banned", True),
    (BOB, DAVE, "banned", True),
    (BOB, DAVE, "member", True),
    (BOB, CAROL, "moderator", False),
    (BOB, ANN, "none", False),
    (BOB, ANN, "banned", False),
    (BOB, BOB, "owner", False),
    (BOB, BOB, "moderator", False),  # nothing new
    (BOB, BOB, "member", True),
    (BOB, BOB, "none", True),
    (BOB, BOB, "banned", False),
    (ANN, ANN, "member", False),  # nobody would own it
    (ANN, ANN, "none", False),
    (CAROL, DAVE, "member", False),
    (CAROL, BOB, "none", False),
    (CAROL, EVE, "none", False),
    (CAROL, DAVE, "banned", False),
    (CAROL, CAROL, "none", True),
    (CAROL, CAROL, "moderator", False),
    (DAVE, DAVE, "member", False),
    (DAVE, DAVE, "none", False),
    (DAVE, CAROL, "none", False),
    (EVE, EVE, "none", False),
]


@pytest.mark.parametrize(
    ("author", "target", "role", "lawful"),
    [pytest.param(*case, id=f"{case[0].name}-{case[1].name}-{case[2]}") for case in MEMBER_EVENTS],
)
def test_who_may_make_whom_what(author: User, target: User, role: str, lawful: bool) -> None:
    """An event without the right to it changes nothing at all."""
    fold = room_of("private")
    before = encode_state(fold.state)
    assert fold.member(author, target, role) == lawful
    if lawful:
        assert fold.role(target) == ("none" if role == "banned" else role)
        assert fold.state.banned(target.id, fold.now) == (role == "banned")
    else:
        fold.state.seq -= 1
        assert encode_state(fold.state) == before


def test_an_owner_may_go_when_there_is_another() -> None:
    """Or when nobody else is left."""
    fold = room_of("private")
    assert fold.member(ANN, CAROL, "owner")
    assert fold.member(ANN, ANN, "none")
    assert not fold.member(CAROL, CAROL, "none")
    assert fold.member(CAROL, BOB, "none")
    assert fold.member(CAROL, CAROL, "none")
    assert fold.state.entries == {}


def test_equals_leave_each_other_alone() -> None:
    """An owner can't demote an owner, a moderator can't remove a moderator; an administrator can."""
    fold = room_of("public")
    assert fold.member(ANN, CAROL, "owner")
    assert not fold.member(CAROL, ANN, "member")
    assert not fold("muted", CAROL, target=ANN)
    assert not fold.member(ANN, CAROL, "banned")
    assert fold.member(ROOT, ANN, "member", admin=True)
    assert fold.role(ANN) == "member"


def test_an_administrator_gives_an_open_room_an_owner() -> None:
    """From then on it is a public room like one that was created."""
    fold = room_of("open")
    assert not fold.member(CAROL, CAROL, "owner")
    assert fold.member(CAROL, DAVE, "member")
    assert fold.state.sort == "open"
    assert fold.member(ROOT, CAROL, "owner", admin=True)
    assert (fold.state.sort, fold.role(CAROL)) == ("public", "owner")
    assert fold.member(ROOT, ROOT, "moderator", admin=True)
    assert fold.role(ROOT) == "moderator"


def test_an_administrator_is_nothing_in_a_direct_room() -> None:
    """What two people say to each other is theirs, and neither can be made to go."""
    fold = room_of("direct")
    for role in ("member", "moderator", "none", "banned"):
        assert not fold.member(ROOT, ROOT, role, admin=True)
        assert not fold.member(ROOT, CAROL, role, admin=True)
        assert not fold.member(BOB, CAROL, role)
        assert not fold.member(BOB, BOB, role)
    assert fold("topic", BOB, text="us")


# --- bans ------------------------------------------------------------------------------------------


def test_a_ban_ends() -> None:
    """At its time, by itself; then the room is as open as before."""
    fold = room_of("public")
    assert fold.member(BOB, DAVE, "banned", until=fold.now + 60, reason="noise")
    assert fold.state.banned(DAVE.id, fold.now + 59)
    assert not fold.state.banned(DAVE.id, fold.now + 60)
    fold.now += 60
    assert fold.role(DAVE) == "member"
    assert fold.member(CAROL, DAVE, "member")
    assert DAVE.id not in fold.state.bans


def test_bans_that_have_ended_are_forgotten() -> None:
    """With the next one, so that they don't pile up."""
    fold = room_of("public")
    fold.member(BOB, DAVE, "banned", until=fold.now + 60)
    fold.now += 61
    fold.member(BOB, CAROL, "banned")
    assert set(fold.state.bans) == {EVE.id, CAROL.id}


def test_who_is_banned_may_nothing() -> None:
    """Whatever role they had is gone."""
    fold = room_of("public")
    assert fold.member(ANN, BOB, "banned")
    assert not fold("topic", BOB, text="mine")
    assert not fold.member(BOB, CAROL, "none")
    assert fold.member(ANN, BOB, "none")
    assert fold.role(BOB) == "member"


# --- mutes -----------------------------------------------------------------------------------------


def test_muted_and_unmuted() -> None:
    """By whoever is above; until a time, or until it is taken back."""
    fold = room_of("public")
    assert not fold("muted", CAROL, target=DAVE)
    assert not fold("muted", BOB, target=ANN)
    assert fold("muted", BOB, target=DAVE, until=fold.now + 60)
    assert fold("muted", BOB, target=CAROL)
    assert fold.state.muted_until(DAVE.id, fold.now) == fold.now + 60
    assert fold.state.muted_until(DAVE.id, fold.now + 60) is None
    assert fold.state.muted_until(CAROL.id, fold.now) == float("inf")
    assert fold.state.muted_until(ANN.id, fold.now) is None
    assert not fold("unmuted", CAROL, target=CAROL)
    assert not fold("unmuted", BOB, target=ANN)
    assert fold("unmuted", BOB, target=CAROL)
    assert not fold("unmuted", BOB, target=CAROL)
    fold.now += 61
    assert fold("muted", BOB, target=CAROL, until=fold.now + 1)
    assert set(fold.state.mutes) == {CAROL.id}


# --- invitations by link ---------------------------------------------------------------------------


def test_coming_in_by_a_link() -> None:
    """It counts as long as whoever made it may invite, and only for one who comes in by it."""
    fold = room_of("private")
    assert not fold.member(DAVE, DAVE, "member", invited_by=CAROL.id)
    assert not fold.member(DAVE, DAVE, "moderator", invited_by=BOB.id)
    assert not fold.member(EVE, EVE, "member", invited_by=BOB.id)
    assert not fold.member(CAROL, CAROL, "member", invited_by=BOB.id)
    assert fold.member(DAVE, DAVE, "member", invited_by=BOB.id)
    assert fold.role(DAVE) == "member"
    assert fold.member(DAVE, DAVE, "none")
    assert fold.member(DAVE, DAVE, "member", invited_by=ROOT.id, admin=True)


# --- the fold --------------------------------------------------------------------------------------


def test_an_event_counts_once() -> None:
    """What is counted already changes nothing when it comes again."""
    fold = Fold()
    fold("topic", ANN, text="one")
    fold("topic", ANN, text="two")
    assert fold.state.fold(fold.events[0]) is None
    assert (fold.state.topic, fold.state.seq) == ("two", 2)


def random_fields(rng: random.Random, now: float) -> tuple[str, dict[str, Any]]:
    target = rng.choice(PEOPLE)
    until = {"until": now + rng.randrange(-5, 50)} if rng.random() < 0.3 else {}
    return rng.choice(
        [
            ("topic", {"text": rng.choice("abc")}),
            ("muted", {"target": target, **until}),
            ("unmuted", {"target": target}),
            ("settings", {rng.choice(["archived", "private"]): rng.random() < 0.5}),
            ("settings", {"slow_seconds": rng.choice([0, 5])}),
            *(
                ("member", {"target": target, "role": role, **until})
                for role in ("owner", "moderator", "member", "none", "banned")
            ),
            ("member", {"target": target, "role": "member", "invited_by": rng.choice(PEOPLE).id}),
        ]
    )


@pytest.mark.parametrize(("seed", "kind"), list(product(range(20), ["public", "private", "open"])))
def test_wherever_the_log_was_cut(seed: int, kind: str) -> None:
    """A snapshot at any point and the events after it give the state that all of the events give."""
    rng = random.Random(seed)
    fold = Fold()
    if kind != "open":
        fold("created", ANN, kind=kind)
    snapshots = {0: encode_state(RoomState())}
    for _ in range(200):
        fold.now += rng.random() * 3
        event_kind, fields = random_fields(rng, fold.now)
        author = rng.choice(PEOPLE)
        fold(event_kind, author, admin=rng.random() < 0.05, **fields)
        snapshots[fold.state.seq] = encode_state(fold.state)
    for cut in rng.sample(sorted(snapshots), 10):
        state = decode_state(snapshots[cut])
        for event in fold.events[max(0, cut - 3) :]:
            state.fold(event)
        assert encode_state(state) == encode_state(fold.state)


def test_no_text_is_a_new_room() -> None:
    """What the log has no snapshot of has had no control events."""
    assert decode_state(None) == RoomState()


def test_states_share_nothing() -> None:
    """A new state begins empty, whatever happened to others."""
    room_of("private")
    state = RoomState()
    state.fold(Event(1, 0, "created", body("created", BOB, kind="private")))
    assert (list(state.entries), state.bans, state.mutes) == ([BOB.id], {}, {})
