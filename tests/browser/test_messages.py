"""What is done with messages: replies, edits, reactions, deleting, formatting, completion, search, files."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .people import Person, ServerProcess

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a730000001249444154789c633861646474c2"
    "8801420100220a04b128c64bd20000000049454e44ae426082"
)
"""A PNG of 2 by 2 pixels."""


def test_reply_edit_react_and_delete(new_person: Enter) -> None:
    """What either does shows at the other, survives a reload, and looks the same in history as live."""
    ann, bob = new_person("ann"), new_person("bob")
    bob.write("cake at four?")
    ann.sees("cake at four?")
    ann.act("cake", "Reply")
    ann.write("yes pleese")
    expect(bob.page.locator(".quote")).to_have_text("bobcake at four?")
    ann.page.locator("#write").press("ArrowUp")
    expect(ann.page.locator("#write")).to_have_value("yes pleese")
    ann.write("yes please")
    bob.sees("cake at four?", "yes please")
    expect(bob.page.locator(".edited")).to_have_count(1)
    ann.act("cake", "React with 👍")
    bob.act("cake", "React")
    bob.page.locator(".emoji-search").fill("cake")
    bob.page.locator(".emoji-search").press("Enter")
    for somebody in (ann, bob):
        expect(somebody.page.locator(".reaction")).to_have_text(["👍1", "🍰1"])
    bob.page.locator(".reaction").first.click()
    expect(ann.page.locator(".reaction").first).to_have_text("👍2")
    ann.page.locator(".reaction").first.click()
    expect(bob.page.locator(".reaction").first).to_have_text("👍1")
    bob.write("never mind")
    bob.act("never mind", "Delete")
    bob.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    for somebody in (ann, bob):
        expect(somebody.page.locator(".words.deleted")).to_have_text("This message was deleted.")
        somebody.page.reload()
        somebody.online()
        somebody.sees("cake at four?", "yes please", "This message was deleted.")
        expect(somebody.page.locator(".reaction")).to_have_text(["👍1", "🍰1"])
    cy = bob.open()
    cy.goto(f"{bob.url}/?name=cy")
    expect(cy.locator(".reaction")).to_have_text(["👍1", "🍰1"])
    expect(cy.locator(".quote")).to_have_text("bobcake at four?")


def test_markdown_is_shown(new_person: Enter) -> None:
    """Signs become emphasis, code, quotes, lists and links, at the writer and at the reader."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.write("**bold** *italic* `co*de*` ~~gone~~ [site](https://example.org/)")
    ann.write("```js\nlet x = '<b>';\n```\n> quoted\n- one\n- two")
    for somebody in (ann, bob):
        words = somebody.page.locator(".words")
        expect(words.first.locator("strong")).to_have_text("bold")
        expect(words.first.locator("code")).to_have_text("co*de*")
        expect(words.first.locator("a")).to_have_attribute("href", "https://example.org/")
        expect(words.last.locator("pre")).to_have_text("let x = '<b>';")
        expect(words.last.locator("blockquote")).to_have_text("quoted")
        expect(words.last.locator("li")).to_have_text(["one", "two"])


def test_names_and_emoji_are_completed(new_person: Enter) -> None:
    """Proposals appear while one writes, are chosen by key, and Enter then does not send."""
    ann, bob = new_person("ann"), new_person("bobby")
    expect(ann.page.locator(".person")).to_have_count(2)
    box = ann.page.locator("#write")
    box.press_sequentially("hey @bo")
    expect(ann.page.get_by_role("option")).to_have_text(["Bbobby"])
    box.press("Enter")
    expect(box).to_have_value("hey @bobby ")
    box.press_sequentially(":rock")
    box.press("Tab")
    expect(box).to_have_value("hey @bobby 🚀 ")
    box.press("Enter")
    expect(bob.page.locator(".mention.me")).to_have_text("@bobby")
    expect(bob.page.locator(".message.called")).to_have_count(1)


def test_search_leads_to_the_message(new_person: Enter, server: ServerProcess) -> None:
    """What was said long ago is found, in Chinese too, and shown where it stands among the others."""
    server.say("lobby", ["the needle", "明天去喝茶", *(f"straw {number}" for number in range(300))])
    ann = new_person("ann")
    ann.page.locator(".search-button").click()
    ann.page.locator("#search").fill("needle")
    ann.page.locator("#search").press("Enter")
    expect(ann.page.locator(".hit")).to_have_count(1)
    ann.page.locator(".hit").click()
    expect(ann.page.locator(".message[data-seq='1']")).to_be_in_viewport()
    ann.page.locator(".jump").click()
    expect(ann.messages.last).to_have_text("straw 299")
    ann.page.locator("#search").fill("喝茶")
    ann.page.locator("#search").press("Enter")
    expect(ann.page.locator(".hit-words")).to_have_text(["明天去喝茶"])
    ann.page.locator("#search").fill("straw")
    ann.page.locator("#search").press("Enter")
    expect(ann.page.locator(".hit")).to_have_count(30)
    ann.page.get_by_role("button", name="Show more").click()
    expect(ann.page.locator(".hit")).to_have_count(60)


def test_files(new_person: Enter) -> None:
    """A picked picture is uploaded and shown in place, anything else is a download; what is pasted goes with
    the message, and can be taken off before."""
    ann, bob = new_person("ann"), new_person("bob")
    page = ann.page
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "cat.png", "mimeType": "image/png", "buffer": PICTURE},
            {"name": "<b>.html", "mimeType": "text/html", "buffer": b"<script>alert(1)</script>"},
            {"name": "oops.txt", "mimeType": "text/plain", "buffer": b"not this"},
        ]
    )
    expect(page.locator(".composer-files .file-name")).to_have_text(["cat.png", "<b>.html", "oops.txt"])
    page.get_by_role("button", name="Remove oops.txt").click()
    expect(page.locator(".composer-files progress")).to_have_count(0)
    ann.write("look")
    for somebody in (ann, bob):
        expect(somebody.page.locator(".picture img")).to_have_js_property("naturalWidth", 2)
        expect(somebody.page.locator(".file .file-name")).to_have_text("<b>.html")
    with bob.page.expect_download() as download:
        bob.page.locator(".file").click()
    assert download.value.suggested_filename.endswith(".html")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["pasted"], "pasted.txt", {type: "text/plain"}));
            const paste = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
            document.querySelector("#write").dispatchEvent(paste);
        }"""
    )
    expect(page.locator(".composer-files .icon")).to_have_count(3)
    page.locator("#write").press("Enter")
    expect(bob.page.locator(".file .file-name").last).to_have_text("pasted.txt")


def test_topic(new_person: Enter) -> None:
    """The topic is set in its dialog and shows at everybody."""
    ann, bob = new_person("ann"), new_person("bob")
    ann.page.get_by_role("button", name="Set a topic").click()
    ann.page.locator("#topic").fill("Lunch at 12")
    ann.page.locator("#topic").press("Enter")
    for somebody in (ann, bob):
        expect(somebody.page.locator(".topic")).to_have_text("Lunch at 12")
        expect(somebody.page.locator("[data-event=topic]")).to_have_text("ann has set the topic: Lunch at 12")
