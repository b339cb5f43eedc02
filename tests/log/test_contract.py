"""What every engine promises (`trio_chat.log.base`), on each of them."""

from contextlib import suppress
from typing import Any

import attrs
import msgspec
import pytest
import trio

from trio_chat.log.base import (
    Append,
    Appended,
    Event,
    EventLog,
    Kept,
    Listed,
    Listing,
    LogUnavailable,
    Mark,
    Position,
    Searched,
    Unread,
)
from trio_chat.log.search import text_of

from .engines import Engine, Heard, said, seqs


async def say(log: EventLog, count: int, *, room: str = "lobby", kind: str = "message") -> None:
    await log.append([said(str(i), room=room, kind=kind) for i in range(count)])


def listed(
    room: str, label: str, *, hidden: bool = False, users: tuple[str, ...] = (), key: str | None = None
) -> Append:
    return attrs.evolve(said(room=room, key=key), listing=Listing(label, hidden, users))


# --- append ---------------------------------------------------------------------------------------------


async def test_numbers_count_from_one_in_the_order_of_batches_and_appends(log: EventLog) -> None:
    """Each event gets the next number, across batches and within them."""
    first = await log.append([said("a"), said("b")])
    second = await log.append([said("c")])
    assert [done.seq for done in first + second] == [1, 2, 3]
    assert [event.body for event in await log.read("lobby", 0, 10)] == [said(t).body for t in "abc"]


async def test_rooms_of_one_batch_are_numbered_apart(log: EventLog) -> None:
    """A batch may span rooms, old and new ones, and each counts for itself."""
    await say(log, 2, room="a")
    done = await log.append([said(room=room) for room in ("a", "b", "a", "c", "b")])
    assert [each.seq for each in done] == [3, 1, 4, 1, 2]


async def test_an_empty_batch_does_nothing(log: EventLog) -> None:
    """Nothing in, nothing out."""
    assert await log.append([]) == []
    assert await log.rooms() == []


@pytest.mark.parametrize("size", [1, 2, 3, 16, 127, 128, 129, 300])
async def test_batches_of_any_size_are_stored_whole(log: EventLog, size: int) -> None:
    """However many appends come at once, all are there, to a new room and to a known one."""
    await say(log, size)
    await say(log, size)
    assert seqs(await log.read("lobby", 0, 1000)) == list(range(1, 2 * size + 1))


async def test_appends_from_many_tasks_leave_no_hole(log: EventLog) -> None:
    """Concurrent batches are stored one after the other."""

    async def speaker(room: str) -> None:
        for _ in range(5):
            await say(log, 3, room=room)

    async with trio.open_nursery() as nursery:
        for i in range(12):
            nursery.start_soon(speaker, f"room-{i % 3}")
    for i in range(3):
        assert seqs(await log.read(f"room-{i}", 0, 100)) == list(range(1, 61))


async def test_time_is_the_clock_in_milliseconds(log: EventLog, engine: Engine) -> None:
    """An event carries the time of its batch."""
    engine.clock.now = 1_700_000_000.1239
    assert await log.append([said()]) == [Appended(1, 1_700_000_000_123)]
    assert (await log.read("lobby", 0, 1))[0].at_ms == 1_700_000_000_123


async def test_time_never_goes_back_within_a_room(log: EventLog, engine: Engine) -> None:
    """When the clock is set back, a room's events keep its last time, and other rooms have the new one."""
    await say(log, 1)
    engine.clock.now -= 3600
    (late, other) = await log.append([said(), said(room="other")])
    assert late.at_ms == 1_700_000_000_000
    assert other.at_ms == 1_700_000_000_000 - 3_600_000
    engine.clock.now += 3601
    assert (await log.append([said()]))[0].at_ms == 1_700_000_001_000


async def test_an_event_comes_back_as_it_was_stored(log: EventLog) -> None:
    """Kind and body are kept to the letter: other scripts, signs beyond the BMP, escapes, and long texts."""
    bodies = [
        '"text":"你好 👋 e\u0301"}',
        '"text":"\\u0000\\n\\ud83d \\"q\\" \\\\"}',
        f'"text":"{"长" * 100_000}"}}',
        "}",
    ]
    await log.append([Append("大厅", "message", body) for body in bodies])
    assert [event.body for event in await log.read("大厅", 0, 10)] == bodies
    assert await log.read("大厅", 3, 10) == [Event(4, 1_700_000_000_000, "message", "}")]


# --- keys -----------------------------------------------------------------------------------------------


async def test_a_key_sent_again_is_answered_with_the_first_event(log: EventLog, engine: Engine) -> None:
    """The second append of a key stores nothing and returns the first's number and time."""
    (first,) = await log.append([said("one", key="k")])
    engine.clock.now += 10
    (again,) = await log.append([said("two", key="k")])
    assert (again.seq, again.at_ms, again.duplicate) == (first.seq, first.at_ms, True)
    assert [event.body for event in await log.read("lobby", 0, 10)] == [said("one").body]


async def test_a_key_twice_in_one_batch_is_stored_once(log: EventLog) -> None:
    """Within a batch too the first wins, in a new room and in a known one."""
    for start in (0, 2):
        done = await log.append([said(key=f"k{start}"), said(), said(key=f"k{start}")])
        assert [(each.seq, each.duplicate) for each in done] == [
            (start + 1, False),
            (start + 2, False),
            (start + 1, True),
        ]


