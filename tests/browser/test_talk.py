"""Two people talk on the page: what each writes, the other sees; who is there and who types shows."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .people import IN_THE_NETWORK, Person, ServerProcess, SigningIn, person

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]


def test_two_people_talk(new_person: Enter) -> None:
    """What either writes appears once at both, in one order, under the writer's name."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.write("hello")
    bob.sees("hello")
    bob.write("hello yourself")
    ann.write("two\nlines")
    for somebody in (ann, bob):
        somebody.sees("hello", "hello yourself", "two\nlines")
    expect(bob.page.locator(".message.theirs .message-name:visible").first).to_have_text("ann")
    expect(ann.page.locator(".message.mine")).to_have_count(2)
    expect(ann.page.locator(".message time").first).to_have_attribute("datetime", re.compile("Z$"))


def test_people_come_and_go(new_person: Enter) -> None:
    """The list of people and its count follow who is there; I am first and marked."""
    ann = new_person("ann")
    people = ann.page.locator(".person .name")
    expect(people).to_have_text(["ann"])
    bob = new_person("bob")
    expect(people).to_have_text(["ann", "bob"])
    expect(bob.page.locator(".person .name")).to_have_text(["bob", "ann"])
    expect(bob.page.locator(".person").first.locator(".tag")).to_have_text("you")
    expect(ann.page.locator(".button-count")).to_have_text("2")
    bob.page.close()
    expect(people).to_have_text(["ann"])
    expect(ann.page.locator("#people .side-head h2")).to_have_text("1 person here")


def test_typing_shows_and_ends(new_person: Enter) -> None:
    """Who types is shown to the other, not to themselves, and no longer once the message is there."""
    ann, bob = new_person("ann"), new_person("bob")
    bob.page.locator("#write").press_sequentially("he", delay=20)
    expect(ann.page.locator(".typing")).to_have_text("bob is typing…")
    expect(bob.page.locator(".typing")).to_have_text("")
    bob.page.locator("#write").press("Enter")
    ann.sees("he")
    expect(ann.page.locator(".typing")).to_have_text("")


def test_a_name_in_use_gets_a_number_and_that_is_said(new_person: Enter) -> None:
    """The second of a name is told what they are called now."""
    new_person("ann")
    other = new_person("ann")
    expect(other.page.locator(".notice")).to_contain_text("“ann-2”")
    expect(other.page.locator(".self strong")).to_have_text("ann-2")


def test_who_is_signed_in_is_told_so(browser: Browser, tmp_path: Path) -> None:
    """Whom the server knows is called what it says, is told so once, and is not offered another name; whom it
    doesn't know is shown its words."""
    server = SigningIn(tmp_path)
    server.start()
    try:
        with person(browser, "eve", server.url) as eve:
            eve.page.goto(f"{server.url}/?name=eve")
            expect(eve.page.locator(".banner")).to_contain_text("please sign in")
            eve.context.add_cookies([{"name": "session", "value": "4f0a7c19", "url": server.url}])
            eve.page.get_by_role("button", name="Connect again").click()
            expect(eve.page.locator(".notice")).to_have_text("You are signed in as “Ann”.")
            eve.page.get_by_role("button", name="Settings").click()
            expect(eve.page.locator(".self-line")).to_contain_text("Annsigned in")
            expect(eve.page.get_by_role("button", name="Change name")).to_have_count(0)
            eve.page.reload()
            eve.online()
            expect(eve.page.locator(".self")).to_contain_text("Ann")
            expect(eve.page.locator(".notice")).to_have_count(0)
    finally:
        server.kill()


