"""What a worker knows of the process that started it, and of the other workers.

Owns what is inherited, and metrics that are those of all. Refuses to start or end processes: that is
`trio_chat.workers`.
"""

import os
import re
import socket
from pathlib import Path
from typing import Final

import attrs
import trio

from .listeners import listen_unix

_ASK_SECONDS: Final = 1.0
"""How long another worker may take to tell its metrics; one that is stuck is left out."""

_SAMPLE = re.compile(rb"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (.*)")


@attrs.define
class Siblings:
    """One worker's view. ``listeners``: the sockets that it shares, and one of its own in ``directory``."""

    number: int
    listeners: list[socket.socket]
    directory: Path
    pipe: int

    @property
    def own_path(self) -> Path:
        """Where this worker alone can be asked, a Unix socket. A restarted one is there beside the new
        one."""
        return self.directory / f"{self.number}.{os.getpid()}"

    async def orphaned(self) -> None:
        """Wait until the process that started this one is gone."""
        await trio.lowlevel.wait_readable(self.pipe)

    async def metrics(self, own: bytes) -> bytes:
        """The metrics of all workers, each sample with its ``worker``; ``own`` are this one's."""
        texts = {self.number: own}

        async def ask(number: int, path: Path) -> None:
            with trio.move_on_after(_ASK_SECONDS):
                texts[number] = await _own_metrics(path)

        paths = sorted(self.directory.iterdir(), key=lambda path: path.stat().st_mtime)
        latest = {int(path.name.partition(".")[0]): path for path in paths}
        async with trio.open_nursery() as nursery:
            for number, path in latest.items():
                if number != self.number:
                    nursery.start_soon(ask, number, path)
        return merged(texts)


async def _own_metrics(path: Path) -> bytes:
    """What the worker at ``path`` tells of itself; nothing if it is gone."""
    try:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET /metrics?own HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
            data = b"".join([part async for part in stream])
    except (OSError, trio.BrokenResourceError):
        return b""
    head, _, body = data.partition(b"\r\n\r\n")
    return body if head.startswith(b"HTTP/1.1 200") else b""


def merged(texts: dict[int, bytes]) -> bytes:
    """Several expositions in one: the samples of a family together, each with the label ``worker``."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for number, text in sorted(texts.items()):
        heads: list[bytes] = []
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                heads, samples = families.setdefault(line.split(b" ")[2], ([], []))
            if line.startswith(b"#"):
                if line not in heads:
                    heads.append(line)
            elif found := _SAMPLE.fullmatch(line):
                name, labels, value = found.groups()
                all_labels = b",".join(filter(None, (labels, b'worker="%d"' % number)))
                samples.append(b"%s{%s} %s" % (name, all_labels, value))
    return b"".join(line + b"\n" for heads, samples in families.values() for line in (*heads, *samples))


def inherited(variable: str) -> Siblings | None:
    """What this process has if it is a worker: ``variable`` of its environment tells. Once; raises
    `OSError`."""
    told = os.environ.pop(variable, None)
    if told is None:
        return None
    number, sockets, pipe, directory = told.split(":", 3)
    listeners = [socket.socket(fileno=int(fd)) for fd in sockets.split(",")]
    siblings = Siblings(int(number), listeners, Path(directory), int(pipe))
    for fd in (*(listener.fileno() for listener in listeners), siblings.pipe):
        os.set_inheritable(fd, False)
    listeners.append(listen_unix(str(siblings.own_path)))
    return siblings
