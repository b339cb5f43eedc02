#!/usr/bin/env python3
"""Kill a chat server at random moments under load, start it again, and check what it promised.

    scripts/crash.py [--rounds 50] [--clients 12] [--rooms 2] [--seed N]

The server is a real process with a SQLite log and ``--sync full``; it is ended with SIGKILL. The clients come
back by themselves: they join from the last ``seq`` that they saw, and send again, with the same ``id``, what
wasn't acknowledged. Half of them come back with their resume token, the others by name only.

After each round the file is compared with what the clients know:

1. what was acknowledged is stored, where the ``ack`` said;
2. what was shown is stored, and the same;
3. every room's ``seq`` is 1, 2, 3, ... in the file, and so was every client's view of it;
4. each ``id`` is stored at most once, and in the end exactly once.

By name only, a guest is somebody new, whom the server recognises by what it sends again among a room's last
256 messages: with more than 32 clients in a room that is no promise any more, and shows as violations of 4.

Exit status 1 on any violation.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import attrs
import trio
import trio_websocket

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
"""How long a server may take to start, and clients to see that it is gone."""
SHORTEST, LONGEST = 0.01, 1.2
"""Seconds of load in a round. Short ones hit the clients' coming back."""
WINDOW = 8
"""Messages that one client leaves unacknowledged."""

Stored = dict[tuple[str, int], tuple[str, str]]
"""What the file has at a room and ``seq``: the message's id and text."""


@attrs.define(eq=False)
class Client:
    """One guest, over all its connections."""

    name: str
    room: str
    rooms: list[str]
    by_token: bool
    rng: random.Random
    unacknowledged: dict[str, str] = attrs.field(factory=dict)
    """Text by id, in the order in which it was said."""
    acknowledged: dict[str, int] = attrs.field(factory=dict)
    shown: Stored = attrs.field(factory=dict)
    violations: list[str] = attrs.field(factory=list)
    resent: int = 0
    duplicates: int = 0
    """Acknowledged as stored before the crash."""
    token: str | None = None
    cursors: dict[str, int] = attrs.field(factory=dict)
    epochs: dict[str, str] = attrs.field(factory=dict)
    on_frame: Callable[[], None] = attrs.field(default=lambda: None)
    _said: int = 0
    _heads: dict[str, int] = attrs.field(factory=dict)
    _space: trio.Event = attrs.field(factory=trio.Event)
    _opening: trio.CancelScope | None = None

    async def talk(self, url: str, stop: trio.Event) -> None:
        """Come (back), resend, and say things until the connection is lost; after ``stop`` nothing new."""
        with trio.CancelScope() as self._opening:
            await self._talk(url, stop)

    def give_up(self) -> None:
        """The server is gone: trio-websocket waits a minute for an answer to its handshake all the same."""
        if self._opening is not None:
            self._opening.cancel()

    async def _talk(self, url: str, stop: trio.Event) -> None:
        try:
            async with trio_websocket.open_websocket_url(
                f"{url.replace('http', 'ws', 1)}/ws", max_message_size=1 << 24
            ) as websocket:
                self._opening = None
                await self._enter(websocket)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, websocket, nursery.cancel_scope)
                    for message_id, text in list(self.unacknowledged.items()):
                        self.resent += 1
                        await self._send(websocket, op="say", id=message_id, room=self.room, text=text)
                    while not stop.is_set():
                        while len(self.unacknowledged) >= WINDOW:
                            self._space = trio.Event()
                            await self._space.wait()
                        self._said += 1
                        message_id = f"{self.name}-{self._said}"
                        text = f"{message_id} {'x' * self.rng.randrange(1, 400)}"
                        self.unacknowledged[message_id] = text
                        await self._send(websocket, op="say", id=message_id, room=self.room, text=text)
        except* (OSError, trio.BrokenResourceError, trio_websocket.ConnectionClosed):
            pass  # killed: that is what this is about
        except* trio_websocket.HandshakeError:
            pass

    async def _send(self, websocket: trio_websocket.WebSocketConnection, **operation: object) -> None:
        await websocket.send_message(json.dumps(operation))

    async def _receive(self, websocket: trio_websocket.WebSocketConnection) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(await websocket.get_message()))

    async def _enter(self, websocket: trio_websocket.WebSocketConnection) -> None:
        resume = {"resume": self.token} if self.by_token and self.token else {}
        await self._send(websocket, op="hello", name=self.name, **resume)
        for room in self.rooms:
            position = {"since": self.cursors.get(room, 0)}
            epoch = {"epoch": self.epochs[room]} if room in self.epochs else {}
            await self._send(websocket, op="join", room=room, **position, **epoch)
        waiting = set(self.rooms)
        while waiting:
            frame = await self._receive(websocket)
            if frame["op"] == "welcome":
                self.token = frame["session"]
                if frame["user"]["name"] != self.name:
                    self.violations.append(f"{self.name} came back as {frame['user']['name']}")
            elif frame["op"] == "joined":
                waiting.discard(frame["room"])
                self._joined(frame)
            else:
                self._take(frame)

    def _joined(self, frame: dict[str, Any]) -> None:
        room, cursor = frame["room"], self.cursors.setdefault(frame["room"], 0)
        known = self.epochs.setdefault(room, frame["epoch"])
        if frame["epoch"] != known or not frame["recovered"] or frame["head"] < cursor:
            self.violations.append(f"{self.name} at {cursor} of {room} was answered {frame}")

    async def _listen(self, websocket: trio_websocket.WebSocketConnection, scope: trio.CancelScope) -> None:
        try:
            while True:
                self._take(await self._receive(websocket))
        except trio_websocket.ConnectionClosed:
            scope.cancel()

    def _take(self, frame: dict[str, Any]) -> None:
        self.on_frame()
        match frame["op"]:
            case "message":
                room, seq = frame["room"], frame["seq"]
                if seq != self.cursors[room] + 1:
                    self.violations.append(f"{self.name} saw {room} {seq} after {self.cursors[room]}")
                self.cursors[room] = seq
                self.shown[room, seq] = frame["id"], frame["text"]
            case "ack":
                message_id, seq = frame["re"], frame["seq"]
                self.unacknowledged.pop(message_id, None)
                if seq <= self._heads.get(self.room, 0):
                    self.duplicates += 1
                if self.acknowledged.setdefault(message_id, seq) != seq:
                    self.violations.append(f"{message_id} was acknowledged as two events")
                self._space.set()
            case "error" | "gap" | "bye":
                self.violations.append(f"{self.name} was told {frame}")

    def remember(self, heads: dict[str, int]) -> None:
        """What the file had when the server was killed."""
        self._heads = heads


