"""The line editor of the terminal client, without a terminal: bytes in, lines and a picture of one row out.

Owns keys, the text being typed, its history and how wide characters are. Knows no descriptors, no Trio and
no chat.

Rules: the picture never is wider than the row, so that nothing wraps and one erase clears it; what can't be
shown is never inserted; an unknown or broken escape sequence is passed over whole.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

import attrs

ESC = "\x1b"
_JOINERS = "\u200c\u200d"
_CSI = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "1~": "home", "7~": "home",
    "4~": "end", "8~": "end", "3~": "delete", "1;5C": "word-right", "1;5D": "word-left", "1;3C": "word-right",
    "1;3D": "word-left", "200~": "paste",
}  # fmt: skip
_CONTROL = {
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x01": "home", "\x05": "end",
    "\x02": "left", "\x06": "right", "\x10": "up", "\x0e": "down", "\x0b": "kill-right", "\x15": "kill-left",
    "\x17": "kill-word", "\x04": "end-of-input", "\x03": "interrupt", "\x0c": "clear",
}  # fmt: skip
_ALT = {"b": "word-left", "f": "word-right", "\x7f": "kill-word"}
_PASTE_END = f"{ESC}[201~"
_MAX_SEQUENCE = 32
"""An escape sequence longer than this is none."""
_MAX_HISTORY = 500


def visible(text: str) -> str:
    r"""``text`` with whatever could drive a terminal or turn its order around written out, like ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if _is_visible(c) else ascii(c)[1:-1] for c in text)


def _is_visible(character: str) -> bool:
    if character in _JOINERS or _is_emoji(character):
        # Joiners are format characters too, but emoji and several scripts can't do without them. The newest
        # emoji are unassigned to a Python that is older.
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _is_emoji(character: str) -> bool:
    return "\U0001f300" <= character <= "\U0001faff"


def clusters(text: str) -> Iterator[str]:
    """What a person calls a character: a base with its marks, joined emoji, a pair of regional indicators.

    A small part of Unicode's annex 29: enough for the cursor not to stop inside of one.
    """
    start = 0
    for index in range(1, len(text)):
        before, here = text[index - 1], text[index]
        joined = (
            unicodedata.category(here) in ("Mn", "Me", "Mc")
            or here in _JOINERS
            or before == "\u200d"
            or "\U0001f3fb" <= here <= "\U0001f3ff"  # skin tones
            or (_is_regional(here) and _is_regional(before) and (index - start) % 2 == 1)
        )
        if not joined:
            yield text[start:index]
            start = index
    if text:
        yield text[start:]


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def width(cluster: str) -> int:
    """The columns that a cluster takes: 0, 1 or 2."""
    if not cluster or unicodedata.category(cluster[0]) in ("Mn", "Me", "Cf"):
        return 0
    wide = unicodedata.east_asian_width(cluster[0]) in ("W", "F") or _is_emoji(cluster[0])
    return 2 if wide or "\ufe0f" in cluster or (_is_regional(cluster[0]) and len(cluster) > 1) else 1


@attrs.frozen
class Action:
    """What a key asks of the program: a finished ``line`` (``text``), ``end``, ``interrupt`` or ``clear``."""

    kind: Literal["line", "end", "interrupt", "clear"]
    text: str = ""


@attrs.frozen
class Picture:
    """The row to show, and the column (from 0) of the cursor in it."""

    row: str
    cursor: int


