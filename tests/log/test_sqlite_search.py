"""The search index of a SQLite log alone: its file, what it is made anew for, and what it costs others."""

import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.log import open_sqlite_log, sqlite, sqlite_search
from trio_chat.log.base import Append, LogUnavailable
from trio_chat.log.seams import in_event_loop
from trio_chat.log.search import folded, matches
from trio_chat.log.sqlite import SQLiteLog
from trio_chat.log.sqlite_search import grams, question

from .engines import Clock, open_descriptors


def message(text: str, room: str = "lobby") -> Append:
    return Append(room, "message", f'"text":{msgspec.json.encode(text).decode()}}}')


def edited(target: int, text: str) -> Append:
    return Append("lobby", "edited", f'"text":{msgspec.json.encode(text).decode()}}}', target=target)


async def count(log: SQLiteLog, *words: str) -> int:
    """How many messages have these words."""
    return len((await log.search(" ".join(words), 1000)).found)


def index_of(path: Path) -> Path:
    return Path(f"{path}.search")


def ask(path: Path, sql: str) -> object:
    """One value of a database that nobody writes to."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found = connection.execute(sql).fetchone()
    return found[0] if found else None


words = st.text(st.sampled_from("aB é中文字\"*'()- \uf8ff\ue020ß👍"), min_size=1, max_size=6)


@given(
    st.text(st.sampled_from("aB é中文字\"*'()- \n\uf8ff\ue020ß👍"), max_size=30),
    st.lists(words, min_size=1, max_size=3),
)
def test_the_index_proposes_whatever_matches(text: str, asked: list[str]) -> None:
    """A text that has all words has all that the question asks of the index: none is missed."""
    wanted = [part for word in asked for part in folded(word).split()]
    known = grams(folded(text))
    if wanted and matches(wanted, text):
        for part in question(wanted).split(" AND "):
            gram, prefix = re.fullmatch(r'"([^"]+)"( \*)?', part).groups()  # type: ignore[union-attr]
            assert any(each.startswith(gram) for each in known) if prefix else gram in known


def test_no_sign_parts_a_gram() -> None:
    """Whatever is in a text, its grams are words to FTS5, and a question is nothing but such words."""
    signs = "".join(map(chr, range(128)))
    for gram in grams(signs):
        assert len(gram) == 3
        assert all(char.isalnum() or char > "\x7f" for char in gram)
    assert re.fullmatch(r'"[^"\x00-\x2f]+"( AND "[^"\x00-\x2f]+")*', question(['"a" OR b*-(c)^{}:+']))


async def test_the_file_is_its_owners_and_made_by_the_first_search(tmp_path: Path) -> None:
    """Nobody pays for it who never searches, nobody else reads it, and it is closed with the log."""
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        await log.append([message("apple")])
        assert not index_of(path).exists()
        assert await count(log, "apple") == 1
        mode = stat.S_IMODE(index_of(path).stat().st_mode)
        assert mode == 0o600
    assert open_descriptors(tmp_path) == []
    assert b"apple" not in index_of(path).read_bytes()


@pytest.mark.parametrize(
    "damage", ["gone", "text", "truncated", "another format", "another log's", "emptied"]
)
async def test_whatever_becomes_of_the_file_it_is_made_anew(tmp_path: Path, damage: str) -> None:
    """Each search finds what there is, or the next one does."""
    path, index = tmp_path / "log.db", index_of(tmp_path / "log.db")
    async with open_sqlite_log(path) as log:
        await log.append([message(f"apple {n}" * 30) for n in range(200)])
        assert await count(log, "apple") == 200
    match damage:
        case "gone":
            index.unlink()
        case "text":
            index.write_text("Dear diary, " * 1000)
        case "truncated":
            index.write_bytes(index.read_bytes()[:8192])
        case "another format":
            ask(index, "UPDATE meta SET value = '0:x' WHERE name = 'stamp'")
        case "another log's":
            async with open_sqlite_log(tmp_path / "other.db") as other:
                await other.append([message("pear")])
                assert await count(other, "pear") == 1
            index.write_bytes(index_of(tmp_path / "other.db").read_bytes())
        case _:
            index.write_bytes(b"")
    async with open_sqlite_log(path) as log:
        try:
            found = await count(log, "apple")
        except LogUnavailable:
            found = await count(log, "apple")
        assert found == 200
        assert (await log.append([message("apple")]))[0].seq == 201
        assert await count(log, "apple") == 201


async def test_a_log_that_lost_its_last_events_is_read_again(tmp_path: Path) -> None:
    """Also when others have taken their numbers before anybody searched."""
    path, clock = tmp_path / "log.db", Clock()
    async with open_sqlite_log(path, clock=clock) as log:
        await log.append([message("apple"), message("apple"), message("pear")])
        assert await count(log, "apple") == 2
    ask(path, "DELETE FROM events WHERE seq > 1")
    async with open_sqlite_log(path, clock=clock) as log:
        assert await count(log, "apple") == 1
        assert await count(log, "pear") == 0
        clock.now += 1
        await log.append([message("pear"), message("plum")])
        assert [await count(log, word) for word in ("apple", "pear", "plum")] == [1, 1, 1]


async def test_it_is_made_anew_when_most_of_it_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many edits; what is found stays the same."""
    monkeypatch.setattr(sqlite_search, "MIN_STALE", 20)
    path = tmp_path / "log.db"
    async with open_sqlite_log(path, sync="normal") as log:
        await log.append([message(f"apple {n}") for n in range(10)])
        for n in range(50):
            await log.append([edited(1 + n % 10, f"apple {n}")])
            assert await count(log, "apple") == 10
    assert int(str(ask(index_of(path), "SELECT value FROM meta WHERE name = 'stale'"))) <= 21
    assert ask(index_of(path), "SELECT value FROM meta WHERE name = 'docs'") == 10
    assert int(str(ask(index_of(path), "SELECT count(*) FROM docs"))) <= 31


