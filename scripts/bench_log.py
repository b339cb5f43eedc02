#!/usr/bin/env python
"""Measure the event log: ``python scripts/bench_log.py [PART ...] [--dir DIR]``, all parts without any.

Each part prints one table in microseconds. "busy" means that the main thread does nothing but socket sends,
as a fan-out does, so that a worker thread has to win the GIL back from it. DIR should be on the disk that is
of interest. Keys are in the order of time, if "random" isn't said.

statements: ways to store a batch in one transaction, in bare SQLite, called in a worker thread.
append:     `SQLiteLog.append`, from the event loop and back to it, in one room and spread over 200.
read:       ways to fetch a page, in bare SQLite, called in a worker thread.
big:        a log of a million events: each query, and how long commits take while checkpoints happen.
trim:       a room of a million events is trimmed to 10,000 while 500 events a second are appended to it; in
            turns of half a second it is left alone, so that both are measured in the same minute.
search:     how long the index of 200,000 messages takes, and searches then.
"""

import argparse
import functools
import json
import os
import random
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, closing, suppress
from itertools import chain, count, product
from pathlib import Path
from typing import cast

import trio

from trio_chat.chat.policy import RoomPolicy
from trio_chat.chat.retention import Retention
from trio_chat.log import open_memory_log, open_sqlite_log, sqlite, sqlite_commit, sqlite_file
from trio_chat.log.base import Append, Event, EventLog, LogUnavailable

BATCHES = (1, 16, 50, 200)
RUNS = 300

Way = Callable[[sqlite3.Connection, list[tuple[object, ...]]], None]


def body(n: int) -> str:
    return f'"user":{{"id":"u{n % 50}","name":"ann"}},"text":"{"x" * 64}","id":"{n:08x}-abcdef"}}'


def key(chance: random.Random, *, ordered: bool = True) -> str:
    first = time.time_ns() if ordered else chance.getrandbits(64)
    return f"{first:016x}{chance.getrandbits(32):08x}:u{chance.randrange(500)}"


def micros(times: Sequence[float]) -> str:
    ranked = sorted(times)
    return f"{ranked[len(ranked) // 2] * 1e6:7.0f} /{ranked[int(len(ranked) * 0.99)] * 1e6:7.0f}"


class Sender:
    """A socket to send frames on, as a fan-out does; it empties itself when it is full."""

    def __init__(self, stack: ExitStack) -> None:
        self._ours, self._theirs = (stack.enter_context(end) for end in socket.socketpair())
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def send(self, times: int) -> None:
        for _ in range(times):
            try:
                self._ours.send(b"x" * 100)
            except BlockingIOError:
                try:
                    while True:
                        self._theirs.recv(1 << 20)
                except BlockingIOError:
                    continue


def timed(work: Callable[[], object], *, busy: bool, runs: int = RUNS) -> list[float]:
    """How long each call of ``work`` took in a worker thread, the main thread being idle or busy."""
    times: list[float] = []

    def run() -> None:
        for _ in range(runs):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)

    thread = threading.Thread(target=run)
    thread.start()
    with ExitStack() as stack:
        sender = Sender(stack)
        while busy and thread.is_alive():
            sender.send(100)
        thread.join()
    return times


# --- statements ---------------------------------------------------------------------------------------------

ONE = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, NULL)"
JSON = """
INSERT INTO events
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, NULL
FROM json_each(?)
"""


