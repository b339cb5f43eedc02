"""How the page behaves: keyboard, phone, light and dark, languages, and text that means harm."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from .people import IN_THE_NETWORK, Person, ServerProcess, person

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]

PHONE = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}

ARABIC = "مرحبا بالعالم! هذا نص من اليمين إلى اليسار."
HEBREW = "שלום לכולם"
BOTH_WAYS = [
    HEBREW,
    f"{ARABIC} https://example.org/path?x=1 ok",
    f"https://example.org/path?x=1 {HEBREW}",
    f"hello {HEBREW}",
    f"{HEBREW} hello",
    f"left first\n{HEBREW}",
    f"{HEBREW}\nleft last",
    f"{HEBREW}\n\n{HEBREW}",
    f"{ARABIC} " * 3,
    "left to right, so long that it takes more than one line on a phone",
    "123",
    "\u202e overridden",
    "\u2067isolated, not ended",
]

HOSTILE = [
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "javascript:alert(3) https://bank.example@evil.example/ [x](javascript:alert(4))",
    "{{ constructor.constructor('alert(5)')() }} ${alert(6)}",
    "\u202egnp.exe \u2066\u2067 unbalanced",
    "Z\u0351\u036b\u0343a\u0301" + "\u0310" * 300 + " lgo",
    "x" * 3_000,
    "https://example.org/" + "y" * 3_000,
    "\u0000\u0007 \ufeff control",
    "&lt;b&gt; &amp; \\u003cb\\u003e",
]


def test_hostile_text_is_text(new_person: Enter) -> None:
    """Whatever is written is shown as it was written, runs nothing and breaks no layout."""
    ann, bob = new_person("ann"), new_person("bob", **PHONE)
    for text in HOSTILE:
        ann.write(text)
    for somebody in (ann, bob):
        expect(somebody.messages).to_have_count(len(HOSTILE))
        assert somebody.texts() == HOSTILE
        assert not somebody.is_too_wide()
        assert somebody.page.locator(".message img, .message script, .message iframe").count() == 0
        links = somebody.page.locator(".message a")
        expect(links).to_have_count(1)
        expect(links).to_have_attribute("rel", "noopener noreferrer")
        expect(links).to_have_attribute("href", HOSTILE[6])
    zalgo = bob.page.locator(".words").nth(4).bounding_box()
    assert zalgo is not None
    assert zalgo["height"] < 120


@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desk", "phone"])
def test_both_ways_of_writing(new_person: Enter, settings: dict[str, Any]) -> None:
    """Each line runs as its own words do; a character that turns the direction turns nothing beside it."""
    ann, bob = new_person("ann"), new_person("bob", **settings)
    for text in BOTH_WAYS:
        ann.write(text)
    for somebody in (ann, bob):
        somebody.sees(*BOTH_WAYS)
        assert somebody.texts() == [text.rstrip() for text in BOTH_WAYS]
        assert not somebody.is_too_wide()
    begins_right = """(said) => {
        const range = document.createRange();
        range.setStart(said.firstChild, 0);
        range.setEnd(said.firstChild, 1);
        const box = said.getBoundingClientRect();
        return range.getBoundingClientRect().left > box.left + box.width / 2;
    }"""
    for index, is_right in ((0, True), (3, False), (4, True)):
        assert bob.page.locator(".said").nth(index).evaluate(begins_right) == is_right
    copied = (
        bob.page.locator(".words")
        .nth(5)
        .evaluate("(words) => (getSelection().selectAllChildren(words), getSelection().toString())")
    )
    assert copied == BOTH_WAYS[5]


def test_hostile_names_stay_in_their_place(new_person: Enter) -> None:
    """A name is text, too, and right-to-left names leave their surroundings in order."""
    ann = new_person("ann")
    bob = new_person("<b>bob</b>")
    expect(ann.page.locator(".person bdi")).to_have_text(["ann", "<b>bob</b>"])
    bob.write("hi")
    expect(ann.page.locator(".message-name bdi")).to_have_text("<b>bob</b>")


def test_policy_is_in_force(new_person: Enter, server: ServerProcess) -> None:
    """The page comes with its Content-Security-Policy, and the browser enforces it."""
    ann = new_person("ann")
    answer = ann.context.request.get(server.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    blocked = ann.page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener('securitypolicyviolation', (event) => resolve(event.violatedDirective));
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
        })"""
    )
    assert blocked == "script-src-elem"
    assert ann.page.evaluate("() => window.ran === undefined")
    assert len(ann.faults) == 1
    ann.faults.clear()