class Editor:
    """See the module."""

    def __init__(self, prompt: str = "> ") -> None:
        self.prompt = prompt
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._pasting = False
        self._before: list[str] = []
        self._after: list[str] = []
        self._history: list[str] = []
        self._recalled: int | None = None
        self._draft = ""
        self._shown_from = 0

    @property
    def text(self) -> str:
        """What has been typed so far."""
        return "".join(self._before + self._after)

    def feed(self, data: bytes) -> list[Action]:
        """Take what the terminal sent, cut anywhere, and return what it asks for, in order."""
        actions = []
        self._pending += self._decoder.decode(data)
        while self._pending:
            taken = self._take_pasted() if self._pasting else self._take_key()
            if taken is None:
                break
            if isinstance(taken, Action):
                actions.append(taken)
        return actions

    # --- keys ------------------------------------------------------------------------------------------

    def _take_key(self) -> Action | str | None:
        """One key of what is pending; None if it isn't complete yet."""
        pending = self._pending
        if pending[0] != ESC:
            self._pending = pending[1:]
            if pending[0] in _CONTROL:
                return self._press(_CONTROL[pending[0]])
            self.insert(pending[0])
            return ""
        if len(pending) == 1:
            return None
        if pending[1] not in "[O":
            self._pending = pending[2:]
            return self._press(_ALT.get(pending[1], ""))
        sequence = re.match(r"\x1b[\[O]([0-9;:<=>?]*[ -/]*[@-~])", pending)
        if sequence is None:
            if len(pending) < _MAX_SEQUENCE and re.fullmatch(r"\x1b[\[O][0-9;:<=>? -/]*", pending):
                return None
            self._pending = pending[2:]
            return ""
        self._pending = pending[sequence.end() :]
        return self._press(_CSI.get(sequence[1], ""))

    def _take_pasted(self) -> str | None:
        """Pasted text is typed without being obeyed: a line break in it sends nothing."""
        end = self._pending.find(_PASTE_END)
        if end < 0:
            # The end may have arrived in part.
            keep = next((n for n in range(5, 0, -1) if self._pending.endswith(_PASTE_END[:n])), 0)
            pasted, self._pending = (
                self._pending[: len(self._pending) - keep],
                self._pending[-keep:] if keep else "",
            )
        else:
            pasted, self._pending = self._pending[:end], self._pending[end + len(_PASTE_END) :]
            self._pasting = False
        self.insert(re.sub(r"\r\n?", "\n", pasted).replace("\t", "    "))
        return None if end < 0 else ""

    def _press(self, key: str) -> Action | str:
        match key:
            case "enter":
                return self._enter()
            case "end-of-input" if not self.text:
                return Action("end")
            case "interrupt" if not self.text:
                return Action("interrupt")
            case "interrupt":
                self.replace("")
            case "clear":
                return Action("clear")
            case "paste":
                self._pasting = True
            case "up" | "down":
                self._recall(-1 if key == "up" else 1)
            case _:
                self._edit(key)
        return ""

    def _edit(self, key: str) -> None:
        before, after = self._before, self._after
        match key:
            case "left" if before:
                after.insert(0, before.pop())
            case "right" if after:
                before.append(after.pop(0))
            case "home":
                self._before, self._after = [], before + after
            case "end":
                self._before, self._after = before + after, []
            case "backspace" if before:
                before.pop()
            case "delete" | "end-of-input" if after:
                after.pop(0)
            case "kill-left":
                self._before = []
            case "kill-right":
                self._after = []
            case "word-left" | "kill-word":
                at = _word_start(before)
                self._after = after if key == "kill-word" else before[at:] + after
                self._before = before[:at]
            case "word-right":
                at = len(after) - _word_start(after[::-1])
                self._before, self._after = before + after[:at], after[at:]

    def insert(self, text: str) -> None:
        """Type ``text``: what can't be shown is left out, line breaks stay."""
        plain = "".join(c for c in text if c == "\n" or _is_visible(c))
        last = self._before.pop() if self._before else ""  # marks join what is there already
        self._before += clusters(last + plain)

    def replace(self, text: str) -> None:
        """Have typed ``text``, the cursor at its end."""
        self._before, self._after = list(clusters(text)), []

    # --- lines -----------------------------------------------------------------------------------------

    def _enter(self) -> Action:
        line = self.text
        self.replace("")
        self._recalled = None
        if line.strip() and (not self._history or self._history[-1] != line):
            self._history = [*self._history[1 - _MAX_HISTORY :], line]
        return Action("line", line)

    def _recall(self, step: int) -> None:
        at = len(self._history) if self._recalled is None else self._recalled
        if self._recalled is None:
            self._draft = self.text
        to = at + step
        if to < 0 or at == to or not self._history:
            return
        self._recalled = to if to < len(self._history) else None
        self.replace(self._draft if self._recalled is None else self._history[to])

    # --- the picture -------------------------------------------------------------------------------------

    def picture(self, columns: int) -> Picture:
        """How prompt and text look in a row of ``columns``: the part of the text around the cursor."""
        prompt = self.prompt if sum(map(width, clusters(self.prompt))) <= columns // 2 else "> "
        room = max(1, columns - sum(map(width, clusters(prompt))) - 1)  # one for the cursor after the text
        cells = [("↵" if cell == "\n" else cell) for cell in self._before + self._after]
        at = len(self._before)
        self._shown_from = min(self._shown_from, at)
        hidden = sum(map(width, cells[self._shown_from : at])) - room
        while hidden > 0:
            hidden -= width(cells[self._shown_from])
            self._shown_from += 1
        shown, used = [], 0
        for cell in cells[self._shown_from :]:
            used += width(cell)
            if used > room:
                break
            shown.append(cell)
        cursor = sum(map(width, clusters(prompt))) + sum(map(width, cells[self._shown_from : at]))
        return Picture(prompt + "".join(shown), cursor)


def _word_start(cells: list[str]) -> int:
    at = len(cells)
    while at and not cells[at - 1][0].isalnum():
        at -= 1
    while at and cells[at - 1][0].isalnum():
        at -= 1
    return at
