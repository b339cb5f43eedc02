"""The engines that the contract suite runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trio_chat.log.base import EventLog

from .engines import Engine, MemoryEngine, SQLiteEngine


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "memory":
        return MemoryEngine()
    return SQLiteEngine(tmp_path / "log.db")


@pytest.fixture
async def log(engine: Engine) -> AsyncIterator[EventLog]:
    async with engine.open() as opened:
        yield opened
