"""Plays the transcripts of docs/protocol.md against the real server, as the page's introduction defines them.

A step is a line of the block: what a client sends (``>``), what it is sent (``<``), or what else happens
(``*``). Nothing that the server sends may be missing, but for signals.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio_websocket

import trio_chat
from trio_chat.chat import schema
from trio_chat.log.base import Append, Appended, EventLog, LogUnavailable
from trio_chat.log.memory import open_memory_log
from trio_chat.testing import MemoryClient, MemoryServer, open_memory_server

SIGNALS = ("presence", "typing", "count", "read", "invited")
ANY_NUMBER = ("at", "until", "expires_at", "retry_after")
MORE = "…"

_GIVEN_AS = {"before": "next", "resume": "session", "invitation": "token"}
"""What the server calls what a client sends so."""
_LINE = re.compile(r"(?:(\w+) ?)?([<>]) (.*)", re.DOTALL)


@attrs.frozen
class Step:
    """``kind``: ``>``, ``<`` or ``*``; ``client``: who, in the first two kinds."""

    kind: str
    client: str
    text: str


def parse(text: str) -> list[Step]:
    """The steps of a transcript. A line that begins with a space continues the one before."""
    steps = []
    for line in re.sub(r"\n\s+", "", text.rstrip()).split("\n"):
        if line.startswith("* "):
            steps.append(Step("*", "", line[2:]))
            continue
        found = _LINE.fullmatch(line)
        assert found is not None, f"what is {line!r}?"
        steps.append(Step(found[2], found[1] or "", found[3]))
    return steps


class BreakableLog:
    """A log whose disk can be full."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.secret = log.secret
        self.full = False

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        if self.full:
            raise LogUnavailable("trio-chat.db: the disk is full")
        return await self._log.append(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Valve(trio.abc.Stream):
    """The server's end of a client's stream; nothing gets out while it is shut."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.open = trio.Event()
        self.open.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.open.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.open.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Talker:
    """A client of a transcript: what it was sent and not yet shown."""

    def __init__(self) -> None:
        self.valve: Valve
        self.client: MemoryClient
        self.relay = False
        self.seqs: dict[str, int] = {}
        self._send, self._frames = trio.open_memory_channel[str | int](100_000)

    def wrap(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        self.valve = Valve(stream)
        return self.valve

    async def read(self) -> None:
        """Collect what comes, the close code last."""
        while True:
            try:
                message = await self.client.websocket.get_message()
            except trio_websocket.ConnectionClosed as error:
                await self._send.send(error.reason.code if error.reason is not None else 1006)
                return
            await self._send.send(str(message))

    async def next(self) -> str | int:
        """The next frame, or the close code."""
        with trio.fail_after(30):
            frame = await self._frames.receive()
        if isinstance(frame, str) and not self.relay:
            self._check_seq(msgspec.json.decode(frame))
        return frame

    def _check_seq(self, fields: dict[str, Any]) -> None:
        """Room events have no holes."""
        room = fields.get("room", "")
        if fields["op"] == "joined":
            self.seqs.pop(room, None)
        elif fields["op"] == "gap":
            self.seqs[room] = fields["to"]
        elif "seq" in fields and "at" in fields and fields["op"] != "ack":
            assert fields["seq"] == self.seqs.get(room, fields["seq"] - 1) + 1
            self.seqs[room] = fields["seq"]

    def left_over(self) -> list[str | int]:
        """What was sent and isn't shown, but for signals."""
        found: list[str | int] = []
        while True:
            try:
                frame = self._frames.receive_nowait()
            except trio.WouldBlock:
                return found
            if not (isinstance(frame, str) and not self.relay and _op(frame) in SIGNALS):
                found.append(frame)


def _op(frame: str) -> object:
    return msgspec.json.decode(frame)["op"]


class Player:
    """Plays one transcript on a server of its own."""

    def __init__(self, server: MemoryServer, log: BreakableLog, stack: AsyncExitStack, nursery: trio.Nursery):
        self._server = server
        self._log = log
        self._stack = stack
        self._nursery = nursery
        self._talkers: dict[str, Talker] = {}
        self._given: dict[str, Any] = {}
        self._ids: dict[str, str] = {}

    async def play(self, steps: list[Step]) -> None:
        """All steps; at the end nothing that the server sent may be left."""
        if not any(
            re.match(r"\w+ connects to|[\w, ]+ (is|are) in |\w+ has created ", step.text)
            for step in steps
            if step.kind == "*"
        ):
            await self._connect("", "/ws")
        for step in steps:
            try:
                await self._play(step)
            except (Exception, trio.Cancelled) as error:
                error.add_note(f"at {step.kind} {step.text}")
                raise
        await trio.sleep(1)
        for name, talker in self._talkers.items():
            assert talker.left_over() == [], f"{name or 'the client'} was sent more than is shown"

    def _talker(self, name: str) -> Talker:
        """The client called so; without a name, the only one."""
        return next(iter(self._talkers.values())) if not name else self._talkers[name]

    async def _play(self, step: Step) -> None:
        if step.kind == "*":
            await self._happen(step.text)
        elif step.kind == ">":
            text = step.text if self._talker(step.client).relay else self._filled(step.text)
            await self._talker(step.client).client.websocket.send_message(text)
        elif self._talker(step.client).relay:
            assert await self._talker(step.client).next() == step.text
        elif step.text != MORE:
            await self._expect(step)

    # --- what a client sends and is sent ---------------------------------------------------------------

    def _filled(self, text: str) -> str:
        """A line to send, with the values that the server gave before in place of ``…``."""
        fields = msgspec.json.decode(text)
        for name, value in fields.items():
            if value == "…":
                fields[name] = self._given[_GIVEN_AS.get(name, name)]
            elif isinstance(value, str) and (someone := re.fullmatch(r"(\w+)'s id", value)):
                fields[name] = self._ids[someone[1]]
        return text if "…" not in text and "'s id" not in text else msgspec.json.encode(fields).decode()

    async def _expect(self, step: Step) -> None:
        shown = msgspec.json.decode(step.text)
        skip = self._skips(step)
        while True:
            frame = await self._talker(step.client).next()
            assert isinstance(frame, str), f"closed with {frame}"
            fields = msgspec.json.decode(frame)
            if fields["op"] in SIGNALS and fields["op"] != shown["op"]:
                continue
            if skip and (fields["op"] != shown["op"] or ("seq" in shown and not _alike(shown, fields))):
                assert fields["op"] == "message", f"{frame} is not one of the messages left out"
                continue
            break
        assert _alike(shown, fields), f"sent was {frame}"
        assert _keys(shown) == _keys(fields), f"the fields stand in another order: {frame}"
        self._given |= fields

    def _skips(self, step: Step) -> bool:
        return step in self._after_more

    _after_more: frozenset[Step] = frozenset()

    def leave_out(self, steps: list[Step]) -> None:
        """Note which steps come after a line of ``…``."""
        self._after_more = frozenset(
            step for before, step in pairwise(steps) if before.kind == "<" and before.text == MORE
        )

    # --- what else happens -----------------------------------------------------------------------------

    async def _happen(self, text: str) -> None:
        for pattern, method in self._EVENTS:
            found = re.fullmatch(pattern, text)
            if found is not None:
                await method(self, *found.groups())
                return
        pytest.fail(f"nobody knows how to make this happen: {text}")

    async def _connect(self, name: str, path: str) -> None:
        name = "" if name == "the client" else name
        talker = self._talkers[name] = Talker()
        talker.relay = path.startswith("/relay/")
        talker.client = await self._stack.enter_async_context(self._server.connect(path, wrap=talker.wrap))
        self._nursery.start_soon(talker.read)

    async def _cannot_connect(self, name: str, path: str, status: str) -> None:
        with pytest.raises(trio_websocket.ConnectionRejected) as refused:
            async with self._server.connect(path):
                pass
        assert refused.value.status_code == int(status)

    async def _are_in(self, names: str, room: str) -> None:
        for name in re.split(r", | and ", names):
            await self._connect(name, f"/ws?name={name}&room={room}")
            frame = await self._talkers[name].next()
            assert isinstance(frame, str)
            assert _op(frame) == "joined"
            self._ids[name] = msgspec.json.decode(frame)["user"]["id"]

    async def _created(self, name: str, kind: str, room: str) -> None:
        await self._connect(name, f"/ws?name={name}")
        for op, fields in (("create", {"room": room, "kind": kind}), ("join", {"room": room})):
            await self._talkers[name].client.send(op, **fields)
            frame = await self._talkers[name].next()
            assert isinstance(frame, str)
        self._ids[name] = msgspec.json.decode(frame)["user"]["id"]

    async def _joins(self, name: str, room: str) -> None:
        await self._talkers[name].client.send("join", room=room)
        frame = await self._talkers[name].next()
        assert isinstance(frame, str)
        assert _op(frame) == "joined"

    async def _lost(self, name: str) -> None:
        talker = self._talkers.pop("" if name == "the" else name.removesuffix("'s"))
        await trio.sleep(0.5)
        assert talker.left_over() == []
        await trio.aclose_forcefully(talker.client.stream)
        await trio.sleep(0.5)

    async def _is_closed(self, name: str, code: str) -> None:
        assert await self._talker("" if name == "the connection" else name).next() == int(code)

    async def _stops_reading(self, name: str) -> None:
        self._talkers[name].valve.open = trio.Event()

    async def _reads_again(self, name: str) -> None:
        self._talkers[name].valve.open.set()

    async def _has_said(self, name: str, texts: str, room: str) -> None:
        async with self._server.hub.join(room, name=name) as local:
            for text in re.findall(r'"(.*?)"', texts):
                await local.say(text)

    async def _has_deleted(self, name: str, seq: str, room: str) -> None:
        (found,) = await self._log.read(room, int(seq) - 1, 1)
        user = msgspec.json.decode("{" + found.body, type=schema.MessageBody).user
        async with self._server.hub.join(room, user=user) as local:
            assert local.user.name == name
            await local.delete(int(seq))

    async def _many_said(self, count: str, size: str, room: str) -> None:
        async with self._server.hub.join(room, name="carol") as local:
            for _ in range(int(count)):
                await local.say("x" * int(size.replace(",", "")))

    async def _crowd(self, count: str, room: str) -> None:
        for _ in range(int(count)):
            await self._stack.enter_async_context(self._server.hub.join(room, name="somebody"))

    async def _trimmed(self, room: str, last: str) -> None:
        self._server.hub.trimmed(room, await self._log.trim(room, int(last), 1000))

    async def _full(self) -> None:
        self._log.full = True

    async def _stopped(self) -> None:
        self._server.server.stop()

    async def _pass(self, seconds: str) -> None:
        await trio.sleep(int(seconds))

    _EVENTS: tuple[tuple[str, Callable[..., Any]], ...] = (
        (r"(the client|\w+) connects to (\S+)", _connect),
        (r"(\w+) connects to (\S+) and gets ([0-9]+)", _cannot_connect),
        (r"([\w, ]+?) (?:is|are) in ([\w-]+)", _are_in),
        (r"(\w+) has created the (\w+) room ([\w-]+)", _created),
        (r"(\w+) joins ([\w-]+)", _joins),
        (r"(the|\w+'s) connection is lost", _lost),
        (r"(the connection|\w+) is closed with ([0-9]+)", _is_closed),
        (r"(\w+) stops reading", _stops_reading),
        (r"(\w+) reads again", _reads_again),
        (r"(\w+) has said (.*) in ([\w-]+)", _has_said),
        (r"(\w+) has deleted ([0-9]+) in ([\w-]+)", _has_deleted),
        (r"([0-9]+) messages of ([0-9,]+) characters are said in ([\w-]+)", _many_said),
        (r"([0-9]+) others come to ([\w-]+)", _crowd),
        (r"the log of ([\w-]+) is trimmed: events 1 to ([0-9]+) are gone", _trimmed),
        (r"the server's disk is full", _full),
        (r"the server is told to stop", _stopped),
        (r"([0-9]+) seconds pass", _pass),
    )


def _alike(shown: object, sent: object) -> bool:
    """Whether what was sent is what is shown: ``…`` stands for any characters."""
    if isinstance(shown, dict) and isinstance(sent, dict) and any(key.endswith("…") for key in shown):
        return _alike([list(each) for each in shown.items()], [list(each) for each in sent.items()])
    if isinstance(shown, dict) and isinstance(sent, dict):
        return shown.keys() == sent.keys() and all(
            type(sent[name]) is type(value) and (name in ANY_NUMBER or _alike(value, sent[name]))
            for name, value in shown.items()
            if not (shown.get("op") == "lagging" and name == "seq")
        )
    if isinstance(shown, list) and isinstance(sent, list):
        return len(shown) == len(sent) and all(map(_alike, shown, sent))
    if isinstance(shown, str) and isinstance(sent, str):
        pattern = ".+".join(map(re.escape, shown.split("…")))
        return re.fullmatch(pattern, sent, re.DOTALL) is not None
    return type(shown) is type(sent) and shown == sent


def _keys(value: object) -> object:
    """The names of the fields, in order, at every depth."""
    if isinstance(value, dict):
        return [
            ("guest-…" if name.startswith("guest-") else name, _keys(inner)) for name, inner in value.items()
        ]
    return [_keys(inner) for inner in value] if isinstance(value, list) else None


async def play(text: str, config: trio_chat.Config) -> None:
    """Play a transcript on a new server."""
    steps = parse(text)
    began_at = trio.current_time()

    def clock() -> float:
        return 1767225600.0 + trio.current_time() - began_at

    async with (
        open_memory_log(clock=clock) as memory,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        log = BreakableLog(memory)
        server = await stack.enter_async_context(open_memory_server(config, log=log, clock=clock))
        player = Player(server, log, stack, nursery)
        player.leave_out(steps)
        await player.play(steps)
        nursery.cancel_scope.cancel()
