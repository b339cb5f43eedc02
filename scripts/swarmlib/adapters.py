"""How the swarm speaks to other people's servers, so that the same load drives them; and which way to choose.

Socket.IO 4, MQTT 3.1.1, NATS, and XMPP with a room of XEP-0045 for each of ours. Each adapter knows as much
of its protocol as a client needs that joins one room, sends texts of one size and reads what comes.
"""

import json
import secrets

from swarmlib.frames import BINARY
from swarmlib.protocol import Chat, Position, Protocol, Relay, Reply
from swarmlib.settings import Settings

XMPP_HOST = "localhost"
XMPP_ROOMS = "conference.localhost"
_FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_CLIENT = "jabber:client"
_MUC = "http://jabber.org/protocol/muc"


class SocketIo(Protocol):
    """Socket.IO over its WebSocket transport, against a server that knows ``join`` and passes ``message`` on.

    An event is ``42`` and an array: ``4`` is Engine.IO's *message*, ``2`` Socket.IO's *event*.
    """

    marker = b"2"
    marker_at = 1
    is_ready_when_open = False
    converses = True

    def path(self, client: int) -> str:
        path = self.settings.target.path
        base = "/socket.io" if path in ("/", "/ws") else path.rstrip("/")
        query = self.settings.target.query
        return f"{base}/?EIO=4&transport=websocket" + (f"&{query}" if query else "")

    def reply(self, client: int, payload: bytes) -> Reply:
        if payload.startswith(b"0"):
            return Reply((b"40",))
        if payload.startswith(b"40"):
            room = self.settings.room_name(self.settings.room_of(client))
            return Reply((b"420" + json.dumps(["join", room]).encode(),))
        if payload == b"2":  # Engine.IO's ping
            return Reply((b"3",))
        if payload.startswith(b"44"):
            return Reply(failure=f"Socket.IO refused: {_shown(payload)}")
        return Reply(is_joined=payload.startswith(b"430"))

    def envelope(self, room: int) -> tuple[bytes, bytes]:
        quote = b"" if self.settings.content == "talk" else b'"'
        return b'42["message",' + quote, quote + b"]"


class Mqtt(Protocol):
    """MQTT 3.1.1, quality of service 0; a room is a topic."""

    opcode = BINARY
    subprotocol = "mqtt"
    is_ready_when_open = False
    converses = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.inside = f"{settings.room}-".encode()

    def greeting(self, client: int, position: Position | None = None) -> list[bytes]:
        name = f"{self.settings.room[-12:]}-{client}".encode()
        clean_session, no_keep_alive = b"\x02", bytes(2)
        return [_packet(0x10, _string(b"MQTT") + b"\x04" + clean_session + no_keep_alive + _string(name))]

    def reply(self, client: int, payload: bytes) -> Reply:
        if payload[:1] == b"\x20":  # CONNACK
            if payload[3:4] != b"\x00":
                return Reply(failure=f"MQTT refused the connection with code {payload[3]}")
            packet_id, at_most_once = b"\x00\x01", b"\x00"
            return Reply((_packet(0x82, packet_id + _string(self._topic(client)) + at_most_once),))
        if payload[:1] == b"\x90" and payload[-1] == 0x80:
            return Reply(failure="MQTT refused the subscription")
        return Reply(is_joined=payload[:1] == b"\x90")  # SUBACK

    def envelope(self, room: int) -> tuple[bytes, bytes]:
        topic = _string(self.settings.room_name(room).encode())
        return _packet(0x30, topic + bytes(self.settings.size))[: -self.settings.size], b""

    def _topic(self, client: int) -> bytes:
        return self.settings.room_name(self.settings.room_of(client)).encode()


