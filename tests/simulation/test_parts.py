"""The simulation's own parts: what it relies on has to be right by itself."""

import random
import sqlite3
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import trio
from trio.testing import MockClock

from trio_chat.log.base import Append, LogUnavailable
from trio_chat.log.sqlite import open_sqlite_log
from trio_chat.log.sqlite_file import LogFile
from trio_chat.wire.frames import close_frame, frame
from trio_chat.wire.transport import Begun

from .climate import Climate
from .disk import Disk
from .link import BINARY, PING, TEXT, BrokenProtocol, Gone, Link, StrictLink
from .network import connect
from .sockets import Descriptors, SimulatedSocket

SEEDS = range(20)

# --- network ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_network_passes_everything_on_in_order(autojump_clock: MockClock, seed: int) -> None:
    """In whatever pieces, with whatever delays, also through a stall; then comes the end."""
    rng = random.Random(seed)
    one, other = connect(rng, 0.1)
    data = rng.randbytes(3000)
    received = b""

    async def send() -> None:
        await one.send_all(data)
        one.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(other.incoming.stall, 5)
        while piece := await other.receive_some():
            received += piece
    assert received == data


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_cut_ends_the_stream_where_it_says(autojump_clock: MockClock, seed: int) -> None:
    """So many bytes arrive, and then the end; the sender finds out."""
    one, other = connect(random.Random(seed), 0.1)
    one.outgoing.cut_after = 17
    with pytest.raises(trio.BrokenResourceError):
        await one.send_all(bytes(100))
    assert len(b"".join([piece async for piece in other])) == 17


def test_a_tls_like_socket_insists_on_what_it_has_begun() -> None:
    """What follows a short write has to begin with the same bytes."""
    _, other = connect(random.Random(1), 0.0)
    sock = SimulatedSocket(other, Descriptors(), like_tls=True)
    other.outgoing._capacity = 10
    with pytest.raises(Begun):
        sock.try_send(b"0123456789abc")
    with pytest.raises(AssertionError, match="something else"):
        sock.try_send(b"else")


# --- links --------------------------------------------------------------------------------------------


async def hear(link: Link, pieces: list[bytes], found: list[bytes]) -> None:
    """Take what comes in these pieces, until the end."""
    for piece in pieces:
        link._feed(piece)
    while True:
        found += await link.receive()


@pytest.mark.parametrize("kind", [Link, StrictLink])
async def test_links_read_what_a_server_sends(autojump_clock: MockClock, kind: type[Link]) -> None:
    """Short, long and longest frames, whole and in pieces; a ping is answered, a close ends it."""
    payloads = [b"", b"x" * 125, b"y" * 126, b"z" * 70_000]
    data = b"".join(frame(TEXT, payload) for payload in payloads)
    data += frame(PING, b"p") + frame(BINARY, b"last") + close_frame(4029, "too fast")
    for size in (1 << 20, 1000, 1) if kind is Link else (1 << 20, 1000):
        ours, theirs = connect(random.Random(4), 0.0)
        link = kind(ours, random.Random(1))
        found: list[bytes] = []
        with pytest.raises(Gone) as gone:
            await hear(link, [data[start : start + size] for start in range(0, len(data), size)], found)
        assert (found, gone.value.code) == ([*payloads, b"last"], 4029)
        answers = await theirs.receive_some()
        assert answers[:2] == bytes((0x80 | 10, 0x80 | 1))


@pytest.mark.parametrize("kind", [Link, StrictLink])
@pytest.mark.parametrize(
    "data",
    [
        bytes((0x81, 0x80)) + b"mask",
        bytes((0xC1, 1)) + b"x",
        bytes((0x83, 0)),
        bytes((0x89, 126, 0, 126)) + bytes(126),
        bytes((0x81, 126, 0, 5)) + b"short",
        close_frame(1002, "what was that?"),
    ],
    ids=["masked", "reserved", "unknown", "long ping", "length", "complaint"],
)
async def test_links_refuse_what_a_server_must_not_send(kind: type[Link], data: bytes) -> None:
    """RFC 6455 5.1, 5.2, 5.5; and a server that complains has misunderstood."""
    ours, _ = connect(random.Random(4), 0.0)
    link = kind(ours, random.Random(1))
    with pytest.raises(BrokenProtocol):
        await hear(link, [data], [])


# --- disk ---------------------------------------------------------------------------------------------


async def committed(path: Path, fault: str, seed: int) -> tuple[list[str], Path]:
    """Store batches until the one that ``fault`` happens to; what was acknowledged, and what is left."""
    crashed: list[None] = []
    disk = Disk(path, random.Random(seed), Climate.drawn(random.Random(seed)), partial(crashed.append, None))
    real = LogFile.connect
    acknowledged: list[str] = []
    with (
        mock.patch.object(LogFile, "connect", disk.connecting(real)),
        mock.patch.object(LogFile, "sync_wal", disk.syncing()),
    ):
        async with open_sqlite_log(
            disk.path, sync="full", commit_through=disk.commit_through, runner=disk.run
        ) as log:
            disk.calm = True
            plan = disk.sync_faults if fault == "power cut" else disk.faults
            plan += [None] * (seed * 3) + [fault]
            number = 0
            while not crashed:
                texts = [f"{number}-{i}" for i in range(3)]
                number += 1
                with suppress(LogUnavailable):
                    await log.append([Append("lobby", "message", f'"t":"{text}"}}', text) for text in texts])
                    acknowledged += texts
    return acknowledged, disk.path


@pytest.mark.parametrize("fault", ["crash before", "crash within", "crash after", "power cut"])
async def test_what_is_left_after_a_crash(autojump_clock: MockClock, tmp_path: Path, fault: str) -> None:
    """A sound file with everything that was acknowledged, and the last batch whole or not at all."""
    whole = 0
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        acknowledged, path = await committed(folder, fault, seed)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            stored = [key for (key,) in database.execute("SELECT key FROM events ORDER BY seq")]
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) - len(acknowledged) in (0, 3)
        whole += len(stored) > len(acknowledged)
    assert whole in {"crash before": [0], "crash after": [len(SEEDS)]}.get(fault, range(len(SEEDS)))
