"""The event log: durable, ordered, one per service. See `trio_chat.log.base`."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal

from trio_chat.log.base import EventLog, LogError
from trio_chat.log.memory import open_memory_log
from trio_chat.log.sqlite import open_sqlite_log

__all__ = ["open_log", "open_memory_log", "open_sqlite_log"]

_SQLITE = "sqlite:///"


def open_log(
    url: str, *, sync: Literal["full", "normal"] = "full", clock: Callable[[], float] = time.time
) -> AbstractAsyncContextManager[EventLog]:
    """The log at ``url``: ``memory:``, ``sqlite:///FILE`` with a relative or an absolute FILE, or
    ``redis://HOST:PORT/DB``.

    ``sync`` is for SQLite, see `open_sqlite_log`; ``clock`` gives the time in seconds since the Unix epoch.
    Raises `LogError`, here or on entering.
    """
    if url == "memory:":
        return open_memory_log(clock=clock)
    if url.startswith(_SQLITE) and url != _SQLITE:
        return open_sqlite_log(url.removeprefix(_SQLITE), sync=sync, clock=clock)
    if url.startswith(("redis://", "rediss://")):
        try:
            from trio_chat.log.redis import open_redis_log
        except ImportError as error:
            raise LogError(f"log: a Redis log needs more: pip install 'trio-chat[redis]' ({error})") from None
        return open_redis_log(url, clock=clock)
    raise LogError(f"{url}: a log is memory:, sqlite:///FILE or redis://HOST:PORT/DB")
