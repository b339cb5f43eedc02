"""Trimming a SQLite log: removing old events, and giving the pages that they leave back to the system.

Owns the SQL of both. Each is one short transaction in the writer's thread, because the next append waits
for it; how much of it follows how fast is the caller's business.

None of it waits for the disk, whatever ``sync`` is: what a power cut undoes is whole again, and is done
again. The next append's commit makes it durable with its own.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from trio_chat.log.base import Kept

PAGES_AT_ONCE = 64
"""Pages given back in one transaction: about 1 ms."""

FREE_PAGES = 256
FREE_SHARE = 8
"""Free pages that stay for new events: 256 (1 MiB), or an eighth of the file if that is more. To give back
what is needed again the next minute would be work for nothing."""

_INCREMENTAL = 2

_decode_kept = msgspec.json.Decoder(list[tuple[str, int, int, int]]).decode

_SELECT_KEPT = """
SELECT json_group_array(json_array(name, first, head, at_ms)) FROM (
    SELECT name, first, (SELECT max(seq) FROM events WHERE room = id) AS head, at_ms
    FROM rooms CROSS JOIN events ON room = id AND seq = first
    WHERE name > ? ORDER BY name LIMIT ?
)
"""

_DELETE = "DELETE FROM events WHERE room = ? AND seq < ?"
_UPDATE = """
UPDATE rooms SET first = ?, active_at_ms = max(active_at_ms, ?), state = coalesce(?, state) WHERE id = ?
"""


def list_kept(connection: sqlite3.Connection, after: str, limit: int) -> list[Kept]:
    """See `EventLog.kept`."""
    (found,) = connection.execute(_SELECT_KEPT, (after, max(limit, 0))).fetchone()
    return [Kept(*row) for row in _decode_kept(found)]


def remove(connection: sqlite3.Connection, room: int, first: int, last_ms: int, state: str | None) -> None:
    """Remove the events of ``room`` before ``first``, and say so in its row, with ``state`` if there is one.

    ``last_ms``: the last event's time, if that is among them: the room's time must not go back.
    """
    with without_sync(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_DELETE, (room, first))
        connection.execute(_UPDATE, (first, last_ms, state, room))
        connection.execute("COMMIT")


def give_back(connection: sqlite3.Connection) -> bool:
    """Cut up to `PAGES_AT_ONCE` free pages off the file; returns whether more should go."""
    if _pragma(connection, "auto_vacuum") != _INCREMENTAL:
        return False
    free = _pragma(connection, "freelist_count")
    spare = free - max(FREE_PAGES, _pragma(connection, "page_count") // FREE_SHARE)
    if spare <= 0:
        return False
    with without_sync(connection):
        # A script, because it is stepped to its end: each step gives back one page.
        connection.executescript(f"PRAGMA incremental_vacuum({min(spare, PAGES_AT_ONCE)})")
    return _pragma(connection, "freelist_count") < free


@contextmanager
def without_sync(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit without waiting for the disk; a connection that fails meanwhile is closed by its owner."""
    level = _pragma(connection, "synchronous")
    connection.execute("PRAGMA synchronous = normal")
    yield
    connection.execute(f"PRAGMA synchronous = {level}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
