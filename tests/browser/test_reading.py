"""Reading: history on the way up, the place kept, and many messages without the page growing heavy."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .people import Person, ServerProcess

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]


def seed(count: int) -> list[str]:
    """Texts that differ in length, as messages do."""
    return [f"message {number} " + "word " * (number % 23) for number in range(1, count + 1)]


def scroll_up(page: Page, pixels: int) -> None:
    """Scroll the log up."""
    page.evaluate("(pixels) => document.querySelector('.log').scrollBy(0, -pixels)", pixels)


def first_in_sight(page: Page) -> tuple[str, float]:
    """The first message in sight and where its top is."""
    found = page.evaluate(
        """() => {
            const top = document.querySelector('.log').getBoundingClientRect().top;
            for (const message of document.querySelectorAll('.message')) {
                const box = message.getBoundingClientRect();
                if (box.top >= top) return [message.dataset.seq, box.top];
            }
        }"""
    )
    return str(found[0]), float(found[1])


SHOWN = "() => [...document.querySelectorAll('.message')].map((one) => Number(one.dataset.seq))"
AT_START = "() => document.querySelector('.log').scrollTop < 1"
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def test_history_on_the_way_up(new_person: Enter, server: ServerProcess) -> None:
    """Scrolling up loads page after page until the beginning, none missing and none twice, and what is read
    stays where it is; only a part of it is on the page at a time."""
    texts = seed(420)
    server.say("lobby", texts)
    ann = new_person("ann")
    expect(ann.messages.last).to_have_text(texts[-1].rstrip())
    assert ann.distance_to_end() < 2
    seen: set[int] = set()
    while 1 not in seen:
        seq, top = first_in_sight(ann.page)
        scroll_up(ann.page, 300)
        ann.page.wait_for_function(SETTLED)
        place = ann.page.locator(f".message[data-seq='{seq}']").bounding_box()
        assert place is not None
        assert place["y"] == pytest.approx(top + 300, abs=2) or ann.page.evaluate(AT_START)
        shown = ann.page.evaluate(SHOWN)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert len(shown) < 150
        seen.update(shown)
    assert len(seen) == 420
    ann.page.evaluate("() => { document.querySelector('.log').scrollTop = 0; }")
    expect(ann.page.locator(".beginning")).to_be_in_viewport()


def test_the_very_top_is_no_way_to_the_beginning(new_person: Enter, server: ServerProcess) -> None:
    """Who comes to the top of what is loaded stays at that message while earlier ones are put before it."""
    server.say("lobby", seed(900))
    ann = new_person("ann")
    ann.page.evaluate("() => { document.querySelector('.log').scrollTop = 0; }")
    ann.page.wait_for_function("() => document.querySelector('.log').scrollTop > 1000")
    ann.page.wait_for_function(SETTLED)
    seq, top = first_in_sight(ann.page)
    assert int(seq) > 500
    for _ in range(10):
        ann.page.wait_for_function(SETTLED)
    assert first_in_sight(ann.page) == (seq, pytest.approx(top, abs=2))
    expect(ann.page.locator(".beginning")).to_have_count(0)


def test_new_messages_do_not_move_the_reader(new_person: Enter, server: ServerProcess) -> None:
    """Who reads further up stays there, is told how many came, and gets to them with a button."""
    server.say("lobby", seed(60))
    ann, bob = new_person("ann"), new_person("bob")
    scroll_up(ann.page, 900)
    before = first_in_sight(ann.page)
    bob.write("news")
    bob.write("more news")
    button = ann.page.get_by_role("button", name="2 new messages")
    expect(button).to_be_visible()
    seq, top = first_in_sight(ann.page)
    assert (seq, round(top)) == (before[0], round(before[1]))
    button.click()
    expect(ann.page.locator(".message").last).to_be_in_viewport()
    expect(button).to_have_count(0)
    bob.write("followed")
    expect(ann.messages.last).to_have_text("followed")
    expect(ann.messages.last).to_be_in_viewport()


def test_my_own_message_leads_to_the_end(new_person: Enter, server: ServerProcess) -> None:
    """Who writes while reading further up is taken to what they wrote."""
    server.say("lobby", seed(60))
    ann = new_person("ann")
    scroll_up(ann.page, 900)
    ann.write("here")
    expect(ann.messages.last).to_have_text("here")
    expect(ann.messages.last).to_be_in_viewport()


def test_many_messages(new_person: Enter, server: ServerProcess) -> None:
    """A flood leaves a bounded page that ends with the newest message, and history brings the rest."""
    ann = new_person("ann")
    texts = seed(1_500)
    server.say("lobby", texts)
    expect(ann.messages.last).to_have_text(texts[-1].rstrip(), timeout=20_000)
    assert ann.messages.count() <= 150
    assert ann.distance_to_end() < 2
    expect(ann.page.locator(".light")).to_have_text("Connected")
    first = int(ann.page.locator(".message").first.get_attribute("data-seq") or 0)
    ann.page.evaluate("() => { document.querySelector('.log').scrollTop = 0; }")
    ann.page.wait_for_function(
        "(first) => Number(document.querySelector('.message').dataset.seq) < first - 300", arg=first
    )


def test_far_back_in_a_flood(new_person: Enter, server: ServerProcess) -> None:
    """Who reads far back in a flood keeps a bounded page, and finds the newest again with one button."""
    server.say("lobby", seed(100))
    ann = new_person("ann")
    scroll_up(ann.page, 500)
    more = [f"flood {number}" for number in range(1_200)]
    server.say("lobby", more, name="flood")
    expect(ann.page.locator(".jump.fresh")).to_be_visible()
    ann.page.wait_for_timeout(500)
    assert ann.messages.count() <= 150
    ann.page.locator(".jump").click()
    expect(ann.messages.last).to_have_text(more[-1])
    expect(ann.messages.last).to_be_in_viewport()
    expect(ann.page.locator(".jump")).to_have_count(0)
    assert ann.messages.count() <= 150


def test_unread_are_counted_in_the_title(new_person: Enter) -> None:
    """While the page is out of sight its title counts what came."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.page.evaluate(
        """() => {
            Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    bob.write("one")
    bob.write("two")
    expect(ann.page).to_have_title("(2) #lobby · Trio Chat")
    expect(ann.page.locator(".divider.unread")).to_have_count(1)
