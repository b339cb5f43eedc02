#!/usr/bin/env python3
"""Break a cluster at random under load, and check what it promised.

    scripts/cluster.py [--rounds 50] [--nodes 3] [--clients 12] [--rooms 2] [--seed N]

The nodes are real server processes with one log in a real redis-server (``appendonly yes``, ``appendfsync
always``), each behind a TCP proxy of this script. In each round one to three things go wrong, at random
moments and perhaps at the same time: a node or Redis is killed (``kill -9``) and started again, stopped for
a while (SIGSTOP), restarted politely (SIGTERM), or a node is cut off from Redis, its connections reset or
just silent. The clients come back by themselves, to any node: they join from the last ``seq`` that they
saw, and send again, with the same ``id``, what wasn't acknowledged or was refused as unavailable.

After each round everything is well again, and within `SETTLE_SECONDS` everybody has to have seen
everything. Then:

1. what was acknowledged is stored, where the ``ack`` said;
2. what was shown is stored, and the same, on every node;
3. every room's ``seq`` is 1, 2, 3, ... in Redis, and so was every client's view of it;
4. each ``id`` is stored exactly once.

Exit status 1 on any violation, 2 if there is no redis-server.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import coredis
import crash
import trio
from clusterlib.members import Member
from clusterlib.processes import Node, Proxy, Redis

SETTLE_SECONDS = 90.0
"""A stopped node's lease, a call's time limit, and a start on a busy machine, all after one another."""
LOAD_SECONDS = 2.0
"""Before and after what goes wrong."""


@attrs.define
class Cluster:
    """All of it, over all rounds."""

    redis: Redis
    nodes: list[Node]
    members: list[Member]
    rng: random.Random
    nursery: trio.Nursery
    violations: int = 0
    stored_events: int = 0
    verified: dict[str, int] = attrs.field(factory=dict)
    ids: set[str] = attrs.field(factory=set)
    happened: dict[str, int] = attrs.field(factory=dict)

    # --- faults ------------------------------------------------------------------------------------------

    async def kill_node(self, node: Node) -> None:
        """``kill -9``; it is started again at once."""
        node.kill()
        await trio.lowlevel.checkpoint()

    async def restart_node(self, node: Node) -> None:
        """SIGTERM: it drains; it is started again when it has ended."""
        node.terminate()
        await trio.lowlevel.checkpoint()

    async def stop_node(self, node: Node) -> None:
        """SIGSTOP, perhaps for longer than its lease."""
        node.stop()
        await trio.sleep(self.rng.choice((0.3, 2.0, 7.0, 13.0)) * self.rng.random())
        node.go_on()

    async def cut_node(self, node: Node) -> None:
        """No way between a node and Redis: connections are reset and refused."""
        node.proxy.refuse()
        await trio.sleep(6 * self.rng.random())
        node.proxy.heal()

    async def silence_node(self, node: Node) -> None:
        """Nothing gets through between a node and Redis; afterwards what was sent does, or is lost."""
        node.proxy.swallow()
        await trio.sleep(8 * self.rng.random())
        if self.rng.random() < 0.5:
            node.proxy.refuse()
        node.proxy.heal()

    async def kill_redis(self, _: Node) -> None:
        """``kill -9``; started again after a while."""
        self.redis.kill()
        await trio.sleep(2 * self.rng.random())
        await self.redis.start()

    async def stop_redis(self, _: Node) -> None:
        """SIGSTOP."""
        self.redis.stop()
        await trio.sleep(8 * self.rng.random())
        self.redis.go_on()

    # --- rounds ------------------------------------------------------------------------------------------

    async def round(self, number: int) -> None:
        """Load, faults, recovery, and the comparison."""
        kinds: list[Callable[[Node], Awaitable[None]]] = [
            self.kill_node, self.restart_node, self.stop_node, self.cut_node, self.silence_node,
        ]  # fmt: skip
        faults = [
            (self.rng.choice(kinds), node)
            for node in self.rng.sample(self.nodes, self.rng.choice((0, 1, 1, 2)))
        ]
        if not faults or self.rng.random() < 0.3:
            faults.append((self.rng.choice((self.kill_redis, self.stop_redis)), self.nodes[0]))
        before = sum(len(member.acknowledged) for member in self.members)
        began = trio.current_time()
        for member in self.members:
            member.speak()

        async def later(fault: Callable[[Node], Awaitable[None]], node: Node) -> None:
            await trio.sleep(LOAD_SECONDS * self.rng.random())
            await fault(node)

        async with trio.open_nursery() as nursery:
            for fault, node in faults:
                nursery.start_soon(later, fault, node)
        names = " + ".join(fault.__name__ for fault, _ in faults)
        for fault, _ in faults:
            self.happened[fault.__name__] = self.happened.get(fault.__name__, 0) + 1
        await trio.sleep(LOAD_SECONDS * self.rng.random())
        for member in self.members:
            member.pause()
        acknowledged = sum(len(member.acknowledged) for member in self.members) - before
        healed = trio.current_time()
        with trio.move_on_after(SETTLE_SECONDS) as settling:
            while not all(self._is_complete(member) for member in self.members):  # noqa: ASYNC110
                await trio.sleep(0.02)
        found = [] if not settling.cancelled_caught else self._missing()
        found += await self.compare()
        self.violations += len(found)
        print(
            f"round {number}: {names}; {acknowledged} acknowledged in {healed - began:.1f} s, complete after "
            f"{trio.current_time() - healed:.1f} s, {self.stored_events} stored: "
            f"{'ok' if not found else f'{len(found)} VIOLATIONS'}",
            flush=True,
        )
        for violation in found[:20]:
            print(f"    {violation}", flush=True)

    def _heads(self) -> dict[str, int]:
        heads: dict[str, int] = {}
        for member in self.members:
            for room, seq in member.cursors.items():
                heads[room] = max(seq, heads.get(room, 0))
        return heads

    def _is_complete(self, member: Member) -> bool:
        said = self.stored_events + sum(len(each.acknowledged) for each in self.members)
        heads = self._heads()
        return not member.unacknowledged and member.cursors == heads and sum(heads.values()) >= said

    def _missing(self) -> list[str]:
        heads = self._heads()
        return [
            f"{member.name} on {member.where} is not complete: {len(member.unacknowledged)} unacknowledged, "
            f"at {member.cursors} of {heads}"
            for member in self.members
            if not self._is_complete(member)
        ]

    async def compare(self) -> list[str]:
        """What the clients know and Redis doesn't, or otherwise; then all that was well is forgotten."""
        stored, found = await self._read()
        found += crash.compare(list(self.members), stored)
        for member in self.members:
            member.forget()
        self.stored_events += len(stored)
        return found

    async def _read(self) -> tuple[crash.Stored, list[str]]:
        """What was stored since the last time, and what is wrong with it by itself."""
        stored: crash.Stored = {}
        found: list[str] = []
        async with coredis.Redis(host="127.0.0.1", port=self.redis.port, decode_responses=True) as redis:
            for room in self.members[0].rooms:
                seq = self.verified.get(room, 0)
                for entry in await redis.xrange(f"trio_chat:{{{room}}}:events", str(seq + 1), "+"):
                    seq += 1
                    (body, *_) = entry.field_values.values()
                    event = json.loads("{" + body)
                    if int(entry.identifier.split("-")[0]) != seq:
                        found.append(f"Redis has {entry.identifier} of {room} where {seq} is due")
                    if event["id"] in self.ids:
                        found.append(f"{event['id']} is stored twice")
                    self.ids.add(event["id"])
                    stored[room, seq] = event["id"], event["text"]
                self.verified[room] = seq
        return stored, found


