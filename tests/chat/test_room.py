"""A room, without an event loop: every method is plain."""

import random

import attrs
import msgspec
import pytest

from trio_chat.chat import limits
from trio_chat.chat.policy import OnOverflow
from trio_chat.chat.room import Member, Room, text_frame
from trio_chat.chat.schema import User
from trio_chat.log.base import Event, Position
from trio_chat.wire.frames import payload_of

ANN, BOB = User("1", "ann"), User("2", "bob")


@attrs.define
class Box:
    """An outbox that takes what is offered until it is ``full``."""

    full: bool = False
    taken: list[bytes] = attrs.Factory(list)
    forced: list[bytes] = attrs.Factory(list)
    window_bits: int = 0
    finished: bool = False

    def offer(self, data: bytes) -> bool:
        if not self.full:
            self.taken.append(data)
        return not self.full

    def offer_signal(self, data: bytes) -> None:
        raise AssertionError("a room sends no signals itself")

    def force(self, data: bytes) -> None:
        self.forced.append(data)


@attrs.define
class Behind:
    """Collects the members that fell behind."""

    members: list[Member] = attrs.Factory(list)

    def __call__(self, member: Member) -> None:
        assert not member.live
        self.members.append(member)


def room_at(head: int = 0) -> Room:
    return Room("lobby", Position("epoch", head))


def join(room: Room, cursor: int | None = None, user: User = ANN) -> tuple[Member, Box, Behind]:
    box, behind = Box(), Behind()
    member, _ = room.join(user, box, behind, room.head if cursor is None else cursor)
    return member, box, behind


def events(first: int, count: int, size: int = 1) -> list[bytes]:
    return [(b"%d," % seq) * size for seq in range(first, first + count)]


def pass_over(room: Room) -> None:
    """Deliver what is new, as the hub does."""
    while room.delivered < room.head:
        page = room.page(room.delivered, limits.PAGE_BYTES)
        assert page is not None
        last, frames = page
        room.deliver(list(room.members), room.delivered, last, b"".join(frames))
        room.delivered = last


def test_live_members_get_what_is_published_once() -> None:
    """A pass offers a run of events as one piece and moves each cursor to its end."""
    room = room_at(7)
    (member, box, _), (other, others, _) = join(room), join(room, user=BOB)
    assert member.live
    room.publish(8, events(8, 3))
    pass_over(room)
    room.publish(11, events(11, 1))
    pass_over(room)
    assert box.taken == others.taken == [b"8,9,10,", b"11,"]
    assert member.cursor == other.cursor == room.head == room.delivered == 11


def test_a_member_that_joins_between_publishing_and_delivery_gets_nothing_twice() -> None:
    """Its cursor is the new head, so the pass over older events is not for it."""
    room = room_at()
    _, early, _ = join(room)
    room.publish(1, events(1, 2))
    member, late, _ = join(room)
    assert member.live
    pass_over(room)
    assert (early.taken, late.taken) == ([b"1,2,"], [])
    room.publish(3, events(3, 1))
    pass_over(room)
    assert late.taken == [b"3,"]


def test_a_member_that_joins_within_what_a_pass_delivers_falls_behind() -> None:
    """A pass over 1, 2, 3 can't serve who joined at 2; it must not be passed over for ever either."""
    room = room_at()
    room.publish(1, events(1, 2))
    member, box, behind = join(room)
    room.publish(3, events(3, 1))
    pass_over(room)
    assert (box.taken, box.forced) == ([], [])
    assert (member.cursor, behind.members) == (2, [member])
    assert room.page(2, limits.PAGE_BYTES) == (3, [b"3,"])


def test_a_member_with_a_past_cursor_is_not_live() -> None:
    """Who joins with a position before the head is for its owner to bring up."""
    room = room_at(5)
    member, box, behind = join(room, cursor=3)
    assert not member.live
    room.publish(6, events(6, 1))
    pass_over(room)
    assert (box.taken, member.cursor, behind.members) == ([], 3, [])


