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
    ("redis://", "a Redis log is redis://"), ("redis://host/x", "a Redis log is redis://"),
    ("redis://host:99999", "a Redis log is redis://"), ("redis://host/0?x=1", "a Redis log is redis://"),
    ("redis://host/0?ca=x", "a Redis log is redis://"),
    ("rediss://host?ca=/nowhere", "ca: a file with certificates"),
    ("redis://:secret@host/x", r"^redis://\.\.\.@host/x: a Redis log is"),
    ("", "a log is"), ("sqlite://", "a log is"), ("sqlite:///", "a log is"), ("sqlite://x.db", "a log is"),
    ("x.db", "a log is"), ("memory", "a log is"), ("memory:x", "a log is"),
    ("postgres://host/db", "a log is"),
])  # fmt: skip
async def test_other_urls_are_refused(url: str, words: str) -> None:
    """Anything else is refused with one line that says what a log may be."""
    with pytest.raises(LogError, match=words):
        async with open_log(url):
            raise AssertionError
