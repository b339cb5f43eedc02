"""The end of a server: a stop says goodbye to everybody in time, a cancellation leaves nothing, ever."""

import gc
import random
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import trio_chat
from trio_chat import door
from trio_chat.log import open_sqlite_log
from trio_chat.log.base import LogError

from .peers import (
    TEXT,
    Peer,
    Refused,
    ask,
    client_frame,
    connected,
    head,
    open_files,
    open_stream,
    read_all,
    serving,
    sqlite_url,
    until,
)

ROUNDS = 12


async def started(nursery: trio.Nursery, done: trio.Event, **settings: Any) -> trio_chat.Server:
    """A server of its own; ``done`` is set when `serve` has returned."""
    upgrade = settings.pop("upgrade", None)
    endpoints = settings.pop("endpoints", None)
    defaults: dict[str, Any] = {"port": 0, "log": "memory:", "rate": 0.0, "drain": 5.0, "max_per_ip": 1000}
    config = trio_chat.Config(**(defaults | settings))

    async def run(task_status: trio.TaskStatus[trio_chat.Server]) -> None:
        await trio_chat.serve(config, upgrade=upgrade, endpoints=endpoints, task_status=task_status)
        done.set()

    server: trio_chat.Server = await nursery.start(run)
    return server


# --- stopping --------------------------------------------------------------------------------------------


async def test_a_stop_says_goodbye_to_everybody() -> None:
    """Each chat client gets `bye` with a moment of its own to come back, everybody 1012; then it is over."""
    done = trio.Event()
    ends: list[tuple[list[dict[str, Any]], int, str]] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done)

            async def be_there(path: str, task_status: trio.TaskStatus[None]) -> None:
                async with connected(server, path) as peer:
                    task_status.started()
                    ends.append(await peer.ended())

            for number in range(30):
                await nursery.start(be_there, f"/ws?room=lobby&name=n{number}")
            for _ in range(5):
                await nursery.start(be_there, "/relay/x")
            begun = trio.current_time()
            server.stop()
            await done.wait()
            assert trio.current_time() - begun < 4
    assert [code for _, code, _ in ends] == [1012] * 35
    byes = [said[-1] for said, _, _ in ends if said]
    assert len(byes) == 30
    assert {bye["op"] for bye in byes} == {"bye"}
    assert {(bye["code"], bye["reason"]) for bye in byes} == {(1012, "the server restarts")}
    moments = {bye["retry_after"] for bye in byes}
    assert len(moments) > 20
    assert all(1.0 <= moment <= 3 for moment in moments)


async def test_while_it_drains_upgrades_are_503_and_readyz_is_red() -> None:
    """Requests that are under way, and connections that were accepted before, get their answers."""
    done = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done)
            async with connected(server) as stays, AsyncExitStack() as stack:
                streams = [await stack.enter_async_context(await open_stream(server)) for _ in range(4)]
                for stream in streams:
                    await stream.send_all(b"GET ")
                await until(lambda: server._open == 5)
                server.stop()
                assert (await stays.receive_until("bye"))["code"] == 1012
                answers = []
                for stream, path in zip(streams, ("/ws", "/relay/x", "/readyz", "/healthz"), strict=True):
                    await stream.send_all(head(path, upgrade=path in ("/ws", "/relay/x"))[4:])
                    data = await read_all(stream)
                    answers.append((data[9:12], b"Retry-After: 1\r\n" in data, b"draining" in data))
                assert answers == [
                    (b"503", True, False),
                    (b"503", True, False),
                    (b"503", False, True),
                    (b"200", False, False),
                ]
                await stays.closed()
            await done.wait()


async def test_an_upgrade_that_is_under_way_when_it_stops_is_over_in_time() -> None:
    """A client whose upgrade handler was still deciding gets its goodbye too, or a 503."""
    done = trio.Event()
    deciding = trio.Event()
    go_on = trio.Event()

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        deciding.set()
        await go_on.wait()
        return trio_chat.Accept()

    codes: list[int] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done, upgrade=upgrade, endpoints={"/open": _sleep})

            async def come() -> None:
                try:
                    async with connected(server) as peer:
                        codes.append((await peer.closed())[0])
                except Refused as refused:
                    codes.append(refused.answer.status)

            async with connected(server, "/open") as other:
                nursery.start_soon(come)
                await deciding.wait()
                server.stop()
                await until(lambda: server._door.closing)
                go_on.set()
                begun = trio.current_time()
                assert (await other.closed())[0] == 1012
            await done.wait()
            assert trio.current_time() - begun < 3
    assert codes in ([1012], [503])


