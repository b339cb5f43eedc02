"""The SQLite engine: one file, one writer, group commit in a worker thread.

Owns the connections, the threads' turns and the SQL of reading; that of appending is in
`trio_chat.log.sqlite_commit`, that of trimming in `trio_chat.log.sqlite_trim`, that of read marks in
`trio_chat.log.sqlite_marks`, that of lists of rooms in `trio_chat.log.sqlite_rooms`. Rules:

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
"""

import math
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import cache, partial
from typing import TypeVar

import msgspec
import trio

from trio_chat.log import sqlite_marks, sqlite_rooms, sqlite_trim
from trio_chat.log.base import (
    Append,
    Appended,
    Event,
    Kept,
    Listed,
    LogUnavailable,
    Mark,
    Position,
    Searched,
    Unread,
)
from trio_chat.log.paging import page
from trio_chat.log.seams import CommitThrough, Runner, commit_plainly, in_thread
from trio_chat.log.single import SingleNode
from trio_chat.log.sqlite_commit import Commit, RoomRow, select_room
from trio_chat.log.sqlite_file import LogFile, Sync, open_file, reason
from trio_chat.log.sqlite_search import SearchIndex, doc_at, is_damaged
from trio_chat.log.writer_thread import WriterThread

T = TypeVar("T")

MAX_READERS = 4
"""Reads at a time, and read connections. A page takes about 0.1 ms; more would only take turns at the GIL."""

SEARCH_SECONDS = 3.0
"""How long a search may bring the index up to date; most of a new one's time is that of the first search."""

MAX_CHUNK = 64
"""Events fetched in one step; what a page reads beyond its ``max_bytes`` is less than this."""

_decode_rows = msgspec.json.Decoder(list[tuple[int, int, str, str, int | None]]).decode

_COLUMNS = "seq, at_ms, kind, body, target"

_SELECT_ABOUT = f"""
SELECT json_group_array(json_array({_COLUMNS})) FROM (
    SELECT {_COLUMNS} FROM events
    WHERE room = (SELECT id FROM rooms WHERE name = :room)
        AND target <= :last AND (target, seq) > (:target, :seq)
    ORDER BY target, seq LIMIT :limit
)
"""


@cache
def _select_page(kinds: int | None, *, backward: bool) -> str:
    """A page of ``:room`` beyond ``:seq``: one row, an array of [seq, at_ms, kind, body, target].

    With kinds, each one's next ``:limit`` are looked up in the index, and the nearest of all of them taken.
    """
    beyond = (
        "seq < :seq ORDER BY seq DESC LIMIT :limit" if backward else "seq > :seq ORDER BY seq LIMIT :limit"
    )
    room = "(SELECT id FROM rooms WHERE name = :room)"
    if kinds is None:
        found = f"SELECT {_COLUMNS} FROM events WHERE room = {room} AND {beyond}"
    else:
        each = " UNION ALL ".join(
            f"SELECT * FROM (SELECT seq FROM events WHERE room = {room} AND kind = :kind{i} AND {beyond})"
            for i in range(kinds)
        )
        order = f"ORDER BY seq {'DESC' if backward else ''} LIMIT :limit"
        nearest = each if kinds == 1 else f"SELECT seq FROM ({each}) {order}"
        found = f"SELECT {_COLUMNS} FROM events WHERE room = {room} AND seq IN ({nearest})"
    return f"SELECT json_group_array(json_array({_COLUMNS})) FROM ({found})"


