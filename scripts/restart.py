#!/usr/bin/env python3
"""Restart a chat server under load, and see whether everybody comes back, when, and with what.

The server is a real process (SQLite, full sync) pinned to one core; the clients are on the other. While they
talk it gets SIGTERM, drains, and is started again at once on the same port and file. Each client comes back
at the moment that its ``bye`` gave it, with its resume token and the position up to which it saw the room,
and sends again, with the same ``id``, what was not acknowledged. All that every client got is verified.

Exit status: 0 all is well; 1 something was lost or came twice, somebody did not come back, or in some second
more came back than the server's pace allows; 2 bad arguments.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from comparelib.quiet import Neighbours, wait_until_quiet
from comparelib.servers import LOAD_CORE, SERVER_CORE, can_pin, first_line, last_line, pin, stop
from swarmlib.coordinator import Coordinator, SwarmError
from swarmlib.process_stats import process_stats
from swarmlib.report import result_lines
from swarmlib.settings import Settings, SettingsError, parse_url

ROOT = Path(__file__).resolve().parents[1]
PACED_PER_S = 500
"""Returns per second that the server aims at (``_RETURNS_PER_SECOND`` in `trio_chat.server`)."""
CHANCE = 1.15
"""The moments are drawn at random: of 5,000 in 11 s the fullest second has some 10 % more than others."""
DRAIN_S = 10.0
GRACE_S = 30.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"restart: {message}", file=sys.stderr)
        sys.exit(2)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clients", type=int, default=5000, metavar="N", help="members of the room (default 5000)")
    add("--senders", type=int, default=50, metavar="K", help="of them, those that talk (default 50)")
    add("--rate", type=float, default=20.0, metavar="R", help="messages per second over all (default 20)")
    add("--restarts", type=int, default=1, help="how often (default 1)")
    add(
        "--every", type=float, default=20.0, metavar="S",
        help="seconds of load before the first restart, between two, and after the last (default 20)",
    )  # fmt: skip
    add("--patience", type=float, default=0.0, metavar="S", help="wait up to S seconds for a quiet machine")
    add("--json", metavar="FILE", help="write everything measured to FILE")
    arguments = parser.parse_args(argv)
    for name, low, high in (("restarts", 1, 100), ("every", 1, 3600), ("patience", 0, 3600)):
        if not low <= getattr(arguments, name) <= high:
            parser.error(f"--{name}: {low:g} to {high:g}")
    return arguments


class Service:
    """The server, over its restarts: always the same port and file, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._pin = pin(SERVER_CORE)
        self.restarts: list[dict[str, float]] = []

    def start(self) -> str:
        """Start; the URL."""
        command = [
            sys.executable, "-m", "trio_chat", "serve", "--port", str(self._port), "--rate", "0",
            "--log", f"sqlite:///{self._directory}/chat.db", "--sync", "full", "--drain", f"{DRAIN_S:g}",
            "--max-per-ip", "1000000", "--max-connections", "100000",
        ]  # fmt: skip
        with open(self.errors, "a") as errors:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                preexec_fn=self._pin,
            )
        url = first_line(self._process).rstrip().rpartition(" ")[2]
        if not url.startswith("http://"):
            raise SwarmError(f"the server did not start: {last_line(self.errors.read_text())}")
        self._port = int(url.rpartition(":")[2])
        return url

    @property
    def errors(self) -> Path:
        """What the server wrote on standard error."""
        return self._directory / "stderr.txt"

    def restart(self) -> None:
        """SIGTERM, wait for the end, start again."""
        assert self._process is not None
        stats, others = process_stats(self._process.pid), _ended_children_s()
        began = time.monotonic()
        self.stop()
        ended = time.monotonic()
        used = _ended_children_s() - others - (stats["cpu_s"] if stats else 0.0)
        self.start()
        took = {"drain_s": ended - began, "drain_cpu_s": used, "start_s": time.monotonic() - ended}
        self.restarts.append({name: round(seconds, 3) for name, seconds in took.items()})

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self._process is not None:
            stop(self._process)
            self._process = None


