"""The table of who may do what, cell by cell, through the state of a room."""

import pytest

from trio_chat.chat import access
from trio_chat.chat.access import RIGHTS, SORTS, Right, Sort
from trio_chat.chat.refusal import Refusal, require
from trio_chat.chat.schema import User

from .control_events import ANN, BOB, CAROL, DAVE, EVE, ROOT, Fold, room_of

# Who may, in the columns of `PEOPLE`: + for yes, - for no. A stranger is somebody who is banned where the
# room isn't private; an administrator is a stranger to what two people say to each other.
PEOPLE: dict[Sort, tuple[tuple[str, User], ...]] = {
    "open": (("banned", EVE), ("member", CAROL), ("admin", ROOT)),
    "public": (("banned", EVE), ("member", DAVE), ("moderator", BOB), ("owner", ANN), ("admin", ROOT)),
    "private": (
        ("banned", EVE), ("stranger", DAVE), ("member", CAROL), ("moderator", BOB), ("owner", ANN),
        ("admin", ROOT),
    ),
    "direct": (("stranger", DAVE), ("member", CAROL), ("member", BOB), ("admin", ROOT)),
}  # fmt: skip
MAY: dict[Right, tuple[str, str, str, str]] = {
    "join":         ("-++", "-++++", "--++++", "-++-"),
    "see":          ("-++", "-++++", "--++++", "-++-"),
    "say":          ("-++", "-++++", "--++++", "-++-"),
    "edit":         ("-++", "-++++", "--++++", "-++-"),
    "react":        ("-++", "-++++", "--++++", "-++-"),
    "delete":       ("-++", "-++++", "--++++", "-++-"),
    "delete_other": ("--+", "--+++", "---+++", "----"),
    "topic":        ("-++", "--+++", "---+++", "-++-"),
    "mention_all":  ("-++", "--+++", "---+++", "-++-"),
    "invite":       ("-++", "-++++", "---+++", "----"),
    "ask":          ("---", "-----", "-+++++", "----"),
    "give_up":      ("-++", "-++++", "--++++", "----"),
    "kick":         ("--+", "--+++", "---+++", "----"),
    "ban":          ("--+", "--+++", "---+++", "----"),
    "mute":         ("--+", "--+++", "---+++", "----"),
    "role":         ("--+", "---++", "----++", "----"),
    "slow_seconds": ("--+", "--+++", "---+++", "----"),
    "archived":     ("--+", "---++", "----++", "----"),
    "private":      ("--+", "---++", "----++", "----"),
}  # fmt: skip
CELLS = [
    pytest.param(right, sort, user, may == "+", id=f"{right}-{sort}-{who}-{user.name}")
    for right, rows in MAY.items()
    for sort, row in zip(SORTS, rows, strict=True)
    for (who, user), may in zip(PEOPLE[sort], row, strict=True)
]


def test_the_table_is_whole() -> None:
    """Every right has a cell for every sort of room, here and there."""
    assert set(access.TABLE) == {(right, sort) for right in RIGHTS for sort in SORTS}
    assert set(MAY) == set(RIGHTS)


@pytest.mark.parametrize(("right", "sort", "user", "may"), CELLS)
def test_a_cell(right: Right, sort: Sort, user: User, may: bool) -> None:
    """Who may, may; who may not is refused with a code and words that fit."""
    fold = room_of(sort)
    assert fold.state.sort == sort
    admin = user is ROOT
    if may:
        require(fold.state, right, user.id, fold.now, admin=admin)
        return
    with pytest.raises(Refusal) as refused:
        require(fold.state, right, user.id, fold.now, admin=admin)
    banned = user is EVE
    stranger = fold.role(user, admin=admin) == "none"
    assert refused.value.code == ("banned" if banned else "private" if stranger else "forbidden")
    assert refused.value.retry_after is None


@pytest.mark.parametrize(
    ("right", "sort", "words"),
    [
        ("kick", "public", "kick: that needs the role moderator"),
        ("archived", "private", "archived: that needs the role owner"),
        ("delete_other", "direct", "delete other: nobody does that in this room"),
        ("ask", "public", "ask: nobody does that in this room"),
    ],
)
def test_the_words_name_the_role(right: Right, sort: Sort, words: str) -> None:
    """Who is refused learns what it takes."""
    fold = room_of(sort)
    with pytest.raises(Refusal) as refused:
        require(fold.state, right, CAROL.id, fold.now)
    assert refused.value.message == words


def test_a_right_of_outsiders_in_words() -> None:
    """The one right whose least role is none has words of its own."""
    assert access.needed("ask", "private") == "that is for people from outside"


@pytest.mark.parametrize("right", RIGHTS)
def test_an_archived_room(right: Right) -> None:
    """Nothing more is said there, by nobody; it can be read, tidied, and opened again."""
    fold = room_of("private")
    assert fold("settings", ANN, archived=True)
    assert fold.state.why_not(right, ANN.id, fold.now) == (
        "archived" if right in access.NOT_ARCHIVED else None
    )
    assert fold.state.why_not(right, ROOT.id, fold.now, admin=True) == (
        "archived" if right in access.NOT_ARCHIVED else None
    )


@pytest.mark.parametrize("right", RIGHTS)
def test_somebody_muted(right: Right) -> None:
    """They read, and learn until when; what they may not do anyway is refused as that."""
    fold = room_of("public")
    assert fold("muted", BOB, target=DAVE, until=fold.now + 60)
    before = room_of("public").state.why_not(right, DAVE.id, fold.now)
    expected = before or ("muted" if right in access.NOT_MUTED else None)
    assert fold.state.why_not(right, DAVE.id, fold.now) == expected
    if expected == "muted":
        with pytest.raises(Refusal) as refused:
            require(fold.state, right, DAVE.id, fold.now + 20)
        assert refused.value.retry_after == 40
        require(fold.state, right, DAVE.id, fold.now + 60)


def test_somebody_muted_for_good() -> None:
    """There is nothing to wait for; an administrator can't be silenced."""
    fold = room_of("public")
    assert fold("muted", BOB, target=DAVE)
    with pytest.raises(Refusal) as refused:
        require(fold.state, "say", DAVE.id, fold.now)
    assert refused.value.retry_after is None
    assert fold("muted", BOB, target=ROOT)
    assert fold.state.why_not("say", ROOT.id, fold.now, admin=True) is None


def test_ranks() -> None:
    """Each role is above those before it and not above itself."""
    for higher, role in enumerate(access.ROLES):
        for lower, other in enumerate(access.ROLES):
            assert access.outranks(role, other) == (higher > lower)
            assert access.at_least(role, other) == (higher >= lower)


def test_nobody_is_anything_in_a_new_room() -> None:
    """A room without control events is open, and everybody is a member."""
    fold = Fold()
    assert (fold.state.sort, fold.role(ANN), fold.state.restricted) == ("open", "member", False)
