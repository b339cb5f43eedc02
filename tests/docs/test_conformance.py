"""The page on conformance names every case, and tests that exist."""

import ast
import re
from pathlib import Path

from conformance.cases import CASES
from conformance.test_compression import IDS as COMPRESSED
from conformance.test_sizes import IDS as SIZES

from .page import DOCS, Page, cells, table

PAGE = Page("conformance.md")
ROOT = DOCS.parent
ROW = re.compile(r"^\| ([0-9]+(?:\.[0-9]+)+)(?: to ([0-9.]+))? \|", re.MULTILINE)


def named_cases() -> list[str]:
    """The numbers in the first column of the tables, ranges written out."""
    found = []
    for first, last in ROW.findall(PAGE.section("The cases")):
        start, _, number = first.rpartition(".")
        end = int((last or first).rpartition(".")[2])
        assert (last or first).rpartition(".")[0] == start
        found += [f"{start}.{each}" for each in range(int(number), end + 1)]
    return found


def test_every_case_is_on_the_page() -> None:
    """Once, and none that there is no test for; as many as the suite has."""
    found = named_cases()
    assert len(found) == len(set(found)) == 517
    assert set(found) == {case.id for case in CASES} | set(SIZES) | set(COMPRESSED)


def test_every_test_exists() -> None:
    """Each name of a test is that of a function in that file; other files are there as well."""
    names = re.findall(r"`((?:tests|scripts|examples)/[^`\s]*)", PAGE.text)
    assert len(names) > 60
    for name in names:
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), path
        if function:
            assert function in functions(ROOT / path), name


def functions(path: Path) -> set[str]:
    """The functions that a file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_attack_is_described() -> None:
    """The table of the fuzzer has the attacks that it makes."""
    module = ast.parse((ROOT / "scripts" / "fuzzlib" / "attacks.py").read_text("utf-8"))
    names = {node.name for node in module.body if isinstance(node, ast.AsyncFunctionDef)}
    described = [row[0] for row in table(PAGE.section("Fuzzing"))]
    assert set(described) == {name for name in names if not name.startswith("_")}
    assert len(set(described)) == len(described)


def test_the_suite_has_as_many() -> None:
    """The table of the suite's own run adds up."""
    rows = [
        cells(line) for line in PAGE.section("The suite itself").splitlines() if re.match(r"\| [0-9]", line)
    ]
    (row,) = rows
    total, *parts = map(int, row)
    assert total == sum(parts) == 517