async def test_duplicates_among_new_events_leave_no_hole(log: EventLog) -> None:
    """A batch that is partly stored already numbers what is new without a gap."""
    await log.append([said(key="a"), said(key="b"), said(room="r2", key="a")])
    done = await log.append([said(key=key) for key in ("c", "a", "d", "b", "c")] + [said(room="r2", key="a")])
    assert [(each.seq, each.duplicate) for each in done] == [
        (3, False), (1, True), (4, False), (2, True), (3, True), (1, True)
    ]  # fmt: skip
    assert (await log.append([said()]))[0].seq == 5


async def test_a_batch_of_nothing_but_duplicates_is_answered(log: EventLog) -> None:
    """More keys sent again than one statement takes are all found."""
    batch = [said(key=f"k{i}") for i in range(300)]
    first = await log.append(batch)
    assert await log.append(batch) == [Appended(each.seq, each.at_ms, duplicate=True) for each in first]
    assert (await log.position("lobby")).head == 300


async def test_keys_belong_to_their_room(log: EventLog) -> None:
    """The same key in another room is another event."""
    done = await log.append([said(room="a", key="k"), said(room="b", key="k")])
    assert [each.duplicate for each in done] == [False, False]


@pytest.mark.parametrize("other", ["k\0", "k\0b", "K", "k ", "ｋ", "", "k'", "k\x1e"])
async def test_keys_are_compared_to_the_letter(log: EventLog, other: str) -> None:
    """Keys that merely look or begin alike are different, and each is found again."""
    assert [each.duplicate for each in await log.append([said(key="k"), said(key=other)])] == [False, False]
    assert [(each.seq, each.duplicate) for each in await log.append([said(key=other)])] == [(2, True)]


# --- positions ------------------------------------------------------------------------------------------


async def test_a_room_without_events_is_at_zero(log: EventLog) -> None:
    """An unknown room has head 0, and reading it finds nothing."""
    position = await log.position("nowhere")
    assert (position.head, position.first) == (0, 1)
    assert await log.read("nowhere", 0, 10) == await log.read_before("nowhere", None, 10) == []


async def test_a_position_follows_the_appends(log: EventLog) -> None:
    """The head is the last number given, and the epoch stays."""
    before = await log.position("lobby")
    await say(log, 3)
    assert await log.position("lobby") == Position(before.epoch, 3, 1)


async def test_epochs_live_as_long_as_the_events(engine: Engine) -> None:
    """Opened again, a log has its old epoch, secret and events, or a new epoch and none."""
    async with engine.open() as log:
        await log.append([said(key="k")])
        before, secret = await log.position("lobby"), log.secret
    async with engine.open() as log:
        after = await log.position("lobby")
        assert (after == before) is engine.persistent
        assert (after.epoch == before.epoch) is engine.persistent
        assert (log.secret == secret) is engine.persistent
        assert [each.duplicate for each in await log.append([said(key="k")])] == [engine.persistent]
        assert len(log.secret) == 32


# --- trimming -------------------------------------------------------------------------------------------


async def test_what_was_trimmed_is_told_and_not_found(log: EventLog) -> None:
    """With old events gone, positions say from where on events are kept, and reads begin there."""
    await say(log, 10)
    assert await log.trim("lobby", 6, 100) == 7
    for kinds in (None, ["message"]):
        assert seqs(await log.read("lobby", 0, 100, kinds=kinds)) == [7, 8, 9, 10]
        assert seqs(await log.read_before("lobby", None, 100, kinds=kinds)) == [7, 8, 9, 10]
        assert seqs(await log.read_before("lobby", 8, 100, kinds=kinds)) == [7]
        assert await log.read_before("lobby", 7, 100, kinds=kinds) == []
    position = await log.position("lobby")
    assert (position.first, position.head) == (7, 10)
    await say(log, 2)
    assert seqs(await log.read("lobby", 8, 100)) == [9, 10, 11, 12]


async def test_a_room_of_which_nothing_is_kept_goes_on_counting(engine: Engine) -> None:
    """Its head, epoch and place in the list stay, and the next event has the next number, also when it was
    opened again in between."""
    async with engine.open() as log:
        await say(log, 10)
        epoch = (await log.position("lobby")).epoch
        assert await log.trim("lobby", 10, 100) == 11
        assert await log.position("lobby") == Position(epoch, 10, 11)
        assert await log.read("lobby", 0, 100) == await log.read_before("lobby", None, 100) == []
        assert await log.rooms() == [Listed("lobby", 10)]
        if not engine.persistent:
            assert (await log.append([said()]))[0].seq == 11
            return
    async with engine.open() as log:
        assert await log.position("lobby") == Position(epoch, 10, 11)
        assert await log.rooms() == [Listed("lobby", 10)]
        assert (await log.append([said()]))[0].seq == 11
    async with engine.open() as log:
        assert await log.position("lobby") == Position(epoch, 11, 11)


async def test_time_does_not_go_back_though_the_last_event_be_trimmed(engine: Engine) -> None:
    """A room's last time is remembered without its events, also by a file that was opened again."""
    async with engine.open() as log:
        await say(log, 1)
        engine.clock.now += 30
        last = (await log.append([said()]))[0].at_ms
        await log.trim("lobby", 2, 100)
        engine.clock.now -= 3600
        assert (await log.append([said()]))[0].at_ms == last
        await log.trim("lobby", 3, 100)
    async with engine.open() as log:
        if engine.persistent:
            assert (await log.append([said()]))[0].at_ms == last


@pytest.mark.parametrize(("through", "limit", "first"), [
    (3, 100, 4), (5, 100, 6), (99, 100, 6), (99, 2, 3), (2, 1, 2), (0, 100, 1), (-7, 100, 1), (5, 0, 1),
    (5, -1, 1),
])  # fmt: skip
async def test_trimming_removes_the_oldest_up_to_a_number_and_a_limit(
    log: EventLog, through: int, limit: int, first: int
) -> None:
    """Whichever bound comes first counts, and no number is too high or too low."""
    await say(log, 5)
    assert await log.trim("lobby", through, limit) == first
    assert (await log.position("lobby")).first == first
    assert seqs(await log.read("lobby", 0, 100)) == list(range(first, 6))


