"""The line editor: keys in, lines and a row out."""

import random

import pytest

from trio_chat.terminal_editor import Action, Editor, clusters, visible, width

UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"
FAMILY = "👨‍👩‍👧"


def typed(*keys: bytes) -> tuple[str, int]:
    """The row and the cursor after these keys, without the prompt."""
    editor = Editor("")
    for key in keys:
        editor.feed(key)
    picture = editor.picture(80)
    return picture.row, picture.cursor


KEYS: list[tuple[list[bytes], str, int]] = [
    ([b"hello"], "hello", 5),
    ([b"hello", LEFT, LEFT, b"X"], "helXlo", 4),
    ([b"hello", b"\x1bOD", b"\x1bOC", b"!"], "hello!", 6),
    ([b"hello", b"\x1b[H", b">"], ">hello", 1),
    ([b"hello", b"\x01", RIGHT, b"\x1b[3~"], "hllo", 1),
    ([b"hello", b"\x1b[1~", b"\x1b[4~", b"\x7f"], "hell", 4),
    ([b"hello", b"\x01", b"\x7f", LEFT, b"\x04"], "ello", 0),
    ([b"hello", b"\x05", RIGHT, b"\x1b[3~", b"\x08"], "hell", 4),
    ([b"one two  three", b"\x17"], "one two  ", 9),
    ([b"one two", b"\x1bb", b"X"], "one Xtwo", 5),
    ([b"one two", b"\x01", b"\x1b[1;5C", b"X"], "oneX two", 4),
    ([b"one two", b"\x1b[1;5D", b"\x1b[1;5D", b"X"], "Xone two", 1),
    ([b"one two", b"\x1b\x7f"], "one ", 4),
    ([b"hello", LEFT, b"\x0b"], "hell", 4),
    ([b"hello", LEFT, b"\x15"], "o", 0),
    ([b"hello", b"\x03"], "", 0),
    ([b"\xe4\xb8", b"\xad\xe6\x96\x87", LEFT, b"x"], "中x文", 3),
    (["e\u0301a".encode(), b"\x7f", b"\x7f"], "", 0),
    ([b"e", "\u0301".encode(), LEFT, b"x"], "xe\u0301", 1),
    ([FAMILY.encode(), b"\x7f"], "", 0),
    (["🇩🇪🇫🇷".encode(), b"\x7f"], "🇩🇪", 2),
    (["👍🏽!".encode(), LEFT, LEFT], "👍🏽!", 0),
    ([b"a\xffb"], "a\ufffdb", 3),
    ([b"a\x1b[99;99Xb\x1b[5~\x1bOPc\x1bxd"], "abcd", 4),
    ([b"a\x1b[", b"3", b"1", b"mb"], "ab", 2),
    ([b"a\x1b[\x07b"], "ab", 2),
    ([b"a\x00\x02b\x06"], "ba", 2),
    (["a\u202eb\u2066c\x85".encode()], "abc", 3),
    ([b"a\x1b[200~b\tc\x1b[201~d"], "ab    cd", 8),
]


@pytest.mark.parametrize(("keys", "row", "cursor"), KEYS)
def test_keys_edit(keys: list[bytes], row: str, cursor: int) -> None:
    """Each key does what it does everywhere, and moves over whole characters."""
    assert typed(*keys) == (row, cursor)


@pytest.mark.parametrize(("keys", "row", "cursor"), KEYS)
def test_keys_may_come_in_pieces(keys: list[bytes], row: str, cursor: int) -> None:
    """However the terminal cuts what it sends, the result is the same."""
    together = b"".join(keys)
    assert typed(*[together[i : i + 1] for i in range(len(together))]) == (row, cursor)


def test_enter_gives_the_line() -> None:
    """One action for each line, several in one read too; empty ones as well."""
    editor = Editor()
    assert editor.feed(b"one\rtwo\n\r") == [Action("line", "one"), Action("line", "two"), Action("line", "")]
    assert editor.text == ""