def read_file(path: Path) -> tuple[Stored, list[str]]:
    """What is stored, and what is wrong with the file by itself."""
    violations: list[str] = []
    with closing(sqlite3.connect(path)) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            violations.append(f"the file is damaged: {sound}")
        rows = database.execute(
            "SELECT name, seq, body FROM events JOIN rooms ON rooms.id = room ORDER BY name, seq"
        ).fetchall()
    stored: Stored = {}
    for room, seq, body in rows:
        event = json.loads("{" + body)
        if seq != 1 and (room, seq - 1) not in stored:
            violations.append(f"the file has {room} {seq} without the one before")
        stored[room, seq] = event["id"], event["text"]
    for message_id, count in Counter(message_id for message_id, _ in stored.values()).items():
        if count > 1:
            places = [place for place, (found, _) in stored.items() if found == message_id]
            violations.append(f"{message_id} is stored {count} times: {places}")
    return stored, violations


def compare(clients: list[Client], stored: Stored) -> list[str]:
    """What the clients know and the file doesn't."""
    violations: list[str] = []
    for client in clients:
        violations += client.violations
        client.violations = []
        for message_id, seq in client.acknowledged.items():
            if stored.get((client.room, seq), ("", ""))[0] != message_id:
                violations.append(f"{message_id} was acknowledged as {client.room} {seq}: not there")
        for place, event in client.shown.items():
            if stored.get(place) != event:
                violations.append(f"{client.name} was shown {place} {event[0]}: not stored like that")
    return violations


def heads_of(stored: Stored) -> dict[str, int]:
    """The last ``seq`` of each room."""
    heads: dict[str, int] = {}
    for room, seq in stored:
        heads[room] = max(seq, heads.get(room, 0))
    return heads


