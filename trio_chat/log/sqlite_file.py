"""A SQLite file as a log: finding, locking, checking and creating it, and connections to it.

Owns the file's format (`SCHEMA`, ``application_id``, ``user_version``), its side file ``FILE.lock``, and the
words for what is wrong. Knows no events. Everything here blocks: call it in a worker thread.

The format. ``events`` is clustered by (room, seq), so that a page of history or catch-up is one range of
neighbouring rows. ``events_by_key`` finds an idempotency key. The key comes first in it, so that keys which
begin with the time are added at its end, a page for many events; random keys cost a page for each event (8.3
against 1.7 KB written per event in one busy room, batches of 50). ``events_by_kind`` finds messages however
rare they are among other events, for a page written per room and commit. ``rooms.active_at_ms`` is written
when it is `ACTIVE_STEP_MS` old, not with each batch, which then touches no page of ``rooms``. ``rooms.first``
is the oldest ``seq`` kept, ``rooms.state`` what has to be known of the events before it. ``events_by_target``
has a row for those few events that are about another one.
"""

import os
import secrets
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import attrs

from trio_chat.log.base import LogError

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


Sync = Literal["full", "normal"]

APPLICATION_ID = 0x7472696F
"""The letters "trio", at offset 68 of the file: says whose database this is."""

ACTIVE_STEP_MS = 60_000
"""How far ``rooms.active_at_ms`` may be behind the room's last event."""

BUSY_SECONDS = 5.0
"""How long to wait for another program (a backup, a ``sqlite3`` shell) that has locked the file."""

MAX_WAL_BYTES = 64 << 20
"""To what the write-ahead log is cut back after a burst made it larger."""

_MARKS = """
CREATE TABLE marks (
    user TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms,
    seq INTEGER NOT NULL,
    PRIMARY KEY (user, room)
) WITHOUT ROWID;
"""
_EVENTS_BY_TARGET = """
CREATE INDEX events_by_target ON events (room, target, seq) WHERE target IS NOT NULL;
"""

_ROOMS_BY_ACTIVITY = """
CREATE INDEX rooms_by_activity ON rooms (hidden, active_at_ms);
"""
_ROOM_USERS = """
CREATE TABLE room_users (
    user TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms,
    PRIMARY KEY (user, room)
) WITHOUT ROWID;
"""

MIGRATIONS = (
    f"ALTER TABLE events ADD COLUMN target INTEGER; {_EVENTS_BY_TARGET} {_MARKS}",
    f"""
    ALTER TABLE rooms ADD COLUMN label TEXT NOT NULL DEFAULT '';
    ALTER TABLE rooms ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rooms ADD COLUMN state TEXT;
    DROP INDEX rooms_by_activity; {_ROOMS_BY_ACTIVITY} {_ROOM_USERS}
    """,
)
"""What makes a file of format 1 one of format 2, and so on. None of it may take long in a large file."""

VERSION = 1 + len(MIGRATIONS)
"""The format's number, in ``user_version``. A file of a newer one is refused."""

SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    first INTEGER NOT NULL DEFAULT 1,
    active_at_ms INTEGER NOT NULL,
    label TEXT NOT NULL DEFAULT '',
    hidden INTEGER NOT NULL DEFAULT 0,
    state TEXT
);
{_ROOMS_BY_ACTIVITY}
CREATE TABLE events (
    room INTEGER NOT NULL REFERENCES rooms,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT,
    body TEXT NOT NULL,
    target INTEGER,
    PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_key ON events (key, room) WHERE key IS NOT NULL;
CREATE INDEX events_by_kind ON events (room, kind, seq);
{_EVENTS_BY_TARGET}
{_MARKS}
{_ROOM_USERS}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it can't be written",
    "SQLITE_IOERR": "input or output failed",
    "SQLITE_BUSY": "another program has locked it",
    "SQLITE_CANTOPEN": "it can't be opened",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_NOTADB": "it is not a database",
    "SQLITE_NOMEM": "memory is short",
}