def test_control_keys_ask_for_things() -> None:
    """Ctrl-D and Ctrl-C end only with nothing typed; Ctrl-L clears the screen."""
    editor = Editor()
    assert editor.feed(b"x\x04\x03\x04\x03\x0c") == [Action("end"), Action("interrupt"), Action("clear")]


def test_history_is_walked_and_the_draft_kept() -> None:
    """Up and down go through earlier lines, without doubles, and back to what was being typed."""
    editor = Editor()
    editor.feed(b"one\rtwo\rtwo\r  \rdraft")
    found = []
    for key in (UP, UP, UP, DOWN, DOWN, DOWN):
        editor.feed(key)
        found.append(editor.text)
    assert found == ["two", "one", "one", "two", "draft", "draft"]
    editor.feed(UP + b"!\r" + UP)
    assert editor.text == "two!"
    empty = Editor()
    empty.feed(b"x" + UP + DOWN)
    assert empty.text == "x"


def test_pasted_lines_are_one_text() -> None:
    """Pasting sends nothing: its line breaks stay in the text and are shown as a sign."""
    editor = Editor("")
    assert editor.feed(b"\x1b[200~one\r\ntwo\x03\x1b[A\rthree\x1b[201~") == []
    assert editor.picture(80).row == "one↵two[A↵three"
    assert editor.feed(b"\r") == [Action("line", "one\ntwo[A\nthree")]


@pytest.mark.parametrize("cut", range(1, 6))
def test_the_end_of_a_paste_may_be_cut(cut: int) -> None:
    """The closing sequence is found also when it arrives in two parts."""
    editor = Editor("")
    end = b"\x1b[201~"
    editor.feed(b"\x1b[200~one" + end[:cut])
    assert editor.feed(end[cut:] + b"\r") == [Action("line", "one")]


def test_the_row_never_is_wider_than_the_terminal() -> None:
    """Whatever is typed, wherever the cursor is: the row fits, and the cursor is in it."""
    rng = random.Random(7)
    pieces = [
        b"abc ",
        "中文".encode(),
        FAMILY.encode(),
        "e\u0301".encode(),
        LEFT,
        LEFT,
        RIGHT,
        b"\x01",
        b"\x7f",
    ]
    for columns in (10, 11, 20, 33):
        editor = Editor("lobby> ")
        for _ in range(500):
            editor.feed(rng.choice(pieces))
            picture = editor.picture(columns)
            assert sum(map(width, clusters(picture.row))) < columns
            assert picture.cursor < columns


def test_a_long_text_is_typed_quickly() -> None:
    """Ten thousand characters, pasted or typed, are no work worth waiting for."""
    editor = Editor()
    editor.feed("中".encode() * 10_000)
    assert editor.picture(80).cursor < 80
    assert len(editor.text) == 10_000


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a", 1),
        ("中", 2),
        ("Ａ", 2),
        ("e\u0301", 1),
        (FAMILY, 2),
        ("❤\ufe0f", 2),
        ("🇩🇪", 2),
        ("\u0301", 0),
        ("", 0),
    ],
)
def test_widths(text: str, columns: int) -> None:
    """Wide characters take two columns, marks none, joined emoji two together."""
    assert width(text) == columns
    assert len(list(clusters(text))) <= 1


def test_nothing_drives_the_terminal() -> None:
    """What others wrote is shown with its controls written out; joined emoji stay whole."""
    assert visible("a\x1b[31m\r\n\x07\u202eb\u2028") == "a\\x1b[31m\\r\\n\\x07\\u202eb\\u2028"
    assert visible(f"hi {FAMILY} 中文 \U0001fae8") == f"hi {FAMILY} 中文 \U0001fae8"
    assert visible("plain") == "plain"
    assert visible("\x9b31m\ud800") == "\\x9b31m\\ud800"