async def run(options: argparse.Namespace, directory: Path) -> int:
    """All rounds; the exit status."""
    rng = random.Random(options.seed)
    rooms = [f"room-{number}" for number in range(options.rooms)]
    begun = time.monotonic()
    async with trio.open_nursery() as nursery:
        redis = Redis(directory / "redis")
        await redis.start()
        nodes = [Node(number, directory, Proxy(redis.port)) for number in range(options.nodes)]
        try:
            for node in nodes:
                await nursery.start(node.proxy.run)
                await nursery.start(node.run)
            members = [
                Member(f"c{number}", rooms[number % len(rooms)], rooms, True, random.Random(rng.random()))
                for number in range(options.clients)
            ]
            cluster = Cluster(redis, nodes, members, rng, nursery)
            for member in members:
                nursery.start_soon(partial(member.live, nodes))
            for number in range(1, options.rounds + 1):
                await cluster.round(number)
        finally:
            nursery.cancel_scope.cancel()
            for node in nodes:
                node.kill()
            redis.kill()
    tracebacks = sum(node.errors.read_bytes().count(b"Traceback") for node in nodes)
    cluster.violations += tracebacks
    print(
        f"{options.rounds} rounds in {time.monotonic() - begun:.0f} s (seed {options.seed}): "
        f"{cluster.stored_events} events, {sum(member.seen for member in members)} shown, "
        f"{sum(member.resent for member in members)} sent again, "
        f"{sum(member.refused for member in members)} refused as unavailable, "
        f"{sum(member.returns for member in members)} returns, {tracebacks} tracebacks, "
        f"{cluster.violations} violations; {cluster.happened}"
    )
    return 1 if cluster.violations else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often things go wrong (%(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="server processes (%(default)s)")
    parser.add_argument(
        "--clients", type=int, default=12, help="clients, everybody on any node (%(default)s)"
    )
    parser.add_argument("--rooms", type=int, default=2, help="rooms; everybody is in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to repeat a run's choices")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this directory")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.clients, options.rooms, options.nodes) < 1:
        parser.error("--rounds, --nodes, --clients, --rooms: 1 or more")
    if shutil.which("redis-server") is None:
        print("cluster.py: there is no redis-server here", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="trio-chat-cluster-") as temporary:
        directory = options.keep or Path(temporary)
        directory.mkdir(exist_ok=True, parents=True)
        return trio.run(run, options, directory)


if __name__ == "__main__":
    sys.exit(main())
