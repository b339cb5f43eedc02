"""Files by their hash: whole or not at all, within the quota, and nothing left of what failed."""

import errno
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import trio

from trio_chat.files.limits import CHUNK_BYTES
from trio_chat.files.store import FileStore, StoreFailed, StoreFull, create, directory_for, open_store

from .samples import png

HELLO = b"hello"
DIGEST = hashlib.sha256(HELLO).hexdigest()


def everything(directory: Path) -> list[str]:
    """The files in it, ``tmp`` included."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


async def put(store: FileStore, content: bytes, name: str = "x.txt", declared: str = "text/plain") -> Any:
    """Store ``content`` in one piece."""
    async with store.receiving(len(content)) as upload:
        await upload.write(content)
        return await upload.finish(name, declared)


async def content_of(store: FileStore, digest: str, start: int = 0, stop: int | None = None) -> bytes:
    """What is stored."""
    file = await store.find(digest)
    assert file is not None
    found = io.BytesIO()
    async with store.reading(digest, start, file.size if stop is None else stop) as download:
        while chunk := await download.read():
            assert len(chunk) <= CHUNK_BYTES
            found.write(chunk)
    return found.getvalue()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """An empty one in ``tmp_path / "files"``, of at most 1,000 bytes."""
    async with open_store(tmp_path / "files", 1000) as opened:
        yield opened


async def test_a_file_is_kept_under_its_hash(store: FileStore, tmp_path: Path) -> None:
    """With what is known about it, and nothing beside that."""
    file = await put(store, HELLO, "Grüße & so.txt")
    assert (file.hash, file.size, file.type) == (DIGEST, 5, "text/plain")
    assert file.url == f"/files/{DIGEST}/Gr%C3%BC%C3%9Fe%20%26%20so.txt"
    assert await content_of(store, DIGEST) == HELLO
    assert everything(tmp_path / "files") == [f"{DIGEST[:2]}/{DIGEST}", f"{DIGEST[:2]}/{DIGEST}.json"]
    assert store.bytes == 5


async def test_an_image_has_its_size(store: FileStore) -> None:
    """Whatever was declared."""
    file = await put(store, png(), "x", "text/html")
    assert (file.type, file.width, file.height) == ("image/png", 3, 2)


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    """Found again, counted again."""
    for _ in range(2):
        async with open_store(tmp_path, 0) as store:
            await put(store, HELLO)
    async with open_store(tmp_path, 0) as store:
        assert store.bytes == 5
        found = await store.find(DIGEST)
        assert found is not None
        assert found.name == "x.txt"
        assert await content_of(store, DIGEST, 1, 3) == b"el"


async def test_the_same_content_is_kept_once(store: FileStore, tmp_path: Path) -> None:
    """The last name that somebody gave it is the one that counts."""
    await put(store, HELLO, "one")
    await put(store, HELLO, "two")
    assert store.bytes == 5
    assert len(everything(tmp_path / "files")) == 2
    found = await store.find(DIGEST)
    assert found is not None
    assert found.name == "two"


async def test_large_files_go_in_and_out_in_chunks(tmp_path: Path) -> None:
    """Byte for byte."""
    content = os.urandom(3 * CHUNK_BYTES + 7)
    async with open_store(tmp_path, 0) as store:
        async with store.receiving(len(content)) as upload:
            for at in range(0, len(content), 50_000):
                await upload.write(content[at : at + 50_000])
            file = await upload.finish("big", "")
        assert await content_of(store, file.hash) == content
        assert (
            await content_of(store, file.hash, CHUNK_BYTES - 1, CHUNK_BYTES + 1)
            == content[CHUNK_BYTES - 1 :][:2]
        )


@pytest.mark.parametrize(
    "digest", ["", "x", "../" * 21 + "x", DIGEST.upper(), DIGEST + "0", DIGEST[:-1] + "/", DIGEST]
)
async def test_what_is_not_there_is_none(store: FileStore, digest: str) -> None:
    """And what is no hash never becomes a path."""
    await put(store, b"something else")
    assert await store.find(digest) is None


async def test_a_description_that_is_broken_is_no_file(store: FileStore, tmp_path: Path) -> None:
    """Uploading it again repairs it."""
    await put(store, HELLO)
    (tmp_path / "files" / DIGEST[:2] / f"{DIGEST}.json").write_text("{")
    store.forget(DIGEST)
    assert await store.find(DIGEST) is None
    await put(store, HELLO)
    assert await store.find(DIGEST) is not None


# --- nothing is left behind ------------------------------------------------------------------------------


async def test_what_is_not_finished_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    """Given up, failed or cancelled."""
    async with store.receiving(100) as upload:
        await upload.write(b"x" * 100)
        assert store.bytes == 100
    with suppress(RuntimeError):
        async with store.receiving(100) as upload:
            await upload.write(b"x")
            raise RuntimeError
    with trio.move_on_after(0.01):
        async with store.receiving(100) as upload:
            await upload.write(b"x")
            await trio.sleep_forever()
    assert everything(tmp_path / "files") == []
    assert store.bytes == 0


class Failing(io.FileIO):
    """A file whose disk has room for three bytes, or that fails in another way."""

    error = errno.ENOSPC
    room = 3

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(data) or 0


def failing(error: int = errno.ENOSPC, only: str = "") -> Callable[[Path], BinaryIO]:
    """Makes files that fail; ``only`` those with this suffix."""

    def make(path: Path) -> BinaryIO:
        if path.suffix != only:
            return create(path)
        file: Any = Failing(path, "x+")
        file.error = error
        return file

    return make


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("only", ["", ".json"])
async def test_a_full_disk_leaves_nothing(error: int, only: str, tmp_path: Path) -> None:
    """Neither while the content is written nor with the description."""
    store = FileStore(tmp_path, 0, failing(error, only))
    with pytest.raises(StoreFull, match="the disk is full"):
        await put(store, HELLO)
    assert everything(tmp_path) == []
    assert store.bytes == 0
    assert await store.find(DIGEST) is None


async def test_a_description_that_fails_takes_nothing_away(tmp_path: Path) -> None:
    """What was there before stays."""
    async with open_store(tmp_path, 0) as store:
        await put(store, HELLO, "one")
    full = FileStore(tmp_path, 0, failing(only=".json"))
    with pytest.raises(StoreFull):
        await put(full, HELLO, "two")
    async with open_store(tmp_path, 0) as store:
        assert await content_of(store, DIGEST) == HELLO


async def test_a_broken_disk_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log with the cause, to the caller in a word."""
    store = FileStore(tmp_path, 0, failing(errno.EIO))
    with pytest.raises(StoreFailed, match=os.strerror(errno.EIO)):
        await put(store, HELLO)
    assert "files can't be stored or read" in caplog.text
    assert everything(tmp_path) == []


