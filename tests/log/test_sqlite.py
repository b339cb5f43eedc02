"""The SQLite engine alone: its file, its plans, its threads, and what it does when the disk says no."""

import errno
import os
import resource
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_chat.log import (
    open_sqlite_log,
    sqlite,
    sqlite_commit,
    sqlite_file,
    sqlite_marks,
    sqlite_rooms,
    sqlite_trim,
)
from trio_chat.log.base import Append, Listed, LogError, LogUnavailable, Mark
from trio_chat.log.seams import in_event_loop

from .engines import Clock, Faults, open_descriptors, said, seqs

# --- opening --------------------------------------------------------------------------------------------


def script(sql: str) -> Callable[[Path], None]:
    """A maker of database files."""

    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(sql)

    return make


def ours(sql: str) -> Callable[[Path], None]:
    """A maker of log files with something done to them."""
    return script(f"BEGIN; {sqlite_file.SCHEMA} COMMIT; {sql}")


BAD_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a directory", lambda path: path.mkdir(), "is not a file"),
    ("a pipe", lambda path: os.mkfifo(path), "is not a file"),
    ("text", lambda path: path.write_text("Dear diary, " * 100), "can't be used: it is not a database"),
    ("another application's", script("CREATE TABLE cats (name)"), "is another application's database"),
    (
        "another application's, marked",
        script("PRAGMA application_id = 7"),
        "is another application's database",
    ),
    ("a newer version's", ours("PRAGMA user_version = 99"), r"newer trio_chat \(format 99, this one knows"),
    ("without its values", ours(""), "can't be used: it has no epoch"),
    ("without its tables", ours("DROP TABLE meta"), "can't be used: no such table: meta"),
]


@pytest.mark.parametrize(
    ("make", "words"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES]
)
async def test_a_file_that_is_no_log_is_refused(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    """One line names the file and what is wrong with it; nothing stays open, and the file is as it was."""
    path = tmp_path / "log.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LogError, match=words) as caught:
        async with open_sqlite_log(path):
            raise AssertionError
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, LogUnavailable)
    assert open_descriptors(path) == []
    if before is not None:
        assert path.read_bytes()[100:] == before[100:]
    assert sorted(path.parent.iterdir()) == [path]


FORMAT_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first INTEGER NOT NULL DEFAULT 1,
    active_at_ms INTEGER NOT NULL
);
CREATE INDEX rooms_by_activity ON rooms (active_at_ms);
CREATE TABLE events (
    room INTEGER NOT NULL REFERENCES rooms, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
    key TEXT, body TEXT NOT NULL, PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_key ON events (key, room) WHERE key IS NOT NULL;
CREATE INDEX events_by_kind ON events (room, kind, seq);
PRAGMA application_id = 0x7472696F;
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('epoch', CAST('e' AS BLOB)), ('secret', CAST('s' AS BLOB));
INSERT INTO rooms VALUES (1, 'lobby', 1, 1000);
INSERT INTO events VALUES (1, 1, 1000, 'message', 'k', '"text":"old"}');
"""
"""A file as the first version made it, with one event."""


def schema_of(path: Path) -> list[tuple[str, str, list[Any]]]:
    """Tables and indices with their columns."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name FROM sqlite_master ORDER BY 1, 2").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        parts = [
            (kind, name, connection.execute(f"PRAGMA {kind}_xinfo({name})").fetchall())
            for kind, name in found
        ]
    return [("version", str(version), []), *parts]


