"""Storing a batch in a SQLite log: numbers for its events, and the statements that put them there.

Owns the SQL of appending, and what is known about rooms without asking the file. Runs in the writer's thread.

Values are bound, never put through JSON on the way in: SQLite's JSON functions end a string at ``\\u0000``.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import msgspec

from trio_chat.log.base import Append, Appended, Listing
from trio_chat.log.sqlite_file import ACTIVE_STEP_MS

MAX_ROWS = 128
"""Events in one INSERT: 7 values each, below the 999 that every build of SQLite can bind."""

MAX_KNOWN_ROOMS = 10_000
"""Rooms whose heads are kept in memory, about 200 bytes each; beyond it all are forgotten and read again."""

_decode_found = msgspec.json.Decoder(list[tuple[int, int, int]]).decode


class RoomRow(NamedTuple):
    """A room as the file has it after the last commit."""

    id: int
    first: int
    head: int
    at_ms: int
    active_at_ms: int
    hidden: bool
    label: str


SELECT_ROOM = """
SELECT id, first, coalesce(seq, first - 1), coalesce(at_ms, active_at_ms), active_at_ms, hidden, label
FROM rooms LEFT JOIN events ON room = id AND seq = (SELECT max(seq) FROM events WHERE room = id)
WHERE name = ?
"""


PLAIN, ABOUT = 6, 7
"""Values of an event, without and with a target. To bind a seventh that is NULL would make a batch a sixth
slower, and most have none."""


@cache
def insert_events(rows: int, width: int) -> str:
    """An INSERT of up to ``rows`` events of ``width`` values; unused places are filled with NULL."""
    places = ", ".join([f"({', '.join('?' * width)})"] * rows)
    columns = "room, seq, at_ms, kind, key, body" + ", target" * (width == ABOUT)
    return f"INSERT INTO events ({columns}) SELECT * FROM (VALUES {places}) WHERE column1 IS NOT NULL"


@cache
def select_keys(keys: int) -> str:
    """Find up to ``keys`` (number, room id, key): an array of [number, seq, at_ms] of the stored ones."""
    places = ", ".join(["(?, ?, ?)"] * keys)
    return f"""
    SELECT json_group_array(json_array(column1, seq, at_ms)) FROM (VALUES {places})
    CROSS JOIN events INDEXED BY events_by_key ON room = column2 AND key = column3
    """


def padded_rows(values: list[object], width: int) -> tuple[int, list[object]]:
    """``values`` filled with NULL to a power of two of rows, so that few statements have to be prepared."""
    rows = len(values) // width
    places = 1 << (rows - 1).bit_length()
    return places, values + [None] * (width * (places - rows))


def select_room(connection: sqlite3.Connection, name: str) -> RoomRow | None:
    """The room of this name, if there is one."""
    found = connection.execute(SELECT_ROOM, (name,)).fetchone()
    return RoomRow._make(found) if found else None


class Commit:
    """The storing of one batch: ``known`` is what is known about the rooms, and is kept up to date."""

    def __init__(self, connection: sqlite3.Connection, known: dict[str, RoomRow], now_ms: int) -> None:
        self._connection = connection
        self._known = known
        self._now_ms = now_ms

    def store(self, batch: list[Append]) -> list[Appended]:
        """Store ``batch``, all or nothing; after an error the connection may be inside a transaction."""
        if len(batch) <= MAX_ROWS and self._is_plain(batch):
            with suppress(sqlite3.IntegrityError):  # a key of the batch is stored already
                return self._store_at_once(batch)
        return self._store_carefully(batch)

    def _is_plain(self, batch: list[Append]) -> bool:
        stale_ms = self._now_ms - ACTIVE_STEP_MS
        return all(
            (room := self._known.get(name)) and room.active_at_ms > stale_ms
            for name in {append.room for append in batch}
        ) and all(append.listing is None for append in batch)

    def _store_at_once(self, batch: list[Append]) -> list[Appended]:
        """One statement, which commits itself: the thread lets go of the GIL once."""
        width = _width(batch)
        rooms, values, results = _number(batch, self._known, {}, self._now_ms, width)
        places, padded = padded_rows(values, width)
        self._execute(insert_events(places, width), padded)
        self._remember(rooms)
        return results

    def _store_carefully(self, batch: list[Append]) -> list[Appended]:
        """One transaction that takes nothing from memory: for new rooms, long silent ones, known keys, and
        changes in the lists of rooms."""
        self._execute("BEGIN IMMEDIATE")
        rooms = {name: self._room(name) for name in dict.fromkeys(append.room for append in batch)}
        width = _width(batch)
        after, values, results = _number(batch, rooms, self._stored(batch, rooms), self._now_ms, width)
        for start in range(0, len(values), MAX_ROWS * width):
            places, padded = padded_rows(values[start : start + MAX_ROWS * width], width)
            self._execute(insert_events(places, width), padded)
        rooms |= after
        for name, room in after.items():
            if room.at_ms - room.active_at_ms >= ACTIVE_STEP_MS:
                self._execute("UPDATE rooms SET active_at_ms = ? WHERE id = ?", (room.at_ms, room.id))
                rooms[name] = room._replace(active_at_ms=room.at_ms)
        for append, result in zip(batch, results, strict=True):
            if append.listing is not None and not result.duplicate:
                rooms[append.room] = self._list(rooms[append.room], append.listing)
        self._execute("COMMIT")
        self._remember(rooms)
        return results

    def _room(self, name: str) -> RoomRow:
        found = select_room(self._connection, name)
        if found is None:
            self._execute("INSERT INTO rooms (name, active_at_ms) VALUES (?, ?)", (name, self._now_ms))
            found = select_room(self._connection, name)
        assert found is not None
        return found

    def _list(self, room: RoomRow, listing: Listing) -> RoomRow:
        """Have the lists of rooms say so; returns the room as it is then."""
        values = (listing.label, listing.hidden, room.id)
        self._execute("UPDATE rooms SET label = ?, hidden = ? WHERE id = ?", values)
        for user in listing.users:
            self._execute("INSERT OR IGNORE INTO room_users VALUES (?, ?)", (user, room.id))
        return room._replace(label=listing.label, hidden=listing.hidden)

    def _stored(self, batch: list[Append], rooms: dict[str, RoomRow]) -> dict[tuple[str, str], Appended]:
        """Which keys of the batch have an event already."""
        found: dict[tuple[str, str], Appended] = {}
        keyed = [(append.room, append.key) for append in batch if append.key is not None]
        for start in range(0, len(keyed), MAX_ROWS):
            numbered = enumerate(keyed[start : start + MAX_ROWS], start)
            places, padded = padded_rows(
                [v for i, (room, key) in numbered for v in (i, rooms[room].id, key)], 3
            )
            (rows,) = self._connection.execute(select_keys(places), padded).fetchone()
            found.update((keyed[i], Appended(seq, at_ms)) for i, seq, at_ms in _decode_found(rows))
        return found

    def _execute(self, sql: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(sql, values)

    def _remember(self, rooms: dict[str, RoomRow]) -> None:
        if len(self._known) + len(rooms) > MAX_KNOWN_ROOMS:
            self._known.clear()
        self._known.update(rooms)


def _width(batch: list[Append]) -> int:
    return PLAIN if all(append.target is None for append in batch) else ABOUT


def _number(
    batch: list[Append],
    rooms: dict[str, RoomRow],
    stored: dict[tuple[str, str], Appended],
    now_ms: int,
    width: int,
) -> tuple[dict[str, RoomRow], list[object], list[Appended]]:
    """Give each append its ``seq`` and time: the rooms afterwards, the values to insert, the results."""
    after: dict[str, RoomRow] = {}
    values: list[object] = []
    results: list[Appended] = []
    for append in batch:
        name, key = append.room, append.key
        room = after.get(name) or rooms[name]
        if key is not None and (first := stored.get((name, key))) is not None:
            results.append(Appended(first.seq, first.at_ms, duplicate=True))
            continue
        seq, at_ms = room.head + 1, max(now_ms, room.at_ms)
        after[name] = room._replace(head=seq, at_ms=at_ms)
        values += (room.id, seq, at_ms, append.kind, key, append.body)
        if width == ABOUT:
            values.append(append.target)
        done = Appended(seq, at_ms)
        results.append(done)
        if key is not None:
            stored[name, key] = done
    return after, values, results