@asynccontextmanager
async def serving(path: Path, errors: Path) -> AsyncIterator[tuple[trio.Process, str]]:
    """A server process on a port that the system chooses; it is killed at the end."""
    command = [sys.executable, "-m", "trio_chat", "--port", "0", "--log", f"sqlite:///{path}"]
    options = ["--sync", "full", "--rate", "0", "--max-per-ip", "10000"]
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TRIO_CHAT_")}
    with errors.open("ab") as stderr:
        process = await trio.lowlevel.open_process(
            command + options, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=mine
        )
    try:
        assert process.stdout is not None
        line = b""
        with trio.move_on_after(START_SECONDS):
            while not line.endswith(b"\n"):
                more = await process.stdout.receive_some()
                if not more:
                    break
                line += more
        if not line.startswith(b"trio_chat serving on "):
            with errors.open() as told:
                raise SystemExit(f"the server didn't start: {told.read()[-2000:]}")
        yield process, line.decode().split()[-1]
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@attrs.define
class Run:
    """All rounds of one call."""

    clients: list[Client]
    path: Path
    errors: Path
    rng: random.Random
    violations: int = 0
    _progress: trio.Event = attrs.field(factory=trio.Event)

    def progress(self) -> None:
        """Some client has learnt something."""
        self._progress.set()

    async def round(self, number: int) -> None:
        """Start, load, kill, and check."""
        before = sum(len(client.acknowledged) for client in self.clients)
        resent = sum(client.resent for client in self.clients)
        duplicates = sum(client.duplicates for client in self.clients)
        seconds = SHORTEST * (LONGEST / SHORTEST) ** self.rng.random()
        with trio.fail_after(2 * START_SECONDS):
            async with trio.open_nursery() as nursery, serving(self.path, self.errors) as (process, url):
                for client in self.clients:
                    nursery.start_soon(client.talk, url, trio.Event())
                await trio.sleep(seconds)
                process.kill()
                for client in self.clients:
                    client.give_up()
        stored, found = read_file(self.path)
        self._tell(
            f"round {number}: killed after {seconds:.2f} s, "
            f"{sum(len(client.acknowledged) for client in self.clients) - before} acknowledged, "
            f"{sum(client.resent for client in self.clients) - resent} sent again, "
            f"{sum(client.duplicates for client in self.clients) - duplicates} of them stored before, "
            f"{sum(len(client.unacknowledged) for client in self.clients)} open, {len(stored)} stored",
            found + compare(self.clients, stored),
        )
        for client in self.clients:
            client.remember(heads_of(stored))

    async def finish(self) -> None:
        """Start once more, and let everybody come to the end: everything said is there, and was seen."""
        stop = trio.Event()
        stop.set()
        with trio.fail_after(START_SECONDS):
            async with trio.open_nursery() as nursery, serving(self.path, self.errors) as (_, url):
                for client in self.clients:
                    nursery.start_soon(client.talk, url, stop)
                while not all(self._has_all(client) for client in self.clients):
                    self._progress = trio.Event()
                    await self._progress.wait()
        stored, found = read_file(self.path)
        said = sum(len(client.acknowledged) for client in self.clients)
        if len(stored) != said:
            found.append(f"{said} messages were said, {len(stored)} are stored")
        if b"Traceback" in self.errors.read_bytes():
            found.append("the server's log has a traceback")
        self._tell(
            "at the end: everything said is acknowledged and seen", found + compare(self.clients, stored)
        )

    def _has_all(self, client: Client) -> bool:
        heads: dict[str, int] = {}
        for each in self.clients:
            for room, seq in each.cursors.items():
                heads[room] = max(seq, heads.get(room, 0))
        everything = sum(len(each.acknowledged) for each in self.clients)
        return not client.unacknowledged and client.cursors == heads and sum(heads.values()) >= everything

    def _tell(self, text: str, found: list[str]) -> None:
        self.violations += len(found)
        print(f"{text}: {'ok' if not found else f'{len(found)} VIOLATIONS'}", flush=True)
        for violation in found[:20]:
            print(f"    {violation}", flush=True)


async def run(options: argparse.Namespace, directory: Path) -> int:
    """All rounds; the exit status."""
    rng = random.Random(options.seed)
    rooms = [f"room-{number}" for number in range(options.rooms)]
    clients = [
        Client(
            name=f"c{number}",
            room=rooms[number // 2 % len(rooms)],
            rooms=rooms,
            by_token=number % 2 == 0,
            rng=random.Random(rng.random()),
        )
        for number in range(options.clients)
    ]
    all_rounds = Run(clients, directory / "chat.db", directory / "stderr.txt", rng)
    for client in clients:
        client.on_frame = all_rounds.progress
    begun = time.monotonic()
    for number in range(1, options.rounds + 1):
        await all_rounds.round(number)
    await all_rounds.finish()
    by_token = sum(client.resent for client in clients if client.by_token)
    by_name = sum(client.resent for client in clients if not client.by_token)
    print(
        f"{options.rounds} kills in {time.monotonic() - begun:.0f} s (seed {options.seed}): "
        f"{sum(len(client.acknowledged) for client in clients)} acknowledged, "
        f"{sum(len(client.shown) for client in clients)} shown, "
        f"{by_token} sent again by token and {by_name} by name "
        f"({sum(client.duplicates for client in clients)} had been stored), "
        f"{all_rounds.violations} violations"
    )
    return 1 if all_rounds.violations else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often to kill (%(default)s)")
    parser.add_argument("--clients", type=int, default=12, help="half come back by token (%(default)s)")
    parser.add_argument("--rooms", type=int, default=2, help="rooms; everybody is in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to repeat a run's choices")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.clients, options.rooms) < 1:
        parser.error("--rounds, --clients, --rooms: 1 or more")
    with tempfile.TemporaryDirectory(prefix="trio-chat-crash-") as directory:
        return trio.run(run, options, Path(directory))


if __name__ == "__main__":
    sys.exit(main())
