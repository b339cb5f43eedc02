"""Files in a directory, each under the hash of its content.

Owns the directory: ``ab/abcd...`` is a file, ``ab/abcd....json`` what is known about it, ``tmp/`` what is on
its way in. Refuses to know HTTP and who may do what. All work with the file system is done in threads.

Rules:

1. A file is there when its description is, and then it is whole: both are written elsewhere, synced, and
   renamed, the description last.
2. What fails, is cancelled or too much leaves nothing behind.
3. No name that comes from outside becomes a path: a path is made of the hash alone.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote

import msgspec
import trio

from trio_chat.chat.schema import File
from trio_chat.files.content import declared_type, image_in
from trio_chat.files.limits import CHUNK_BYTES, MAX_KNOWN

logger = logging.getLogger("trio_chat.files")

T = TypeVar("T")

HASH = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 3600.0
"""How old what lies in ``tmp`` is before it counts as left behind by a crash: no upload takes so long."""
_THREADS = 8
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600


class StoreFull(Exception):
    """There is no space for this file: the quota's, or the disk's."""


class StoreFailed(OSError):
    """The file system doesn't do what it should; it has been logged."""


def create(path: Path) -> BinaryIO:
    """A new file, to write and read."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, _FILE_MODE), "w+b", buffering=0)


def _open(path: Path, start: int) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115 - the download closes it
    file.seek(start)
    return file


class FileStore:
    """See the module, and `open_store`. ``quota`` in bytes; 0: none."""

    def __init__(
        self, directory: Path | None, quota: int, create: Callable[[Path], BinaryIO] = create
    ) -> None:
        self._directory = directory
        self._temporary: Path | None = None
        self._quota = quota
        self._create = create
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._known: dict[str, File] = {}
        self.bytes = 0
        """What is stored, with the uploads under way."""

    async def _run(self, function: Callable[[], T]) -> T:
        """In a thread; not to be left alone. Raises `StoreFull`, `StoreFailed`, `FileNotFoundError`."""
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull("the disk is full") from None
            logger.exception("files can't be stored or read")
            raise StoreFailed(error.strerror or str(error)) from None

    async def look_around(self) -> None:
        """Count what is there, and remove what a crash has left on its way in. Raises `OSError`."""
        if self._directory is not None and self._directory.exists():
            self.bytes = await trio.to_thread.run_sync(_sweep, self._directory, time.time() - _STALE_SECONDS)

    async def aclose(self) -> None:
        """Remove the directory if it is a temporary one."""
        if self._temporary is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(shutil.rmtree, self._temporary, ignore_errors=True))

    # --- in --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def receiving(self, most: int) -> AsyncIterator["Upload"]:
        """A place for a file of at most ``most`` bytes: `Upload.write` it, then `Upload.finish`.

        Without `Upload.finish` nothing is left at the end of the block. Raises `StoreFull`, `StoreFailed`.
        """
        if self._quota and self.bytes + most > self._quota:
            raise StoreFull("all space for files is taken")
        self.bytes += most
        kept = 0
        upload: Upload | None = None
        try:
            upload = Upload(self, *await self._run(self._begin))
            yield upload
            kept = upload.kept
        finally:
            self.bytes += kept - most
            if upload is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(upload.discard, limiter=self._limiter)

    def _begin(self) -> tuple[Path, BinaryIO]:
        if self._directory is None:
            self._directory = self._temporary = Path(tempfile.mkdtemp(prefix="trio-chat-files-"))
        waiting = self._directory / "tmp"
        waiting.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        path = waiting / os.urandom(16).hex()
        return path, self._create(path)

    def keep(self, path: Path, file: BinaryIO, described: File) -> bool:
        """Move a synced file to where it belongs; False if it was there. In a thread."""
        place = self._place(described.hash)
        if not place.parent.exists():
            place.parent.mkdir(_DIRECTORY_MODE, exist_ok=True)
            _sync_directory(place.parent.parent)
        is_new = not _described(place).exists()
        if is_new:
            os.fsync(file.fileno())
            file.close()  # what is open can't be renamed everywhere
            path.replace(place)
        # Written anew also for what is there: the last name that somebody gave it is the one that counts.
        note = path.with_suffix(".json")
        try:
            with self._create(note) as written:
                written.write(msgspec.json.encode(described))
                os.fsync(written.fileno())
            note.replace(_described(place))
        except BaseException:
            note.unlink(missing_ok=True)
            if is_new:
                place.unlink(missing_ok=True)
            raise
        _sync_directory(place.parent)
        return is_new

    def forget(self, digest: str) -> None:
        """It was found gone: somebody else removes files, too."""
        self._known.pop(digest, None)

    def remember(self, file: File) -> None:
        """Keep a description in memory, and forget the one that was not asked for the longest time."""
        self._known.pop(file.hash, None)
        self._known[file.hash] = file
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    # --- out -------------------------------------------------------------------------------------------

    def _place(self, digest: str) -> Path:
        assert self._directory is not None
        assert HASH.fullmatch(digest)
        return self._directory / digest[:2] / digest

    def known(self, digest: str) -> File | None:
        """The file of this hash if its description is in memory."""
        return self._known.get(digest)

    async def find(self, digest: str) -> File | None:
        """The file of this hash; None if there is none. Raises `StoreFailed`."""
        known = self._known.get(digest)
        if known is None:
            if self._directory is None or not HASH.fullmatch(digest):
                return None
            try:
                note = await self._run(_described(self._place(digest)).read_bytes)
                known = msgspec.json.decode(note, type=File)
            except (FileNotFoundError, msgspec.MsgspecError):
                return None
        self.remember(known)
        return known

    @asynccontextmanager
    async def reading(self, digest: str, start: int, stop: int) -> AsyncIterator["Download"]:
        """The file from ``start`` up to ``stop``, to `Download.read`. Raises `StoreFailed`,
        `FileNotFoundError`."""
        download = Download(self, await self._run(partial(_open, self._place(digest), start)), stop - start)
        try:
            yield download
        finally:
            download.close()


class Download:
    """A file on its way out; see `FileStore.reading`."""

    def __init__(self, store: FileStore, file: BinaryIO, left: int) -> None:
        self._store = store
        self._file = file
        self._left = left

    async def read(self) -> bytes:
        """The next chunk, or ``b""`` at the end. Raises `StoreFailed`."""
        if not self._left:
            return b""
        chunk = await self._store._run(partial(self._file.read, min(self._left, CHUNK_BYTES)))
        self._left = self._left - len(chunk) if chunk else 0
        return chunk

    def close(self) -> None:
        """Let go of the descriptor."""
        self._file.close()


class Upload:
    """A file on its way in; see `FileStore.receiving`."""

    def __init__(self, store: FileStore, path: Path, file: BinaryIO) -> None:
        self._store = store
        self._path = path
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.kept = 0
        """Bytes that the store has more than before."""

    async def write(self, data: bytes) -> None:
        """Add ``data``. Raises `StoreFull`, `StoreFailed`."""
        self.size += len(data)
        await self._store._run(partial(self._write, data))

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    async def finish(self, name: str, declared: str) -> File:
        """Keep the file, under a name for people, and return what it is. Raises `StoreFull`,
        `StoreFailed`."""
        file = await self._store._run(partial(self._finish, name, declared))
        self._store.remember(file)
        return file

    def _finish(self, name: str, declared: str) -> File:
        image = image_in(self._file)
        digest = self._hash.hexdigest()
        file = File(
            hash=digest,
            name=name,
            size=self.size,
            type=image.type if image is not None else declared_type(declared),
            url=f"/files/{digest}/{quote(name, safe='')}",
        )
        if image is not None:
            file.width, file.height = image.width, image.height
        if self._store.keep(self._path, self._file, file):
            self.kept = self.size
        return file

    def discard(self) -> None:
        """Close the file, and remove it unless it was kept. In a thread."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _described(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _sweep(directory: Path, before: float) -> int:
    """The bytes of all files in ``directory``; what lies in ``tmp`` since ``before`` is removed."""
    total = 0
    for part in os.scandir(directory):
        if not part.is_dir(follow_symlinks=False):
            continue
        for entry in os.scandir(part):
            with contextlib.suppress(FileNotFoundError):  # another process is at work here
                found = entry.stat(follow_symlinks=False)
                if part.name == "tmp" and found.st_mtime < before:
                    os.unlink(entry)
                elif HASH.fullmatch(entry.name):
                    total += found.st_size
    return total


def _sync_directory(directory: Path) -> None:
    """Have the names in it survive a power cut; where directories can't be opened (Windows), the system
    does."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def directory_for(log: str, data: Path) -> Path | None:
    """Where files are kept beside this log: next to the database; None, a temporary directory, for
    ``memory:``; in ``data``, the user's data directory, for a log on another machine."""
    if log == "memory:":
        return None
    if log.startswith("sqlite:///"):
        return Path(f"{log.removeprefix('sqlite:///')}.files")
    return data / "trio-chat.files"


@asynccontextmanager
async def open_store(directory: Path | None, quota: int) -> AsyncIterator[FileStore]:
    """The files in ``directory``, which need not be there yet; None: in one that goes with the store.

    Raises `OSError` if it can't be read.
    """
    store = FileStore(directory, quota)
    await store.look_around()
    try:
        yield store
    finally:
        await store.aclose()