async def test_a_long_way_to_go_is_gone_in_several_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """A search that would take too long says how far the index is; the next goes on from there."""
    monkeypatch.setattr(sqlite, "SEARCH_SECONDS", -1.0)
    async with open_sqlite_log(tmp_path / "log.db", runner=in_event_loop) as log:
        await log.append([message(f"apple {n}") for n in range(250)])
        with pytest.raises(LogUnavailable, match="index is being made: 250 of 250 events are left"):
            await count(log, "apple")
        monkeypatch.setattr(sqlite, "SEARCH_SECONDS", 0.0)
        real = log._index.step

        def slow_step(*arguments: object, **more: object) -> None:
            autojump_clock.jump(0.1)
            real(*arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(log._index, "step", slow_step)
        left = [250]
        while True:
            try:
                assert await count(log, "apple") == 250
            except LogUnavailable as error:
                found = re.search(r"being made: (\d+) of (\d+) events are left", str(error))
                assert found is not None
                assert int(found[2]) == left[-1] > int(found[1]) > 0
                left.append(int(found[1]))
            else:
                break
        assert 3 <= len(left) <= 5


async def test_an_append_does_not_wait_for_a_search(tmp_path: Path) -> None:
    """While somebody holds the index, events are stored; and closing waits for neither for ever."""
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        await log.append([message("apple")])
        assert await count(log, "apple") == 1
        with closing(sqlite3.connect(index_of(path), isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            assert (await log.append([message("apple")]))[0].seq == 2
        assert await count(log, "apple") == 2


async def test_too_many_candidates_end_a_search_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the characters but not the words is passed over; `more` leads on through it."""
    monkeypatch.setattr(sqlite_search, "CANDIDATES", 10)
    monkeypatch.setattr(sqlite_search, "MAX_CANDIDATES", 30)
    async with open_sqlite_log(tmp_path / "log.db", sync="normal") as log:
        await log.append([message("abcd")])
        await log.append([message(f"abc bcd {n}") for n in range(100)])
        pages, page = 1, await log.search("abcd", 5)
        while page.more is not None:
            assert page.found == []
            pages, page = pages + 1, await log.search("abcd", 5, before=page.more)
        assert len(page.found) == 1
        assert pages == 4
