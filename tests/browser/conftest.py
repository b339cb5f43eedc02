"""A real Chromium and the real server for the tests of the page."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from .people import IN_THE_NETWORK, Person, ServerProcess, person

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# As root in a container there is no sandbox; the rest keeps it from asking its maker for anything.
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {IN_THE_NETWORK} 127.0.0.1",
]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests here; every person gets a context of their own in it."""
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        pytest.skip(f"no Chromium on PATH ({', '.join(_CHROMIUM)})")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server with further options; it is stopped in the end."""
    started: list[ServerProcess] = []

    def start(*options: str) -> ServerProcess:
        server = ServerProcess(tmp_path, *options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def server(new_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server as it comes, but for the rate limit."""
    return new_server("--rate", "0")


@pytest.fixture
def new_person(browser: Browser, server: ServerProcess) -> Iterator[Callable[..., Person]]:
    """Let somebody in, on the page and connected; `settings` are those of the browser."""
    with ExitStack() as stack:

        def enter(name: str, query: str = "", **settings: Any) -> Person:
            return stack.enter_context(person(browser, name, server.url, **settings)).enter(query)

        yield enter