def test_change_of_name(new_person: Enter) -> None:
    """Who changes their name keeps their messages and is shown under the new name to others."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.write("one")
    bob.sees("one")
    ann.rename("anna")
    ann.sees("one")
    ann.write("two")
    bob.sees("one", "two")
    expect(ann.page.locator(".message.mine")).to_have_count(2)
    expect(bob.page.locator(".message-name:visible")).to_have_text(["ann", "anna"])
    expect(bob.page.locator(".person .name")).to_have_text(["bob", "anna"])


def test_form_at_the_first_visit(new_person: Enter, server: ServerProcess) -> None:
    """Without a name the page asks for one, says what is wrong with a bad one, and remembers a good one."""
    ann = new_person("ann")
    ann.context.clear_cookies()
    page = ann.open()
    page.goto(f"{server.url}/#tea")
    page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.reload()
    expect(page.locator("#room")).to_have_value("tea")
    page.locator("#name").fill("x" * 33)
    page.locator("#name").press("Enter")
    expect(page.locator("#name-error")).to_contain_text("32")
    expect(page.locator("#name")).to_be_focused()
    page.locator("#name").fill("  cy ")
    page.locator("#name").press("Enter")
    expect(page.locator(".self strong")).to_have_text("cy")
    expect(page.locator("h1")).to_contain_text("tea")
    again = ann.open()
    again.goto(server.url)
    expect(again.locator("h1")).to_contain_text("lobby")
    expect(again.locator(".self strong")).to_have_text("cy-2")


def test_a_bad_address_is_explained(new_person: Enter, server: ServerProcess) -> None:
    """A name or room in the page's address that can't be one is shown beside what it may be, also to somebody
    whose name is known; in the room, a bad fragment is."""
    ann = new_person("ann")
    page = ann.page
    page.goto(f"{server.url}/?name={'x' * 33}")
    expect(page.locator("#name")).to_have_value("x" * 33)
    expect(page.locator("#name-error")).to_contain_text("1 to 32 characters")
    expect(page.locator("#name")).to_be_focused()
    expect(page.locator("#room-error")).to_have_count(0)
    page.goto(f"{server.url}/?room=no%20room")
    expect(page.locator("#name")).to_have_value("ann")
    expect(page.locator("#room-error")).to_contain_text("1 to 64 letters")
    expect(page.locator("#room")).to_be_focused()
    page.goto(f"{server.url}/?name={'x' * 33}&room=no%20room")
    expect(page.locator(".field-error")).to_have_count(2)
    page.locator("#name").fill("ann")
    page.locator("#room").fill("tea")
    page.locator("#room").press("Enter")
    ann.online()
    page.evaluate("location.hash = 'no room'")
    expect(page.locator(".notice")).to_contain_text("1 to 64 letters")
    assert page.url == f"{server.url}/#tea"
    expect(page.locator("h1")).to_have_text("#tea")


def test_rooms_have_links(new_person: Enter) -> None:
    """The dialog gives a link without a name, leads to another room, and the browser's way back works."""
    ann, bob = new_person("ann"), new_person("bob", "&room=客厅")
    ann.write("in the lobby")
    ann.page.get_by_role("button", name="Invite or change room").click()
    assert "name=" not in ann.page.locator("#link").input_value()
    ann.page.locator("#other").fill("no room")
    ann.page.locator("#other").press("Enter")
    expect(ann.page.locator("#other-error")).to_be_visible()
    ann.page.locator("#other").fill("客厅")
    ann.page.locator("#other").press("Enter")
    ann.online()
    expect(ann.page.locator("h1")).to_contain_text("客厅")
    bob.write("in here")
    ann.sees("in here")
    ann.page.go_back()
    ann.sees("in the lobby")
    expect(bob.page.locator(".person .name")).to_have_text(["bob", "ann"])  # she is in both


def test_an_invitation_says_whom_it_can_reach(
    browser: Browser, new_person: Enter, server: ServerProcess
) -> None:
    """A link that works on this computer only is offered to nobody, in either language; one that others can
    use is, and can be copied where the page is not served securely."""
    ann = new_person("ann")
    ann.page.get_by_role("button", name="Invite or change room").click()
    dialog = ann.page.locator("dialog")
    expect(dialog).to_contain_text("This link works on this computer only:")
    expect(dialog.locator("code")).to_have_text(["--host 0.0.0.0", "127.0.0.1"])
    expect(dialog.get_by_text("Anyone")).to_have_count(0)
    ann.page.keyboard.press("Escape")
    ann.choose("中文")
    ann.page.get_by_role("button", name="邀请他人或切换房间").click()
    expect(dialog).to_contain_text("这个链接只能在这台电脑上使用：")
    with person(browser, "bob", server.url.replace("127.0.0.1", IN_THE_NETWORK)) as bob:
        bob.enter()
        bob.page.get_by_role("button", name="Invite or change room").click()
        dialog = bob.page.locator("dialog")
        expect(dialog).to_contain_text("Anyone with this link can join:")
        expect(dialog.locator("code")).to_have_count(0)
        assert bob.page.locator("#link").input_value() == f"{bob.url}/#lobby"
        dialog.get_by_role("button", name="Copy").click()
        expect(dialog.get_by_role("button", name="Copied")).to_be_visible()


def test_too_long_a_text_is_not_sent(new_person: Enter) -> None:
    """What the server would refuse is refused while it is written, and the text is not lost."""
    ann = new_person("ann")
    box = ann.page.locator("#write")
    box.fill("x" * 9_900)
    expect(ann.page.locator(".composer-remark")).to_have_text("100 characters left")
    box.fill("x" * 10_001)
    expect(ann.page.get_by_role("alert")).to_have_text("Too long to send")
    box.press("Enter")
    assert len(box.input_value()) == 10_001
    expect(ann.page.locator(".send")).to_be_disabled()
    expect(ann.messages).to_have_count(0)
    box.fill("x" * 10_000)
    box.press("Enter")
    ann.sees("x" * 10_000)