def test_in_the_network_there_is_nothing_to_complain_of(browser: Browser, server: ServerProcess) -> None:
    """In plain HTTP, on other computers, the page works as on the server's own, and no console complains."""
    with person(browser, "ann", server.url.replace("127.0.0.1", IN_THE_NETWORK)) as ann:
        ann.enter()
        assert not ann.page.evaluate("() => isSecureContext")
        ann.write("hello, class")
        ann.sees("hello, class")


def test_keyboard_alone(new_person: Enter) -> None:
    """Without a mouse: another name, lines, the log and its messages, the rooms, the appearance."""
    ann = new_person("ann")
    page = ann.page
    page.get_by_role("button", name="Settings").press("Enter")
    page.get_by_role("button", name="Change name").press("Enter")
    expect(page.locator("#name")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("cy")
    page.keyboard.press("Enter")
    expect(page.locator("#write")).to_be_focused()
    ann.online()
    page.keyboard.type("first")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second")
    page.keyboard.press("Enter")
    ann.sees("first\nsecond")
    expect(page.locator("#write")).to_be_focused()
    expect(page.locator("#write")).to_have_value("")
    page.locator(".log").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".message")).to_be_focused()
    page.keyboard.press("r")
    expect(page.locator(".composer-about")).to_contain_text("Replying to cy")
    expect(page.locator("#write")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".composer-about")).to_have_count(0)
    page.keyboard.press("ControlOrMeta+k")
    expect(page.locator("#filter")).to_be_focused()
    page.get_by_role("button", name="Settings").press("Enter")
    page.get_by_role("radio", name="Auto").press("ArrowLeft")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_sheet_of_keys(new_person: Enter) -> None:
    """A question mark shows what the keys do, and Escape puts it away; in the message box it is
    one."""
    ann = new_person("ann")
    ann.page.locator("#write").press("?")
    expect(ann.page.locator("dialog")).to_have_count(0)
    ann.page.locator(".log").press("?")
    expect(ann.page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    ann.page.keyboard.press("Escape")
    expect(ann.page.locator("dialog")).to_have_count(0)


def test_enter_that_ends_composing_does_not_send(new_person: Enter) -> None:
    """While characters are being composed, Enter belongs to the input method."""
    ann = new_person("ann")
    ann.page.locator("#write").fill("ni hao")
    for init in (
        "{key: 'Enter', isComposing: true, bubbles: true}",
        "{key: 'Enter', keyCode: 229, bubbles: true}",
    ):
        ann.page.evaluate(
            f"() => document.querySelector('#write').dispatchEvent(new KeyboardEvent('keydown', {init}))"
        )
    ann.page.wait_for_timeout(200)
    expect(ann.messages).to_have_count(0)
    ann.page.locator("#write").press("Enter")
    ann.sees("ni hao")


def test_phone(new_person: Enter) -> None:
    """On a phone everything fits, and people are in a drawer that opens and closes, by touch and by key."""
    ann = new_person("ann", **PHONE)
    ann.write("a message " * 20)
    expect(ann.messages).to_have_count(1)
    assert not ann.is_too_wide()
    expect(ann.page.locator(".send")).to_be_in_viewport(ratio=1)
    drawer, button = ann.page.locator("#people"), ann.page.locator(".people-button")
    expect(drawer).not_to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "false")
    button.tap()
    expect(drawer).to_be_in_viewport()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(drawer.get_by_role("button", name="Close")).to_be_focused()
    ann.page.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()
    expect(button).to_be_focused()
    rooms = ann.page.locator("#rooms")
    expect(rooms).not_to_be_visible()
    ann.page.locator(".rooms-button").tap()
    expect(rooms).to_be_in_viewport()
    ann.page.keyboard.press("Escape")
    expect(rooms).not_to_be_visible()
    button.tap()
    ann.page.locator(".shade").tap(position={"x": 10, "y": 300})
    expect(drawer).not_to_be_visible()