def test_an_outbox_that_refuses_makes_its_member_fall_behind() -> None:
    """The cursor stops, ``lagging`` names it, the owner is told once, and the others go on."""
    room = room_at()
    (slow, box, behind), (_, others, _) = join(room), join(room, user=BOB)
    room.publish(1, events(1, 1))
    pass_over(room)
    box.full = True
    for seq in (2, 3):
        room.publish(seq, events(seq, 1))
        pass_over(room)
    assert (slow.cursor, slow.live, behind.members) == (1, False, [slow])
    assert [payload_of(data) for data in box.forced] == [b'{"op":"lagging","room":"lobby","seq":1}']
    assert others.taken == [b"1,", b"2,", b"3,"]


@pytest.mark.parametrize("on_overflow", ["catch_up", "block"])
def test_a_room_that_blocks_knows_whom_its_senders_wait_for(on_overflow: OnOverflow) -> None:
    """A member whose outbox refuses is waited for until it has caught up or has left; one whose outbox is
    finished is not, and one that is behind for another reason neither."""
    room = Room("lobby", Position("epoch", 0), on_overflow)
    (slow, box, _), (gone, other, _), (ended, third, _) = join(room), join(room, user=BOB), join(room)
    box.full = other.full = third.full = third.finished = True
    late, _, _ = join(room, cursor=-1)
    room.publish(1, events(1, 1))
    pass_over(room)
    assert list(room.full) == ([slow, gone] if on_overflow == "block" else [])
    assert not any(member.live for member in (slow, gone, ended, late))
    room.leave(gone)
    room.caught_up(slow)
    assert slow.live
    assert not room.full
    room.publish(7, events(7, 1))
    assert not any((slow.live, room.full))


def test_a_room_that_disconnects_does_so() -> None:
    """A member whose outbox refuses is ended and gets nothing more, not even a word; nobody else is."""
    room, ends = Room("lobby", Position("epoch", 0), "disconnect"), []
    box, behind = Box(full=True), Behind()
    slow, _ = room.join(ANN, box, behind, 0, lambda: ends.append("slow"))
    room.join(BOB, fine := Box(), behind, 0, lambda: ends.append("fine"))
    for seq in (1, 2):
        room.publish(seq, events(seq, 1))
        pass_over(room)
    assert (ends, behind.members, slow.live, box.forced) == (["slow"], [], False, [])
    assert fine.taken == events(1, 2)
    room.publish(7, events(7, 1))
    assert ends == ["slow"]


def test_a_hole_makes_everybody_fall_behind() -> None:
    """Events that didn't come through here are in the log: nobody live may miss them."""
    room = room_at()
    (member, box, behind), (past, _, past_behind) = join(room), join(room, cursor=0)
    past.live = False
    room.publish(1, events(1, 1))
    pass_over(room)
    room.publish(4, events(4, 1))
    assert (room.head, room.delivered) == (4, 3)
    assert (behind.members, past_behind.members) == ([member], [])
    assert room.page(1, limits.PAGE_BYTES) is None
    assert room.page(3, limits.PAGE_BYTES) == (4, [b"4,"])
    pass_over(room)
    assert box.taken == [b"1,"]
    assert box.forced == []


def test_growth_elsewhere_is_a_hole_of_its_own() -> None:
    """Publishing nothing at a later head leaves an empty tail at that head."""
    room = room_at(1)
    member, _, behind = join(room)
    room.publish(4, [])
    assert (room.head, room.delivered, behind.members) == (3, 3, [member])
    assert room.page(1, limits.PAGE_BYTES) is None
    assert room.page(3, limits.PAGE_BYTES) is None


def test_a_page_is_what_follows_a_cursor() -> None:
    """All of the tail, a part of it, nothing beyond its beginning."""
    room = room_at(10)
    assert room.page(10, limits.PAGE_BYTES) is None
    room.publish(11, events(11, 3))
    assert room.page(10, limits.PAGE_BYTES) == (13, [b"11,", b"12,", b"13,"])
    assert room.page(11, limits.PAGE_BYTES) == (13, [b"12,", b"13,"])
    assert room.page(13, limits.PAGE_BYTES) == (13, [])
    assert room.page(9, limits.PAGE_BYTES) is None


