"""As much of four other chat and message servers as the swarm needs, with one planted fault: one room each.

Written from the protocols' specifications, not from the swarm's adapters; the fault hits the third member at
the fifth message.
"""

import json
import re
from collections.abc import Callable
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from swarm.planted import VICTIM, Faulty, send_if_open

Message = str | bytes
Heard = tuple[list[Message], bool, Message | None]
"""What to answer, whether the client has joined now, and what to show to everybody."""


def socket_io(message: Message) -> Heard:
    """Socket.IO 4 behind Engine.IO 4."""
    assert isinstance(message, str)
    if message == "40":
        return ['40{"sid":"s"}'], False, None
    if message.startswith("420["):
        assert json.loads(message[3:])[0] == "join"
        return ["430[]"], True, None
    assert json.loads(message[2:])[0] == "message"
    return [], False, message


def mqtt(message: Message) -> Heard:
    """MQTT 3.1.1."""
    assert isinstance(message, bytes)
    kind = message[0] >> 4
    if kind == 1:
        assert message[2:9] == b"\x00\x04MQTT\x04"
        return [b"\x20\x02\x00\x00"], False, None
    if kind == 8:
        return [b"\x90\x03" + message[2:4] + b"\x00"], True, None
    assert kind == 3
    return [], False, message


def nats(message: Message) -> Heard:
    """NATS: what a client sends at once may hold several commands."""
    assert isinstance(message, bytes)
    if message.startswith(b"CONNECT "):
        assert message.endswith(b" 1\r\nPING\r\n")
        return [b"PONG\r\n"], True, None
    subject, size, text = re.fullmatch(rb"PUB (\S+) (\d+)\r\n(.*)\r\n", message).groups()  # type: ignore[union-attr]
    assert len(text) == int(size)
    return [], False, b"MSG %s 1 %s\r\n%s\r\n" % (subject, size, text)


def xmpp(message: Message) -> Heard:
    """XMPP: features before and after the login, binding, a room."""
    assert isinstance(message, str)
    if message.startswith("<open"):
        return ["<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"], False, None
    if message.startswith("<auth"):
        return ["<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"], False, None
    if message.startswith("<iq"):
        return ["<iq type='result' id='bind'><bind><jid>a@b/c</jid></bind></iq>"], False, None
    if message.startswith("<presence"):
        return ["<presence from='r@c/n'><x><status code='110'/></x></presence>"], True, None
    text = re.search("<body>.*</body>", message)
    assert text is not None
    return [], False, f"<message from='r@c/n' type='groupchat'>{text[0]}</message>"


LONGEST_S = 0.2
DIALECTS: dict[str, Callable[[Message], Heard]] = {
    "socketio": socket_io,
    "mqtt": mqtt,
    "nats": nats,
    "xmpp": xmpp,
}
FEATURES = (
    "<stream:features><mechanisms><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>",
    "<stream:features><bind/></stream:features>",
)


class Room:
    """All members, in the order of joining."""

    def __init__(self, dialect: str, fault: str) -> None:
        self.dialect = dialect
        self.fault = fault
        self.members: list[Faulty] = []
        self.order = trio.StrictFIFOLock()
        self.is_busy = False
        self.next = trio.Event()
        """Set when the next message was shown."""

    async def handle(self, request: WebSocketRequest) -> None:
        """Serve one client."""
        connection = await request.accept()
        send = partial(send_if_open, connection)
        opened = 0
        if self.dialect == "socketio":
            await send('0{"sid":"s","pingInterval":25000}')
            await send("2")
        elif self.dialect == "nats":
            await send(b'INFO {"server_id":"x"}\r\n')
        try:
            while True:
                message = await connection.get_message()
                if message == "3":
                    continue
                answers, joins, shown = DIALECTS[self.dialect](message)
                if str(message).startswith("<open"):
                    answers.append(FEATURES[opened])
                    opened += 1
                if joins:  # first: deliveries may come before the answer
                    fault = self.fault if len(self.members) == VICTIM else "none"
                    self.members.append(Faulty(fault, send))
                    if self.is_busy:
                        with trio.move_on_after(LONGEST_S):  # or nobody says anything any more
                            await self.next.wait()
                for answer in answers:
                    await send(answer)
                if shown is not None:
                    await self.show(shown)
        except ConnectionClosed:
            pass

    async def show(self, message: Message) -> None:
        """Pass a message to every member."""
        async with self.order:
            for member in self.members:
                await member.pass_on(message)
            self.is_busy = True
            self.next.set()
            self.next = trio.Event()


async def serve_dialect(dialect: str, fault: str, *, task_status: trio.TaskStatus[int]) -> None:
    """Serve until cancelled; starts with the port."""
    room = Room(dialect, fault)
    async with trio.open_nursery() as nursery:
        started = await nursery.start(partial(serve_websocket, room.handle, "127.0.0.1", 0, ssl_context=None))
        task_status.started(started.port)