async def _sleep(websocket: trio_chat.WebSocket) -> None:
    await trio.sleep_forever()


async def test_what_was_said_is_stored_before_the_goodbye(tmp_path: Path) -> None:
    """Everything that was sent before the stop is acknowledged or not stored; the ack comes before `bye`."""
    done = trio.Event()
    url = sqlite_url(tmp_path / "chat.db")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done, log=url)
            async with connected(server) as peer:
                await peer.join()
                say = client_frame(TEXT, b'{"op":"say","room":"lobby","text":"x"}')
                await peer.stream.send_all(say * 500)
                await peer.receive_until("ack")
                server.stop()
                said, code, _ = await peer.ended()
            await done.wait()
    assert code == 1012
    assert said[-1]["op"] == "bye"
    acknowledged = 1 + sum(frame["op"] == "ack" for frame in said)
    shown = [frame["seq"] for frame in said if frame["op"] == "message"]
    async with open_sqlite_log(tmp_path / "chat.db") as log:
        head_ = (await log.position("lobby")).head
    assert acknowledged == head_
    assert max(shown, default=1) <= head_


async def test_the_drain_s_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that read nothing, say nothing, or send slowly can't hold it up."""
    done = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done, drain=0.5)
            async with AsyncExitStack() as stack:
                peers = [await stack.enter_async_context(connected(server, "/relay/x")) for _ in range(5)]
                head_only = await stack.enter_async_context(await open_stream(server))
                await head_only.send_all(b"GET /ws HTTP/1.1\r\n")
                with trio.move_on_after(0.5):
                    while True:
                        await peers[0].send_frame(TEXT, b"x" * 60_000)
                begun = trio.current_time()
                server.stop()
                await done.wait()
                assert trio.current_time() - begun < 1.5


async def test_a_second_stop_changes_nothing() -> None:
    """And without clients it is over at once."""
    done = trio.Event()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            server = await started(nursery, done)
            server.stop()
            server.stop()
            await done.wait()
            server.stop()
            with pytest.raises(OSError, match=str(server.port)):
                await ask(server, "/healthz")


# --- cancelling --------------------------------------------------------------------------------------------


class Remains:
    """What a process has that a server might leave behind."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # what is there now need not be looked through again: tests before this one leave a lot
        self.files = open_files()
        self.tasks = trio.lowlevel.current_statistics().tasks_living
        # Trio keeps worker threads for the next one, asleep; they are no remains.
        self.threads = {t.name for t in threading.enumerate() if "Trio thread" not in t.name}

    def compare(self) -> None:
        """Nothing is there now that wasn't before."""
        now = Remains()
        assert {n: f for n, f in now.files.items() if n not in self.files} == {}
        assert now.tasks <= self.tasks
        assert now.threads <= self.threads


async def busy(server: trio_chat.Server, nursery: trio.Nursery, rng: random.Random) -> None:
    """Clients of every kind that talk, come and go until the server is gone."""

    async def forever(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, AssertionError, Refused):
                pass  # the server was cut off, or we were: that is what this is about
            await trio.lowlevel.checkpoint()

    async def talk() -> None:
        async with connected(server, f"/ws?room=r{rng.randrange(3)}&last=20") as peer:
            room = (await peer.receive_until("joined"))["room"]
            async with trio.open_nursery() as both:
                both.start_soon(_read, peer, both)
                for number in range(rng.randrange(1, 60)):
                    await peer.send("say", room=room, text="x" * rng.randrange(1, 3000), id=str(number))
                    if not rng.randrange(10):
                        await peer.send(rng.choice(["history", "who", "rooms", "typing"]), room=room)
                    await trio.lowlevel.checkpoint()
                if rng.random() < 0.3:
                    peer.reset()
                both.cancel_scope.cancel()

    async def relay() -> None:
        async with connected(server, "/relay/x") as peer:
            for _ in range(rng.randrange(40)):
                await peer.send_frame(2, b"x" * rng.randrange(20_000))
                if rng.random() < 0.7:
                    await peer.frame()

    async def visit() -> None:
        await ask(server, rng.choice(["/", "/metrics", "/nothing", "/readyz"]))

    async def half() -> None:
        async with await open_stream(server) as stream:
            await stream.send_all(head()[: rng.randrange(1, 100)])

    async def frozen() -> None:
        async with connected(server, "/ws?room=r0") as peer:
            await peer.stream.send_all(client_frame(TEXT, b'{"op":"history","room":"r0"}') * 300)
            await trio.sleep(rng.random())

    for work in (talk, talk, talk, talk, relay, relay, visit, half, frozen):
        nursery.start_soon(forever, work)