def test_a_page_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends before it is too large, but has at least one event; pages together are everything."""
    monkeypatch.setattr(limits, "PAGE_BYTES", 10)
    room = room_at()
    room.publish(1, [*events(1, 9, size=3), b"x" * 50])
    found: list[bytes] = []
    after = 0
    while after < room.head:
        page = room.page(after, limits.PAGE_BYTES)
        assert page is not None
        assert len(page[1]) == page[0] - after
        assert len(page[1]) == 1 or len(b"".join(page[1])) <= 10
        after, frames = page
        found += frames
    assert found == [*events(1, 9, size=3), b"x" * 50]


def test_the_tail_keeps_the_newest_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered is dropped beyond a number of events and of bytes; what was not is kept longer."""
    monkeypatch.setattr(limits, "MAX_TAIL_EVENTS", 4)
    monkeypatch.setattr(limits, "MAX_TAIL_BYTES_UNDELIVERED", 40)
    room = room_at()
    room.publish(1, events(1, 8))
    assert room.page(0, limits.PAGE_BYTES) == (8, events(1, 8))
    pass_over(room)
    room.publish(9, events(9, 1))
    assert room.page(4, limits.PAGE_BYTES) is None
    assert room.page(5, limits.PAGE_BYTES) == (9, events(6, 4))
    pass_over(room)
    room.publish(10, [b"y" * 30] * 6)
    assert room.page(10, limits.PAGE_BYTES) is None
    assert room.page(11, limits.PAGE_BYTES) == (15, [b"y" * 30] * 4)


def test_large_events_bound_the_tail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered events go when their bytes are too many, though there are few."""
    monkeypatch.setattr(limits, "PAGE_BYTES", 100)
    room = room_at()
    for seq in range(1, 6):
        room.publish(seq, [b"z" * 60])
        pass_over(room)
    assert room.page(3, limits.PAGE_BYTES) is None
    assert room.page(4, limits.PAGE_BYTES) == (5, [b"z" * 60])


def test_what_the_log_no_longer_keeps_leaves_the_tail() -> None:
    """But for what is not delivered yet: live members get everything, and only then it goes."""
    room = room_at()
    member, box, _ = join(room)
    room.publish(1, events(1, 4))
    pass_over(room)
    room.publish(5, events(5, 4))
    room.trimmed(3)
    assert (room.first, room.page(1, 1000), room.page(2, 1000)) == (3, None, (8, events(3, 6)))
    room.trimmed(8)
    assert room.page(3, 1000) is None
    assert room.page(4, 1000) == (8, events(5, 4))
    pass_over(room)
    assert b"".join(box.taken) == b"".join(events(1, 8))
    assert (member.live, member.cursor) == (True, 8)
    room.publish(9, events(9, 1))
    assert room.page(6, 1000) is None
    assert room.page(7, 1000) == (9, events(8, 2))
    room.trimmed(10)
    pass_over(room)
    room.trimmed(10)
    assert (room.head, room.first, room.page(8, 1000)) == (9, 10, None)
    room.trimmed(7)
    assert room.first == 10


def test_the_last_events_are_counted_among_those_that_are_kept() -> None:
    """A cursor before the last n never lies before what is kept, and never behind the head."""
    room = Room("lobby", Position("epoch", 20, 11))
    assert [room.before_last(n) for n in (0, 1, 10, 11, 99)] == [20, 19, 10, 10, 10]
    room.trimmed(21)
    assert [room.before_last(n) for n in (0, 1, 99)] == [20, 20, 20]


def test_priming_gives_a_room_its_tail() -> None:
    """The last events of the log serve those who are a little behind."""
    room = room_at(5)
    room.prime((seq, b"%d," % seq) for seq in (3, 4, 5))
    assert room.page(2, limits.PAGE_BYTES) == (5, [b"3,", b"4,", b"5,"])
    assert room.page(1, limits.PAGE_BYTES) is None
    room.publish(6, [b"6,"])
    assert room.page(4, limits.PAGE_BYTES) == (6, [b"5,", b"6,"])


def test_priming_too_much_keeps_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail is never longer than it may be."""
    monkeypatch.setattr(limits, "MAX_TAIL_EVENTS", 2)
    room = room_at(5)
    room.prime((seq, b"%d," % seq) for seq in (3, 4, 5))
    assert room.page(2, limits.PAGE_BYTES) is None
    assert room.page(3, limits.PAGE_BYTES) == (5, [b"4,", b"5,"])


