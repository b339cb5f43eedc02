"""Several rooms: their list, what is unread, private ones with invitations, talks of two, moderation."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .people import Person, ServerProcess

pytestmark = pytest.mark.browser
Enter = Callable[..., Person]


def line(somebody: Person, room: str) -> str:
    """The room's line in the list of rooms."""
    return f".room-line:has(.room-name:text-is('{room}'))"


def create(somebody: Person, room: str, kind: str = "Everybody", topic: str = "") -> None:
    """Make a room with the dialog."""
    somebody.page.get_by_role("button", name="New room").click()
    somebody.page.locator("#new-room").fill(room)
    somebody.page.get_by_role("radio", name=kind).check()
    somebody.page.locator("#new-topic").fill(topic)
    somebody.page.get_by_role("button", name="Create the room").click()
    expect(somebody.page.locator("dialog")).to_have_count(0)
    expect(somebody.page.locator("h1")).to_have_text(re.compile(room))


def person_menu(somebody: Person, name: str, action: str) -> None:
    """Do something with a person, by the menu at their name."""
    somebody.page.locator(".person-line", has_text=name).click()
    somebody.page.get_by_role("menuitem", name=action).click()


def test_several_rooms_at_once(new_person: Enter) -> None:
    """A room that is not looked at counts what comes, mentions apart; looking at it reads it, and nothing is
    loaded again; a reload keeps the rooms, what is unread, and the one that is looked at."""
    ann, bob = new_person("ann"), new_person("bob", "&room=tea")
    create(ann, "coffee")
    ann.page.goto(f"{ann.url}/#tea")
    bob.write("one")
    ann.sees("one")
    ann.go("lobby")
    bob.write("two")
    bob.write("@ann three")
    badge = ann.page.locator(f"{line(ann, 'tea')} .badge")
    expect(badge).to_contain_text("@2")
    expect(ann.page).to_have_title(re.compile(r"^\(2\) #lobby"))
    ann.page.reload()
    ann.online()
    expect(ann.page.locator("h1")).to_have_text("#lobby")
    expect(badge).to_contain_text("@2")
    ann.go("tea")
    ann.sees("one", "two", "@ann three")
    expect(ann.page.locator(".divider.unread")).to_have_count(1)
    expect(ann.page.locator(".mention.me")).to_have_text("@ann")
    expect(badge).to_have_count(0)
    expect(ann.page).to_have_title("#tea · Trio Chat")
    expect(ann.page.locator(".room-line.here")).to_have_count(1)
    ann.page.keyboard.press("Alt+ArrowUp")
    expect(ann.page.locator("h1")).to_have_text("#lobby")


def test_a_room_can_be_left_and_found_again(new_person: Enter, server: ServerProcess) -> None:
    """A closed room is no longer mine; it is among the others, found by its name, and opened with Enter."""
    server.say("kitchen", ["hello"])
    ann = new_person("ann")
    create(ann, "tea", topic="Which tea?")
    expect(ann.page.locator(".topic")).to_have_text("Which tea?")
    ann.page.locator(line(ann, "tea")).hover()
    ann.page.get_by_role("button", name="Leave tea").click()
    expect(ann.page.locator("h1")).to_have_text("#lobby")
    ann.page.locator("#filter").fill("kit")
    expect(ann.page.locator(".room-line")).to_have_count(1)
    ann.page.locator("#filter").press("Enter")
    ann.sees("hello")


def test_a_private_room_and_its_invitation(new_person: Enter) -> None:
    """Who is not invited is told so and may ask; the link lets its holder in; no stranger's list has the
    room."""
    ann, bob = new_person("ann"), new_person("bob")
    create(ann, "secret", kind="Only who is invited")
    ann.write("between us")
    ann.sees("between us")
    bob.page.goto(f"{bob.url}/#secret")
    trouble = bob.page.locator(".room-trouble")
    expect(trouble).to_contain_text("You need an invitation")
    trouble.get_by_role("button", name="Ask to be let in").click()
    expect(ann.page.locator("[data-event=asked]")).to_have_text("bob asks to be let in")
    ann.page.get_by_role("button", name="Invite or change room").click()
    expect(ann.page.locator("#link")).to_have_value(re.compile(r"/#/join/secret\?invitation="))
    link = ann.page.locator("#link").input_value()
    ann.page.keyboard.press("Escape")
    bob.page.goto(link)
    bob.page.reload()
    bob.online()
    bob.sees("between us")
    assert "invitation" not in bob.page.url
    expect(ann.page.locator("[data-event=member]")).to_have_text("bob has joined")


def test_a_talk_of_two(new_person: Enter) -> None:
    """A click on a name begins one; the other is told, finds it among their rooms, and it is called after
    the other."""
    ann, bob = new_person("ann"), new_person("bob")
    person_menu(ann, "bob", "Write to bob alone")
    expect(ann.page.locator("h1")).to_have_text("bob")
    ann.write("just you")
    ann.sees("just you")
    found = bob.page.locator(line(bob, "ann"))
    expect(found).to_be_visible()
    found.locator("a").click()
    bob.sees("just you")
    expect(bob.page.locator("h1")).to_have_text("ann")
    bob.write("yes?")
    ann.sees("just you", "yes?")


def test_moderation(new_person: Enter) -> None:
    """What one may not do is not offered; whom a moderator mutes can't write, who is removed is told why the
    room is gone, who is banned does not come back."""
    ann, bob = new_person("ann"), new_person("bob")
    create(ann, "club")
    bob.page.goto(f"{bob.url}/#club")
    bob.write("spam")
    ann.sees("spam")
    bob.page.locator(".person-line", has_text="ann").click()
    expect(bob.page.get_by_role("menuitem", name="Mention ann")).to_be_visible()
    expect(bob.page.get_by_role("menuitem", name="Ban")).to_have_count(0)
    bob.page.keyboard.press("Escape")
    expect(bob.page.locator(".person", has_text="ann").locator(".role")).to_have_text("owner")
    ann.act("spam", "Delete")
    ann.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    for somebody in (ann, bob):
        expect(somebody.page.locator(".words.deleted")).to_have_count(1)
    person_menu(ann, "bob", "Mute for an hour")
    expect(bob.page.locator(".composer-closed")).to_have_text("You are muted in this room.")
    person_menu(ann, "bob", "End muting")
    expect(bob.page.locator("#write")).to_be_visible()
    person_menu(ann, "bob", "Ban")
    ann.page.get_by_role("dialog").get_by_role("button", name="Ban").click()
    expect(bob.page.locator(".room-trouble, .banner.bad")).to_contain_text(re.compile("removed|banned"))