async def test_trimming_again_changes_nothing(log: EventLog) -> None:
    """What is gone already, and a room that never was, are no mistakes."""
    await say(log, 5)
    for _ in range(2):
        assert await log.trim("lobby", 3, 100) == 4
    assert await log.trim("nowhere", 3, 100) == 1
    assert await log.rooms() == [Listed("lobby", 5)]


async def test_trimming_leaves_the_other_rooms_alone(log: EventLog) -> None:
    """Rooms are trimmed one by one."""
    await log.append([said(room=room, key=f"{room}{i}") for i in range(5) for room in ("a", "b")])
    await log.trim("a", 4, 100)
    assert seqs(await log.read("a", 0, 100)) == [5]
    assert seqs(await log.read("b", 0, 100)) == [1, 2, 3, 4, 5]
    (again,) = await log.append([said(room="b", key="b0")])
    assert (again.seq, again.duplicate) == (1, True)


async def test_keys_go_with_their_events(log: EventLog) -> None:
    """A key whose event is trimmed is new again, and those of kept events are not."""
    await log.append([said(key=key) for key in "abc"])
    await log.trim("lobby", 2, 100)
    done = await log.append([said(key="a"), said(key="c"), said(key="a")])
    assert [(each.seq, each.duplicate) for each in done] == [(4, False), (3, True), (4, True)]
    await log.trim("lobby", 3, 100)
    assert [each.duplicate for each in await log.append([said(key="a"), said(key="b")])] == [True, False]


async def test_kept_rooms_are_listed_by_name(log: EventLog, engine: Engine) -> None:
    """Each room that has events is listed with what is kept of it, page by page."""
    for room in ("b", "ü", "a", "c"):
        engine.clock.now += 1
        await say(log, 3, room=room)
    await log.trim("c", 3, 100)
    await log.trim("b", 2, 100)
    start = 1_700_000_000_000
    every = [Kept("a", 1, 3, start + 3000), Kept("b", 3, 3, start + 1000), Kept("ü", 1, 3, start + 2000)]
    assert await log.kept() == every
    assert await log.kept("", 2) == every[:2]
    assert await log.kept("b", 2) == every[2:]
    assert await log.kept("a\0") == every[1:]
    assert await log.kept("ü") == await log.kept("", 0) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failed_trim_is_done_or_not(engine: Engine, when: str) -> None:
    """After a failure the log says what is kept, and goes on."""
    async with engine.open() as log:
        await say(log, 5)
        engine.faults.plan = [when]
        with pytest.raises(LogUnavailable, match=r"(?i)no space left|disk is full"):
            await log.trim("lobby", 3, 100)
        first = (await log.position("lobby")).first
        assert first == (1 if when == "before" else 4)
        assert seqs(await log.read("lobby", 0, 100)) == list(range(first, 6))
        assert (await log.append([said()]))[0].seq == 6
        assert await log.trim("lobby", 4, 100) == 5


async def test_what_takes_the_place_of_trimmed_events(engine: Engine) -> None:
    """A text is kept with the position, changed only with events that go, and there after a restart."""
    async with engine.open() as log:
        assert (await log.position("lobby")).state is None
        await say(log, 10)
        assert await log.trim("lobby", 3, 10) == 4
        assert (await log.position("lobby")).state is None
        assert await log.trim("lobby", 5, 10, "up to 5") == 6
        assert (await log.position("lobby")).state == "up to 5"
        assert await log.trim("lobby", 5, 10, "late") == await log.trim("lobby", 9, 0, "none") == 6
        assert (await log.position("lobby")).state == "up to 5"
        assert await log.trim("lobby", 7, 10) == 8
        await say(log, 1)
        assert await log.position("lobby") == Position((await log.position("lobby")).epoch, 11, 8, "up to 5")
        assert (await log.position("other")).state is None
    if engine.persistent:
        async with engine.open() as log:
            assert (await log.position("lobby")).state == "up to 5"
            assert await log.trim("lobby", 11, 10, "长\0") == 12
            assert (await log.position("lobby")).state == "长\0"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_state_goes_with_its_trim(engine: Engine, when: str) -> None:
    """If the trim fails, both have happened or neither."""
    async with engine.open() as log:
        await say(log, 10)
        engine.faults.plan = [when]
        with pytest.raises(LogUnavailable):
            await log.trim("lobby", 5, 10, "up to 5")
        position = await log.position("lobby")
        assert (position.first, position.state) == ((6, "up to 5") if when == "after" else (1, None))


async def test_appends_and_reads_go_on_while_a_room_is_trimmed(log: EventLog) -> None:
    """Trimmed little by little while it grows, a room has no hole, and no read sees one."""
    await say(log, 300)

    async def trim() -> None:
        while await log.trim("lobby", 250, 7) <= 250:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trim)
        for _ in range(30):
            await say(log, 5)
            found = seqs(await log.read("lobby", 0, 1000))
            assert found == list(range(found[0], found[-1] + 1))
    assert seqs(await log.read("lobby", 0, 1000)) == list(range(251, 451))


async def test_compacting_comes_to_an_end(log: EventLog) -> None:
    """Whatever there is to give back, it is given back in a number of steps, and nothing is lost by it."""
    await say(log, 2000)
    await log.trim("lobby", 1990, 2000)
    for _ in range(1000):
        if not await log.compact():
            break
    assert not await log.compact()
    assert seqs(await log.read("lobby", 0, 100)) == list(range(1991, 2001))


