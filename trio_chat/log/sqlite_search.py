"""The search index of a SQLite log: a file of its own beside the log's, made of it and made anew at any time.

Owns that file (``FILE.search``): bringing it up to what the log holds, and asking it. Blocks: call it in a
worker thread, one call at a time. Refuses to know threads. Rules:

- Nothing of it is in the way of an append: it is another file with other locks, and it is brought up to date
  when somebody searches, in steps.
- It holds no texts. Of each message's text as it is now it knows which three characters stand together, in
  FTS5; a message that has all of a word's is then looked up in the log, and its text decides. So words of one
  or two characters are found too (by prefix), in scripts without spaces as well.
- ``doc`` is a message's place among all, by time, so the newest come first without sorting. An edited text
  gets another doc next to the old one, which then leads nowhere. So do those of deleted and trimmed messages;
  when they are more than the others, the index is made anew.
- A position in a room is believed if the event there has the time that was noted with it. Otherwise (the log
  lost its last moments in a power cut, or is another one) the room, or all, is read again.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, cast

import attrs
import msgspec

from trio_chat.log.base import Event, Found, Searched
from trio_chat.log.search import DELETED, EDITED, MESSAGE, folded, matches, text_of, words_of

STEP_EVENTS: Final = 100
STEP_CHARS: Final = 20_000
"""What one step takes up: some 3 ms, in which the thread may keep the event loop waiting."""
CANDIDATES: Final = 200
"""Messages that are looked up at once, because the index says that they may be meant."""
MAX_CANDIDATES: Final = 5_000
"""Of them one search looks up so many, and the next goes on from there."""
MAX_GRAMS: Final = 64
"""Of those in a question, that many are asked for; the texts decide about the rest."""
MIN_STALE: Final = 10_000
"""Docs that lead nowhere, below which the index isn't made anew."""

_FORMAT: Final = "1"
_PER_MS: Final = 20
"""Bits of a doc below its milliseconds: so many messages have place in one."""
_LAST: Final = (1 << 63) - 1
_GRAM: Final = 3
_END: Final = "\uf8ff"
"""What a text is filled up with, so that its last two characters begin a gram."""
# FTS5's "ascii" tokenizer parts words at ASCII signs; these stand for them. A text may have them too: then it
# is looked up in vain.
_SIGNS: Final = {code: 0xE000 + code for code in range(128) if not chr(code).isalnum()}

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE positions (room INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL);
CREATE TABLE docs (doc INTEGER PRIMARY KEY, room INTEGER, seq INTEGER NOT NULL, text_seq INTEGER NOT NULL);
CREATE UNIQUE INDEX docs_by_message ON docs (room, seq);
CREATE VIRTUAL TABLE grams USING fts5 (text, content = '', detail = none, tokenize = ascii);
INSERT INTO meta VALUES ('docs', 0), ('stale', 0);
"""

_HEADS = """
SELECT id, first, seq, at_ms
FROM rooms LEFT JOIN events ON room = id AND seq = (SELECT max(seq) FROM events WHERE room = id)
"""
_NEXT_EVENTS = f"""
SELECT json_group_array(json_array(seq, at_ms, kind, target, body)) FROM (
    SELECT seq, at_ms, kind, target,
        CASE WHEN kind IN ('{MESSAGE}', '{EDITED}', '{DELETED}') THEN body ELSE '' END AS body
    FROM events WHERE room = ? AND seq > ? ORDER BY seq LIMIT ?
)
"""
_CHANGES = f"""
SELECT json_group_array(json_array(seq, at_ms, kind, target, body)) FROM events
WHERE room = ? AND target BETWEEN ? AND ? AND kind IN ('{EDITED}', '{DELETED}')
"""
_LOOK_UP = """
SELECT json_group_array(json_array(
    found.value ->> 0, name, said.seq, said.at_ms, said.kind, said.body, said.target, now.body
)) FROM json_each(:found) AS found
CROSS JOIN rooms ON rooms.id = found.value ->> 1
CROSS JOIN events AS said ON said.room = rooms.id AND said.seq = found.value ->> 2
CROSS JOIN events AS now ON now.room = rooms.id AND now.seq = found.value ->> 3
WHERE :room IS NOT NULL OR hidden = 0
    OR EXISTS (SELECT 1 FROM room_users WHERE room_users.user = :user AND room_users.room = rooms.id)
"""
_decode_events = msgspec.json.Decoder(list[tuple[int, int, str, int | None, str]]).decode
_decode_found = msgspec.json.Decoder(list[tuple[int, str, int, int, str, str, int | None, str]]).decode


def doc_at(place: str) -> int:
    """The doc that ``place`` is the name of, or `ValueError`."""
    if not 0 <= (doc := int(place)) <= _LAST:
        raise ValueError(f"no place: {place}")
    return doc


def is_damaged(error: BaseException) -> bool:
    """Whether ``error`` says that a file is no database (any more)."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def grams(text: str) -> set[str]:
    """The three characters from each on that is no space, of a folded text, as the index has them."""
    filled = f"{text.translate(_SIGNS)}{_END * (_GRAM - 1)}"
    starts = zip(text, filled, filled[1:], filled[2:], strict=False)
    return {first + second + third for char, first, second, third in starts if not char.isspace()}


