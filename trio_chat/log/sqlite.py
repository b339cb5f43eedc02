"""The SQLite engine: one file, one writer, group commit in a worker thread.

Owns the SQL of appending and reading; that of trimming is in `trio_chat.log.sqlite_trim`. Rules:

- The event loop never waits for the disk: all SQLite runs in worker threads, the writer's one at a time, the
  readers' (`MAX_READERS`) on connections of their own, so that a read never waits for a commit.
- With ``--sync full`` a commit is SQLite's work and then one ``fdatasync`` of our own, so that the event loop
  can stand back for the first, which needs the processor, and go on during the second, which doesn't.
- A thread takes the GIL as rarely as it can, because it has to win it back from a busy event loop each time:
  a batch whose rooms are known is one statement that commits itself, a page is one row (figures:
  ``scripts/bench_log.py``).
- A connection that failed is closed, and what was known about the rooms is forgotten with it; the next
  operation begins afresh from the file. So a commit that failed after it took effect does no harm, and a disk
  that is back is used at once.
- Values are bound, never put through JSON on the way in: SQLite's JSON functions end a string at ``\\u0000``.
"""

import math
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from functools import cache, partial
from typing import NamedTuple, TypeVar

import msgspec
import trio

from trio_chat.log import sqlite_trim
from trio_chat.log.base import Append, Appended, Event, Kept, LogUnavailable, Position
from trio_chat.log.paging import page
from trio_chat.log.seams import CommitThrough, Runner, commit_plainly, in_thread
from trio_chat.log.sqlite_file import ACTIVE_STEP_MS, LogFile, Sync, open_file, reason
from trio_chat.log.writer_thread import WriterThread

T = TypeVar("T")

MAX_READERS = 4
"""Reads at a time, and read connections. A page takes about 0.1 ms; more would only take turns at the GIL."""

MAX_ROWS = 128
"""Events in one INSERT: 6 values each, below the 999 that every build of SQLite can bind."""

MAX_CHUNK = 64
"""Events fetched in one step; what a page reads beyond its ``max_bytes`` is less than this."""

MAX_KNOWN_ROOMS = 10_000
"""Rooms whose heads are kept in memory, about 200 bytes each; beyond it all are forgotten and read again."""

_decode_rows = msgspec.json.Decoder(list[tuple[int, int, str, str]]).decode
_decode_rooms = msgspec.json.Decoder(list[tuple[int, str, int]]).decode
_decode_found = msgspec.json.Decoder(list[tuple[int, int, int]]).decode


class _Room(NamedTuple):
    """A room as the file has it after the last commit."""

    id: int
    first: int
    head: int
    at_ms: int
    active_at_ms: int


_SELECT_ROOM = """
SELECT id, first, coalesce(seq, first - 1), coalesce(at_ms, active_at_ms), active_at_ms
FROM rooms LEFT JOIN events ON room = id AND seq = (SELECT max(seq) FROM events WHERE room = id)
WHERE name = ?
"""

_SELECT_ROOMS = """
SELECT json_group_array(json_array(coalesce(at_ms, active_at_ms), name, coalesce(seq, first - 1))) FROM (
    SELECT * FROM (SELECT * FROM rooms ORDER BY active_at_ms DESC LIMIT ?)
    LEFT JOIN events ON room = id AND seq = (SELECT max(seq) FROM events WHERE room = id)
)
"""


@cache
def _insert(rows: int) -> str:
    """An INSERT of up to ``rows`` events; unused places are filled with NULL."""
    places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO events SELECT * FROM (VALUES {places}) WHERE column1 IS NOT NULL"


@cache
def _select_keys(keys: int) -> str:
    """Find up to ``keys`` (number, room id, key): an array of [number, seq, at_ms] of the stored ones."""
    places = ", ".join(["(?, ?, ?)"] * keys)
    return f"""
    SELECT json_group_array(json_array(column1, seq, at_ms)) FROM (VALUES {places})
    CROSS JOIN events INDEXED BY events_by_key ON room = column2 AND key = column3
    """


@cache
def _select_page(kinds: int | None, *, backward: bool) -> str:
    """A page of ``:room`` beyond ``:seq``: one row, an array of [seq, at_ms, kind, body].

    With kinds, each one's next ``:limit`` are looked up in the index, and the nearest of all of them taken.
    """
    beyond = (
        "seq < :seq ORDER BY seq DESC LIMIT :limit" if backward else "seq > :seq ORDER BY seq LIMIT :limit"
    )
    room = "(SELECT id FROM rooms WHERE name = :room)"
    if kinds is None:
        found = f"SELECT seq, at_ms, kind, body FROM events WHERE room = {room} AND {beyond}"
    else:
        each = " UNION ALL ".join(
            f"SELECT * FROM (SELECT seq FROM events WHERE room = {room} AND kind = :kind{i} AND {beyond})"
            for i in range(kinds)
        )
        order = f"ORDER BY seq {'DESC' if backward else ''} LIMIT :limit"
        nearest = each if kinds == 1 else f"SELECT seq FROM ({each}) {order}"
        found = f"SELECT seq, at_ms, kind, body FROM events WHERE room = {room} AND seq IN ({nearest})"
    return f"SELECT json_group_array(json_array(seq, at_ms, kind, body)) FROM ({found})"


