"""Which log a URL opens."""

from pathlib import Path

import pytest

from trio_chat.log import open_log
from trio_chat.log.base import LogError
from trio_chat.log.memory import MemoryLog
from trio_chat.log.sqlite import SQLiteLog

from .engines import Clock, said


async def test_memory_is_a_url() -> None:
    """``memory:`` opens the memory engine with the clock given."""
    async with open_log("memory:", clock=Clock(1.5)) as log:
        assert isinstance(log, MemoryLog)
        assert (await log.append([said()]))[0].at_ms == 1500


async def test_sqlite_urls_have_three_slashes_and_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the third slash comes the path, relative or absolute."""
    monkeypatch.chdir(tmp_path)
    for url, path in (("sqlite:///a/b.db", "a/b.db"), (f"sqlite:///{tmp_path}/c.db", "c.db")):
        async with open_log(url, sync="normal", clock=Clock(1.5)) as log:
            assert isinstance(log, SQLiteLog)
            assert (await log.append([said()]))[0].at_ms == 1500
        assert (tmp_path / path).is_file()


@pytest.mark.parametrize(("url", "words"), [
    ("redis://127.0.0.1:6379/0", "not available yet"),
    ("rediss://host/0", "not available yet"),
    ("", "a log is"), ("sqlite://", "a log is"), ("sqlite:///", "a log is"), ("sqlite://x.db", "a log is"),
    ("x.db", "a log is"), ("memory", "a log is"), ("memory:x", "a log is"),
    ("postgres://host/db", "a log is"),
])  # fmt: skip
async def test_other_urls_are_refused(url: str, words: str) -> None:
    """Anything else is refused with one line that says what a log may be."""
    with pytest.raises(LogError, match=words):
        async with open_log(url):
            raise AssertionError