# --- read -----------------------------------------------------------------------------------------------


async def test_reading_pages_through_a_room(log: EventLog) -> None:
    """Page after page gives every event once, in order, and then nothing."""
    await say(log, 250)
    found: list[int] = []
    while page := seqs(await log.read("lobby", found[-1] if found else 0, 70)):
        assert len(page) <= 70
        found += page
    assert found == list(range(1, 251))


@pytest.mark.parametrize(("after", "limit", "expected"), [
    (0, 1, [1]), (0, 3, [1, 2, 3]), (4, 3, [5]), (5, 3, []), (99, 3, []), (-7, 2, [1, 2]), (0, 0, []),
    (0, -1, []),
])  # fmt: skip
async def test_reading_after_a_number(log: EventLog, after: int, limit: int, expected: list[int]) -> None:
    """The events after a number are found, up to the limit, from any number."""
    await say(log, 5)
    assert seqs(await log.read("lobby", after, limit)) == expected
    assert seqs(await log.read("lobby", after, limit, kinds=["message"])) == expected


@pytest.mark.parametrize(("before", "limit", "expected"), [
    (None, 2, [4, 5]), (None, 99, [1, 2, 3, 4, 5]), (4, 2, [2, 3]), (2, 9, [1]), (1, 9, []), (0, 9, []),
    (99, 1, [5]), (-3, 1, []), (None, 0, []),
])  # fmt: skip
async def test_reading_before_a_number(
    log: EventLog, before: int | None, limit: int, expected: list[int]
) -> None:
    """The last events before a number, or of all, come in ascending order."""
    await say(log, 5)
    assert seqs(await log.read_before("lobby", before, limit)) == expected
    assert seqs(await log.read_before("lobby", before, limit, kinds=["message"])) == expected


@pytest.mark.parametrize(
    ("max_bytes", "count"), [(0, 1), (5, 1), (6, 1), (11, 1), (12, 2), (17, 2), (18, 3), (999, 4)]
)
@pytest.mark.parametrize("kinds", [None, ["message"]])
async def test_a_page_ends_at_max_bytes(
    log: EventLog, max_bytes: int, count: int, kinds: list[str] | None
) -> None:
    """Bodies count in UTF-8 bytes, a page holds what fits, and never nothing where there is something."""
    await log.append([Append("lobby", "message", "äöü") for _ in range(4)])
    after = await log.read("lobby", 0, 10, max_bytes=max_bytes, kinds=kinds)
    assert seqs(after) == [1, 2, 3, 4][:count]
    before = await log.read_before("lobby", None, 10, max_bytes=max_bytes, kinds=kinds)
    assert seqs(before) == [1, 2, 3, 4][-count:]


async def test_a_page_ends_at_max_bytes_beyond_the_first_chunk(log: EventLog) -> None:
    """Long pages are cut as exactly as short ones."""
    await log.append([Append("lobby", "message", "x" * 100) for _ in range(300)])
    assert seqs(await log.read("lobby", 0, 300, max_bytes=20_050)) == list(range(1, 201))
    assert seqs(await log.read_before("lobby", None, 300, max_bytes=20_050)) == list(range(101, 301))


async def test_kinds_are_found_among_others(log: EventLog) -> None:
    """Of a mixed room, only the kinds asked for come, in order, in both directions."""
    await log.append(
        [said(kind=("message", "reacted", "topic", "reacted", "reacted")[i % 5]) for i in range(500)]
    )
    messages = list(range(1, 501, 5))
    both = sorted(messages + list(range(3, 501, 5)))
    assert seqs(await log.read("lobby", 0, 1000, kinds=["message"])) == messages
    assert seqs(await log.read("lobby", 6, 3, kinds=["topic", "message"])) == [8, 11, 13]
    assert seqs(await log.read("lobby", 0, 1000, kinds=["message", "topic"])) == both
    assert seqs(await log.read_before("lobby", None, 150, kinds=["topic", "message"])) == both[-150:]
    assert seqs(await log.read_before("lobby", 12, 2, kinds=["message", "topic"])) == [8, 11]
    assert seqs(await log.read_before("lobby", 12, 2, kinds=["message", "message"])) == [6, 11]
    assert await log.read("lobby", 0, 10, kinds=[]) == await log.read("lobby", 0, 10, kinds=["none"]) == []


# --- read_about -----------------------------------------------------------------------------------------


def about(target: int, text: str = "", *, room: str = "lobby", kind: str = "reacted") -> Append:
    """An append that is about another event."""
    return Append(room, kind, f'"target":{target},"emoji":"{text}"}}', target=target)


async def test_what_is_about_an_event_is_found_by_it(log: EventLog) -> None:
    """Of a range of targets everything comes, by target and then by number, and says whose target it is."""
    await say(log, 5)
    await log.append([about(3), about(1), said(), about(3, kind="edited"), about(9), about(1, room="b")])
    found = await log.read_about("lobby", 1, 4, 10)
    assert [(event.target, event.seq, event.kind) for event in found] == [
        (1, 7, "reacted"), (3, 6, "reacted"), (3, 9, "edited"),
    ]  # fmt: skip
    assert found[0] == (await log.read("lobby", 6, 1))[0]
    assert seqs(await log.read_about("lobby", 3, 3, 10)) == [6, 9]
    assert seqs(await log.read_about("lobby", 2, 2, 10)) == []
    assert seqs(await log.read_about("lobby", 4, 99, 10)) == [10]
    assert seqs(await log.read_about("b", 1, 1, 10)) == [1]
    assert await log.read_about("c", 1, 99, 10) == await log.read_about("lobby", 4, 3, 10) == []


