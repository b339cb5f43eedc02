"""What holds in whole folders of tests.

In `BOUNDS`, every asynchronous test is bounded in Trio's time: under the autojump clock one that hangs ends
at once. In `QUIET`, nothing may be logged as an error but in tests that ask for ``errors``.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial, wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from log.redis_server import BINARY, MISSING, RedisServer, running_redis

BOUNDS = {"chat": 3600, "wire": 3600, "conformance": 300, "log": 60}
"""Seconds by folder: virtual ones in the first two, more than any time limit of the server's; real ones in
the others, where a few hundredths of that are usual."""
QUIET = {"chat", "conformance", "wire"}

HERE = Path(__file__).parent


def folder_of(item: pytest.Item) -> str:
    """The folder of tests/ that a test is in."""
    path = item.path
    return path.relative_to(HERE).parts[0] if HERE in path.parents else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        seconds = BOUNDS.get(folder_of(item))
        if seconds and isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, seconds)


def _bounded(test: Any, seconds: float) -> Any:
    @wraps(test)
    async def run(**fixtures: Any) -> None:
        with trio.fail_after(seconds):
            await test(**fixtures)

    return run


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The errors logged so far; a test that asks for this expects some."""
    return partial(_errors, caplog)


@pytest.fixture(autouse=True)
def _no_errors(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    if folder_of(request.node) in QUIET and "errors" not in request.fixturenames:
        assert _errors(caplog) == []


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests that only use it."""
    if BINARY is None:
        pytest.skip(MISSING)
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server
