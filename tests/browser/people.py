"""A server process and people with browsers, as the tests of the page need them.

Owns how the real server is started, stopped and killed, and the words for what a person does on the page. The
tests own what is to be seen.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, expect
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
IN_THE_NETWORK = "classroom.test"
"""A name that the browsers take for 127.0.0.1: under it, the server is one somewhere in the network."""
START_SECONDS = 20.0
STOP_SECONDS = 15.0

# What a browser itself says when a connection is refused or lost: not a fault of the page.
_EXPECTED = re.compile(
    r"WebSocket connection to|net::ERR_(?:CONNECTION_REFUSED|INTERNET_DISCONNECTED|CONNECTION_RESET)"
)


class ServerProcess:
    """``python -m trio_chat`` with a log of its own; after a restart it has the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.log = folder / "chat.db"
        self.options = options
        self.port = 0
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        command = [sys.executable, *self.program(), "--port", str(self.port)]
        with (self.folder / "server.txt").open("a") as words:
            self.process = subprocess.Popen(
                [*command, *self.options], cwd=ROOT, stdout=subprocess.PIPE, stderr=words, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"trio_chat serving on (http://127\.0\.0\.1:(\d+))\n", line)
        assert found, f"{line!r}\n{(self.folder / 'server.txt').read_text()[-3000:]}"
        self.url, self.port = found[1], int(found[2])

    def program(self) -> list[str]:
        """What Python is to run."""
        return ["-m", "trio_chat", "--log", f"sqlite:///{self.log}"]

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with process:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    def forget(self) -> None:
        """Remove the log: the rooms begin a new life. Only while it is stopped."""
        for path in self.folder.glob("chat.db*"):
            path.unlink()

    def say(self, room: str, texts: list[str], name: str = "robot") -> None:
        """Say ``texts`` in ``room`` and return when all are stored; needs ``--rate 0`` for many."""
        address = f"ws://127.0.0.1:{self.port}/ws?name={name}&room={room}"
        # Unread messages must not keep it from reading the closing handshake: no bound on them.
        with connect(address, proxy=None, max_queue=None, close_timeout=1) as socket:
            waiting = {f"seed-{index}" for index in range(len(texts))}
            for index, text in enumerate(texts):
                socket.send(json.dumps({"op": "say", "room": room, "text": text, "id": f"seed-{index}"}))
                if index % 50 == 49:
                    _take_acks(socket, waiting, len(texts) - index - 1)
            _take_acks(socket, waiting, 0)


class SigningIn(ServerProcess):
    """``examples/cookie_auth.py``: a server that knows its users by a cookie."""

    def program(self) -> list[str]:
        """See `ServerProcess`."""
        return [str(ROOT / "examples" / "cookie_auth.py")]


def _take_acks(socket: Any, waiting: set[str], left: int) -> None:
    while len(waiting) > left:
        frame = json.loads(socket.recv(timeout=START_SECONDS))
        assert frame["op"] != "error", frame
        if frame["op"] == "ack":
            waiting.discard(frame["re"])


class Person:
    """Somebody with a browser of their own. ``faults`` is what the browser complained about."""

    def __init__(self, context: BrowserContext, name: str, url: str) -> None:
        self.context = context
        self.name = name
        self.url = url
        self.faults: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        """A further tab of this browser."""
        page = self.context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"{error}"))
        page.on("dialog", self._dialog)
        return page

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.search(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def enter(self, query: str = "") -> "Person":
        """Go to the page under this name, and wait for the connection."""
        self.page.goto(f"{self.url}/?name={self.name}{query}")
        self.online()
        return self

    def online(self) -> None:
        """Wait until the page says that it is connected."""
        expect(self.page.locator(".light[data-state=online]")).to_be_visible(timeout=20_000)

    def write(self, text: str) -> None:
        """Write a message and press Enter."""
        self.page.locator("#write").fill(text)
        self.page.locator("#write").press("Enter")

    def choose(self, option: str) -> None:
        """Choose a language or an appearance in the settings."""
        self.page.locator(".self .icon-button").click()
        self.page.get_by_role("radio", name=option).check()
        self.page.keyboard.press("Escape")

    def rename(self, name: str) -> None:
        """Take another name, on the first screen."""
        self.page.locator(".self .icon-button").click()
        self.page.get_by_role("button", name="Change name").click()
        self.page.locator("#name").fill(name)
        self.page.locator("#name").press("Enter")
        self.online()

    def go(self, room: str) -> None:
        """Look at another room, by its name in the list."""
        self.page.locator(f".room-line:has(.room-name:text-is('{room}')) a").click()
        expect(self.page.locator("h1")).to_have_text(re.compile(f"^#?{re.escape(room)}$"))

    def act(self, text: str, action: str) -> None:
        """Do something with the message of this text: a button of those that come with the pointer."""
        self.page.locator(".message", has_text=text).last.hover()
        self.page.locator(".toolbar").get_by_role("button", name=action, exact=True).click()

    @property
    def messages(self) -> Locator:
        """All messages on the page."""
        return self.page.locator(".message .words")

    @property
    def unsent(self) -> Locator:
        """Those of mine that are not in the history yet."""
        return self.page.locator(".message:not([data-state=history])")

    def texts(self) -> list[str]:
        """The messages on the page, in order."""
        return self.messages.all_text_contents()

    def sees(self, *texts: str) -> None:
        """Wait until exactly these messages are on the page, in this order, all of them history."""
        expect(self.messages).to_have_text(list(texts), timeout=20_000)
        expect(self.unsent).to_have_count(0, timeout=20_000)

    def distance_to_end(self) -> float:
        """How far the log is scrolled up from its end, in pixels."""
        distance = self.page.evaluate(
            """() => {
                const log = document.querySelector('.log');
                return log.scrollHeight - log.scrollTop - log.clientHeight;
            }"""
        )
        return float(distance)

    def is_too_wide(self) -> bool:
        """Whether anything sticks out sideways."""
        return bool(
            self.page.evaluate(
                """() => [document.documentElement, document.querySelector('.log')]
                    .some((element) => element.scrollWidth > element.clientWidth)"""
            )
        )


@contextlib.contextmanager
def person(browser: Browser, name: str, url: str, **settings: Any) -> Iterator[Person]:
    """Somebody with a browser of their own, whose browser must have nothing to complain about in the end."""
    settings = {
        "locale": "en-GB",
        "timezone_id": "UTC",
        "viewport": {"width": 1100, "height": 720},
    } | settings
    context = browser.new_context(**settings)
    context.set_default_timeout(20_000)
    try:
        somebody = Person(context, name, url)
        yield somebody
        assert somebody.faults == []
    finally:
        folder = os.environ.get("TRIO_CHAT_TEST_PICTURES")
        if folder and sys.exc_info()[0] is not None:
            context.pages[-1].screenshot(path=f"{folder}/{name}.png")
        context.close()