class SQLiteLog(SingleNode):
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
        self._index = SearchIndex(file.path, file.epoch)
        self._asking = trio.CapacityLimiter(1)
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(MAX_READERS)
        self._writers: list[sqlite3.Connection] = []
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._in_doubt = False
        """A sync has failed since the write-ahead log last reached the file."""
        # Written only by the writer's thread, after a commit; looked into from anywhere.
        self._known: dict[str, RoomRow] = {}

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
        if known is None or known.first > 1:
            return await self._run(partial(self._position, room), self._reading)
        await trio.lowlevel.checkpoint()
        return Position(self._file.epoch, known.head)

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

    async def read_about(
        self,
        room: str,
        first: int,
        last: int,
        limit: int,
        *,
        after: tuple[int, int] = (0, 0),
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        """See `EventLog.read_about`."""
        beyond = max(after, (first, 0))
        return await self._run(partial(self._read_about, room, last, beyond, limit, max_bytes), self._reading)

    async def search(
        self,
        text: str,
        limit: int,
        *,
        room: str | None = None,
        user: str | None = None,
        before: str | None = None,
    ) -> Searched:
        """See `EventLog.search`. First the index is brought up to date; if that takes more than
        `SEARCH_SECONDS`, `LogUnavailable` says how far it is, and the next search goes on."""
        place = None if before is None else doc_at(before)
        behind = partial(self._index.behind, room=room)
        todo = await self._run(partial(self._searching, behind), self._asking)
        missing = sum(each.head - each.position for each in todo)
        deadline = trio.current_time() + SEARCH_SECONDS
        while todo:
            if trio.current_time() > deadline:
                left = sum(each.head - each.position for each in todo)
                raise LogUnavailable(f"the search index is being made: {left} of {missing} events are left")
            await self._run(partial(self._searching, partial(self._index.step, todo=todo)), self._asking)
        find = partial(self._index.find, text=text, limit=limit, room=room, user=user, before=place)
        return await self._run(partial(self._searching, find), self._asking)

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `EventLog.mark`. Cancelled before its turn came, it has moved nothing."""
        await self._run(partial(self._mark, list(marks)), self._writing, self._writer)

    async def marks(self, user: str, limit: int = 1000) -> dict[str, int]:
        """See `EventLog.marks`."""
        return await self._run(partial(self._list_marks, user, limit), self._reading)

    async def unread(self, user: str, *, own: str, naming: Sequence[str], limit: int = 1000) -> list[Unread]:
        """See `EventLog.unread`."""
        return await self._run(partial(self._count_unread, user, own, list(naming), limit), self._reading)

    async def find(self, room: str, key: str) -> Appended | None:
        """See `EventLog.find`."""
        return await self._run(partial(self._find, room, key), self._reading)

    async def rooms(self, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms`. After a restart, the minute before it may not count at the list's end."""
        return await self._run(partial(self._list_rooms, limit), self._reading)

    async def rooms_of(self, user: str, limit: int = 1000) -> list[Listed]:
        """See `EventLog.rooms_of`, and `rooms`."""
        return await self._run(partial(self._list_rooms_of, user, limit), self._reading)

    async def kept(self, after: str = "", limit: int = 1000) -> list[Kept]:
        """See `EventLog.kept`."""
        return await self._run(partial(self._list_kept, after, limit), self._reading)

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        """See `EventLog.trim`. Cancelled before its turn came, it has removed nothing."""
        return await self._run(partial(self._trim, room, through, limit, state), self._writing, self._writer)

    async def compact(self) -> bool:
        """See `EventLog.compact`. A file that was made without ``auto_vacuum`` stays as large as it is."""
        return await self._run(self._compact, self._writing, self._writer)

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
            for limiter in [self._writing, self._asking] + [self._reading] * MAX_READERS:
                await limiter.acquire_on_behalf_of(object())
            self._closed = True
            await self._runner(self._close, trio.CapacityLimiter(1))
            for limiter in (self._writing, self._asking, self._reading):
                limiter.total_tokens = math.inf

    # --- in worker threads ----------------------------------------------------------------------------

    def _close(self) -> None:
        self._known = {}
        with closing(self._file), closing(self._index), ExitStack() as stack:
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
            commit = Commit(connection, self._known, int(self._clock() * 1000))
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

    def _trim(self, name: str, through: int, limit: int, state: str | None) -> int:
        with self._changing() as connection:
            room = self._known.get(name) or select_room(connection, name)
            if room is None:
                return 1
            first = min(through, room.head, room.first + limit - 1) + 1
            if first <= room.first:
                return room.first
            last_ms = room.at_ms if first > room.head else 0
            self._commit_through(partial(sqlite_trim.remove, connection, room.id, first, last_ms, state))
            if name in self._known:
                self._known[name] = room._replace(first=first)
        return first

    def _compact(self) -> bool:
        with self._changing() as connection:
            return sqlite_trim.give_back(connection)

    def _position(self, room: str) -> Position:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_rooms.position_of(connection, room, self._file.epoch)

    def _find(self, room: str, key: str) -> Appended | None:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_rooms.find_key(connection, room, key)

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
        with (
            self._connection(self._readers, query_only=True) as connection,
            _at_one_moment(connection, limit),
        ):
            return page(
                _fetch(connection, select, values, beyond, limit, backward=backward), limit, max_bytes
            )

    def _read_about(
        self, room: str, last: int, beyond: tuple[int, int], limit: int, max_bytes: int
    ) -> list[Event]:
        with (
            self._connection(self._readers, query_only=True) as connection,
            _at_one_moment(connection, limit),
        ):
            return page(_fetch_about(connection, room, last, beyond, limit), limit, max_bytes)

    def _searching(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Something that needs the search index; one that is damaged is made anew by the next search."""
        with self._connection(self._readers, query_only=True) as connection:
            try:
                return work(connection)
            except BaseException as error:
                if is_damaged(error):
                    self._index.discard()
                else:
                    self._index.close()
                raise

    def _mark(self, marks: list[Mark]) -> None:
        with self._changing() as connection:
            self._commit_through(partial(sqlite_marks.move, connection, marks))

    def _list_marks(self, user: str, limit: int) -> dict[str, int]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_marks.marks_of(connection, user, limit)

    def _count_unread(self, user: str, own: str, naming: list[str], limit: int) -> list[Unread]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_marks.count_unread(connection, user, own, naming, limit)

    def _list_kept(self, after: str, limit: int) -> list[Kept]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_trim.list_kept(connection, after, limit)

    def _list_rooms(self, limit: int) -> list[Listed]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_rooms.list_rooms(connection, limit, self._known)

    def _list_rooms_of(self, user: str, limit: int) -> list[Listed]:
        with self._connection(self._readers, query_only=True) as connection:
            return sqlite_rooms.list_rooms_of(connection, user, limit, self._known)


@contextmanager
def _at_one_moment(connection: sqlite3.Connection, limit: int) -> Iterator[None]:
    """Have the chunks of one page see the same events: a trim between them would leave a hole."""
    if limit <= MAX_CHUNK:
        yield
        return
    connection.execute("BEGIN")
    yield  # what fails here closes the connection, which ends the transaction
    connection.execute("COMMIT")


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


def _fetch_about(
    connection: sqlite3.Connection, room: str, last: int, beyond: tuple[int, int], limit: int
) -> Iterator[Event]:
    """The events about others up to ``last``, beyond ``beyond``, one by one."""
    while limit > 0:
        chunk = min(limit, MAX_CHUNK)
        limit -= chunk
        values = {"room": room, "last": last, "target": beyond[0], "seq": beyond[1], "limit": chunk}
        (found,) = connection.execute(_SELECT_ABOUT, values).fetchone()
        rows = sorted(_decode_rows(found), key=lambda row: (row[4], row[0]))
        for row in rows:
            yield Event(*row)
        if len(rows) < chunk:
            return
        beyond = (rows[-1][4] or 0, rows[-1][0])


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