def question(words: Iterable[str]) -> str:
    """The FTS5 expression for texts that may have all of these (folded) words."""
    asked: dict[str, None] = {}
    for word in words:
        signs = word.translate(_SIGNS)
        if len(word) < _GRAM:
            asked[f'"{signs}" *'] = None
        for start in range(len(word) - _GRAM + 1):
            asked[f'"{signs[start : start + _GRAM]}"'] = None
    return " AND ".join(islice(asked, MAX_GRAMS))


@attrs.define
class Behind:
    """A room that is known up to event ``position`` of the time ``at_ms``, of ``first`` to ``head``."""

    id: int
    first: int
    position: int
    at_ms: int
    head: int


class SearchIndex:
    """See the module. Opened by the first call, closed by `close`. Raises `sqlite3.Error`, `OSError`."""

    def __init__(self, path: Path, epoch: str) -> None:
        """``path``: that of the log, whose ``epoch`` this is."""
        self.path = Path(f"{path}.search")
        self._epoch = epoch
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file, until it is needed again; what was begun is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- the file ------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._connected()
            except sqlite3.DatabaseError:  # not a database, or damaged: it can be had again
                self.discard()
                self._connection = self._connected()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA synchronous = normal")
            stamp = f"{_FORMAT}:{self._epoch}"
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                connection.executescript(f"BEGIN; {_SCHEMA}")
                connection.execute("INSERT INTO meta VALUES ('stamp', ?)", (stamp,))
                connection.execute("COMMIT")
            elif self._value(connection, "stamp") != stamp:
                raise sqlite3.DatabaseError("it is the index of another log")
        except BaseException:
            connection.close()
            raise
        return connection

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{end}")

    @staticmethod
    def _value(connection: sqlite3.Connection, name: str) -> object:
        found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    # --- bringing it up to date ----------------------------------------------------------------------

    def behind(self, log: sqlite3.Connection, room: str | None) -> list[Behind]:
        """Of which rooms the log has what the index doesn't know, or knows otherwise: ``room``, or any."""
        index = self._open()
        stale, live = (cast("int", self._value(index, name)) for name in ("stale", "docs"))
        if stale > max(MIN_STALE, live):
            self.discard()
            index = self._open()
        positions = {row[0]: row[1:] for row in index.execute("SELECT room, seq, at_ms FROM positions")}
        heads = log.execute(_HEADS if room is None else f"{_HEADS} WHERE name = ?", (room,) if room else ())
        found = []
        for room_id, first, head, at_ms in heads.fetchall():
            position = positions.get(room_id, (0, 0))
            if head is not None and position != (head, at_ms):
                found.append(Behind(room_id, first, position[0], position[1], head))
        return found

    def step(self, log: sqlite3.Connection, todo: list[Behind]) -> None:
        """Take up some of what is to be done; what is done is taken off ``todo``."""
        index, space = self._open(), float(STEP_CHARS)
        index.execute("BEGIN IMMEDIATE")
        while todo and space > 0:
            space -= self._take_up(log, index, todo[-1])
            if todo[-1].position >= todo[-1].head:
                todo.pop()
        index.execute("COMMIT")

    def _take_up(self, log: sqlite3.Connection, index: sqlite3.Connection, room: Behind) -> int:
        """The next events of one room; returns what that costs, in characters."""
        there = log.execute("SELECT at_ms FROM events WHERE room = ? AND seq = ?", (room.id, room.position))
        if room.position >= room.first and there.fetchone() != (room.at_ms,):
            self._forget(index, "room = ?", (room.id,))
            room.position = 0
        if room.position < room.first - 1:
            self._forget(index, "room = ? AND seq < ?", (room.id, room.first))
            room.position = room.first - 1
        (rows,) = log.execute(_NEXT_EVENTS, (room.id, room.position, STEP_EVENTS)).fetchone()
        events = sorted(_decode_events(rows))
        changed = self._changed(log, room.id, events[0][0], events[-1][0]) if events else {}
        chars = 0
        for seq, at_ms, kind, target, body in events:
            room.position, room.at_ms = seq, at_ms
            if kind == MESSAGE:
                text_seq, now = changed.get(seq, (seq, body))
                if now is not None:
                    self._add(index, room.id, seq, at_ms, text_seq, text_of(now))
            elif kind in (EDITED, DELETED) and target is not None:
                self._replace(index, room.id, target, seq, text_of(body) if kind == EDITED else None)
            chars += len(body) + STEP_CHARS // STEP_EVENTS
            if chars > STEP_CHARS:
                break
        if not events:  # they are trimmed meanwhile
            room.position = room.head
        values = (room.id, room.position, room.at_ms)
        index.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", values)
        return chars

    def _changed(
        self, log: sqlite3.Connection, room: int, first: int, last: int
    ) -> dict[int, tuple[int, str | None]]:
        """Of the messages ``first .. last`` that something was done to: by which event they say what they
        say now, and its body; None: nothing."""
        (rows,) = log.execute(_CHANGES, (room, first, last)).fetchone()
        found: dict[int, tuple[int, str | None]] = {}
        for seq, _, kind, target, body in sorted(_decode_events(rows)):
            if target is not None and found.get(target, (0, ""))[1] is not None:
                found[target] = seq, body if kind == EDITED else None
        return found

    def _add(
        self, index: sqlite3.Connection, room: int, seq: int, at_ms: int, text_seq: int, text: str
    ) -> None:
        lowest = at_ms << _PER_MS
        (last,) = index.execute(
            "SELECT max(doc) FROM docs WHERE doc >= ? AND doc < ?", (lowest, lowest + (1 << _PER_MS))
        ).fetchone()
        doc = lowest if last is None else last + 1
        index.execute("INSERT INTO docs VALUES (?, ?, ?, ?)", (doc, room, seq, text_seq))
        index.execute("INSERT INTO grams (rowid, text) VALUES (?, ?)", (doc, " ".join(grams(folded(text)))))
        index.execute("UPDATE meta SET value = value + 1 WHERE name = 'docs'")

    def _replace(
        self, index: sqlite3.Connection, room: int, seq: int, text_seq: int, text: str | None
    ) -> None:
        """Message ``seq`` has another text, by event ``text_seq``; None: it has none any more."""
        doc, known = index.execute(
            "SELECT doc, text_seq FROM docs WHERE room = ? AND seq = ?", (room, seq)
        ).fetchone() or (0, text_seq)
        if known < text_seq:
            self._forget(index, "doc = ?", (doc,))
            if text is not None:
                self._add(index, room, seq, doc >> _PER_MS, text_seq, text)

    def _forget(self, index: sqlite3.Connection, which: str, values: tuple[int, ...]) -> None:
        # Its number isn't given to another: FTS5 still has it.
        gone = index.execute(f"UPDATE docs SET room = NULL WHERE {which}", values).rowcount
        if gone:
            index.execute("UPDATE meta SET value = value + ? WHERE name = 'stale'", (gone,))
            index.execute("UPDATE meta SET value = value - ? WHERE name = 'docs'", (gone,))

    # --- asking --------------------------------------------------------------------------------------

    def find(
        self,
        log: sqlite3.Connection,
        text: str,
        limit: int,
        room: str | None,
        user: str | None,
        before: int | None,
    ) -> Searched:
        """See `EventLog.search`, as far as the index is up to date."""
        index, words = self._open(), words_of(text)
        found: list[Found] = []
        if not words:
            return Searched(found, None)
        place = _LAST if before is None else before
        looked_up = 0
        while True:
            candidates = self._candidates(index, log, question(words), room, place)
            for doc, name, seq, at_ms, kind, body, target, now in self._look_up(log, candidates, room, user):
                if not matches(words, text_of(now)):
                    continue
                if len(found) == limit:
                    return Searched(found, found[-1].place)
                found.append(Found(name, Event(seq, at_ms, kind, body, target), str(doc)))
            looked_up += len(candidates)
            if len(candidates) < CANDIDATES:
                return Searched(found, None)
            place = candidates[-1][0]
            if looked_up >= MAX_CANDIDATES:
                return Searched(found, str(place))

    def _candidates(
        self, index: sqlite3.Connection, log: sqlite3.Connection, asked: str, room: str | None, place: int
    ) -> list[tuple[int, int, int, int]]:
        only, values = "room IS NOT NULL", [asked, place]
        if room is not None:
            found = log.execute("SELECT id FROM rooms WHERE name = ?", (room,)).fetchone()
            if found is None:
                return []
            only = "room = ?"
            values.append(found[0])
        rows = index.execute(
            f"""
            SELECT doc, room, seq, text_seq FROM grams CROSS JOIN docs ON doc = grams.rowid
            WHERE grams MATCH ? AND grams.rowid < ? AND {only} ORDER BY grams.rowid DESC LIMIT {CANDIDATES}
            """,
            values,
        )
        return rows.fetchall()

    def _look_up(
        self,
        log: sqlite3.Connection,
        candidates: list[tuple[int, int, int, int]],
        room: str | None,
        user: str | None,
    ) -> list[tuple[int, str, int, int, str, str, int | None, str]]:
        values = {"found": msgspec.json.encode(candidates).decode(), "room": room, "user": user}
        (rows,) = log.execute(_LOOK_UP, values).fetchone()
        return sorted(_decode_found(rows), reverse=True)