async def test_a_file_of_an_earlier_format_is_brought_up_to_date(tmp_path: Path) -> None:
    """Opened, it has what a new one has; its events and keys are as they were, and it takes all that a new
    one takes."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    script(FORMAT_1)(old)
    ours("")(new)
    for _ in range(2):
        async with open_sqlite_log(old) as log:
            assert log.secret == b"s"
            assert (await log.position("lobby")).epoch == "e"
            assert [event.body for event in await log.read("lobby", 0, 1)] == ['"text":"old"}']
            assert (await log.append([said(key="k")]))[0].duplicate
            await log.append([Append("lobby", "reacted", "}", key="r", target=1)])
            await log.mark([Mark("ann", "lobby", 1)])
            assert seqs(await log.read_about("lobby", 1, 1, 10)) == [2]
            assert await log.marks("ann") == {"lobby": 1}
        assert schema_of(old) == schema_of(new)


async def test_a_file_that_can_not_be_brought_up_to_date_stays_as_it_was(tmp_path: Path) -> None:
    """All of it or nothing: the file is refused, with a reason, and unchanged."""
    path = tmp_path / "log.db"
    script(FORMAT_1 + "CREATE TABLE marks (somebody, elses)")(path)
    before = schema_of(path)
    with pytest.raises(LogError, match="table marks already exists"):
        async with open_sqlite_log(path):
            raise AssertionError
    assert schema_of(path) == before


async def test_a_lock_file_that_was_there_stays(tmp_path: Path) -> None:
    """Beside a file that is refused, another program's may have the name of ours."""
    path, theirs = tmp_path / "log.db", tmp_path / "log.db.lock"
    path.write_text("Dear diary, " * 100)
    theirs.write_text("theirs")
    with pytest.raises(LogError, match="it is not a database"):
        async with open_sqlite_log(path):
            raise AssertionError
    assert theirs.read_text() == "theirs"


async def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server may take its lock file away between our opening and locking it: ours is the next one."""
    path, lock = tmp_path / "log.db", tmp_path / "log.db.lock"
    really = sqlite_file._lock
    taken: list[int] = []

    def lock_after_the_other(fd: int) -> None:
        if not taken:
            lock.unlink()
            taken.append(fd)
        really(fd)

    monkeypatch.setattr(sqlite_file, "_lock", lock_after_the_other)
    async with open_sqlite_log(path):
        assert taken
        with pytest.raises(LogError, match="in use by another trio_chat server"):
            async with open_sqlite_log(path):
                raise AssertionError
        assert lock.exists()
    assert open_descriptors(tmp_path) == []


@pytest.fixture
def strangers() -> Iterator[Path]:
    """A directory that anybody may enter, while this process is nobody: permissions mean nothing to root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        user = os.geteuid()
        if user == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(user)


async def test_without_permission_the_reason_is_told(strangers: Path) -> None:
    """A file that can't be read, a directory that can't be written, and a parent that can't be made."""
    unreadable, closed, blocked = strangers / "log.db", strangers / "closed", strangers / "file" / "log.db"
    unreadable.touch(mode=0)
    closed.mkdir(mode=0o500)
    blocked.parent.touch()
    for path, words in [
        (unreadable, "Permission denied"),
        (closed / "log.db", "Permission denied"),
        (closed / "new" / "log.db", "Permission denied"),
        (blocked, "File exists"),
        (blocked / "deeper", "Not a directory"),
    ]:
        with pytest.raises(LogError, match=words) as caught:
            async with open_sqlite_log(path):
                raise AssertionError
        assert str(path) in str(caught.value)
    assert open_descriptors(strangers) == []


async def test_a_new_log_is_its_owners_alone(tmp_path: Path) -> None:
    """Directory, file and side files are made, readable by nobody else."""
    path = tmp_path / "data" / "chat" / "log #1?.db"
    async with open_sqlite_log(path) as log:
        await log.append([said()])
        names = sorted(path.parent.iterdir())
        assert [name.name for name in names] == [path.name + end for end in ("", "-shm", "-wal", ".lock")]
        assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(path.parent.iterdir()) == [path, path.with_name(path.name + ".lock")]
    assert open_descriptors(path.parent) == []


async def test_a_file_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """Its owner has decided who may read it; the write-ahead log is as open as the file."""
    path = tmp_path / "log.db"
    path.touch()
    path.chmod(0o644)
    async with open_sqlite_log(path) as log:
        await log.append([said()])
        modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
    assert modes == {"log.db": 0o644, "log.db-shm": 0o644, "log.db-wal": 0o644, "log.db.lock": 0o600}