async def test_a_directory_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    """As any other failure: here a file is in its way."""
    (tmp_path / "files").write_text("not a directory")
    with pytest.raises(StoreFailed):
        await put(FileStore(tmp_path / "files" / "x", 0), HELLO)


async def test_the_quota_counts_what_is_on_its_way(store: FileStore) -> None:
    """Two uploads that don't fit together are not both begun; what is given up is free again."""
    await put(store, b"x" * 400)
    async with store.receiving(600):
        with pytest.raises(StoreFull, match="all space for files is taken"):
            async with store.receiving(1):
                pass
    async with store.receiving(600) as upload:
        await upload.write(b"y")
        await upload.finish("y", "")
    assert store.bytes == 401


async def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    """Once it is old; what is new may be another process's upload."""
    async with open_store(tmp_path, 0) as store:
        await put(store, HELLO)
    old, new = tmp_path / "tmp" / "old", tmp_path / "tmp" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    (tmp_path / "a file of somebody else's").write_text("x")
    async with open_store(tmp_path, 0) as store:
        assert store.bytes == 5
    assert not old.exists()
    assert new.exists()


async def test_a_temporary_directory_goes_with_the_store() -> None:
    """It is made with the first file."""
    async with open_store(None, 0) as store:
        assert await store.find(DIGEST) is None
        await put(store, HELLO)
        directory = store._directory
        assert directory is not None
        assert directory.is_dir()
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not directory.exists()


def test_where_files_are_kept() -> None:
    """Beside the database, or in the user's data directory, or nowhere for long."""
    data = Path("/data")
    assert directory_for("memory:", data) is None
    assert directory_for("sqlite:////srv/chat.db", data) == Path("/srv/chat.db.files")
    assert directory_for("sqlite:///chat.db", data) == Path("chat.db.files")
    assert directory_for("redis://h/0", data) == Path("/data/trio-chat.files")