def reason(error: Exception) -> str:
    """``error`` in a few words, for people: of SQLite's extended codes only the family counts."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    known = _REASONS.get("_".join(name.split("_")[:2]))
    return known or getattr(error, "strerror", None) or str(error)


@attrs.define
class LogFile:
    """An open log file, locked for this process until `close`."""

    path: Path
    sync: Sync
    epoch: str
    secret: bytes
    _lock_fd: int

    def connect(self, *, query_only: bool = False) -> sqlite3.Connection:
        """Another connection, usable from any one thread at a time; the caller closes it.

        Raises `sqlite3.Error`, also where the file is gone or another log's has taken its place.
        """
        connection = _connect(self.path)
        try:
            connection.execute(f"PRAGMA synchronous = {'normal' if self.syncs_itself else self.sync}")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: its plain fsync doesn't reach the disk
            connection.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
            connection.execute(f"PRAGMA query_only = {query_only:d}")
            if _meta(connection, "epoch") != self.epoch.encode():
                raise sqlite3.DatabaseError("another log's file has taken its place")
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def syncs_itself(self) -> bool:
        """Whether commits reach the disk by `sync_wal` and not within SQLite."""
        return self.sync == "full" and hasattr(os, "fdatasync")

    def sync_wal(self) -> None:
        """Wait until what was committed is on the disk, which is what ``synchronous = full`` means with a
        write-ahead log. Raises `OSError`.

        Opened each time, for 5 us: a connection that failed takes the file with it, and a new one makes
        another. Closing it drops no lock, because SQLite's are on the other files.
        """
        fd = os.open(f"{self.path}-wal", os.O_RDONLY)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let others have the file; call it after closing the last connection.

        Closing that one has moved the write-ahead log into the file, if no other program reads it just now.
        """
        os.close(self._lock_fd)


def open_file(path: str | os.PathLike[str], sync: Sync) -> LogFile:
    """Open the log at ``path``, or create it together with its directory.

    What it makes is the owner's alone: it holds what people said, and the secret. Raises `LogError` with one
    line that names the file and what is wrong; nothing stays open or locked then, and a file that is not ours
    is left as it was, without a lock file of ours beside it.
    """
    where = Path(os.path.realpath(path))
    try:
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if where.exists() and not where.is_file():
            raise LogError(f"{where} is not a file")
        lock = _take_lock(f"{where}.lock")
    except OSError as error:
        raise LogError(f"{where} can't be opened: {reason(error)}") from error
    if lock is None:
        raise LogError(f"{where} is in use by another trio_chat server")
    lock_fd, lock_is_new = lock
    try:
        # Only under the lock: closing a descriptor drops every POSIX lock that this process has on the file.
        os.close(os.open(where, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(_connect(where)) as connection:
            _prepare(connection, where)
            epoch, secret = _meta(connection, "epoch"), _meta(connection, "secret")
        return LogFile(where, sync, epoch.decode(), secret, lock_fd)
    except BaseException as error:
        if lock_is_new:
            with suppress(OSError):  # Windows removes no file that is open
                os.unlink(f"{where}.lock")
        os.close(lock_fd)
        if isinstance(error, sqlite3.Error | OSError):
            raise LogError(f"{where} can't be used: {reason(error)}") from error
        raise


def _take_lock(path: str) -> tuple[int, bool] | None:
    """A descriptor of the lock file, locked, and whether the file was made for it; None if another server has
    the lock. Raises `OSError`."""
    while True:
        try:
            fd, is_new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
        except FileExistsError:
            fd, is_new = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), False
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            return None
        # Whoever had it before may have removed the file: a lock on that one keeps nobody out.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd, is_new
        os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a file that somebody removed must not come back empty behind the server's back.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is before anything is changed in it, and fill an empty one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    empty = (application, version, tables) == (0, 0, 0)
    if application != APPLICATION_ID and not empty:
        raise LogError(f"{path} is another application's database")
    if version > VERSION:
        raise LogError(
            f"{path} was written by a newer trio_chat (format {version}, this one knows {VERSION})"
        )
    if empty:
        # Before anything is in the file. It costs one page in 800, and lets free pages be given back.
        connection.execute("PRAGMA auto_vacuum = incremental")
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise LogError(f"{path} is on a file system that SQLite's write-ahead log doesn't work on")
    if empty:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
        values = {"epoch": secrets.token_urlsafe(6).encode(), "secret": secrets.token_bytes(32)}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        connection.execute("COMMIT")
    elif 1 <= version < VERSION:
        scripts = " ".join(MIGRATIONS[version - 1 :])
        connection.executescript(f"BEGIN IMMEDIATE; {scripts} PRAGMA user_version = {VERSION}; COMMIT")


def _meta(connection: sqlite3.Connection, name: str) -> bytes:
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise sqlite3.DatabaseError(f"it has no {name}")
    value: bytes = found[0]
    return value
