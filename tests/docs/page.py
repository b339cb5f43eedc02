"""A page of documentation as its tests see it: sections, tables and fenced blocks."""

import re
from pathlib import Path

import attrs

DOCS = Path(__file__).resolve().parents[2] / "docs"


@attrs.frozen
class Block:
    """A fenced block: its language, its text, and the line of the page it begins in."""

    language: str
    text: str
    line: int


class Page:
    """One Markdown file of docs/."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (DOCS / name).read_text("utf-8")

    def section(self, title: str, *, within: str | None = None) -> str:
        """What stands under a heading, with the headings below it."""
        text = self.text if within is None else self.section(within)
        found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
        assert found is not None, f"{self.name}: no heading {title!r}"
        level = len(found[1])
        rest = text[found.end() :]
        end = re.search(rf"^#{{1,{level}}} ", _without_blocks(rest), re.MULTILINE)
        return rest[: end.start()] if end else rest

    def titles(self, level: int, *, within: str) -> list[str]:
        """The headings of a level under a heading."""
        return re.findall(rf"^#{{{level}}} (.*)$", _without_blocks(self.section(within)), re.MULTILINE)

    def blocks(self, *languages: str) -> list[Block]:
        """The fenced blocks of these languages."""
        return [block for block in fenced(self.text) if block.language in languages]


def fenced(text: str) -> list[Block]:
    """The fenced blocks in ``text``."""
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", lambda match: " " * len(match[0]), text, flags=re.MULTILINE | re.DOTALL)


def table(text: str) -> list[list[str]]:
    """The rows of the first table in ``text``, without its head; cells without marks of code."""
    found = re.search(r"^\|.*\n\|[ -|]*\n((?:\|.*\n)*)", text, re.MULTILINE)
    assert found is not None, "no table"
    return [cells(row) for row in found[1].splitlines()]


def cells(row: str) -> list[str]:
    """The cells of one row; ``\\|`` is a bar in a cell."""
    inner = row.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|").replace("`", "") for cell in re.split(r"(?<!\\)\|", inner)]


def words(text: str) -> str:
    """``text`` on one line, without marks of code: to look for a phrase in."""
    return " ".join(text.replace("`", "").split())