def _ended_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Restarts:
    """Restarts the service in its own thread, when the load's progress says that it is time."""

    def __init__(self, service: Service, arguments: argparse.Namespace) -> None:
        self._service = service
        self._every = arguments.every
        self._left = arguments.restarts
        self._next_at = arguments.every
        self._thread: threading.Thread | None = None

    def look(self, point: dict[str, Any]) -> None:
        """The latest point of the run."""
        if self._left and point["phase"] == "running" and point["at_s"] >= self._next_at:
            self._left -= 1
            self._next_at += self._every
            self._thread = threading.Thread(target=self._service.restart)
            self._thread.start()

    def wait(self) -> None:
        """Until the last one is done."""
        if self._thread is not None:
            self._thread.join()


def run(arguments: argparse.Namespace, service: Service) -> dict[str, Any]:
    """Start, load and restart; what was measured."""
    settings = Settings(
        target=parse_url(service.start()), clients=arguments.clients, senders=arguments.senders,
        rate=arguments.rate, duration=arguments.every * (arguments.restarts + 1), warmup=0.0, grace=GRACE_S,
        processes=1, verify=True, resume=True,
    )  # fmt: skip
    restarts = Restarts(service, arguments)
    try:
        result = Coordinator(settings, restarts.look).run()
    finally:
        restarts.wait()
        service.stop()
    print("\n".join(result_lines(settings, result)))
    return result | {"restarts": service.restarts}


@contextmanager
def on_the_load_core() -> Iterator[None]:
    """This process, and those that it starts, beside the server."""
    if not can_pin():
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def summary(result: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What to tell, and what is wrong."""
    returns = result["returns"]
    lines = [
        f"drained in {took['drain_s']:.1f} s ({took['drain_cpu_s']:.1f} s of processor time),"
        f" serving again {took['start_s']:.1f} s later"
        for took in result["restarts"]
    ]
    seconds = [f"{each['at_s']}: {each['attempts']}/{each['returned']}" for each in returns["per_second"]]
    lines += [
        f"told to come back after {_range(returns['asked_to_wait_s'])} s",
        f"a member again {_range(returns['late_s'])} s after that moment, {_range(returns['away_s'])} s away",
        f"connections ended: {_counts(returns['losses'])}",
        f"refused while coming back: {_counts(returns['refusals'])}",
        f"{returns['resent']} messages sent again, {returns['not_sent']} not sent: their sender was away",
        f"tries/returns in each second of the load: {', '.join(seconds)}",
        f"in the fullest second {returns['peak_returned_per_s']} came back (paced: {PACED_PER_S})",
    ]
    wrong = [f"{count} x {kind}" for kind, count in (result["findings"] | result["errors"]).items() if count]
    if returns["peak_returned_per_s"] > CHANCE * PACED_PER_S:
        wrong.append("more within a second than paced")
    return lines, wrong


def _range(found: dict[str, float] | None) -> str:
    return (
        "no" if found is None else f"{found['least']:.2f} to {found['most']:.2f} (median {found['p50']:.2f})"
    )


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in found.items()) or "none"


def main(argv: list[str]) -> int:
    """Restart as ``argv`` says; the exit status."""
    arguments = parse(argv)
    wait_until_quiet(arguments.patience)
    neighbours = Neighbours()
    with tempfile.TemporaryDirectory(prefix="trio-chat-restart-") as directory:
        service = Service(Path(directory))
        try:
            with on_the_load_core():
                result = run(arguments, service)
        except (SettingsError, SwarmError) as error:
            print(f"restart: {error}", file=sys.stderr)
            return 2 if isinstance(error, SettingsError) else 1
        told = service.errors.read_text()
    lines, wrong = summary(result)
    if "Traceback" in told:
        wrong.append("a traceback in the server's log")
    result["neighbours"] = round(neighbours.cores(), 2)
    print("\n".join(lines))
    print(f"others used {result['neighbours']:.2f} cores")
    print("all is well" if not wrong else "WRONG: " + "; ".join(wrong))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