async def test_what_is_about_events_comes_in_pages(log: EventLog) -> None:
    """Page after page, everything comes once, whatever the pages end for."""
    await say(log, 3)
    await log.append([about(1 + n * n % 3, str(n)) for n in range(200)])
    every = [(event.target, event.seq) for event in await log.read_about("lobby", 0, 3, 1000)]
    assert len(every) == 200
    assert every == sorted(every)
    for limit, max_bytes in [(7, 1 << 20), (150, 1 << 20), (1000, 100), (1000, 1)]:
        found = [(0, 0)]
        while page := await log.read_about("lobby", 0, 3, limit, after=found[-1], max_bytes=max_bytes):
            assert len(page) <= limit
            assert len(page) == 1 or sum(len(event.body) for event in page) <= max_bytes
            found += [(event.target or 0, event.seq) for event in page]
        assert found[1:] == every
    assert await log.read_about("lobby", 0, 3, 0) == await log.read_about("lobby", 0, 3, -1) == []
    assert seqs(await log.read_about("lobby", 2, 2, 10, after=(2, 190))) == [
        seq for target, seq in every if target == 2 and seq > 190
    ]


async def test_what_is_about_a_trimmed_event_stays_until_its_turn_comes(log: EventLog) -> None:
    """An event may outlive its target."""
    await say(log, 3)
    await log.append([about(1), about(2)])
    await log.trim("lobby", 2, 100)
    assert seqs(await log.read_about("lobby", 1, 3, 10)) == [4, 5]
    await log.trim("lobby", 4, 100)
    assert seqs(await log.read_about("lobby", 1, 3, 10)) == [5]


# --- marks ----------------------------------------------------------------------------------------------


async def test_marks_move_forward_only(log: EventLog, engine: Engine) -> None:
    """A user's mark in a room stays where it is furthest, also within one call; rooms that were never used
    have none."""
    await say(log, 5)
    await say(log, 5, room="b")
    await log.mark([Mark("ann", "lobby", 2), Mark("ann", "b", 4), Mark("bob", "b", 1), Mark("ann", "x", 1)])
    await log.mark([Mark("ann", "lobby", 3), Mark("ann", "lobby", 1), Mark("ann", "b", 3)])
    await log.mark([])
    assert await log.marks("ann") == {"lobby": 3, "b": 4}
    assert await log.marks("bob") == {"b": 1}
    assert await log.marks("carol") == {}
    assert len(await log.marks("ann", 1)) == 1


async def test_marks_live_as_long_as_the_log(engine: Engine) -> None:
    """Opened again, a log that is kept has its marks."""
    async with engine.open() as log:
        await say(log, 2)
        await log.mark([Mark("ann", "lobby", 2)])
    async with engine.open() as log:
        assert await log.marks("ann") == ({"lobby": 2} if engine.persistent else {})


async def test_what_lies_beyond_the_marks_is_counted(log: EventLog) -> None:
    """Of each room with a mark: the messages of others beyond it, and those that name the user."""
    for room in ("a", "b"):
        await log.append(
            [
                Append(room, "message", '"by":"bob","text":"one"}'),
                Append(room, "message", '"by":"bob","names":["ann"]}'),
                Append(room, "topic", '"by":"bob","names":["ann"]}'),
                Append(room, "message", '"by":"ann","names":["ann"]}'),
                Append(room, "message", '"by":"bob","names":["eve","ann"]}'),
                Append(room, "message", '"by":"bob","text":"ann"}'),
            ]
        )
    await log.mark([Mark("ann", "a", 1), Mark("ann", "b", 5), Mark("bob", "a", 0)])
    names = ['["ann"]', ',"ann"]']
    assert await log.unread("ann", own='"by":"ann"', naming=names) == [
        Unread("a", 1, 3, 2),
        Unread("b", 5, 1, 0),
    ]
    assert await log.unread("ann", own='"by":"ann"', naming=names, limit=2) == [
        Unread("a", 1, 1, 1), Unread("b", 5, 1, 0),
    ]  # fmt: skip
    assert await log.unread("ann", own='"by":"ann"', naming=[]) == [
        Unread("a", 1, 3, 0),
        Unread("b", 5, 1, 0),
    ]
    assert await log.unread("bob", own='"by":"bob"', naming=names) == [Unread("a", 0, 1, 1)]
    assert await log.unread("eve", own="", naming=names) == []
    await log.trim("a", 5, 100)
    assert (await log.unread("ann", own='"by":"ann"', naming=names))[0] == Unread("a", 1, 1, 0)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_marks_that_could_not_be_moved_may_be_moved_again(engine: Engine, when: str) -> None:
    """After a failure the log goes on."""
    async with engine.open() as log:
        await say(log, 3)
        engine.faults.plan = [when]
        with pytest.raises(LogUnavailable, match=r"(?i)no space left|disk is full"):
            await log.mark([Mark("ann", "lobby", 2)])
        await log.mark([Mark("ann", "lobby", 2)])
        assert await log.marks("ann") == {"lobby": 2}
        assert (await log.append([said()]))[0].seq == 4


# --- search ---------------------------------------------------------------------------------------------


def texts(searched: Searched) -> list[str]:
    """What was said first in the messages that were found."""
    return [text_of(found.event.body) for found in searched.found]


def edited(target: int, text: str, *, room: str = "lobby") -> Append:
    return Append(room, "edited", f'"text":{msgspec.json.encode(text).decode()}}}', target=target)


def deleted(target: int, *, room: str = "lobby") -> Append:
    return Append(room, "deleted", "}", target=target)


def message(text: str, *, room: str = "lobby", listing: Listing | None = None) -> Append:
    body = f'"user":"ann","text":{msgspec.json.encode(text).decode()}}}'
    return Append(room, "message", body, listing=listing)


