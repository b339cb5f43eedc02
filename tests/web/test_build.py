"""What the page is built from is pinned, comes from wherever npm is set up to get it, and is checked."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build_web() -> ModuleType:
    """scripts/build_web.py as a module of its own for each test."""
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "scripts" / "build_web.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lock_file_names_no_address() -> None:
    """package-lock.json pins every package by version and hash and names no place to fetch it from."""
    text = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in text
    assert "://" not in text
    for name, entry in json.loads(text)["packages"].items():
        assert name == "" or (entry["version"] and entry["integrity"].startswith("sha512-")), name


def test_versions_agree(build_web: ModuleType) -> None:
    """package.json asks for exactly the version that the lock file pins."""
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    assert package["dependencies"] == {"vue": build_web.pinned()["version"]}


def put_in_place(build_web: ModuleType, folder: Path) -> None:
    """A finished vendor folder with files of our own in it."""
    folder.mkdir()
    vars(build_web)["VENDOR"] = folder
    for name in build_web.FILES.values():
        (folder / name).write_text("x")
    record = build_web.pinned() | {
        "files": {name: build_web._digest(folder / name) for name in build_web.FILES.values()}
    }
    (folder / build_web.RECORD).write_text(json.dumps(record))


def test_nothing_is_done_twice(
    build_web: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the pinned version is in place, npm is not even looked for."""
    put_in_place(build_web, tmp_path / "vendor")
    monkeypatch.setattr(build_web, "npm_command", lambda: pytest.fail("looked for npm"))
    assert build_web.build() is False


@pytest.mark.parametrize("damage", ["altered", "lost", "other version", "no record", "nonsense"])
def test_what_is_not_the_pinned_version_is_noticed(
    build_web: ModuleType, tmp_path: Path, damage: str
) -> None:
    """An altered or lost file, another version and a missing or senseless record all call for a build."""
    folder = tmp_path / "vendor"
    put_in_place(build_web, folder)
    assert build_web.in_place()
    record = folder / build_web.RECORD
    first = folder / next(iter(build_web.FILES.values()))
    match damage:
        case "altered":
            first.write_text("y")
        case "lost":
            first.unlink()
        case "other version":
            record.write_text(record.read_text().replace(build_web.pinned()["version"], "0.0.1"))
        case "no record":
            record.unlink()
        case "nonsense":
            record.write_text("{")
    assert not build_web.in_place()


def test_failure_is_one_line(
    build_web: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If npm fails, the script says why in one line, exits with 1, and leaves no half-finished folder."""
    monkeypatch.setattr(build_web, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(
        build_web, "npm_command", lambda: [sys.executable, "-c", "import sys; sys.exit('no network')"]
    )
    monkeypatch.setattr(sys, "argv", ["build_web.py"])
    assert build_web.main() == 1
    assert capsys.readouterr().err == "web client: npm ci failed: no network\n"
    assert not build_web.VENDOR.exists()


def test_page_is_clean_of_inline_code() -> None:
    """No script or style stands in the page itself, as its Content-Security-Policy forbids them."""
    html = (ROOT / "trio_chat" / "web" / "static" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"(?:src|href)=\"(?:/|https?:)", html)


def test_page_never_makes_markup_of_text() -> None:
    """No script of the page uses a way to turn text into markup or code."""
    for path in sorted((ROOT / "trio_chat" / "web" / "static").rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        for name in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert name not in text, f"{path.name}: {name}"
