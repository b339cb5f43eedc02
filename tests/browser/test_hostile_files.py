"""Uploaded files in a real browser: none of them runs, however it is opened; images are shown."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import pytest
from files.samples import HOSTILE, gif, png
from playwright.sync_api import Browser, Error, Page
from websockets.sync.client import connect

from .people import ServerProcess

pytestmark = pytest.mark.browser

WAYS = (
    '<script src="{}"></script>',
    '<script type="module" src="{}"></script>',
    '<link rel="stylesheet" href="{}">',
    '<iframe src="{}"></iframe>',
    '<object data="{}"></object>',
    '<embed src="{}">',
    '<img src="{}">',
)
"""How a page may take a file for something that runs."""


def upload(server: ServerProcess, content: bytes, name: str, declared: str) -> str:
    """Upload as a guest, and return the file's address in full."""
    with connect(server.url.replace("http", "ws") + "/ws") as websocket:
        websocket.send('{"op":"hello"}')
        session = json.loads(websocket.recv())["session"]
    request = urllib.request.Request(
        f"{server.url}/files?name={quote(name)}",
        content,
        {"Authorization": f"Bearer {session}", "Content-Type": declared},
    )
    with urllib.request.urlopen(request) as answer:
        url: str = json.load(answer)["url"]
    return server.url + url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in which whatever runs shows a dialog, and so fails the test."""
    with browser.new_context() as context:
        opened = context.new_page()
        ran: list[str] = []
        context.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
        yield opened
        assert ran == []


def test_hostile_files_are_downloads(server: ServerProcess, page: Page) -> None:
    """Opened as pages of their own, in the same origin as the chat."""
    for content, name, declared in HOSTILE.values():
        url = upload(server, content, name, declared)
        page.goto(server.url)
        with page.expect_download() as download, suppress(Error):
            page.goto(url)
        assert download.value.url == url
        assert download.value.suggested_filename == name
        assert "/files/" not in page.url


def test_hostile_files_in_a_page_do_nothing(server: ServerProcess, page: Page) -> None:
    """Neither as scripts, styles, frames nor images of somebody else's page."""
    names = ("html", "svg", "javascript", "css", "xhtml", "an icon")
    urls = [upload(server, *HOSTILE[name]) for name in names]
    for way in WAYS:
        page.set_content("".join(way.format(url) for url in urls), wait_until="load")
        assert page.evaluate("getComputedStyle(document.body).backgroundImage") == "none", way
        for frame in page.frames[1:]:
            assert "alert" not in frame.content(), way


@pytest.mark.parametrize(("content", "kind"), [(png(), "png"), (gif(), "gif")], ids=["png", "gif"])
def test_an_image_is_shown(content: bytes, kind: str, server: ServerProcess, page: Page) -> None:
    """In the chat's own page, within its Content-Security-Policy."""
    url = upload(server, content, f"x.{kind}", "text/html")
    page.goto(server.url)
    width = page.evaluate(
        """url => new Promise(done => {
            const image = new Image();
            image.onload = () => done(image.naturalWidth);
            image.onerror = () => done(0);
            image.src = url;
        })""",
        url,
    )
    assert width == 3
