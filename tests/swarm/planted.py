"""A small chat and broadcast server with one planted fault: what the swarm must find.

Chat at ``/ws``, broadcast everywhere else. The fault hits one member (chat: the swarm's third client;
broadcast: the third that joins) at the fifth message of the room, or the ack of that message; or everybody
who comes back.
"""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

VICTIM = 2
VICTIM_NAME = "-00002"
AT = 5
FAULTS = ("none", "dropped", "duplicated", "reordered", "lying ack", "altered", "no ack")

RESUME_FAULTS = ("none", "lost on resume", "twice on resume")
"""Of one event: the first that a client missed, or the last that it had."""
FIRST = 41

decode = msgspec.json.Decoder().decode
Send = Callable[[str | bytes], Awaitable[None]]


def text_of(operation: object) -> str:
    """``operation`` as a text frame's content."""
    return msgspec.json.encode(operation).decode()


class Faulty:
    """Passes messages on to one member, with the fault."""

    def __init__(self, fault: str, send: Send) -> None:
        self.fault = fault
        self.send = send
        self.seen = 0
        self.held: str | bytes | None = None

    async def pass_on(self, message: str | bytes) -> None:
        """Send ``message``, or what the fault makes of it."""
        self.seen += 1
        if self.seen == AT:
            if self.fault == "dropped":
                return
            if self.fault == "reordered":
                self.held = message
                return
            if self.fault == "duplicated":
                await self.send(message)
            if self.fault == "altered":
                assert isinstance(message, str)
                message = message.replace('"text":"~', '"text":"!')
        await self.send(message)
        if self.held is not None:
            held, self.held = self.held, None
            await self.send(held)


class Server:
    """One room for all members."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.members: list[Faulty] = []
        self.seq = FIRST - 1  # a room with a past
        self.shown: list[str | bytes] = []
        self.order = trio.StrictFIFOLock()

    async def handle(self, request: WebSocketRequest) -> None:
        """Serve one client."""
        connection = await request.accept()
        try:
            if request.path == "/ws":
                await self.chat(connection)
            else:
                await self.broadcast(connection)
        except (ConnectionClosed, trio.BrokenResourceError):
            pass

    def join(self, connection: WebSocketConnection, *, is_victim: bool) -> None:
        """One more member."""
        fault = self.fault if is_victim else "none"
        self.members.append(Faulty(fault, partial(send_if_open, connection)))

    async def broadcast(self, connection: WebSocketConnection) -> None:
        """Every message to everybody."""
        self.join(connection, is_victim=len(self.members) == VICTIM)
        while True:
            message = await connection.get_message()
            async with self.order:
                await self.show(message)

    async def chat(self, connection: WebSocketConnection) -> None:
        """As much of the protocol as the swarm speaks."""
        name = ""
        while True:
            asked = decode(await connection.get_message())
            if asked["op"] == "hello":
                name = asked["name"]
                await connection.send_message(text_of({"op": "welcome", "session": "s"}))
            elif asked["op"] == "join":
                async with self.order:
                    self.join(connection, is_victim=name.endswith(VICTIM_NAME))
                    await self.welcome(connection, asked)
            else:
                await self.say(connection, asked)

    async def welcome(self, connection: WebSocketConnection, asked: dict[str, Any]) -> None:
        """The answer to a join, and what somebody who comes back has missed."""
        joined = {"op": "joined", "room": asked["room"], "head": self.seq, "recovered": "since" in asked}
        await connection.send_message(text_of(joined))
        if "since" in asked:
            wrong = {"lost on resume": 1, "twice on resume": -1}.get(self.fault, 0)
            for event in self.shown[max(0, asked["since"] + 1 - FIRST + wrong) :]:
                await send_if_open(connection, event)

    async def say(self, connection: WebSocketConnection, asked: dict[str, str]) -> None:
        """Number a message, acknowledge it, show it to all."""
        async with self.order:
            await self.number(connection, asked)

    async def number(self, connection: WebSocketConnection, asked: dict[str, str]) -> None:
        """The same, one at a time."""
        self.seq += 1
        seq = self.seq
        user = {"id": "u", "name": "n"}
        event = {"op": "message", "room": asked["room"], "seq": seq, "at": 1.5, "user": user}
        event |= {"text": asked["text"], "id": asked["id"]}
        is_lie = self.fault == "lying ack" and seq == 40 + AT
        if not (self.fault == "no ack" and seq == 40 + AT):
            ack = {"op": "ack", "re": asked["id"], "room": asked["room"], "seq": seq + is_lie, "at": 1.5}
            await connection.send_message(text_of(ack))
        await self.show(text_of(event))

    async def show(self, message: str | bytes) -> None:
        """Pass a message to every member."""
        self.shown.append(message)
        for member in self.members:
            await member.pass_on(message)


async def send_if_open(connection: WebSocketConnection, message: str | bytes) -> None:
    """To a member who may have gone."""
    with suppress(ConnectionClosed, trio.BrokenResourceError):
        await connection.send_message(message)


async def serve_planted(
    fault: str, tls: ssl.SSLContext | None = None, *, task_status: trio.TaskStatus[int]
) -> None:
    """Serve with ``fault`` until cancelled; starts with the port."""
    server = Server(fault)
    async with trio.open_nursery() as nursery:
        started = await nursery.start(
            partial(serve_websocket, server.handle, "127.0.0.1", 0, ssl_context=tls)
        )
        task_status.started(started.port)