def test_an_event_has_the_same_bytes_live_and_from_the_log() -> None:
    """Encoded twice, or from the log: one frame."""
    room = Room("räume", Position("e", 0))
    data = room.encode(1, 1500, "message", '"text":"hi"}')
    assert data == room.encode(1, 1500, "message", '"text":"hi"}')
    assert data == room.encode_event(Event(1, 1500, "message", '"text":"hi"}'))
    assert msgspec.json.decode(payload_of(data)) == {
        "op": "message", "room": "räume", "seq": 1, "at": 1.5, "text": "hi",
    }  # fmt: skip


def test_each_window_gets_its_own_bytes() -> None:
    """Members that agreed to compression get compressed frames, the others plain ones."""
    room = room_at()
    assert room.compressed([text_frame(b"x")]) is None
    plain, packed = Box(), Box(window_bits=12)
    room.join(ANN, plain, Behind(), 0)
    member, _ = room.join(BOB, packed, Behind(), 0)
    other, _ = room.join(BOB, Box(window_bits=12), Behind(), 0)
    frames = [text_frame(b"hello " * 100)]
    data = room.compressed(frames)
    assert data is not None
    assert list(data) == [12]
    assert len(data[12]) < 100
    room.publish(1, frames)
    room.deliver(list(room.members), 0, 1, frames[0], data)
    assert plain.taken == frames
    assert packed.taken == [data[12]]
    room.leave(other)
    assert room.compressed(frames) is not None
    room.leave(member)
    assert room.compressed(frames) is None


# --- who is there ---------------------------------------------------


def test_a_user_is_present_as_long_as_one_session_is() -> None:
    """The first session of a user comes, the last one goes; in between nothing is to be told."""
    room = room_at()
    one, came = room.join(ANN, Box(), Behind(), 0)
    two, again = room.join(ANN, Box(), Behind(), 0)
    assert (came, again) == (True, False)
    assert room.listed(10) == [ANN]
    assert not room.leave(one)
    assert room.listed(10) == [ANN]
    assert room.leave(two)
    assert not room.leave(two)
    assert not room.users
    assert not two.live


def test_who_is_listed_in_order_of_arrival() -> None:
    """The first ``limit`` users, each once."""
    room = room_at()
    users = [User(str(i), f"u{i}") for i in range(5)]
    for user in users:
        room.join(user, Box(), Behind(), 0)
    assert room.listed(3) == users[:3]
    assert room.listed(10) == users


def test_a_member_may_become_somebody_else() -> None:
    """Renaming tells whether the old user is gone with it."""
    room = room_at()
    one, _ = room.join(ANN, Box(), Behind(), 0)
    two, _ = room.join(ANN, Box(), Behind(), 0)
    assert not room.rename(one, BOB)
    assert {user.id for user in room.listed(9)} == {"1", "2"}
    assert room.rename(two, BOB)
    assert room.listed(9) == [BOB]


# --- knowing a message again ---------------------------------------------------