def _padded(values: list[object], width: int) -> tuple[int, list[object]]:
    """``values`` filled with NULL to a power of two of rows, so that few statements have to be prepared."""
    rows = len(values) // width
    places = 1 << (rows - 1).bit_length()
    return places, values + [None] * (width * (places - rows))


class SQLiteLog:
    """An `EventLog` in a SQLite file; see `open_sqlite_log`."""

    def __init__(
        self,
        file: LogFile,
        clock: Callable[[], float],
        commit_through: CommitThrough,
        runner: Runner,
        writer: Runner,
        before_sync: Callable[[], None],
    ) -> None:
        self._file = file
        self._clock = clock
        self._commit_through = commit_through
        self._runner = runner
        self._writer = writer
        self._before_sync = before_sync
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(MAX_READERS)
        self._writers: list[sqlite3.Connection] = []
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._in_doubt = False
        """A sync has failed since the write-ahead log last reached the file."""
        # Written only by the writer's thread, after a commit; looked into from anywhere.
        self._known: dict[str, _Room] = {}

    @property
    def secret(self) -> bytes:
        """See `EventLog.secret`."""
        return self._file.secret

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """See `EventLog.append`. Cancelled before its turn came, it has stored nothing."""
        return await self._run(partial(self._append, list(batch)), self._writing, self._writer)

    async def position(self, room: str) -> Position:
        """See `EventLog.position`. It may already count an append that is about to return."""
        known = self._known.get(room)
        if known is None:
            known = await self._run(partial(self._find_room, room), self._reading)
        else:
            await trio.lowlevel.checkpoint()
        return Position(self._file.epoch, known.head, known.first) if known else Position(self._file.epoch, 0)

    async def read(
        self,
        room: str,
        after: int,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read`."""
        work = partial(self._read, room, after, limit, max_bytes, kinds, backward=False)
        return await self._run(work, self._reading)

    async def read_before(
        self,
        room: str,
        before: int | None,
        limit: int,
        *,
        max_bytes: int = 1 << 20,
        kinds: Sequence[str] | None = None,
    ) -> list[Event]:
        """See `EventLog.read_before`."""
        beyond = (1 << 63) - 1 if before is None else before
        work = partial(self._read, room, beyond, limit, max_bytes, kinds, backward=True)
        return (await self._run(work, self._reading))[::-1]

    async def rooms(self, limit: int = 1000) -> list[tuple[str, int]]:
        """See `EventLog.rooms`. After a restart, the minute before it may not count at the list's end."""
        return await self._run(partial(self._list_rooms, limit), self._reading)

    async def kept(self, after: str = "", limit: int = 1000) -> list[Kept]:
        """See `EventLog.kept`."""
        return await self._run(partial(self._list_kept, after, limit), self._reading)

    async def trim(self, room: str, through: int, limit: int) -> int:
        """See `EventLog.trim`. Cancelled before its turn came, it has removed nothing."""
        return await self._run(partial(self._trim, room, through, limit), self._writing, self._writer)

    async def compact(self) -> bool:
        """See `EventLog.compact`. A file that was made without ``auto_vacuum`` stays as large as it is."""
        return await self._run(self._compact, self._writing, self._writer)

    def subscribe(self, callback: Callable[[str, int], None]) -> None:
        """See `EventLog.subscribe`: the file has one writer, so ``callback`` is never called."""

    async def _run(
        self, work: Callable[[], T], limiter: trio.CapacityLimiter, runner: Runner | None = None
    ) -> T:
        try:
            return await (runner or self._runner)(work, limiter)
        except (sqlite3.Error, OSError) as error:
            raise LogUnavailable(f"{self._file.path.name}: {reason(error)}") from error

    async def close(self) -> None:
        """Wait for what is under way, then close the file; cancellation waits for that.

        What comes later gets `LogUnavailable`.
        """
        with trio.CancelScope(shield=True):
            for limiter in [self._writing] + [self._reading] * MAX_READERS:
                await limiter.acquire_on_behalf_of(object())
            self._closed = True
            await self._runner(self._close, trio.CapacityLimiter(1))
            self._writing.total_tokens = self._reading.total_tokens = math.inf

    # --- in worker threads ----------------------------------------------------------------------------

    def _close(self) -> None:
        self._known = {}
        with closing(self._file), ExitStack() as stack:
            for connection in self._readers + self._writers:
                stack.callback(connection.close)

    @contextmanager
    def _connection(
        self, idle: list[sqlite3.Connection], *, query_only: bool
    ) -> Iterator[sqlite3.Connection]:
        """An idle connection, or a new one; one that fails is closed, which also rolls back."""
        if self._closed:
            raise LogUnavailable(f"{self._file.path.name}: the log is closed")
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._file.connect(query_only=query_only)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        idle.append(connection)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection; after a failure nothing is known any more."""
        try:
            with self._connection(self._writers, query_only=False) as connection:
                yield connection
        except BaseException:
            self._known = {}
            raise

    def _append(self, batch: list[Append]) -> list[Appended]:
        results: list[Appended] = []
        with self._changing() as connection:
            commit = _Commit(connection, self._known, int(self._clock() * 1000))
            self._commit_through(lambda: results.extend(commit.store(batch)))
            if self._file.syncs_itself:
                self._sync(connection)
        return results

    def _sync(self, connection: sqlite3.Connection) -> None:
        """Wait for the disk. After a failure the system may take for written what is lost, so then everything
        is written anew, from the write-ahead log into the file."""
        if self._in_doubt:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("another program reads the file")
            self._in_doubt = False
        self._before_sync()
        self._in_doubt = True
        self._file.sync_wal()
        self._in_doubt = False

    def _trim(self, name: str, through: int, limit: int) -> int:
        with self._changing() as connection:
            room = self._known.get(name) or _select_room(connection, name)
            if room is None:
                return 1
            first = min(through, room.head, room.first + limit - 1) + 1
            if first <= room.first:
                return room.first
            last_ms = room.at_ms if first > room.head else 0
            self._commit_through(partial(sqlite_trim.remove, connection, room.id, first, last_ms))
            if name in self._known:
                self._known[name] = room._replace(first=first)
        return first

    def _compact(self) -> bool:
        with self._changing() as connection:
            return sqlite_trim.give_back(connection)

    def _find_room(self, name: str) -> _Room | None:
        with self._connection(self._readers, query_only=True) as connection:
            return _select_room(connection, name)

    def _read(
        self,
        room: str,
        beyond: int,
        limit: int,
        max_bytes: int,
        kinds: Sequence[str] | None,
        *,
        backward: bool,
    ) -> list[Event]:
        values: dict[str, object] = {"room": room}
        if kinds is not None:
            kinds = list(dict.fromkeys(kinds))
            values |= {f"kind{i}": kind for i, kind in enumerate(kinds)}
        if limit < 1 or kinds == []:
            return []
        select = _select_page(kinds if kinds is None else len(kinds), backward=backward)
        with self._connection(self._readers, query_only=True) as connection:
            return page(
                _fetch(connection, select, values, beyond, limit, backward=backward), limit, max_bytes
            )

    def _list_kept(self, after: str, limit: int) -> list[Kept]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_trim.list_kept(connection, after, limit)

    def _list_rooms(self, limit: int) -> list[tuple[str, int]]:
        with self._connection(self._readers, query_only=True) as connection:
            rows = _decode_rooms(connection.execute(_SELECT_ROOMS, (limit,)).fetchone()[0])
        latest = {name: (at_ms, head) for at_ms, name, head in rows}
        latest.update((name, (room.at_ms, room.head)) for name, room in list(self._known.items()))
        ranked = sorted(latest, key=lambda name: latest[name][0], reverse=True)
        return [(name, latest[name][1]) for name in ranked[:limit]]


def _select_room(connection: sqlite3.Connection, name: str) -> _Room | None:
    found = connection.execute(_SELECT_ROOM, (name,)).fetchone()
    return _Room._make(found) if found else None


def _fetch(
    connection: sqlite3.Connection,
    select: str,
    values: dict[str, object],
    beyond: int,
    limit: int,
    *,
    backward: bool,
) -> Iterator[Event]:
    """The events beyond ``beyond`` one by one, fetched in chunks of at most `MAX_CHUNK`."""
    while limit > 0:
        chunk = min(limit, MAX_CHUNK)
        limit -= chunk
        (found,) = connection.execute(select, values | {"seq": beyond, "limit": chunk}).fetchone()
        rows = sorted(_decode_rows(found), reverse=backward)
        for row in rows:
            yield Event(*row)
        if len(rows) < chunk:
            return
        beyond = rows[-1][0]


class _Commit:
    """The storing of one batch: ``known`` is what is known about the rooms, and is kept up to date."""

    def __init__(self, connection: sqlite3.Connection, known: dict[str, _Room], now_ms: int) -> None:
        self._connection = connection
        self._known = known
        self._now_ms = now_ms

    def store(self, batch: list[Append]) -> list[Appended]:
        """Store ``batch``, all or nothing; after an error the connection may be inside a transaction."""
        if len(batch) <= MAX_ROWS and self._is_plain({append.room for append in batch}):
            with suppress(sqlite3.IntegrityError):  # a key of the batch is stored already
                return self._store_at_once(batch)
        return self._store_carefully(batch)

    def _is_plain(self, names: Iterable[str]) -> bool:
        stale_ms = self._now_ms - ACTIVE_STEP_MS
        return all((room := self._known.get(name)) and room.active_at_ms > stale_ms for name in names)

    def _store_at_once(self, batch: list[Append]) -> list[Appended]:
        """One statement, which commits itself: the thread lets go of the GIL once."""
        rooms, values, results = _number(batch, self._known, {}, self._now_ms)
        places, padded = _padded(values, 6)
        self._execute(_insert(places), padded)
        self._remember(rooms)
        return results

    def _store_carefully(self, batch: list[Append]) -> list[Appended]:
        """One transaction that takes nothing from memory: for new rooms, long silent ones, and known keys."""
        self._execute("BEGIN IMMEDIATE")
        rooms = {name: self._room(name) for name in dict.fromkeys(append.room for append in batch)}
        after, values, results = _number(batch, rooms, self._stored(batch, rooms), self._now_ms)
        for start in range(0, len(values), MAX_ROWS * 6):
            places, padded = _padded(values[start : start + MAX_ROWS * 6], 6)
            self._execute(_insert(places), padded)
        rooms |= after
        for name, room in after.items():
            if room.at_ms - room.active_at_ms >= ACTIVE_STEP_MS:
                self._execute("UPDATE rooms SET active_at_ms = ? WHERE id = ?", (room.at_ms, room.id))
                rooms[name] = room._replace(active_at_ms=room.at_ms)
        self._execute("COMMIT")
        self._remember(rooms)
        return results

    def _room(self, name: str) -> _Room:
        found = _select_room(self._connection, name)
        if found is None:
            self._execute("INSERT INTO rooms (name, active_at_ms) VALUES (?, ?)", (name, self._now_ms))
            found = _select_room(self._connection, name)
        assert found is not None
        return found

    def _stored(self, batch: list[Append], rooms: dict[str, _Room]) -> dict[tuple[str, str], Appended]:
        """Which keys of the batch have an event already."""
        found: dict[tuple[str, str], Appended] = {}
        keyed = [(append.room, append.key) for append in batch if append.key is not None]
        for start in range(0, len(keyed), MAX_ROWS):
            numbered = enumerate(keyed[start : start + MAX_ROWS], start)
            places, padded = _padded([v for i, (room, key) in numbered for v in (i, rooms[room].id, key)], 3)
            (rows,) = self._connection.execute(_select_keys(places), padded).fetchone()
            found.update((keyed[i], Appended(seq, at_ms)) for i, seq, at_ms in _decode_found(rows))
        return found

    def _execute(self, sql: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(sql, values)

    def _remember(self, rooms: dict[str, _Room]) -> None:
        if len(self._known) + len(rooms) > MAX_KNOWN_ROOMS:
            self._known.clear()
        self._known.update(rooms)


def _number(
    batch: list[Append], rooms: dict[str, _Room], stored: dict[tuple[str, str], Appended], now_ms: int
) -> tuple[dict[str, _Room], list[object], list[Appended]]:
    """Give each append its ``seq`` and time: the rooms afterwards, the values to insert, the results."""
    after: dict[str, _Room] = {}
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
        done = Appended(seq, at_ms)
        results.append(done)
        if key is not None:
            stored[name, key] = done
    return after, values, results


def _nothing() -> None:
    """What is to be done before the disk is waited for where no thread waits."""


@asynccontextmanager
async def open_sqlite_log(
    path: str | os.PathLike[str],
    *,
    sync: Sync = "full",
    clock: Callable[[], float] = time.time,
    commit_through: CommitThrough = commit_plainly,
    runner: Runner = in_thread,
) -> AsyncIterator[SQLiteLog]:
    """The log in the file at ``path``, created with its directory if need be, locked against a second server.

    ``sync``: with ``full``, what `SQLiteLog.append` returned survives a power cut; with ``normal`` it
    survives the end of the process, and a power cut may take the last moments, but leaves no hole. ``clock``:
    the time in seconds since the Unix epoch. ``commit_through``, ``runner``: see `trio_chat.log.seams`.

    Raises `LogError` with one line for people when the file can't be had. Leaving the block waits for what is
    under way; then no thread, no open file and no lock remains.
    """
    limiter = trio.CapacityLimiter(1)
    file = await runner(partial(open_file, path, sync), limiter)
    with ExitStack() as stack:
        thread = stack.enter_context(WriterThread()) if runner is in_thread else None
        log = SQLiteLog(
            file, clock, commit_through, runner, thread or runner, thread.only_waits if thread else _nothing
        )
        try:
            yield log
        finally:
            await log.close()
