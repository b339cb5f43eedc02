"""The lists of rooms in a SQLite log, and what is known of a room beside its events.

Owns the SQL of both. Whoever is named by a listing is in ``room_users``, label and whether a room is hidden
are in its row.
"""

import sqlite3

import msgspec

from trio_chat.log.base import Appended, Listed, Position
from trio_chat.log.sqlite_commit import RoomRow

_decode_rooms = msgspec.json.Decoder(list[tuple[int, str, int, str]]).decode

_SELECT = """
SELECT json_group_array(json_array(coalesce(at_ms, active_at_ms), name, coalesce(seq, first - 1), label))
FROM ({chosen}) LEFT JOIN events ON room = id AND seq = (SELECT max(seq) FROM events WHERE room = id)
"""
SELECT_LISTED = _SELECT.format(
    chosen="SELECT * FROM rooms WHERE hidden = 0 ORDER BY active_at_ms DESC LIMIT ?"
)
SELECT_LISTED_OF = _SELECT.format(
    chosen="""
    SELECT rooms.* FROM room_users CROSS JOIN rooms ON id = room_users.room
    WHERE user = ? ORDER BY active_at_ms DESC LIMIT ?
    """
)
SELECT_POSITION = """
SELECT coalesce((SELECT max(seq) FROM events WHERE room = id), first - 1), first, state
FROM rooms WHERE name = ?
"""
SELECT_KEY = """
SELECT seq, at_ms FROM events INDEXED BY events_by_key
WHERE key = ? AND room = (SELECT id FROM rooms WHERE name = ?)
"""


def list_rooms(connection: sqlite3.Connection, limit: int, known: dict[str, RoomRow]) -> list[Listed]:
    """See `EventLog.rooms`. ``known`` is newer than the file's rows."""
    rows = _decode_rooms(connection.execute(SELECT_LISTED, (max(limit, 0),)).fetchone()[0])
    latest = {name: (at_ms, head, label) for at_ms, name, head, label in rows}
    for name, room in list(known.items()):
        if room.hidden:
            latest.pop(name, None)
        else:
            latest[name] = (room.at_ms, room.head, room.label)
    return _ranked(latest, limit)


def list_rooms_of(
    connection: sqlite3.Connection, user: str, limit: int, known: dict[str, RoomRow]
) -> list[Listed]:
    """See `EventLog.rooms_of`."""
    rows = _decode_rooms(connection.execute(SELECT_LISTED_OF, (user, max(limit, 0))).fetchone()[0])
    latest = {name: (at_ms, head, label) for at_ms, name, head, label in rows}
    for name in latest:
        if (room := known.get(name)) is not None:
            latest[name] = (room.at_ms, room.head, room.label)
    return _ranked(latest, limit)


def _ranked(latest: dict[str, tuple[int, int, str]], limit: int) -> list[Listed]:
    ranked = sorted(latest, key=lambda name: latest[name][0], reverse=True)
    return [Listed(name, *latest[name][1:]) for name in ranked[: max(limit, 0)]]


def position_of(connection: sqlite3.Connection, room: str, epoch: str) -> Position:
    """See `EventLog.position`."""
    found = connection.execute(SELECT_POSITION, (room,)).fetchone()
    return Position(epoch, *found) if found else Position(epoch, 0)


def find_key(connection: sqlite3.Connection, room: str, key: str) -> Appended | None:
    """See `EventLog.find`."""
    found = connection.execute(SELECT_KEY, (key, room)).fetchone()
    return Appended(found[0], found[1], duplicate=True) if found else None