RESENDS: list[tuple[str, User, str, str, int, bool]] = [
    ("the same user", ANN, "id", "hi", 0, False),
    ("the same name and text", User("9", "ann"), "id", "hi", 0, True),
    ("another text", User("9", "ann"), "id", "ho", 0, False),
    ("another id", User("9", "ann"), "other", "hi", 0, False),
    ("another name", User("9", "eve"), "id", "hi", 0, False),
    ("in time", User("9", "ann"), "id", "hi", 300_000, True),
    ("too late", User("9", "ann"), "id", "hi", 300_001, False),
]


@pytest.mark.parametrize(("user", "message_id", "text", "after_ms", "known"), [row[1:] for row in RESENDS],
                         ids=[row[0] for row in RESENDS])  # fmt: skip
def test_a_resent_message_is_known_by_name_id_and_text(
    user: User, message_id: str, text: str, after_ms: int, known: bool
) -> None:
    """A guest who came back as somebody new is recognised for some minutes; the same user has its key."""
    room = room_at()
    room.remember(ANN, "id", "hi", 4, 1000)
    found = room.resend_of(user, message_id, text, 1000 + after_ms)
    assert (found is not None) == known
    assert found is None or (found.seq, found.at_ms) == (4, 1000)


def test_only_recent_messages_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes when there are too many."""
    monkeypatch.setattr(limits, "MAX_TAIL_EVENTS", 2)
    room = room_at()
    for seq in (1, 2, 3):
        room.remember(ANN, str(seq), "hi", seq, 0)
    guest = User("9", "ann")
    assert room.resend_of(guest, "1", "hi", 0) is None
    assert room.resend_of(guest, "2", "hi", 0) is not None


# --- against a model ---------------------------------------------------

STEPS = ["publish", "publish", "pass", "slice", "full", "empty", "catch up", "join", "leave", "hole"]


@pytest.mark.parametrize("seed", range(10))
def test_every_member_gets_every_event_once(seed: int) -> None:
    """Whatever happens in whatever order: what a member was given is exactly what followed its joining."""
    rng = random.Random(seed)
    for _ in range(50):
        play(rng.choices(STEPS, k=40), rng)


def play(steps: list[str], rng: random.Random) -> None:
    log = [b""]
    room = room_at()
    people: list[tuple[Member, Box, int]] = []

    def publish(count: int) -> None:
        first = len(log)
        log.extend(events(first, count))
        room.publish(first, log[first:])

    def catch_up(member: Member, box: Box) -> None:
        while member.cursor < room.head and not box.full:
            page = room.page(member.cursor, limits.PAGE_BYTES)
            last, frames = page if page is not None else (room.head, log[member.cursor + 1 : room.head + 1])
            box.offer(b"".join(frames))
            member.cursor = last
        member.live = member.cursor == room.head and member in room.members

    for step in steps:
        if step == "publish":
            publish(rng.choice([1, 2, 5]))
        elif step == "hole":
            log.extend(events(len(log), 2))
            publish(1)
        elif step == "join":
            since = rng.randint(max(0, room.head - 3), room.head)
            member, box, _ = join(room, since)
            people.append((member, box, since))
        elif step in ("pass", "slice") and room.delivered < room.head:
            page = room.page(room.delivered, limits.PAGE_BYTES)
            assert page is not None
            last, frames = page
            members = list(room.members)
            half = len(members) // 2
            room.deliver(members[:half], room.delivered, last, b"".join(frames))
            if step == "slice" and people:  # between two slices others act
                catch_up(*rng.choice(people)[:2])
                people.append((*join(room)[:2], room.head))
            room.deliver(members[half:], room.delivered, last, b"".join(frames))
            room.delivered = last
        elif people:
            member, box, _ = rng.choice(people)
            if step == "full":
                box.full = True
            elif step == "empty":
                box.full = False
            elif step == "leave":
                room.leave(member)
            elif step == "catch up" and not member.live:
                catch_up(member, box)
    pass_over(room)
    for member, box, since in people:
        if member in room.members:
            box.full = False
            if not member.live:
                catch_up(member, box)
            assert member.live
            assert member.cursor == room.head == len(log) - 1
        assert b"".join(box.taken) == b"".join(log[since + 1 : member.cursor + 1])