class Nats(Protocol):
    """The NATS client protocol; a room is a subject. The server puts many messages into one frame."""

    inside = b"MSG "
    opcode = BINARY
    is_ready_when_open = False
    converses = True

    def reply(self, client: int, payload: bytes) -> Reply:
        if payload.startswith(b"INFO "):
            options = {"verbose": False, "pedantic": False, "echo": True, "lang": "swarm", "version": "1"}
            subject = self.settings.room_name(self.settings.room_of(client))
            return Reply((f"CONNECT {json.dumps(options)}\r\nSUB {subject} 1\r\nPING\r\n".encode(),))
        if payload.startswith(b"PING"):
            return Reply((b"PONG\r\n",))
        if payload.startswith(b"-ERR"):
            return Reply(failure=f"NATS said {_shown(payload)}")
        return Reply(is_joined=payload.startswith(b"PONG"))

    def envelope(self, room: int) -> tuple[bytes, bytes]:
        return f"PUB {self.settings.room_name(room)} {self.settings.size}\r\n".encode(), b"\r\n"


class Xmpp(Protocol):
    """XMPP over WebSocket (RFC 7395): anonymous login, one multi-user chat room for each of ours."""

    inside = b"<body>"
    subprotocol = "xmpp"
    is_ready_when_open = False
    converses = True
    _OPEN = f'<open xmlns="{_FRAMING}" to="{XMPP_HOST}" version="1.0"/>'.encode()

    def greeting(self, client: int, position: Position | None = None) -> list[bytes]:
        return [self._OPEN]

    def reply(self, client: int, payload: bytes) -> Reply:
        if payload.startswith(b"<presence"):
            if b"type='error'" in payload or b'type="error"' in payload:
                return Reply(failure=f"XMPP refused the room: {_shown(payload)}")
            return Reply(is_joined=b"110" in payload and b"status" in payload)
        if b"<mechanism>" in payload:
            return Reply((f'<auth xmlns="{_SASL}" mechanism="ANONYMOUS"/>'.encode(),))
        if payload.startswith(b"<success"):
            return Reply((self._OPEN,))
        if payload.startswith((b"<failure", b"<stream:error")):
            return Reply(failure=f"XMPP refused: {_shown(payload)}")
        if b"features" in payload[:20]:
            return Reply(
                (f'<iq xmlns="{_CLIENT}" type="set" id="bind"><bind xmlns="{_BIND}"/></iq>'.encode(),)
            )
        if payload.startswith(b"<iq") and b"<jid>" in payload:
            return Reply((self._join(client),))
        return Reply()

    def envelope(self, room: int) -> tuple[bytes, bytes]:
        to = self._room(room)
        before = f'<message xmlns="{_CLIENT}" to="{to}" type="groupchat"><body>'
        return before.encode(), b"</body></message>"

    def _room(self, room: int) -> str:
        return f"{self.settings.room_name(room)}@{XMPP_ROOMS}"

    def _join(self, client: int) -> bytes:
        room = self._room(self.settings.room_of(client))
        no_history = f'<x xmlns="{_MUC}"><history maxstanzas="0"/></x>'
        # A name of its own each time: the one of a connection that just ended may still be taken.
        name = f"n{client:05d}-{secrets.token_hex(2)}"
        return f'<presence xmlns="{_CLIENT}" to="{room}/{name}">{no_history}</presence>'.encode()


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _packet(first: int, body: bytes) -> bytes:
    """An MQTT control packet: its type and flags, the length in groups of seven bits, the rest."""
    length, left = bytearray(), len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes((first,)) + bytes(length) + body


def _shown(payload: bytes) -> str:
    return " ".join(payload[:200].decode("utf-8", "replace").split())


_PROTOCOLS: dict[str, type[Protocol]] = {
    "chat": Chat,
    "relay": Relay,
    "socketio": SocketIo,
    "mqtt": Mqtt,
    "nats": Nats,
    "xmpp": Xmpp,
}


def make_protocol(settings: Settings) -> Protocol:
    """The protocol that the settings name; plain servers and those that echo need nothing special."""
    return _PROTOCOLS.get(settings.protocol, Protocol)(settings)