def by_executemany(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(ONE, rows)
    connection.execute("COMMIT")


def by_json(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    connection.execute(JSON, (json.dumps(rows, ensure_ascii=False),))


def by_values(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    places, values = sqlite_commit.padded_rows(list(chain.from_iterable(rows)), sqlite_commit.PLAIN)
    connection.execute(sqlite_commit.insert_events(places, sqlite_commit.PLAIN), values)


def database(directory: str, sync: str) -> sqlite3.Connection:
    path = Path(tempfile.mkdtemp(dir=directory)) / "bench.db"
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(f"PRAGMA synchronous = {sync}")
    connection.executescript(sqlite_file.SCHEMA)
    return connection


def statements(directory: str) -> None:
    ways = {"executemany": by_executemany, "json_each": by_json, "values": by_values}
    print(f"{'statements, p50 / p99 us':32}", *(f"{name:>16}" for name in ways))
    for sync, busy, size in product(("full", "normal"), (False, True), BATCHES):
        cells = [timed_way(way, directory, sync, busy, size) for way in ways.values()]
        label = f"{sync}, {'busy' if busy else 'idle'}, batch of {size}"
        print(f"{label:32}", *(f"{cell:>16}" for cell in cells), flush=True)


def timed_way(way: Way, directory: str, sync: str, busy: bool, size: int) -> str:
    chance, numbers = random.Random(1), count(1)

    def store() -> None:
        way(connection, [(1, next(numbers), 1, "message", key(chance), body(1)) for _ in range(size)])

    with closing(database(directory, sync)) as connection:
        return micros(timed(store, busy=busy))


# --- append -------------------------------------------------------------------------------------------------


async def timed_calls(call: Callable[[], Awaitable[object]], *, busy: bool, runs: int = RUNS) -> list[float]:
    """How long each call took, beside a task that does nothing, or sends 100 frames a turn."""
    times: list[float] = []

    async def send(sender: Sender) -> None:
        while True:
            sender.send(100)
            await trio.lowlevel.checkpoint()

    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            if busy:
                nursery.start_soon(send, Sender(stack))
            for _ in range(runs):
                start = time.perf_counter()
                await call()
                times.append(time.perf_counter() - start)
            nursery.cancel_scope.cancel()
    return times


async def append(directory: str) -> None:
    def sqlite_log(sync: sqlite_file.Sync) -> AbstractAsyncContextManager[EventLog]:
        return open_sqlite_log(Path(tempfile.mkdtemp(dir=directory)) / "log.db", sync=sync)

    logs: dict[str, Callable[[], AbstractAsyncContextManager[EventLog]]] = {
        "memory": open_memory_log,
        "sqlite normal": lambda: sqlite_log("normal"),
        "sqlite full": lambda: sqlite_log("full"),
        "random keys": lambda: sqlite_log("full"),
    }
    print(f"\n{'append, p50 / p99 us':32}", *(f"{name:>16}" for name in logs))
    for rooms, busy, size in product((1, 200), (False, True), BATCHES):
        cells = []
        for name, opener in logs.items():
            async with opener() as log:
                cells.append(await timed_append(log, rooms, busy, size, ordered=name != "random keys"))
        label = f"{rooms} room{'s' * (rooms > 1)}, {'busy' if busy else 'idle'}, batch of {size}"
        print(f"{label:32}", *(f"{cell:>16}" for cell in cells), flush=True)


async def timed_append(log: EventLog, rooms: int, busy: bool, size: int, *, ordered: bool) -> str:
    chance = random.Random(1)

    async def store() -> None:
        names = [f"r{chance.randrange(rooms)}" for _ in range(size)]
        await log.append([Append(name, "message", body(1), key(chance, ordered=ordered)) for name in names])

    await log.append([Append(f"r{n}", "message", body(n)) for n in range(rooms)])
    return micros(await timed_calls(store, busy=busy))


# --- read ---------------------------------------------------------------------------------------------------


def read(directory: str) -> None:
    print(f"\n{'read, p50 / p99 us':32} {'fetchall':>16} {'json array':>16}")
    plain = (
        "SELECT seq, at_ms, kind, body, target FROM events WHERE room = 1 AND seq > ? ORDER BY seq LIMIT ?"
    )
    array = sqlite._select_page(None, backward=False)
    with closing(database(directory, "normal")) as connection:
        connection.execute("INSERT INTO rooms (id, name, active_at_ms) VALUES (1, 'r', 1)")
        connection.execute("BEGIN")
        connection.executemany(ONE, ((1, n, 1, "message", None, body(n)) for n in range(1, 100_001)))
        connection.execute("COMMIT")
        chance = random.Random(1)
        for busy in (False, True):
            for size in (1, 50, 64):

                def by_fetchall(size: int = size) -> None:
                    rows = connection.execute(plain, (chance.randrange(99_000), size)).fetchall()
                    assert len([Event(*row) for row in rows]) == size

                def by_array(size: int = size) -> None:
                    values: dict[str, object] = {"room": "r"}
                    fetched = sqlite._fetch(
                        connection, array, values, chance.randrange(99_000), size, backward=False
                    )
                    assert len(list(fetched)) == size

                cells = [micros(timed(way, busy=busy)) for way in (by_fetchall, by_array)]
                label = f"{'busy' if busy else 'idle'}, page of {size}"
                print(f"{label:32}", *(f"{cell:>16}" for cell in cells), flush=True)


# --- big ----------------------------------------------------------------------------------------------------


async def big(directory: str, events: int) -> None:
    """One busy room, where each 1,000th event is a topic, beside 1,000 rooms with a hundred events each."""
    path = Path(tempfile.mkdtemp(dir=directory)) / "log.db"
    async with open_sqlite_log(path, sync="full") as log:
        written = written_bytes()
        times = await grow(log, events)
        written = written_bytes() - written
        print(f"\nbig: {events} events in batches of 100 over 11 rooms, full: {events / sum(times):.0f}/s,")
        print(f"  commits p50 / p99 {micros(times)} us, longest {max(times) * 1000:.0f} ms,")
        print(f"  {written / events:.0f} B written and {path.stat().st_size / events:.0f} B kept per event")
        await query(log, events)


async def grow(log: EventLog, events: int) -> list[float]:
    """Append ``events``; how long each batch of 100 took."""
    chance, times = random.Random(1), []
    for start in range(0, events, 100):
        batch = [
            Append("busy", "reacted" if n % 1000 else "topic", body(n), key(chance))
            for n in range(start, start + 90)
        ]
        batch += [Append(f"r{chance.randrange(1000)}", "message", body(n), key(chance)) for n in range(10)]
        began = time.perf_counter()
        await log.append(batch)
        times.append(time.perf_counter() - began)
    return times


async def query(log: EventLog, events: int) -> None:
    """Print how long each kind of question takes."""
    chance, unknown = random.Random(1), count()
    latest = functools.partial(log.read_before, "busy", None, 50)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "position, known room": lambda: log.position("busy"),
        "position, unknown room": lambda: log.position(f"x{next(unknown)}"),
        "read 50": lambda: log.read("busy", chance.randrange(events // 2), 50),
        "read 200": lambda: log.read("busy", chance.randrange(events // 2), 200),
        "read_before 50, latest": latest,
        "read_before 50, rare kind": lambda: latest(kinds=["topic"]),
        "read_before 50, two kinds": lambda: latest(kinds=["topic", "message"]),
        "read_before 50, absent kind": lambda: latest(kinds=["message"]),
        "rooms, 1000 of them": log.rooms,
    }
    for name, call in calls.items():
        print(f"  {name:30} {micros(await timed_calls(call, busy=False))} us", flush=True)


# --- trim ---------------------------------------------------------------------------------------------------


class Turns:
    """A log that is trimmed for half a second, left alone for half a second, and so on."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._began = time.perf_counter()
        self.steps: list[float] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def is_trimmed(self, at: float) -> bool:
        return int((at - self._began) * 2) % 2 == 1

    async def read(self, room: str, after: int, limit: int) -> list[Event]:
        if not self.is_trimmed(now := time.perf_counter()):
            await trio.sleep(0.5 - (now - self._began) % 0.5)
        return await self._log.read(room, after, limit)

    async def trim(self, room: str, through: int, limit: int, state: str | None = None) -> int:
        began = time.perf_counter()
        first = await self._log.trim(room, through, limit, state)
        self.steps.append(time.perf_counter() - began)
        return first


async def trim(directory: str, events: int) -> None:
    """With keys in the order of time and with random ones: how long appends take, meanwhile and otherwise."""
    for ordered in (True, False):
        path = Path(tempfile.mkdtemp(dir=directory)) / "log.db"
        chance = random.Random(1)
        async with open_sqlite_log(path, sync="full") as log:
            for start in range(0, events, 500):
                await log.append([message(chance, n, ordered=ordered) for n in range(start, start + 500)])
            turns, size, began = Turns(log), path.stat().st_size, time.perf_counter()
            retention = Retention(
                cast("EventLog", turns),
                lambda name: RoomPolicy(keep_events=10_000),
                lambda: time.time() + 86400,
                lambda room, first: None,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(retention.sweep)
                times = await paced_appends(log, nursery, chance, ordered=ordered)
            took = time.perf_counter() - began
        print(f"\ntrim: {events} events, {'ordered' if ordered else 'random'} keys; 500 appends/s, full")
        print(f"  left alone  {latencies([late for due, late in times if not turns.is_trimmed(due)])}")
        print(f"  trimmed     {latencies([late for due, late in times if turns.is_trimmed(due)])}")
        print(f"  a step      {latencies(turns.steps)}")
        print(f"  {retention.events} events removed in {took:.0f} s, half of them left alone;", end=" ")
        print(f"file {size >> 20} MiB, then {path.stat().st_size >> 20} MiB", flush=True)


def message(chance: random.Random, n: int, *, ordered: bool) -> Append:
    return Append("lobby", "message", body(n), key(chance, ordered=ordered))


async def paced_appends(
    log: EventLog, nursery: trio.Nursery, chance: random.Random, *, ordered: bool
) -> list[tuple[float, float]]:
    """When each of 500 appends a second was due and how long it took from then on, for as long as ``nursery``
    has something to do. What is due is stored together, as the hub does."""
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while nursery.child_tasks:
        due = [began + n / 500 for n in range(len(times), int((time.perf_counter() - began) * 500))]
        if due:
            await log.append([message(chance, n, ordered=ordered) for n in range(len(due))])
            times += [(each, time.perf_counter() - each) for each in due]
        await trio.sleep(max(0.0, began + (len(times) + 1) / 500 - time.perf_counter()))
    return times


def latencies(times: Sequence[float]) -> str:
    ranked = sorted(times)
    p50, p99 = (ranked[int(len(ranked) * part)] * 1000 for part in (0.5, 0.99))
    return f"p50 {p50:.2f}, p99 {p99:.2f}, longest {ranked[-1] * 1000:.1f} ms"


def written_bytes() -> int:
    """What this process has sent to the disk (Linux)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


# --- search -------------------------------------------------------------------------------------------------


async def search(directory: str, messages: int) -> None:
    """How long the first search takes, which makes the index, and others then, in 20 rooms."""
    chance = random.Random(1)
    usual = ["lunch", "today", "meeting", "release", "the", "and", "is", "好", "你好", "世界", "服务器"]
    words = usual * 20 + [f"w{chance.getrandbits(24):x}" for _ in range(5000)]
    path = Path(tempfile.mkdtemp(dir=directory)) / "log.db"
    async with open_sqlite_log(path, sync="normal") as log:
        for _ in range(0, messages, 500):
            texts = (" ".join(chance.choices(words, k=10)) for _ in range(500))
            said = (f'"user":{{"id":"u","name":"ann"}},"text":"{text}"}}' for text in texts)
            batch = [Append(f"r{chance.randrange(20)}", "message", each) for each in said]
            await log.append(batch)
        began, left = time.perf_counter(), True
        while left:
            with suppress(LogUnavailable):
                left = bool((await log.search("nothing-has-this", 1)).found)
        took = time.perf_counter() - began
        index = os.path.getsize(f"{path}.search")  # noqa: ASYNC240
        print(f"\nsearch: {messages} messages; the index is made in {took:.0f} s, {messages / took:.0f}/s,")
        print(f"  {path.stat().st_size >> 20} MiB of log, {index >> 20} MiB of index; 50 messages, us:")
        for text in ("lunch", "世界", "好", "e", words[-1], "lunch 世界", "nothing-has-this"):
            times = await timed_calls(functools.partial(log.search, text, 50), busy=False, runs=30)
            print(f"  {text:30} {micros(times)}", flush=True)


def main() -> None:
    parts: dict[str, Callable[[str], None]] = {
        "statements": statements,
        "append": lambda directory: trio.run(append, directory),
        "read": read,
        "big": lambda directory: trio.run(big, directory, 1_000_000),
        "trim": lambda directory: trio.run(trim, directory, 1_000_000),
        "search": lambda directory: trio.run(search, directory, 200_000),
    }
    parser = argparse.ArgumentParser(description="Measure the event log.")
    parser.add_argument("part", nargs="*", help=", ".join(parts))
    parser.add_argument("--dir", help="where to put the files; default: the temporary directory")
    arguments = parser.parse_args()
    if unknown := set(arguments.part) - parts.keys():
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        for name in arguments.part or parts:
            parts[name](directory)


if __name__ == "__main__":
    main()
