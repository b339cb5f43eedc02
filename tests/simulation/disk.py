"""The disk under the log: slow, failing, full, unreadable; and what a process or a machine that dies leaves.

The log is the real SQLite engine on a real file. `Disk` takes hold of it at the seams that it has for that
(`trio_chat.log.seams`), of `LogFile.connect`, to have SQLite itself find that there is no space, and of
`LogFile.sync_wal`, to know what is on the disk for good.

``kill -9`` ends a process between two of its writes; what it had written stays, because the system has it. So
the file that the next life begins with is a copy of the database and its write-ahead log as they are at that
moment; and for a process killed within a commit, the old files with a beginning of the new writes.

When the power is cut, any part of what was written after the last sync is lost. SQLite syncs the database and
the log for itself when it moves one into the other, so what is uncertain is the log's end.
"""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from trio_chat.log.sqlite_file import LogFile

from .climate import Climate

T = TypeVar("T")

_MOST_PAGES = 0xFFFFFFFE
"""SQLite's own bound on the pages of a file."""
_PAGE_BYTES = 4096
_SECTOR_BYTES = 512


@attrs.frozen
class Files:
    """A database and its write-ahead log, as bytes."""

    database: bytes
    wal: bytes

    @classmethod
    def at(cls, path: Path) -> "Files":
        """As they are now."""
        wal = path.with_name(path.name + "-wal")
        return cls(path.read_bytes(), wal.read_bytes() if wal.exists() else b"")

    def write(self, path: Path) -> None:
        """Put them at ``path``."""
        path.write_bytes(self.database)
        path.with_name(path.name + "-wal").write_bytes(self.wal)


def torn(before: bytes, after: bytes, rng: random.Random, grain: int = 1) -> bytes:
    """``before`` with a beginning of the writes that made it ``after``, from lower to higher offsets."""
    pages = range(0, len(before), _PAGE_BYTES)
    first = next((i for i in pages if before[i : i + _PAGE_BYTES] != after[i : i + _PAGE_BYTES]), len(before))
    cut = rng.randrange(first, max(first, len(after)) + 1) // grain * grain
    return after[:cut] + before[cut:]


def scattered(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """``before`` with some sectors of the writes that made it ``after``, in no order."""
    before = before.ljust(len(after), b"\0")
    sectors = range(0, len(after), _SECTOR_BYTES)
    return b"".join(rng.choice((before, after))[at : at + _SECTOR_BYTES] for at in sectors)


def _failed() -> OSError:
    return OSError(5, "Input/output error")


class Disk:
    """See the module. ``on_crash`` is called when the process has to die within a commit."""

    def __init__(
        self, folder: Path, rng: random.Random, climate: Climate, on_crash: Callable[[], None]
    ) -> None:
        self.path = folder / "log-0.db"
        self.faults: list[str | None] = []
        """What happens to the next commits: ``before`` or ``after`` (they fail before or after they took
        effect), ``crash before``, ``crash within``, ``crash after``, or nothing."""
        self.sync_faults: list[str | None] = []
        """What happens to the next syncs: ``fails``, ``power cut``, or nothing."""
        self.full = self.unreadable = self.calm = False
        self.trouble_at = 0.0
        """When something last went wrong that may delay everybody."""
        self.checkpoint_pages = rng.choice((5, 50, 1000) if climate.sync == "normal" else (50, 1000, 1000))
        self._folder = folder
        self._rng = rng
        self._slowness = climate.slowness
        self._failing = 0.0 if climate.fair else 0.03
        self._on_crash = on_crash
        self._images = 0
        self._writer: sqlite3.Connection | None = None
        self._synced = Files(b"", b"")
        """What has been on the disk for good since the last sync."""

    # --- what a process leaves behind ----------------------------------------------------------------

    def kill(self, files: Files | None = None) -> None:
        """From now on the file is what is on the disk at this moment, or ``files``; nobody has it open."""
        self._images += 1
        image = self._folder / f"log-{self._images}.db"
        self._synced = files or Files.at(self.path)
        self._synced.write(image)
        self.path = image
        self.trouble_at = trio.current_time()

    def cut_power(self) -> None:
        """As `kill`, for the whole machine."""
        now = Files.at(self.path)
        if now.database == self._synced.database and len(now.wal) >= len(self._synced.wal):
            now = Files(now.database, scattered(self._synced.wal, now.wal, self._rng))
        self.kill(now)

    def _half_written(self, before: Files, after: Files) -> Files:
        """What is there when the process dies within a commit, or within the checkpoint that follows it."""
        if before.database != after.database and self._rng.random() < 0.5:
            return Files(torn(before.database, after.database, self._rng, _PAGE_BYTES), after.wal)
        return Files(before.database, torn(before.wal, after.wal, self._rng))

    # --- the seams -----------------------------------------------------------------------------------

    async def run(self, work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
        """A `trio_chat.log.seams.Runner`: it takes its time before and after, as a worker thread does; once
        begun it isn't cancelled."""
        async with limiter:
            reads = limiter.total_tokens > 1
            if reads and self.unreadable:
                self.trouble_at = trio.current_time()
            if reads and not self.calm and (self.unreadable or self._rng.random() < self._failing):
                raise _failed()
            await self._take_time(0.05)
            result = work()
            with trio.CancelScope(shield=True):
                await self._take_time(0.02)
            return result

    async def _take_time(self, most: float) -> None:
        if not self.calm and self._rng.random() < self._slowness:
            await trio.sleep(self._rng.random() * most)

    def commit_through(self, commit: Callable[[], None]) -> None:
        """A `trio_chat.log.seams.CommitThrough`."""
        fault = self.faults.pop(0) if self.faults else None
        if fault or self.full:
            self.trouble_at = trio.current_time()
        if self.full:
            self._commit_without_space(commit)
        elif fault is None:
            commit()
        elif fault == "before":
            raise _failed()
        elif fault == "after":
            commit()
            raise _failed()
        else:
            self._crash_at_commit(fault, commit)

    def _commit_without_space(self, commit: Callable[[], None]) -> None:
        """Either the system says so, or SQLite does, in the middle of its work."""
        if self._rng.random() < 0.5 or self._writer is None:
            raise OSError(28, "No space left on device")
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        self._writer.execute(f"PRAGMA max_page_count = {pages}")
        commit()  # it may fit into the pages that there are
        self._writer.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")

    def _crash_at_commit(self, fault: str, commit: Callable[[], None]) -> None:
        files = None
        if fault == "crash within":
            before = Files.at(self.path)
            commit()
            files = self._half_written(before, Files.at(self.path))
        elif fault == "crash after":
            commit()
        self.kill(files)
        self._on_crash()
        raise _failed()

    def syncing(self) -> Callable[[LogFile], None]:
        """What stands for ``LogFile.sync_wal``."""

        def sync_wal(file: LogFile) -> None:
            fault = self.sync_faults.pop(0) if self.sync_faults else None
            if fault is not None:
                self.trouble_at = trio.current_time()
                if fault == "power cut":
                    self.cut_power()
                    self._on_crash()
                raise _failed()
            self._synced = Files.at(self.path)

        return sync_wal

    def connecting(self, real: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        """What stands for ``LogFile.connect``: it keeps the writer at hand, and has it checkpoint often."""

        def connect(file: LogFile, *, query_only: bool = False) -> sqlite3.Connection:
            connection = real(file, query_only=query_only)
            connection.execute(f"PRAGMA wal_autocheckpoint = {self.checkpoint_pages}")
            if not query_only:
                self._writer = connection
            return connection

        return connect
