"""The server's lives, one after another: started, stopped, killed, and started again from the file.

`Lives` runs the real server with its real log on the simulated disk, and sees to it that nothing of it is
left when it has ended.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from trio_chat.log.base import Event, EventLog
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.server import Server, serve

from .climate import Climate, unix_time
from .disk import Disk
from .network import End, connect
from .others import Bot
from .tasks import server_tasks

DOWN_SECONDS = 2.0
"""Until it is started again, at most."""
_SPARE_SECONDS = 1.0
"""A commit that is under way at the end of a drain is finished."""


class Archive:
    """A log that keeps elsewhere what is removed from it, so that it can be compared with afterwards."""

    def __init__(self, log: EventLog, removed: dict[str, dict[int, Event]]) -> None:
        self._log = log
        self._removed = removed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        """See `EventLog.trim`."""
        events = await self._log.read(room, 0, limit, max_bytes=1 << 30)
        self._removed.setdefault(room, {}).update((event.seq, event) for event in events)
        return await self._log.trim(room, through, limit, state)


class Lives:
    """See the module. ``bots`` live in the server's process. ``fail`` is told what is wrong; ``on_killed`` is
    called with each ``kill -9``."""

    def __init__(
        self,
        climate: Climate,
        folder: Path,
        bots: list[Bot],
        rng: random.Random,
        fail: Callable[[str], None],
        on_killed: Callable[[], None],
    ) -> None:
        self.server: Server | None = None
        """The server, while there is one."""
        self.crashes = self.restarts = self.connections = 0
        self.latest_return = 0.0
        """When the last client may be told to come back after a stop."""
        self.archive: dict[str, dict[int, Event]] = {}
        """The events that were removed, by room and seq."""
        self.disk = Disk(folder, random.Random(rng.getrandbits(64)), climate, self._killed)
        self._climate = climate
        self._bots = bots
        self._rng = rng
        self._fail = fail
        self._on_killed = on_killed
        self._nursery: trio.Nursery | None = None
        self._ends: list[tuple[End, End]] = []
        """The connections of the present life."""
        self._stopped_at: float | None = None
        self._over = False

    # --- from outside --------------------------------------------------------------------------------

    async def connect(self, rng: random.Random, *, narrow: bool = False) -> End | None:
        """A new connection, or None while there is no server."""
        await trio.lowlevel.checkpoint()
        if self.server is None or self._nursery is None:
            return None
        self.connections += 1
        ours, theirs = connect(rng, 0.0 if self.disk.calm else self._climate.latency, narrow=narrow)
        self._ends.append((ours, theirs))
        self._nursery.start_soon(self.server.serve_stream, theirs, "127.0.0.1")
        return ours

    def stop(self) -> None:
        """End the server as SIGTERM does."""
        if self.server is not None and self._stopped_at is None:
            self.restarts += 1
            self._stopped_at = self.disk.trouble_at = trio.current_time()
            # A frozen client may read a goodbye when the next one has been said already.
            self.latest_return = max(self.latest_return, 2.0 + len(self._ends) * (1 / 1500 + 1 / 500))
            self.server.stop()

    def kill(self, *, power_cut: bool = False) -> None:
        """End the server as ``kill -9`` does, now; or as a power cut does."""
        if self.server is not None:
            if power_cut:
                self.disk.cut_power()
            else:
                self.disk.kill()
            self._killed()

    def _killed(self) -> None:
        """The disk is what it was when the process died: end it. What was on its way may still arrive."""
        assert self._nursery is not None
        self.crashes += 1
        self.server = None
        self._nursery.cancel_scope.cancel()
        for _, theirs in self._ends:
            if self._rng.random() < 0.5:
                theirs.reset()
            else:
                theirs.close()
        self._on_killed()

    def end(self) -> None:
        """Stop, and have `run` return."""
        self._over = True
        self.stop()

    # --- a life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until `end`."""
        while not self._over:
            async with open_sqlite_log(
                self.disk.path,
                sync=self._climate.sync,
                clock=unix_time,
                commit_through=self.disk.commit_through,
                runner=self.disk.run,
            ) as log:
                await self._live(Archive(log, self.archive))
            if tasks := server_tasks():
                self._fail(f"left over: {dict(tasks)}")
            await trio.sleep(self._rng.random() * DOWN_SECONDS)

    async def _live(self, log: "Archive") -> None:
        async with trio.open_nursery() as self._nursery:
            server = self.server = await self._nursery.start(self._serve, log)
            for bot in self._bots:
                self._nursery.start_soon(bot.live, server.hub)
        self.server = self._nursery = None
        self._ends.clear()
        hub = server.hub
        members = [member.user.name for room in hub.rooms.values() for member in room.members]
        if server._open or hub.guests._holders or members:
            self._fail(f"left over: {server._open} connections, {list(hub.guests._holders)}, {members}")

    async def _serve(self, log: "Archive", task_status: trio.TaskStatus[Server]) -> None:
        self._stopped_at = None
        config, rng = self._climate.config(), random.Random(self._rng.getrandbits(64))
        await serve(
            config,
            rooms=self._climate.policy,
            clock=unix_time,
            rng=rng,
            log=log,
            listen=False,
            task_status=task_status,
        )
        assert self._stopped_at is not None
        took = trio.current_time() - self._stopped_at
        if took > config.drain + _SPARE_SECONDS:
            self._fail(f"stopping took {took:.1f} seconds")