async def test_one_log_is_opened_once_by_whatever_name(tmp_path: Path) -> None:
    """A symbolic link doesn't get around the lock, in this process either."""
    path, link = tmp_path / "log.db", tmp_path / "link.db"
    link.symlink_to(path)
    async with open_sqlite_log(path) as log:
        await log.append([said()])
        for other in (path, link):
            with pytest.raises(LogError, match=r"in use by another trio_chat server$"):
                async with open_sqlite_log(other):
                    raise AssertionError
        assert (await log.append([said()]))[0].seq == 2
    async with open_sqlite_log(link) as log:
        assert (await log.position("lobby")).head == 2


async def test_a_crash_while_the_file_was_made_is_mended(tmp_path: Path) -> None:
    """A file of no length, or without tables yet, becomes a log."""
    for name, make in (("a.db", Path.touch), ("b.db", script("PRAGMA journal_mode = wal; VACUUM"))):
        make(tmp_path / name)
        async with open_sqlite_log(tmp_path / name) as log:
            assert (await log.append([said()]))[0].seq == 1


@pytest.mark.parametrize("ours", [True, False], ids=["fdatasync", "within SQLite"])
@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_sync_is_what_was_asked_for(
    tmp_path: Path, sync: sqlite_file.Sync, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With full, the write-ahead log is on the disk before `append` returns, by us where the system can."""
    synced: list[str] = []
    if ours:
        fdatasync = os.fdatasync

        def watch(fd: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
            fdatasync(fd)

        monkeypatch.setattr(os, "fdatasync", watch)
    else:
        monkeypatch.delattr(os, "fdatasync")
    level = 2 if sync == "full" and not ours else 1
    async with open_sqlite_log(tmp_path / "log.db", sync=sync) as log:
        await log.append([said()])
        assert synced == [str(tmp_path / "log.db-wal")] * (sync == "full" and ours)
        await log.trim("lobby", 1, 1)
        await log.compact()
        (writer,) = log._writers
        assert writer.execute("PRAGMA synchronous").fetchone() == (level,)
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"trio"),)


async def test_what_can_not_be_synced_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails at the last moment: unavailable; the same key finds out later what became of it."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with open_sqlite_log(tmp_path / "log.db") as log:
        await log.append([said(key="1")])
        assert seqs(await log.read("lobby", 0, 10)) == [1]  # and a reader keeps the write-ahead log there
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            with pytest.raises(LogUnavailable, match="Input/output error"):
                await log.append([said(key="2")])
        wal = tmp_path / "log.db-wal"
        assert wal.stat().st_size
        (again,) = await log.append([said(key="2")])
        assert (again.seq, again.duplicate) == (2, True)
        assert not wal.stat().st_size  # all of it is in the file, and that is synced
        assert (await log.append([said(key="3")]))[0].seq == 3


async def test_a_file_system_without_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SQLite answers another journal mode, the log says what it needs."""

    class Elsewhere(sqlite3.Connection):
        def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
            return super().execute(sql.replace("journal_mode = wal", "journal_mode = delete"), values)

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, factory=Elsewhere, isolation_level=None, check_same_thread=False)

    monkeypatch.setattr(sqlite_file, "_connect", connect)
    with pytest.raises(LogError, match="write-ahead log doesn't work"):
        async with open_sqlite_log(tmp_path / "log.db"):
            raise AssertionError


# --- trouble while running --------------------------------------------------------------------------------