async def search(log: EventLog, text: str, limit: int = 50, **where: Any) -> list[str]:
    """What a search for the words of ``text`` finds in one go."""
    searched = await log.search(text, limit, **where)
    assert searched.more is None
    return texts(searched)


TEXTS = [
    "Hello World", "hell", "你好，世界", "中文字", "文", "naïve café", "ÅNGSTRÖM ﬁne",
    "100% \"quoted\" it's (a) NEAR b*", "a\u0000b after", "x" * 300 + "needle", "two\nlines", "👍🏽 emoji",
    "ſtraße", "e\u0301t\u00e9", "end of 字",
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), [
    ("hello", [0]), ("HELL", [1, 0]), ("ello wor", [0]), ("world hello", [0]), ("hello nothing", []),
    ("好", [2]), ("你好", [2]), ("，世", [2]), ("你好，世界", [2]), ("好 世", [2]), ("文", [4, 3]),
    ("中文", [3]), ("文字", [3]), ("字", [14, 3]), ("中字", []), ("ï", [5]), ("fé", [5]), ("naive", []),
    ("ångström", [6]),
    ("fine", [6]), ("ﬁ", [6]), ('"', [7]), ('"quoted"', [7]), ("%", [7]), ("NEAR", [7]), ("b*", [7]),
    ("(a)", [7]), ("*", [7]), ("it's", [7]), ("a\u0000b", [8]), ("after", [8]), ("needle", [9]),
    ("xxxx", [9]), ("xxn", [9]), ("lines", [10]), ("é", [13, 5]), ("👍", [11]), ("👍🏽", [11]),
    ("strasse", [12]), ("été", [13]),
    ("OR", [0]), ("AND", []), ("-", []), ("hello*", []), ("d", [14, 9, 7, 0]), ("nd", [14]),
    ("", []), (" \u3000", []), ("´", []),
])  # fmt: skip
async def test_words_are_found_anywhere_in_a_text(log: EventLog, asked: str, expected: list[int]) -> None:
    """All of them, whatever their case and script, however short, and without a meaning to any engine; the
    newest message first."""
    await log.append([message(text) for text in TEXTS])
    assert await search(log, asked) == [TEXTS[n] for n in expected]


async def say_each(log: EventLog, engine: Engine, *said: str) -> None:
    """Messages, each with a time of its own: of those with the same no order is promised."""
    for text in said:
        engine.clock.now += 1
        await log.append([message(text)])


async def test_an_edited_message_is_found_by_its_new_text(log: EventLog, engine: Engine) -> None:
    """And no longer by the old one; the event that is found is the message, at its place."""
    await say_each(log, engine, "first apple", "second apple", "third")
    assert await search(log, "apple") == ["second apple", "first apple"]
    await log.append([edited(1, "a pear"), edited(3, "apples")])
    assert await search(log, "apple") == ["third", "second apple"]
    assert await search(log, "pear") == ["first apple"]
    await log.append([edited(1, "apple, pear"), edited(2, "plum"), edited(9, "apple"), edited(4, "apple")])
    assert await search(log, "apple") == ["third", "first apple"]
    (found,) = (await log.search("pear", 5)).found
    assert (found.room, found.event) == ("lobby", (await log.read("lobby", 0, 1))[0])


async def test_a_deleted_message_is_not_found(log: EventLog) -> None:
    """Whether it was searched for before or not, and whatever it is edited to afterwards."""
    await log.append([message("apple"), message("apple"), message("apple")])
    await log.append([deleted(1), edited(1, "apple")])
    assert len(await search(log, "apple")) == 2
    await log.append([deleted(3), edited(3, "apple"), edited(2, "green apple")])
    (found,) = (await log.search("apple", 5)).found
    assert found.event.seq == 2


async def test_only_messages_are_found(log: EventLog) -> None:
    """Not topics, and not what has no text."""
    await log.append(
        [Append("lobby", "topic", '"text":"apple"}'), Append("lobby", "message", '"x":"apple"}')]
    )
    assert await search(log, "apple") == []


async def test_trimmed_messages_are_not_found(log: EventLog, engine: Engine) -> None:
    """Those that are kept are, also if they were said before the last search."""
    await say_each(log, engine, *(f"apple {n}" for n in range(6)))
    assert len(await search(log, "apple")) == 6
    await log.append([edited(2, "apple two"), edited(5, "apple five")])
    await log.trim("lobby", 3, 100)
    assert await search(log, "apple") == ["apple 5", "apple 4", "apple 3"]
    await log.append([message("apple 6"), edited(2, "apple zwei")])
    assert await search(log, "apple") == ["apple 6", "apple 5", "apple 4", "apple 3"]
    await log.trim("lobby", 100, 100)
    assert await search(log, "apple") == []