def test_people_can_be_put_away(new_person: Enter) -> None:
    """Beside the log they take space that one may want; on a screen turned narrow they are in the drawer."""
    ann = new_person("ann")
    people, button = ann.page.locator("#people"), ann.page.locator(".people-button")
    for is_shown in (True, False, True):
        expect(people).to_be_visible(visible=is_shown)
        expect(button).to_have_attribute("aria-expanded", str(is_shown).lower())
        button.click()
    ann.page.set_viewport_size({"width": 600, "height": 720})
    expect(people).not_to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "false")


def test_in_a_low_window_people_can_be_reached(new_person: Enter) -> None:
    """On a phone held sideways the drawer scrolls as a whole."""
    ann = new_person("ann", viewport={"width": 700, "height": 300}, is_mobile=True, has_touch=True)
    ann.page.locator(".people-button").tap()
    for part in (".side-head h2", ".person"):
        ann.page.locator(f"#people {part}").scroll_into_view_if_needed()
        expect(ann.page.locator(f"#people {part}")).to_be_in_viewport(ratio=0.5)


def test_light_and_dark(new_person: Enter) -> None:
    """The page follows the system, and a choice of one's own is kept."""
    ann = new_person("ann", color_scheme="dark")
    lightness = "() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert ann.page.evaluate(lightness) < 60
    ann.page.emulate_media(color_scheme="light")
    assert ann.page.evaluate(lightness) > 200
    ann.choose("Dark")
    assert ann.page.evaluate(lightness) < 60
    ann.page.reload()
    ann.online()
    assert ann.page.evaluate(lightness) < 60


def test_languages(new_person: Enter) -> None:
    """The page speaks the browser's language, changes at once when asked to, and keeps that."""
    ann = new_person("李雷", locale="zh-CN")
    page = ann.page
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator(".light")).to_have_text("已连接")
    ann.write("你好")
    ann.sees("你好")
    expect(page.locator(".divider.day")).to_have_text("今天")
    ann.choose("English")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator(".light")).to_have_text("Connected")
    expect(page.locator(".divider.day")).to_have_text("Today")
    page.reload()
    expect(page.locator(".light")).to_have_text("Connected")


def test_behind_a_path_prefix(new_person: Enter, server: ServerProcess) -> None:
    """A page that a proxy serves under a path finds its files and its socket under that path."""
    ann = new_person("ann")
    page, asked = ann.open(), []
    page.route_web_socket(re.compile("/ws"), lambda socket: asked.append(socket.url))
    page.route(
        "**/team/chat/**",
        lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/team/chat", ""))),
    )
    page.goto(f"{server.url}/team/chat/?name=bob#tea")
    expect(page.locator("h1")).to_contain_text("tea")
    expect(page.locator(".light")).to_have_text("Connecting…")
    assert asked == [f"{server.url.replace('http', 'ws')}/team/chat/ws"]
    page.unroute_all(behavior="ignoreErrors")  # files that the page still asks for are nobody's business


def test_every_control_has_a_name(new_person: Enter) -> None:
    """Buttons and fields say what they are to those who can't see them; the log is one."""
    ann = new_person("ann")
    ann.write("hi")
    ann.sees("hi")
    nameless = ann.page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, [role]:not([role=status])')]
            .filter((element) => !element.hidden)
            .filter((element) => {
                const labels = [...(element.labels ?? [])].map((label) => label.textContent);
                return !element.getAttribute('aria-label') && !element.textContent && !labels.some(Boolean);
            })
            .map((element) => element.outerHTML)"""
    )
    assert nameless == []
    expect(ann.page.get_by_role("log", name="Messages in lobby")).to_have_count(1)


def test_new_messages_are_announced(new_person: Enter) -> None:
    """A live region says who wrote what; history that was there before is not read out."""
    ann, bob = new_person("ann"), new_person("bob")
    bob.write("hello ann")
    expect(ann.page.locator("[aria-live=polite]").last).to_have_text("bob: hello ann")
    cy = new_person("cy")
    cy.sees("hello ann")
    expect(cy.page.locator("[aria-live=polite]").last).to_have_text("")
