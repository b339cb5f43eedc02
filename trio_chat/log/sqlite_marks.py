"""Read marks in a SQLite log: moving them, and counting what lies beyond.

Owns the SQL of both. Marks are moved in one short transaction in the writer's thread, which doesn't wait for
the disk: what a power cut undoes, its user reads again.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from trio_chat.log.base import Mark, Unread
from trio_chat.log.sqlite_trim import without_sync

_decode_marks = msgspec.json.Decoder(list[tuple[str, int]]).decode
_decode_unread = msgspec.json.Decoder(list[tuple[str, int, int, int]]).decode

_MOVE = """
INSERT INTO marks SELECT ?, id, ? FROM rooms WHERE name = ?
ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq
"""

SELECT_MARKS = """
SELECT json_group_array(json_array(name, seq)) FROM (
    SELECT name, seq FROM marks CROSS JOIN rooms ON id = room WHERE user = ? LIMIT ?
)
"""

_BEYOND = """
SELECT {what} FROM (
    SELECT body FROM events INDEXED BY events_by_kind
    WHERE room = marks.room AND kind = 'message' AND seq > marks.seq
    ORDER BY seq LIMIT :limit
) WHERE substr(body, 1, length(:own)) <> :own
"""


def select_unread(naming: int) -> str:
    """Of each mark of ``:user``: an array of [room, seq, messages, naming], looking for so many strings."""
    named = " OR ".join([f"instr(body, :naming{i})" for i in range(naming)] or ["0"])
    messages, naming_it = (_BEYOND.format(what=what) for what in ("count(*)", f"coalesce(sum({named}), 0)"))
    return f"""
    SELECT json_group_array(json_array(name, seq, ({messages}), ({naming_it})))
    FROM marks CROSS JOIN rooms ON id = room WHERE user = :user
    """


def move(connection: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    """See `EventLog.mark`."""
    with without_sync(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_MOVE, [(mark.user, mark.seq, mark.room) for mark in marks])
        connection.execute("COMMIT")


def marks_of(connection: sqlite3.Connection, user: str, limit: int) -> dict[str, int]:
    """See `EventLog.marks`."""
    (found,) = connection.execute(SELECT_MARKS, (user, limit)).fetchone()
    return dict(_decode_marks(found))


def count_unread(
    connection: sqlite3.Connection, user: str, own: str, naming: Sequence[str], limit: int
) -> list[Unread]:
    """See `EventLog.unread`."""
    values: dict[str, object] = {"user": user, "own": own, "limit": limit}
    values |= {f"naming{i}": each for i, each in enumerate(naming)}
    (found,) = connection.execute(select_unread(len(naming)), values).fetchone()
    return sorted((Unread(*row) for row in _decode_unread(found)), key=lambda unread: unread.room)