async def _read(peer: Peer, nursery: trio.Nursery) -> None:
    while await peer.frame() is not None:
        pass
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["cancel", "stop", "stop and cancel"])
async def test_nothing_is_left_whenever_it_ends(how: str, tmp_path: Path) -> None:
    """At random moments of a busy run: no task, thread or descriptor, and a log that is whole."""
    rng = random.Random(how)
    path = tmp_path / "chat.db"
    with trio.fail_after(120):
        async with open_sqlite_log(path) as log:  # so that Trio has its threads
            await log.position("r0")
        before = Remains()
        for _ in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                served = trio.Event()
                clients = trio.CancelScope()

                async def run(
                    scope: trio.CancelScope,
                    served: trio.Event,
                    task_status: trio.TaskStatus[trio_chat.Server],
                ) -> None:
                    config = trio_chat.Config(
                        port=0, log=sqlite_url(path), rate=0.0, drain=0.3, heartbeat=0.1, outbox=65536
                    )
                    with scope:
                        await trio_chat.serve(config, task_status=task_status)
                    served.set()

                async def be_busy(server: trio_chat.Server, clients: trio.CancelScope) -> None:
                    with clients:
                        async with trio.open_nursery() as nursery:
                            await busy(server, nursery, rng)

                server = await nursery.start(run, scope, served)
                nursery.start_soon(be_busy, server, clients)
                await trio.sleep(rng.random() * 0.3)
                if how != "cancel":
                    server.stop()
                    if how != "stop":
                        await trio.sleep(rng.random() * 0.3)
                if how != "stop":
                    scope.cancel()
                await served.wait()
                assert not server.connections
                assert server._open == 0
                assert server._door.places._taken == 0
                clients.cancel()
            before.compare()
            check_file(path)
        async with open_sqlite_log(path) as log:
            assert (await log.position("r0")).head > 0


def check_file(path: Path) -> None:
    """The file is sound, and every room without a hole."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        holes = database.execute(
            "SELECT room FROM events GROUP BY room HAVING min(seq) != 1 OR max(seq) != count(*)"
        ).fetchall()
        assert holes == []


async def test_cancelled_at_each_of_its_first_steps_it_leaves_nothing(tmp_path: Path) -> None:
    """From the first checkpoint of `serve` to the point where it serves, and a little beyond."""
    config = trio_chat.Config(port=0, log=sqlite_url(tmp_path / "chat.db"))
    with trio.fail_after(60):
        for steps in range(40):
            before = Remains()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio_chat.serve, config)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            before.compare()


async def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A port in use, a log that is none: an exception, and every descriptor closed."""
    not_a_log = tmp_path / "text"
    not_a_log.write_bytes(b"no database" * 1000)
    with trio.fail_after(30):
        async with serving() as server:
            before = Remains()
            for settings in (
                {"port": server.port, "log": sqlite_url(tmp_path / "chat.db")},
                {"log": sqlite_url(not_a_log)},
                {"tls_cert": str(not_a_log), "tls_key": str(not_a_log), "port": 0},
                {"unix": str(tmp_path / "none" / "socket")},
            ):
                with pytest.raises((OSError, LogError)):
                    await trio_chat.serve(trio_chat.Config(**({"log": "memory:"} | settings)))
            before.compare()


async def test_an_upgrade_handler_is_cancelled_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that waits for something is not waited for."""
    waiting, ended = trio.Event(), trio.Event()

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept | trio_chat.Reject:
        waiting.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    monkeypatch.setattr(door, "UPGRADE_SECONDS", 60)
    before = Remains()
    async with serving(upgrade=upgrade) as server:
        stream = await open_stream(server)
        await stream.send_all(head())
        await waiting.wait()
    await ended.wait()
    await stream.aclose()
    before.compare()
