"""The page and a connection that breaks: nothing on screen is lost, nothing written is lost or doubled."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, WebSocketRoute, expect
from websockets.sync.client import connect

from .people import Person, ServerProcess, person

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]


def test_reload_goes_on(new_person: Enter) -> None:
    """After a reload the same person sees the same messages, and those that came meanwhile."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.write("one")
    bob.write("two")
    ann.sees("one", "two")
    ann.page.locator("#write").fill("half a sen")
    ann.page.goto("about:blank")
    bob.write("three")
    bob.sees("one", "two", "three")
    ann.page.go_back()
    ann.online()
    ann.sees("one", "two", "three")
    expect(ann.page.locator(".self strong")).to_have_text("ann")
    expect(ann.page.locator(".message.mine")).to_have_count(1)
    expect(ann.page.locator("#write")).to_have_value("half a sen")
    assert ann.distance_to_end() < 2


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart_of_the_server(new_person: Enter, server: ServerProcess, how: str) -> None:
    """After a restart or crash all messages are there once, also those that were written meanwhile."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.write("before")
    bob.sees("before")
    getattr(server, how)()
    expect(ann.page.locator(".banner")).to_contain_text(re.compile("Connection lost|Connecting"))
    for text in ("meanwhile 1", "meanwhile 2"):
        ann.write(text)
    expect(ann.unsent).to_have_count(2)
    expect(ann.messages).to_have_text(["before", "meanwhile 1", "meanwhile 2"])
    server.start()
    for somebody in (ann, bob):
        somebody.online()
        somebody.sees("before", "meanwhile 1", "meanwhile 2")
    expect(ann.page.locator(".banner")).to_have_count(0)
    expect(ann.page.locator(".self strong")).to_have_text("ann")
    bob.write("after")
    ann.sees("before", "meanwhile 1", "meanwhile 2", "after")


def test_crash_while_writing(new_person: Enter, server: ServerProcess) -> None:
    """Messages written in quick succession across a crash arrive once each, in order."""
    ann, bob = new_person("ann"), new_person("bob")
    texts = [f"message {number}" for number in range(30)]
    for number, text in enumerate(texts):
        ann.write(text)
        if number in (10, 20):
            server.kill()
            server.start()
    for somebody in (ann, bob):
        somebody.sees(*texts)


def test_log_that_was_wiped(new_person: Enter, server: ServerProcess) -> None:
    """If the server lost its log, the page shows what there is and says so; what is written still arrives."""
    ann = new_person("ann")
    ann.write("of the old life")
    ann.sees("of the old life")
    server.stop()
    ann.write("of the new life")
    server.forget()
    server.start()
    ann.online()
    ann.sees("of the new life")
    expect(ann.page.locator(".remark").filter(has_text="could not continue")).to_have_count(1)


def test_a_first_connection_that_fails(browser: Browser, new_server: Callable[..., ServerProcess]) -> None:
    """What never was is not called lost; after some attempts the page says what may be the matter; and once
    it is connected, lost is lost."""
    server = new_server("--max-per-ip", "1")
    with person(browser, "ann", server.url) as ann:
        banner = ann.page.locator(".banner")
        with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None):
            ann.page.goto(f"{server.url}/?name=ann")
            expect(banner).to_contain_text(re.compile(r"^Can’t connect yet. Trying again in \d s"))
            expect(ann.page.locator(".banner-hint")).to_contain_text("does not let this page in")
            expect(banner).to_contain_text("Can’t connect yet")
        ann.online()
        expect(banner).to_have_count(0)
        server.kill()
        expect(banner).to_contain_text("Connection lost")
        expect(ann.page.locator(".banner-hint")).to_have_count(0)


def test_offline_and_online(new_person: Enter) -> None:
    """Without a network the page says so, keeps what is written, and sends it when the network is back."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.context.set_offline(True)
    expect(ann.page.locator(".light")).to_have_text("Offline", timeout=20_000)
    expect(ann.page.locator(".banner")).to_contain_text("You are offline")
    ann.write("from the tunnel")
    expect(ann.unsent).to_have_count(1)
    bob.write("meanwhile")
    bob.sees("meanwhile")
    ann.context.set_offline(False)
    for somebody in (ann, bob):
        somebody.sees("meanwhile", "from the tunnel")


