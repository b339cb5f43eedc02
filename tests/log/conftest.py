"""The engines that the contract suite runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from log.redis_server import RedisServer
from trio_chat.log.base import EventLog

from .engines import Engine, MemoryEngine, RedisEngine, SQLiteEngine


@pytest.fixture(params=["memory", "sqlite", "redis"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "memory":
        return MemoryEngine()
    if request.param == "sqlite":
        return SQLiteEngine(tmp_path / "log.db")
    server: RedisServer = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    return RedisEngine(server.url)


@pytest.fixture
async def log(engine: Engine) -> AsyncIterator[EventLog]:
    async with engine.open() as opened:
        yield opened
