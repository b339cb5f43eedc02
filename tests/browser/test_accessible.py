"""The page for those who can't see it, or see little: axe-core's rules, in every view of it."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .people import Person

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


def violations(page: Page) -> list[str]:
    """What axe-core objects to: rule, what it says, and where."""
    found = Axe().run(page, options=RULES).response
    assert len(found["passes"]) > 10, "hardly a rule was tried"
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes']]}"
        for each in found["violations"]
    ]


def talk(one: Person, other: Person) -> None:
    """Something of every kind of message."""
    one.write("Good **morning**, see https://trio.readthedocs.io\n```\ncode\n```\n> quote")
    expect(other.messages).to_have_count(1)
    other.act("quote", "Reply")
    other.write("a `reply`")
    expect(one.messages).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(new_person: Enter, scheme: str) -> None:
    """On a desktop in both colour schemes: the room, its search, and the dialogs."""
    ann, bob = new_person("ann", color_scheme=scheme), new_person("bob")
    talk(ann, bob)
    assert violations(ann.page) == []
    ann.page.locator(".search-button").click()
    ann.page.locator("#search").fill("reply")
    ann.page.locator("#search").press("Enter")
    expect(ann.page.locator(".hit")).to_have_count(1)
    assert violations(ann.page) == []
    for button in ("New room", "Settings", "Set a topic"):
        ann.page.get_by_role("button", name=button, exact=True).click()
        expect(ann.page.locator("dialog[open]")).to_be_visible()
        assert violations(ann.page) == [], button
        ann.page.keyboard.press("Escape")


def test_axe_finds_nothing_on_a_phone(new_person: Enter) -> None:
    """In a narrow window, with the drawer closed and open, in Chinese."""
    bob = new_person("bob")
    ming = new_person("小明", viewport={"width": 390, "height": 780}, locale="zh-CN")
    bob.write("早上好")
    ming.sees("早上好")
    assert violations(ming.page) == []
    ming.page.locator("header button").first.click()
    assert violations(ming.page) == []
