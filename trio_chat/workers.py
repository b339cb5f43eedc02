"""Several server processes behind one port: ``--workers N``.

Owns the processes: starting them, replacing one that has ended, restarting them one after the other, and
ending them together. Knows nothing of what they serve. This process opens the listening sockets and starts N
processes with the same command line, which inherit them.

Rules:

1. The sockets stay open as long as this process does: who connects while workers are replaced is not refused.
2. A worker that ends by itself is replaced, after a wait that grows while that goes on (`_RESTART_SECONDS`).
   If one can't even start the first time, all end.
3. A worker that has lost this process drains, however that came.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Final

import trio

from .config import Config
from .listeners import close_listeners, open_listeners

logger = logging.getLogger("trio_chat.workers")

_RESTART_SECONDS: Final = (0.1, 10.0)
"""The first wait before a worker is started again, and the longest; each one is twice the one before."""
_STEADY_SECONDS: Final = 20.0
"""A worker that lasted so long is started again after the first wait."""
_START_SECONDS: Final = 60.0
"""How long a worker may take until it serves."""


class StartFailed(Exception):
    """A worker has ended before it served, with ``status``; it has said why itself."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a worker could not start: exit status {status}")
        self.status = status


class Workers:
    """See the module. ``command`` is each worker's; ``variable`` of its environment tells it what it
    inherits."""

    def __init__(
        self,
        command: Sequence[str],
        variable: str,
        count: int,
        listeners: Sequence[socket.socket],
        directory: Path,
    ) -> None:
        self._command = command
        self._variable = variable
        self._listeners = listeners
        self._directory = directory
        self._ours, self._theirs = os.pipe()  # what is read here ends with this process
        self._processes: dict[int, trio.Process] = {}
        self._stopping = trio.Event()
        self._count = count
        self._last_status = 0
        self.first_line = ""
        """What the first worker has said when it served."""

    async def start(self) -> None:
        """Start all of them, the first one alone, so that a mistake is told once. Raises `StartFailed`,
        perhaps in a group."""
        await self._start_first(1)
        async with trio.open_nursery() as nursery:
            for number in range(2, self._count + 1):
                nursery.start_soon(self._start_first, number)

    async def keep(self) -> None:
        """Keep all of them, until they are stopped and gone."""
        async with trio.open_nursery() as nursery:
            for number in self._processes:
                nursery.start_soon(self._keep, number)

    async def aclose(self) -> None:
        """End those that are still there, and wait for that."""
        os.close(self._ours)
        os.close(self._theirs)
        with trio.CancelScope(shield=True):
            for process in self._processes.values():
                process.terminate()
            for process in self._processes.values():
                await process.wait()

    def stop(self) -> None:
        """Have all of them drain; a second time: leave at once."""
        self._stopping.set()
        for process in self._processes.values():
            process.terminate()

    async def restart(self) -> None:
        """Replace one after the other; each goes when the next one serves."""
        for number in list(self._processes):
            process = None if self._stopping.is_set() else await self._start(number)
            if process is None:
                logger.error("worker %d could not be replaced and stays", number)
                return
            old, self._processes[number] = self._processes[number], process
            old.terminate()
            with trio.CancelScope(shield=True):
                await old.wait()
        logger.info("all workers are restarted")

    async def _start_first(self, number: int) -> None:
        process = await self._start(number)
        if process is None:
            raise StartFailed(self._last_status)
        self._processes[number] = process
        if self._stopping.is_set():
            process.terminate()

    async def _keep(self, number: int) -> None:
        """Replace a worker whenever it has ended."""
        wait, longest = _RESTART_SECONDS
        while True:
            process, began = self._processes[number], trio.current_time()
            status = await process.wait()
            if self._processes[number] is not process:
                continue  # it was restarted
            if self._stopping.is_set():
                return
            logger.error("worker %d has ended with %s and is replaced", number, _named(status))
            if trio.current_time() - began > _STEADY_SECONDS:
                wait = _RESTART_SECONDS[0]
            started = None
            while started is None:
                with trio.move_on_after(wait):
                    await self._stopping.wait()
                    return
                wait = min(2 * wait, longest)
                started = await self._start(number)
            self._processes[number] = started
            if self._stopping.is_set():
                started.terminate()

    async def _start(self, number: int) -> trio.Process | None:
        """A new process, which serves; None if it doesn't come to that."""
        sockets = [listener.fileno() for listener in self._listeners]
        told = f"{number}:{','.join(map(str, sockets))}:{self._ours}:{self._directory}"
        process = await trio.lowlevel.open_process(
            self._command,
            stdout=subprocess.PIPE,
            pass_fds=[*sockets, self._ours],
            env={**os.environ, self._variable: told},
            start_new_session=True,  # a terminal's Ctrl-C is for this process, which tells them
        )
        assert process.stdout is not None
        line = b""
        try:
            with trio.move_on_after(_START_SECONDS):
                while not line.endswith(b"\n") and (data := await process.stdout.receive_some()):
                    line += data
        finally:
            if not line.endswith(b"\n"):
                with suppress(ProcessLookupError):
                    process.kill()
                with trio.CancelScope(shield=True):
                    self._last_status = await process.wait()
            await process.stdout.aclose()
        if not line.endswith(b"\n"):
            return None
        self.first_line = line.decode()
        return process


def _named(status: int) -> str:
    """An exit status in words."""
    return f"exit status {status}" if status >= 0 else Signals(-status).name


async def supervise(
    config: Config, arguments: Sequence[str], variable: str, announce: Callable[[str], None]
) -> int:
    """Run the workers of ``config`` until a signal ends them; returns the exit status.

    ``arguments`` are the command line of each; ``variable`` of its environment tells it what it inherits: its
    number, the sockets, a pipe that ends with this process, and a directory that all share.

    SIGTERM or SIGINT drains all of them at once, a second one has them leave; SIGHUP restarts them one by
    one. ``announce`` gets the line that the first one says. Raises `OSError` if it can't listen,
    `StartFailed`.
    """
    async with AsyncExitStack() as stack:
        listeners = await open_listeners(config)
        stack.callback(close_listeners, config, listeners)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-chat-")))
        command = [sys.executable, "-m", "trio_chat", *arguments]
        workers = Workers(command, variable, config.workers, listeners, directory)
        stack.push_async_callback(workers.aclose)
        with trio.open_signal_receiver(SIGTERM, SIGINT, SIGHUP) as signals:
            async with trio.open_nursery() as nursery:

                async def follow_signals() -> None:
                    async for number in signals:
                        logger.info("workers are told", extra={"signal": Signals(number).name})
                        if number == SIGHUP:
                            nursery.start_soon(workers.restart)
                        else:
                            workers.stop()

                nursery.start_soon(follow_signals)
                await workers.start()
                announce(workers.first_line)
                await workers.keep()
                nursery.cancel_scope.cancel()
    return 0