@contextmanager
def small_files(max_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond ``max_bytes`` (`RLIMIT_FSIZE`)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def fill(log: sqlite.SQLiteLog) -> tuple[int, set[str]]:
    """Append up to four failures in a row, each key until it is acknowledged: how many, and the reasons."""
    reasons: list[str] = []
    failures = count = 0
    while failures < 4:
        assert count < 2000
        try:
            await log.append([said("x" * 3000, key=f"k{count}")])
            count, failures = count + 1, 0
        except LogUnavailable as error:
            reasons.append(str(error))
            failures += 1
    return count, set(reasons)


async def check_recovery(log: sqlite.SQLiteLog, stored: int) -> None:
    """All that was acknowledged is there, and the next key goes on without a hole."""
    assert seqs(await log.read("lobby", 0, 5000, max_bytes=1 << 30)) == list(range(1, stored + 1))
    assert [each.seq for each in await log.append([said(key=f"k{stored}"), said()])] == [
        stored + 1,
        stored + 2,
    ]


async def test_files_that_may_not_grow_make_it_unavailable_until_they_may(tmp_path: Path) -> None:
    """Under a file size limit appends fail, again and again, reads go on, and without it all goes on."""
    async with open_sqlite_log(tmp_path / "log.db") as log:
        with small_files(300_000):
            stored, reasons = await fill(log)
            assert reasons <= {"log.db: input or output failed", "log.db: the disk is full"}
            assert len(await log.read("lobby", 0, 10)) == 10
        await check_recovery(log, stored)


async def test_a_full_disk_makes_it_unavailable_until_there_is_space(tmp_path: Path) -> None:
    """On a disk of 1 MiB appends fail once it is full, and go on after something was deleted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = (await trio.run_process(mount, check=False, capture_stderr=True)).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can't be mounted here (needs root)")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(300_000))
        async with open_sqlite_log(disk / "log.db") as log:
            stored, reasons = await fill(log)
            assert reasons == {"log.db: the disk is full"}
            assert len(await log.read("lobby", 0, 10)) == 10
            ballast.unlink()
            await check_recovery(log, stored)
        async with open_sqlite_log(disk / "log.db") as log:
            assert (await log.position("lobby")).head == stored + 2
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", str(disk)])


async def test_a_new_log_on_a_full_disk_is_refused(tmp_path: Path) -> None:
    """Where not even an empty log can be written, opening says so and leaves nothing open."""
    with small_files(1000), pytest.raises(LogError, match=r"log\.db can't be used: "):
        async with open_sqlite_log(tmp_path / "log.db"):
            raise AssertionError
    assert open_descriptors(tmp_path) == []
    async with open_sqlite_log(tmp_path / "log.db") as log:
        assert (await log.append([said()]))[0].seq == 1


async def test_another_programs_lock_makes_it_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a shell holds the write lock appends fail after the busy time, and reads go on."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.01)
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        await log.append([said()])
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            for room in ("lobby", "new"):
                with pytest.raises(LogUnavailable, match=r"^log\.db: another program has locked it$"):
                    await log.append([said(room=room)])
            assert len(await log.read("lobby", 0, 10)) == 1
        assert (await log.append([said()]))[0].seq == 2


async def test_a_file_taken_away_is_not_made_anew(tmp_path: Path) -> None:
    """With its file gone or replaced, a log that must open it again is unavailable; put back, it goes on."""
    path, away = tmp_path / "log.db", tmp_path / "away.db"
    faults = Faults(["before"])
    async with open_sqlite_log(path) as log:
        await log.append([said()])
    async with open_sqlite_log(path, commit_through=faults) as log:
        with pytest.raises(LogUnavailable):
            await log.append([said()])
        path.rename(away)
        with pytest.raises(LogUnavailable, match="it can't be opened"):
            await log.append([said()])
        async with open_sqlite_log(tmp_path / "other.db"):
            pass
        (tmp_path / "other.db").rename(path)
        with pytest.raises(LogUnavailable, match="another log's file has taken its place"):
            await log.read("lobby", 0, 1)
        path.unlink()
        away.rename(path)
        assert (await log.append([said()]))[0].seq == 2
        assert seqs(await log.read("lobby", 0, 9)) == [1, 2]


async def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    """Pages that make no sense are told as damage, not as a program error."""
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        await log.append([said("x" * 1000) for _ in range(100)])
    content = bytearray(path.read_bytes())
    content[40 * 4096 :] = b"\xff" * (len(content) - 40 * 4096)
    path.write_bytes(content)
    async with open_sqlite_log(path) as log:
        with pytest.raises(LogUnavailable, match="it is damaged"):
            await log.read("lobby", 0, 100)


async def test_a_stranger_among_the_events_is_not_believed(tmp_path: Path) -> None:
    """When another program added events, the numbers go on after them."""
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        await log.append([said()])
        with closing(sqlite3.connect(path)) as shell, shell:
            shell.execute("INSERT INTO events SELECT room, 2, at_ms, kind, key, body, NULL FROM events")
        assert (await log.append([said()]))[0].seq == 3


# --- threads, cancellation, closing -----------------------------------------------------------------------


class Gate:
    """Holds commits up in their thread until `open` is called."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._opened = threading.Event()

    def __call__(self, commit: Callable[[], None]) -> None:
        trio.from_thread.run_sync(self.reached.set, trio_token=self._token)
        assert self._opened.wait(30)
        commit()

    def open(self) -> None:
        self._opened.set()


async def test_cancelling_waits_for_the_commit(tmp_path: Path) -> None:
    """An append cancelled while its commit runs returns what was stored; one that waits stores nothing."""
    gate = Gate()
    results = []
    async with open_sqlite_log(tmp_path / "log.db", commit_through=gate) as log:

        async def append(key: str) -> None:
            results.append(await log.append([said(key=key)]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, "running")
            await gate.reached.wait()
            nursery.start_soon(append, "waiting")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            gate.open()
        assert [[done.seq for done in result] for result in results] == [[1]]
        assert [each.duplicate for each in await log.append([said(key="waiting"), said(key="running")])] == [
            False,
            True,
        ]
    assert open_descriptors(tmp_path) == []


async def test_reads_do_not_wait_for_commits(tmp_path: Path) -> None:
    """While a commit is held up, readers see what was committed before it."""
    gate = Gate()
    async with open_sqlite_log(tmp_path / "log.db") as log:
        await log.append([said()])
    async with open_sqlite_log(tmp_path / "log.db", commit_through=gate) as log:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.append, [said()])
            await gate.reached.wait()
            assert seqs(await log.read("lobby", 0, 9)) == [1]
            assert (await log.position("lobby")).head == 1
            gate.open()
        assert seqs(await log.read("lobby", 0, 9)) == [1, 2]


async def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """Closing lets commits end that run or wait, refuses what comes later, and leaves nothing open."""
    gate = Gate()
    ended: list[str] = []

    async def append(log: sqlite.SQLiteLog, key: str) -> None:
        try:
            await log.append([said(key=key)])
        except LogUnavailable as error:
            ended.append(str(error))
        else:
            ended.append(key)

    async def append_when_closing(log: sqlite.SQLiteLog) -> None:
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(append, log, "late")
        await trio.testing.wait_all_tasks_blocked()
        gate.open()

    async with trio.open_nursery() as nursery:
        async with open_sqlite_log(tmp_path / "log.db", commit_through=gate) as log:
            nursery.start_soon(append, log, "running")
            await gate.reached.wait()
            nursery.start_soon(append, log, "waiting")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(append_when_closing, log)
        assert open_descriptors(tmp_path) == []
        for call in (log.append([said()]), log.position("lobby"), log.read("lobby", 0, 1), log.rooms()):
            with pytest.raises(LogUnavailable, match=r"^log\.db: the log is closed$"):
                await call
    assert ended == ["running", "waiting", "log.db: the log is closed"]
    async with open_sqlite_log(tmp_path / "log.db") as log:
        assert (await log.position("lobby")).head == 2


async def test_a_cancelled_scope_closes_the_log(tmp_path: Path) -> None:
    """Cancelled at any of the first moments, no descriptor and no lock is left."""
    path = tmp_path / "log.db"

    async def busy(log: sqlite.SQLiteLog) -> None:
        while True:
            await log.append([said()])
            await log.read_before("lobby", None, 10)

    for turns in range(25):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery, open_sqlite_log(path, sync="normal") as log:
                nursery.start_soon(busy, log)
                nursery.start_soon(busy, log)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert open_descriptors(tmp_path) == []


async def test_opening_can_be_cancelled(tmp_path: Path) -> None:
    """Cancelled at any of its first moments, opening leaves nothing open and nothing locked."""

    async def use() -> None:
        async with open_sqlite_log(tmp_path / "log.db"):
            await trio.sleep_forever()

    for turns in range(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert open_descriptors(tmp_path) == []
    async with open_sqlite_log(tmp_path / "log.db") as log:
        assert (await log.append([said()]))[0].seq == 1


async def test_it_runs_without_threads_under_a_mock_clock(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """With `in_event_loop` everything happens in the event loop: for simulations on a real file."""
    async with open_sqlite_log(
        tmp_path / "log.db", runner=in_event_loop, clock=lambda: 1000 + trio.current_time() - start
    ) as log:
        start = trio.current_time()
        assert (await log.append([said()]))[0].at_ms == 1_000_000
        await trio.sleep(36)
        assert (await log.append([said()]))[0].at_ms == 1_036_000
        assert seqs(await log.read("lobby", 0, 10)) == [1, 2]
    assert open_descriptors(tmp_path) == []


async def test_forgetting_rooms_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more rooms than are kept in memory, numbers go on from the file."""
    monkeypatch.setattr(sqlite_commit, "MAX_KNOWN_ROOMS", 3)
    async with open_sqlite_log(tmp_path / "log.db", sync="normal") as log:
        for n in range(1, 4):
            for i in range(5):
                assert (await log.append([said(room=f"r{i}")]))[0].seq == n
                assert len(log._known) <= 3
        found = await log.rooms()
        assert sorted(found, key=lambda each: each.room) == [Listed(f"r{i}", 3) for i in range(5)]


async def test_activity_is_written_only_when_it_is_old(tmp_path: Path) -> None:
    """A room's row stays as it is for a minute of appends, and is then brought up to date."""
    path, clock = tmp_path / "log.db", Clock(1000.0)

    def active() -> int:
        with closing(sqlite3.connect(path)) as connection:
            found: int = connection.execute("SELECT active_at_ms FROM rooms").fetchone()[0]
        return found

    async with open_sqlite_log(path, clock=clock) as log:
        for now, expected in ((1000.0, 1000), (1059.0, 1000), (1060.0, 1060), (1119.9, 1060), (2000.0, 2000)):
            clock.now = now
            await log.append([said()])
            assert active() == expected * 1000


# --- trimming ---------------------------------------------------------------------------------------------


async def fill_and_trim(path: Path) -> tuple[int, int]:
    """Store 5,000 events, keep the last 100, compact; the file's pages before and after."""
    async with open_sqlite_log(path, sync="normal") as log:
        for _ in range(50):
            await log.append([said("x" * 200) for _ in range(100)])
        (writer,) = log._writers
        pages = [writer.execute("PRAGMA page_count").fetchone()[0]]
        while await log.trim("lobby", 4900, 200) <= 4900:
            pass
        assert writer.execute("PRAGMA freelist_count").fetchone()[0] > pages[0] / 2
        while await log.compact():
            pass
        pages.append(writer.execute("PRAGMA page_count").fetchone()[0])
        assert seqs(await log.read("lobby", 0, 1000)) == list(range(4901, 5001))
        assert (await log.append([said()]))[0].seq == 5001
    assert sound_pages(path) == pages[1]
    return pages[0], pages[1]


def sound_pages(path: Path) -> int:
    """How long the file is on the disk; checks that it is sound."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return path.stat().st_size // 4096


async def test_a_file_shrinks_when_events_are_trimmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free pages are cut off it but for a part that new events will need."""
    monkeypatch.setattr(sqlite_trim, "FREE_PAGES", 50)
    before, after = await fill_and_trim(tmp_path / "log.db")
    assert before > 300
    assert 50 < after < 80


async def test_a_file_of_an_earlier_version_stays_as_large_as_it_is(tmp_path: Path) -> None:
    """One without auto_vacuum is trimmed all the same, and new events use the free pages; a VACUUM while no
    server runs makes it like a new one."""
    path = tmp_path / "log.db"
    ours("INSERT INTO meta VALUES ('epoch', CAST('e' AS BLOB)), ('secret', CAST('s' AS BLOB))")(path)
    before, after = await fill_and_trim(path)
    assert before <= after <= before + 1
    script("PRAGMA auto_vacuum = incremental; VACUUM")(path)
    async with open_sqlite_log(path) as log:
        assert seqs(await log.read("lobby", 0, 1)) == [4901]
        (reader,) = log._readers
        assert reader.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_an_append_waits_for_one_step_of_trimming_at_most(tmp_path: Path) -> None:
    """With a trim under way and more to come, an append has its turn as soon as that one is done."""
    async with open_sqlite_log(tmp_path / "log.db") as log:
        await log.append([said() for _ in range(500)])
        order = []

        async def trim() -> None:
            while (first := await log.trim("lobby", 400, 10)) <= 400:
                order.append(first)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trim)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(5):
                await log.append([said()])
                order.append(0)
        assert all(order[i : i + 3].count(0) for i in range(order.index(0), 8))


# --- plans ------------------------------------------------------------------------------------------------

VALUES = {"room": "lobby", "seq": 5, "limit": 10, "kind0": "message", "kind1": "topic"}


@pytest.mark.parametrize(("sql", "values"), [
    (sqlite._select_page(None, backward=False), VALUES),
    (sqlite._select_page(None, backward=True), VALUES),
    (sqlite._select_page(1, backward=False), VALUES),
    (sqlite._select_page(2, backward=True), VALUES),
    (sqlite._SELECT_ABOUT, VALUES | {"last": 9, "target": 3}),
    (sqlite_marks.SELECT_MARKS, ("ann", 10)),
    (sqlite_marks.select_unread(2), VALUES | {"user": "ann", "own": "", "naming0": "a", "naming1": "b"}),
    (sqlite_commit.SELECT_ROOM, ("lobby",)),
    (sqlite_rooms.SELECT_LISTED, (10,)),
    (sqlite_rooms.SELECT_LISTED_OF, ("ann", 10)),
    (sqlite_rooms.SELECT_POSITION, ("lobby",)),
    (sqlite_rooms.SELECT_KEY, ("key", "lobby")),
    (sqlite_commit.select_keys(2), (None,) * 6),
    (sqlite_trim._SELECT_KEPT, ("lobby", 10)),
    (sqlite_trim._DELETE, (1, 5)),
])  # fmt: skip
def test_every_query_finds_its_way_by_an_index(
    tmp_path: Path, sql: str, values: dict[str, object] | tuple[object, ...]
) -> None:
    """No query scans a table: events and rooms are searched, or walked along an index that is limited."""
    ours("")(tmp_path / "log.db")
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    scans = [step for step in plan if step.startswith("SCAN") and ("events" in step or "rooms" in step)]
    assert all("rooms_by_activity" in step for step in scans), plan
    assert any("SEARCH" in step for step in plan), plan
    if "UNION" not in sql and "room_users" not in sql:  # the rooms of one user are few
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_an_append_that_is_new_is_one_statement() -> None:
    """The hot path lets go of the GIL once a batch: see the module's rules."""
    log = sqlite_commit.Commit(connection := Recorder(), {}, 1000)  # type: ignore[arg-type]
    log._known["lobby"] = sqlite_commit.RoomRow(1, 1, 7, 900, 900, False, "")
    assert [done.seq for done in log.store([said(key="a"), Append("lobby", "topic", "}")])] == [8, 9]
    assert len(connection.statements) == 1


class Recorder:
    """Stands for a connection and remembers what it was told."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, sql: str, values: object) -> None:
        self.statements.append(sql)


async def test_a_page_has_no_hole_though_events_are_trimmed_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All chunks of a page see the same events."""
    file = tmp_path / "log.db"
    async with open_sqlite_log(file, sync="normal", runner=in_event_loop) as log:
        await log.append([said() for _ in range(300)])
        real = sqlite._decode_rows

        def trim_between(found: str) -> list[tuple[int, int, str, str, int | None]]:
            monkeypatch.setattr(sqlite, "_decode_rows", real)
            with closing(sqlite3.connect(file)) as other, other:
                other.execute("DELETE FROM events WHERE seq <= 200")
            return real(found)

        monkeypatch.setattr(sqlite, "_decode_rows", trim_between)
        assert seqs(await log.read("lobby", 0, 300)) == list(range(1, 301))
        assert seqs(await log.read("lobby", 0, 300)) == list(range(201, 301))
