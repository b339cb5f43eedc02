"""Whom a text names."""

from collections.abc import Iterable

import pytest

from trio_chat.chat import mentions
from trio_chat.chat.guests import fold
from trio_chat.chat.schema import User

PRESENT = {fold(name): name for name in ("ann", "ann-2", "Ann Lee", "bob", "小明", "小明明", "Zoë", "all in")}
LATELY = [User("old-cy", "cy"), User("new-cy", "cy"), User("x", "ann")]


def find(text: str) -> tuple[list[str], bool]:
    found = mentions.find(text, PRESENT.get, lambda: LATELY)
    return list(found.users), found.everybody


@pytest.mark.parametrize(("text", "users"), [
    ("", []), ("hello", []), ("@", []), ("@ ann", []), ("@@", []), ("@nobody", []),
    ("@ann", ["ann"]), ("hi @ann!", ["ann"]), ("@ann, @bob", ["ann", "bob"]),
    ("@bob @ann @bob", ["bob", "ann"]),
    ("(@ann)", ["ann"]), ("@ANN", ["ann"]), ("＠ann", ["ann"]), ("@zoe\u0308", ["Zoë"]), ("@@ann", ["ann"]),
    ("@ann-2", ["ann-2"]), ("@ann-3", ["ann"]), ("@ann.", ["ann"]), ("@ann\nhello", ["ann"]),
    ("@Ann Lee is here", ["Ann Lee"]), ("@ann leeway", ["ann"]), ("@ann\nlee", ["ann"]),
    ("@annabel", []), ("@ann_", []), ("@ann2", []), ("me@ann.example", []), ("1@ann", []), ("_@ann", []),
    ("@小明你好", ["小明"]), ("你好@小明", ["小明"]), ("@小明明", ["小明明"]), ("@小明 明", ["小明"]),
    ("@cy", ["new-cy"]), ("@ann @cy", ["ann", "new-cy"]),
])  # fmt: skip
def test_the_longest_name_that_ends_where_a_word_does(text: str, users: list[str]) -> None:
    """Those present come first, then who said something lately, the latest of several."""
    assert find(text) == (users, False)


@pytest.mark.parametrize("text", ["@all", "@All: lunch", "@everyone!", "@所有人吃饭", "@ann @all"])
def test_everybody_may_be_named(text: str) -> None:
    """By the words for it, beside names."""
    assert find(text)[1]


@pytest.mark.parametrize("text", ["@alls", "all", "x@all", "@all in"])
def test_these_do_not_name_everybody(text: str) -> None:
    """Other words, and the longer name of a user."""
    assert not find(text)[1]


def test_only_so_many_names_are_looked_at() -> None:
    """A text of nothing but names costs what 20 of them cost."""
    names = {f"u{n}": f"u{n}" for n in range(50)}
    asked: list[str] = []

    def present(name: str) -> str | None:
        asked.append(name)
        return names.get(name)

    found = mentions.find(" ".join(f"@u{n}" for n in range(50)), present, list)
    assert found.users == tuple(f"u{n}" for n in range(mentions.MAX_MENTIONS))
    assert len(asked) <= mentions.MAX_MENTIONS * 32


def test_who_spoke_lately_is_asked_only_if_need_be() -> None:
    """Once, and only for a name that nobody present has."""

    def never() -> Iterable[User]:
        raise AssertionError

    assert mentions.find("@ann @bob a@b", PRESENT.get, never).users == ("ann", "bob")
