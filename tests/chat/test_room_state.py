"""The state of rooms in a running server: read from the log, kept up to date, told to those who join."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.chat import limits, opening, retention
from trio_chat.chat.hub import Hub
from trio_chat.chat.pending import Pending
from trio_chat.chat.schema import User
from trio_chat.chat.state import RoomState
from trio_chat.log.base import Append, Event
from trio_chat.log.memory import MemoryLog, open_memory_log

from .control_events import ANN, BOB, CAROL, body
from .talk import client, clients, talking


class Nobody:
    """Submits, and doesn't ask what became of it."""

    def stored(self, pending: Pending, appended: object) -> None:
        pass

    def refused(self, pending: Pending, reason: str) -> None:
        pass


def topic(text: str, room: str = "lobby", user: User = ANN) -> Append:
    return Append(room, "topic", body("topic", user, text=text))


def message(text: str = "hi", room: str = "lobby") -> Append:
    return Append(room, "message", f'"user":{{"id":"u-ann","name":"ann"}},"text":"{text}"}}')


async def submit(hub: Hub, *appends: Append) -> None:
    """As one batch, as from a session; returns when it is published."""
    for append in appends:
        hub.submit(Pending(append, await hub.open_room(append.room), Nobody()))
    await hub.settled()


async def test_joined_tells_the_topic(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Whoever joins learns it, after a restart too, and members get the event that sets it."""
    path = tmp_path / "log.db"
    async with talking(path) as server, clients(server, "ann", "bob") as (ann, bob):
        await submit(server.hub, message(), topic("tea"), message())
        assert [frame["op"] for frame in await ann.quiet()] == ["message", "topic", "message"]
        assert server.hub.rooms["lobby"].state.topic == "tea"
        await bob.ask("leave", room="lobby")
        assert (await bob.join())["topic"] == "tea"
    async with talking(path) as server, client(server) as carol:
        assert (await carol.join())["topic"] == "tea"


@pytest.mark.parametrize("messages", [0, 5, limits.MAX_TAIL_EVENTS + 5])
async def test_however_far_back(autojump_clock: MockClock, messages: int) -> None:
    """The state is that of all events, of those that are in the tail and of those that are not."""
    async with open_memory_log() as log:
        await log.append([topic("one"), topic("two"), *[message()] * messages])
        room = await opening.open_room(log, "lobby", "catch_up")
        assert (room.state.topic, room.state.seq, room.head) == ("two", 2, messages + 2)


async def test_more_control_events_than_a_page(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read page by page."""
    monkeypatch.setattr(limits, "PAGE_EVENTS", 3)
    monkeypatch.setattr(limits, "MAX_TAIL_EVENTS", 2)
    async with open_memory_log() as log:
        await log.append([topic(str(number)) for number in range(8)])
        room = await opening.open_room(log, "lobby", "catch_up")
        assert (room.state.topic, room.state.seq) == ("7", 8)


class TrimmedMeanwhile(MemoryLog):
    """A log that somebody else trims while a room is being opened."""

    trims = 1

    async def read(self, *args: Any, **options: Any) -> list[Event]:
        if self.trims:
            self.trims -= 1
            await self.trim("lobby", 1, 1)
        return await super().read(*args, **options)


async def test_trimmed_while_it_is_read(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be read is gone: it is read again."""
    monkeypatch.setattr(limits, "MAX_TAIL_EVENTS", 2)
    log = TrimmedMeanwhile(lambda: 1e9, lambda commit: commit())
    await log.append([topic("one"), topic("two"), message(), message()])
    room = await opening.open_room(log, "lobby", "catch_up")
    assert (room.first, room.state.topic) == (2, "two")


async def test_what_is_being_committed_does_not_count(autojump_clock: MockClock) -> None:
    """A control event beyond the head may still be undone."""
    async with open_memory_log() as log:
        await log.append([topic("one"), topic("two")])
        assert [event.seq for event in await opening.control_events(log, "lobby", 0, 1)] == [1]


async def test_the_state_outlives_its_events(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention removes what made the room what it is, and it stays what it is, after a restart too."""
    monkeypatch.setattr(retention, "MIN_KEPT_SECONDS", -1.0)
    path = tmp_path / "log.db"
    for _ in range(2):
        async with talking(path, keep_events=2) as server, clients(server, "ann") as (ann,):
            room = server.hub.rooms["lobby"]
            await submit(server.hub, *[topic(f"{room.head}-{number}") for number in range(4)])
            await submit(server.hub, message(), message(), message())
            last = room.head - 4
            assert room.state.topic == f"{last - 3}-3"
            await trio.sleep(200)
            assert (await server.hub.log.position("lobby")).first == room.head - 1
            await ann.ask("leave", room="lobby")
            assert "lobby" not in server.hub.rooms
            assert (await ann.join())["topic"] == f"{last - 3}-3"
            assert server.hub.rooms["lobby"].state.seq == room.state.seq


# --- other writers ---------------------------------------------------------------------------------


class Shared(MemoryLog):
    """A log that other nodes append to."""

    def subscribe(self, follower: Any) -> None:
        self.grown = follower.behind

    async def by_another(self, *batch: Append, tell: bool = True) -> None:
        results = await super().append(batch)
        if tell:
            self.grown(batch[-1].room, results[-1].seq)


def shared() -> Shared:
    return Shared(lambda: 1e9, lambda commit: commit())


async def test_another_node_changes_the_state(autojump_clock: MockClock) -> None:
    """What it appended counts here, in its place."""
    log = shared()
    async with talking(log=log) as server, clients(server, "ann"):
        room = server.hub.rooms["lobby"]
        await log.by_another(message(), topic("theirs"))
        await wait_all_tasks_blocked()
        assert (room.state.topic, room.state.seq) == ("theirs", 2)
        await log.by_another(topic("unseen"), tell=False)
        await submit(server.hub, message())
        await wait_all_tasks_blocked()
        assert (room.state.topic, room.state.seq) == ("unseen", 3)
        await log.by_another(topic("unseen too"), tell=False)
        await submit(server.hub, message(), topic("ours"))
        await wait_all_tasks_blocked()
        assert (room.state.topic, room.state.seq) == ("ours", 7)
        assert not room.state_is_behind


async def test_both_at_once(autojump_clock: MockClock) -> None:
    """While the state is read, what is committed here waits for its place in it."""

    class Slow(Shared):
        async def read(self, *args: Any, **options: Any) -> list[Event]:
            await trio.sleep(1)
            return await super().read(*args, **options)

    log = Slow(lambda: 1e9, lambda commit: commit())
    async with talking(log=log) as server, clients(server, "ann"):
        room = server.hub.rooms["lobby"]
        await log.by_another(Append("lobby", "member", body(
            "member", User("u-root", "root"), target=BOB, role="owner", admin=True)))  # fmt: skip
        await submit(server.hub, topic("not by carol", user=CAROL))
        await submit(server.hub, topic("by bob", user=BOB), message())
        assert room.state.topic == ""
        await trio.sleep(10)
        assert (room.state.topic, room.state.seq) == ("by bob", 3)
        assert not room.state_is_behind


async def test_a_room_is_kept_while_its_state_is_read(autojump_clock: MockClock) -> None:
    """And let go of afterwards, when nobody is in it."""
    log = shared()
    async with talking(log=log) as server:
        async with clients(server, "ann"):
            await log.by_another(topic("theirs"))
        await trio.sleep(5)
        assert server.hub.rooms == {}


async def test_unreadable_for_a_while(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again until the log can be read."""
    from trio_chat.log.base import LogUnavailable

    class Broken(Shared):
        failures = 3

        async def read(self, *args: Any, kinds: Sequence[str] | None = None, **options: Any) -> list[Event]:
            if kinds is not None and self.failures:
                self.failures -= 1
                raise LogUnavailable("the disk is away")
            return await super().read(*args, kinds=kinds, **options)

    log = Broken(lambda: 1e9, lambda commit: commit())
    async with talking(log=log) as server, clients(server, "ann"):
        await log.by_another(topic("theirs"))
        await trio.sleep(10)
        assert server.hub.rooms["lobby"].state.topic == "theirs"
    assert len(re.findall("the disk is away", caplog.text)) == 3


async def test_messages_leave_the_state_alone(autojump_clock: MockClock) -> None:
    """They are not even looked at."""
    async with talking() as server, clients(server, "ann") as (ann,):
        before = server.hub.rooms["lobby"].state
        await ann.say("hi")
        assert server.hub.rooms["lobby"].state is before
        assert before == RoomState()
