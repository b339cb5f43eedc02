"""A running ``python -m trio_chat``, as another program sees it."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 30.0
"""More than a loaded machine needs; nothing waits that long unless it is broken."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of ours, and ``more``."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_CHAT_")}
    return mine | {"PYTHONWARNINGS": "default"} | more


def run(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        [sys.executable, "-m", "trio_chat", *arguments],
        input=stdin, capture_output=True, text=True, timeout=SECONDS, env=environment(**more), check=False,
    )  # fmt: skip


class Server:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.process = process
        self.errors = errors
        self.first_line = self._line()
        self.url = self.first_line.removeprefix("trio_chat serving on ").strip()

    def _line(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(SECONDS):
                raise TimeoutError(self.errors.read_text())
        return self.process.stdout.readline()

    def wait_for_error(self, text: str) -> None:
        """Until standard error has ``text``."""
        until = time.monotonic() + SECONDS
        while text not in self.errors.read_text():
            if time.monotonic() > until:
                raise TimeoutError(self.errors.read_text())
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; returns the exit status and what else was on standard output."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, rest


@contextmanager
def serving(errors: Path, *arguments: str, **more: str) -> Iterator[Server]:
    """A server on a port that the system chooses, with its standard error in the file ``errors``."""
    chosen = arguments if {"--port", "--unix"} & set(arguments) else ("--port", "0", *arguments)
    with errors.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "trio_chat", *chosen],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=environment(**more),
        )  # fmt: skip
    try:
        yield Server(process, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