def test_unsent_messages_can_be_withdrawn(new_person: Enter, server: ServerProcess) -> None:
    """What was never sent can be deleted, and then never is."""
    ann = new_person("ann")
    server.stop()
    expect(ann.page.locator(".banner")).to_be_visible()
    ann.write("better not")
    ann.write("fine")
    ann.page.locator(".message", has_text="better not").get_by_role("button", name="Delete").click()
    server.start()
    ann.sees("fine")


# --- what the real server does rarely: said by a stand-in between page and server ---------------------------


class StandIn:
    """Passes frames between page and server; a test can answer, close and count in between."""

    def __init__(self) -> None:
        self.routes: list[WebSocketRoute] = []
        self.refuse = ""

    def __call__(self, route: WebSocketRoute) -> None:
        self.routes.append(route)
        upstream = route.connect_to_server()

        def from_page(frame: str | bytes) -> None:
            text = str(frame)
            if self.refuse and '"op":"say"' in text:
                found = re.search(r'"id":"(\w+)"', text)
                assert found
                route.send(self.refuse.replace("ID", found[1]))
            else:
                upstream.send(frame)

        route.on_message(from_page)


@pytest.fixture
def stand_in() -> StandIn:
    """See `StandIn`."""
    return StandIn()


@pytest.fixture
def ann(browser: Browser, server: ServerProcess, stand_in: StandIn) -> Iterator[Person]:
    """Ann, with a stand-in between her page and the server."""
    with person(browser, "ann", server.url) as somebody:
        somebody.page.route_web_socket(re.compile("/ws$"), stand_in)
        yield somebody.enter()


def test_final_close_codes(ann: Person, stand_in: StandIn) -> None:
    """After a code from 4500 on the page stays away, shows the reason, and comes back when asked to."""
    stand_in.routes[-1].close(code=4503, reason="removed by a moderator")
    expect(ann.page.locator(".banner.bad")).to_contain_text("removed by a moderator")
    ann.page.wait_for_timeout(1_500)
    assert len(stand_in.routes) == 1
    ann.page.get_by_role("button", name="Connect again").click()
    ann.online()


def test_retry_after(ann: Person, stand_in: StandIn) -> None:
    """The page counts down to the time that the server named, and a button ends the wait."""
    stand_in.routes[-1].send('{"op":"bye","code":1012,"reason":"restart","retry_after":30}')
    stand_in.routes[-1].close(code=1012)
    expect(ann.page.locator(".banner")).to_contain_text(re.compile(r"in (30|29|28) s"))
    ann.page.get_by_role("button", name="Try now").click()
    ann.online()


def test_refused_message(ann: Person, stand_in: StandIn) -> None:
    """A message refused for good is shown as failed with the reason, to be sent again or deleted."""
    stand_in.refuse = '{"op":"error","re":"ID","code":"forbidden","message":"only members may write here"}'
    ann.write("one")
    ann.write("two")
    failed = ann.page.locator("[data-state=failed]")
    expect(failed).to_have_count(2)
    expect(failed.first).to_contain_text("You may not do that here")
    ann.page.reload()
    expect(failed).to_have_count(2)
    stand_in.refuse = ""
    failed.first.get_by_role("button", name="Delete").click()
    expect(failed).to_have_count(1)
    failed.get_by_role("button", name="Try again").click()
    ann.sees("two")


def test_temporary_refusal(ann: Person, stand_in: StandIn) -> None:
    """A message that the server can't take now is sent again by itself, once."""
    stand_in.refuse = '{"op":"error","re":"ID","code":"unavailable","message":"disk full","retry_after":0.3}'
    ann.write("patience")
    expect(ann.unsent).to_have_count(1)
    ann.page.wait_for_timeout(700)
    expect(ann.page.locator("[data-state=failed]")).to_have_count(0)
    stand_in.refuse = ""
    ann.sees("patience")


def test_gap(ann: Person, stand_in: StandIn) -> None:
    """Messages that are no longer kept are a remark in their place."""
    stand_in.routes[-1].send('{"op":"gap","room":"lobby","from":1,"to":4}')
    expect(
        ann.page.locator(".remark").filter(has_text="4 earlier messages are no longer kept")
    ).to_be_visible()
