"""Many nodes that share a log, in virtual time: the real server above a stand-in for Redis.

``CLUSTER_NODES=100`` in the environment makes a hundred of them, which takes a minute for each test.
"""

import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trio_chat.testing import MemoryServer, open_memory_server

from .shared_log import NodeLog, Store
from .talk import Client, client, config

NODES = int(os.environ.get("CLUSTER_NODES", "20"))


@asynccontextmanager
async def cluster(
    count: int, rng: random.Random
) -> AsyncIterator[tuple[Store, list[NodeLog], list[MemoryServer]]]:
    """So many nodes with one store."""
    store = Store()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        logs, servers = [], []
        for number in range(count):
            log = NodeLog(store, f"node-{number}", rng)
            nursery.start_soon(log.run)
            logs.append(log)
            servers.append(await stack.enter_async_context(open_memory_server(config(), log=log, rng=rng)))
        yield store, logs, servers
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def everybody(servers: list[MemoryServer]) -> AsyncIterator[list[Client]]:
    """A client of each node, all in the lobby, which know of each other."""
    async with AsyncExitStack() as stack:
        people = []
        for number, server in enumerate(servers):
            people.append(await stack.enter_async_context(client(server, f"/ws?name=c{number}")))
            await people[-1].join()
        await trio.sleep(5)
        yield people


async def say_until_stored(person: Client, text: str, name: str) -> None:
    while (await person.ask("say", room="lobby", text=text, id=name))["op"] == "error":  # noqa: ASYNC110
        await trio.sleep(0.5)


@pytest.mark.parametrize("seed", range(3))
async def test_many_nodes_are_one_room(autojump_clock: MockClock, seed: int) -> None:
    """A client of each node says things while nodes are cut off and come back: all see everything once,
    in one order, and in the end everybody is known to be there."""
    rng = random.Random(seed)
    async with cluster(NODES, rng) as (store, logs, servers), everybody(servers) as people:
        assert {server.hub.rooms["lobby"].count for server in servers} == {NODES}

        async def talk(number: int, person: Client) -> None:
            for turn in range(3):
                await trio.sleep(rng.uniform(0, 20))
                await say_until_stored(person, f"{number}-{turn}", f"m{number}-{turn}")

        async def trouble() -> None:
            for _ in range(30):
                await trio.sleep(rng.uniform(0, 1))
                log = rng.choice(logs)
                if not log.cut:
                    log.cut_off()
                    await trio.sleep(rng.uniform(0, 2))
                    await log.heal()

        async with trio.open_nursery() as nursery:
            for number, person in enumerate(people):
                nursery.start_soon(talk, number, person)
            for _ in range(3):
                nursery.start_soon(trouble)
        await trio.sleep(30)
        position = await store.log.position("lobby")
        assert position.head == 3 * NODES
        seen = [
            [(frame["seq"], frame["text"]) for frame in await person.events(3 * NODES)] for person in people
        ]
        assert [seq for seq, _ in seen[0]] == list(range(1, 3 * NODES + 1))
        assert all(each == seen[0] for each in seen)
        assert len({text for _, text in seen[0]}) == 3 * NODES
        assert {server.hub.rooms["lobby"].count for server in servers} == {NODES}
        assert not any(frame["op"] == "gap" for person in people for frame in person.heard)


async def test_what_a_room_costs_a_cluster(autojump_clock: MockClock) -> None:
    """An event goes to each node that has members in its room, once, and to no other."""
    rng = random.Random(1)
    async with cluster(20, rng) as (store, _, servers), everybody(servers[:5]) as people:
        before = store.notices
        for _ in range(10):
            await people[0].say("hello")
        assert store.notices - before == 10 * 4