async def test_a_search_goes_on_where_it_ended(log: EventLog, engine: Engine) -> None:
    """Page after page everything is found once, the newest first, in one room and in all; what is said
    meanwhile doesn't get in between."""
    for n in range(60):
        if n % 7 == 0:
            engine.clock.now += 1
        await log.append([message(f"{'apple' if n % 3 else 'pear'} {n}", room=f"room-{n % 4}")])
    for late, room in enumerate((None, "room-1")):
        ours = [n for n in range(60) if n % 3 and room in (None, f"room-{n % 4}")]
        found: list[str] = []
        page = await log.search("apple", 7, room=room)
        while True:
            assert len(page.found) <= 7
            found += [text for text in texts(page) if not late or "late" not in text]
            if page.more is None:
                break
            engine.clock.now += 1
            await log.append([message("apple, too late", room="room-1")])
            page = await log.search("apple", 7, room=room, before=page.more)
        assert sorted(found) == sorted(f"apple {n}" for n in ours)
        at = [n // 7 for n in (int(text.split()[1]) for text in found)]
        assert at == sorted(at, reverse=True)
    first = await log.search("apple", 3)
    rest = await log.search("apple", 3, before=first.found[0].place)
    assert rest.found[:2] == first.found[1:]


@pytest.mark.parametrize("before", ["", "x", "-1", "1.2", "1.x.lobby", "9" * 30])
async def test_what_is_no_place_is_refused(log: EventLog, before: str) -> None:
    """With a ValueError, or as the place before which there is nothing, or all."""
    await log.append([message("apple")])
    with suppress(ValueError):
        assert len((await log.search("apple", 3, before=before)).found) <= 1


async def test_hidden_rooms_are_searched_by_those_they_concern(log: EventLog) -> None:
    """Without a room, those are looked at that the user's lists have; a room that is named, always."""
    await log.append([
        message("apple", room="open"),
        message("secret apple", room="ours", listing=Listing(hidden=True, users=("ann",))),
        message("their apple", room="theirs", listing=Listing(hidden=True)),
    ])  # fmt: skip
    assert sorted(await search(log, "apple", user="ann")) == ["apple", "secret apple"]
    assert await search(log, "apple", user="bob") == await search(log, "apple") == ["apple"]
    assert await search(log, "apple", room="theirs") == ["their apple"]
    assert await search(log, "apple", room="nowhere") == []


async def test_what_is_said_meanwhile_is_found_by_the_next_search(log: EventLog) -> None:
    """While searches and appends go on, no search misses what was appended before it."""
    said = 0

    async def speak() -> None:
        nonlocal said
        for _ in range(30):
            await log.append([message(f"apple {said}"), message("pear")])
            said += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        for _ in range(10):
            before = said
            assert len(await search(log, "apple", 1000)) >= before
    assert len(await search(log, "apple", 1000)) == 30


async def test_many_messages_are_found(log: EventLog) -> None:
    """More than are looked up at once, and more than are read at once."""
    await log.append([message(f"apple {n}" if n % 2 else f"pear {n}") for n in range(1500)])
    await log.append([edited(n + 1, f"plum {n}") for n in range(1, 1500, 4)])
    found: list[str] = []
    page = await log.search("apple", 100)
    while page.more is not None:
        found += texts(page)
        page = await log.search("apple", 100, before=page.more)
    assert found + texts(page) == [f"apple {n}" for n in range(1499, 0, -2) if n % 4 != 1]


# --- rooms ----------------------------------------------------------------------------------------------


async def test_rooms_are_listed_by_their_last_activity(engine: Engine) -> None:
    """The list begins with the room that spoke last, gives each one's head, and keeps to the limit."""
    async with engine.open() as log:
        for room in ("a", "b", "c", "a"):
            engine.clock.now += 61
            await say(log, 2, room=room)
        assert await log.rooms() == [Listed("a", 4), Listed("c", 2), Listed("b", 2)]
        engine.clock.now += 1
        await say(log, 1, room="b")
        assert await log.rooms(1) == [Listed("b", 3)]
    async with engine.open() as log:
        found = [Listed("b", 3), Listed("a", 4), Listed("c", 2)]
        assert await log.rooms() == (found if engine.persistent else [])


async def test_hidden_rooms_are_found_by_those_they_name(engine: Engine) -> None:
    """A hidden room is in nobody's list but that of the users it has named, and keeps its label."""
    async with engine.open() as log:
        await log.append([listed("a", "A", hidden=True, users=("u1", "u2")), listed("b", "B", users=("u1",))])
        engine.clock.now += 61
        await log.append([listed("c", "C", hidden=True, users=("u1",)), said(room="d")])
        assert [each.room for each in await log.rooms()] == ["d", "b"]
        assert await log.rooms_of("u2") == [Listed("a", 1, "A")]
        assert sorted(each.room for each in await log.rooms_of("u1")) == ["a", "b", "c"]
        engine.clock.now += 61
        await say(log, 1, room="a")
        assert await log.rooms_of("u1", 1) == [Listed("a", 2, "A")]
        assert await log.rooms_of("nobody") == await log.rooms_of("u1", 0) == []
    if engine.persistent:
        async with engine.open() as log:
            assert [each.room for each in await log.rooms()] == ["d", "b"]
            assert next(each.room for each in await log.rooms_of("u1")) == "a"
            await say(log, 1, room="c")
            assert [each.room for each in await log.rooms()] == ["d", "b"]


async def test_the_last_listing_holds(log: EventLog) -> None:
    """Label and whether it is hidden are as the last stored event says; whom it names is added."""
    await log.append([listed("a", "one", hidden=True, users=("u1",)), listed("a", "two", users=("u2",))])
    assert await log.rooms() == [Listed("a", 2, "two")]
    await say(log, 1, room="a")
    assert await log.rooms() == [Listed("a", 3, "two")]
    await log.append([listed("a", "three", hidden=True)])
    assert await log.rooms() == []
    for user in ("u1", "u2"):
        assert await log.rooms_of(user) == [Listed("a", 4, "three")]


async def test_what_is_not_stored_changes_no_list(log: EventLog) -> None:
    """A listing goes with its event: one that was stored before changes nothing again."""
    await log.append([said(room="a"), said(room="a", key="k")])
    again = listed("a", "late", hidden=True, users=("u1",), key="k")
    await log.append([again, said(room="a")])
    await log.append([again])
    assert await log.rooms() == [Listed("a", 3)]
    assert await log.rooms_of("u1") == []


async def test_lists_outlive_the_events(log: EventLog) -> None:
    """A room of which nothing is kept is listed as before."""
    await log.append([listed("a", "A", hidden=True, users=("u1",)), said(room="a")])
    await log.trim("a", 2, 10)
    assert await log.rooms_of("u1") == [Listed("a", 2, "A")]
    assert await log.rooms() == []


async def test_many_listings_in_one_batch(log: EventLog) -> None:
    """However many rooms and users come at once."""
    batch = [listed(f"r{i}", str(i), hidden=i % 2 == 0, users=("all", f"u{i}")) for i in range(300)]
    await log.append(batch)
    assert len(await log.rooms()) == 150
    assert {each.room for each in await log.rooms_of("all")} == {f"r{i}" for i in range(300)}
    assert await log.rooms_of("u7") == [Listed("r7", 1, "7")]


async def test_an_event_is_found_by_its_key(log: EventLog) -> None:
    """As long as it is kept, in its room only, as if it were sent again."""
    done = await log.append([said(key="k1"), said(key="k2"), said(room="b", key="k3")])
    assert await log.find("lobby", "k2") == attrs.evolve(done[1], duplicate=True)
    assert await log.find("b", "k3") == attrs.evolve(done[2], duplicate=True)
    for room, key in (("lobby", "k3"), ("b", "k1"), ("nowhere", "k1"), ("lobby", "k")):
        assert await log.find(room, key) is None
    await log.trim("lobby", 1, 1)
    assert await log.find("lobby", "k1") is None
    assert await log.find("lobby", "k2") == attrs.evolve(done[1], duplicate=True)


# --- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failed_commit_is_stored_whole_or_not_at_all(engine: Engine, when: str, known: bool) -> None:
    """After a failure the same keys find out what happened, and nothing is stored twice or skipped."""
    async with engine.open() as log:
        if known:
            await log.append([said(key="0"), said(room="b", key="0")])
        start = int(known)
        batch = [said(key="1"), said(room="b", key="1"), said(key="2")]
        engine.faults.plan = [when]
        with pytest.raises(LogUnavailable, match=r"(?i)no space left|disk is full") as caught:
            await log.append(batch)
        assert "\n" not in str(caught.value)
        head = (await log.position("lobby")).head
        assert head == len(await log.read("lobby", 0, 10)) == start + (2 if when == "after" else 0)
        done = await log.append([said(key="3"), *batch])
        assert [each.duplicate for each in done] == [False] + [when == "after"] * 3
        found = await log.read("lobby", 0, 10)
        assert seqs(found) == list(range(1, start + 4))
        assert await log.position("b") == Position((await log.position("lobby")).epoch, start + 1, 1)


async def test_failures_in_a_row_and_then_recovery(engine: Engine) -> None:
    """While commits fail, reading goes on; afterwards the numbers go on where they were."""
    async with engine.open() as log:
        await say(log, 2)
        engine.faults.plan = ["before", "after", "before"]
        for _ in range(3):
            with pytest.raises(LogUnavailable):
                await log.append([said(key="k")])
            assert seqs(await log.read("lobby", 1, 1)) == [2]
        assert (await log.append([said(key="k")]))[0].seq == 3
        assert (await log.append([said()]))[0].seq == 4


async def test_a_mistake_in_the_program_is_not_called_unavailable(engine: Engine) -> None:
    """Any other exception comes through as it is, and the log goes on afterwards."""
    engine.faults.error = ZeroDivisionError()
    engine.faults.plan = ["before"]
    async with engine.open() as log:
        with pytest.raises(ZeroDivisionError):
            await log.append([said()])
        assert (await log.append([said()]))[0].seq == 1


# --- cancellation ---------------------------------------------------------------------------------------


async def test_cancelled_before_it_began_an_append_stores_nothing(log: EventLog) -> None:
    """In a cancelled scope nothing is stored, and nothing is held up."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.append([said()])
    assert scope.cancelled_caught
    assert (await log.append([said()]))[0].seq == 1


async def test_every_operation_is_a_checkpoint(log: EventLog) -> None:
    """Each operation can be cancelled, also when it finds its answer in memory."""
    await log.append([said()])
    for call in (
        lambda: log.append([said()]),
        lambda: log.position("lobby"),
        lambda: log.read("lobby", 0, 1),
        lambda: log.read_before("lobby", None, 1),
        lambda: log.read_about("lobby", 1, 1, 1),
        lambda: log.mark([Mark("ann", "lobby", 1)]),
        lambda: log.marks("ann"),
        lambda: log.unread("ann", own="", naming=[]),
        lambda: log.search("a", 1),
        lambda: log.rooms(),
        lambda: log.rooms_of("u1"),
        lambda: log.find("lobby", "k"),
        lambda: log.kept(),
        lambda: log.trim("lobby", 1, 1),
        lambda: log.compact(),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught


# --- other nodes ----------------------------------------------------------------------------------------


async def test_a_follower_hears_nothing_of_what_is_done_here(log: EventLog) -> None:
    """Own appends, trims and announcements come back from the calls, so that the follower isn't called."""
    follower = Heard()
    log.subscribe(follower)
    await log.follow("lobby")
    await say(log, 3)
    await log.trim("lobby", 1, 10)
    log.announce("lobby", b"here")
    log.signal("lobby", b"typing")
    await log.position("lobby")
    assert log.announced("lobby") == {}
    log.unfollow("lobby")
    await say(log, 1)
    assert follower.heard == []


async def test_a_room_can_be_followed_again(log: EventLog) -> None:
    """Following ends with `unfollow`, and may begin again."""
    for _ in range(3):
        await log.follow("lobby")
        log.unfollow("lobby")
