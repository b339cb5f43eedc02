"""The simulated clients. Each keeps what it was told, and checks it as it comes.

A `Person` does what a good client does: it comes back with its session and its positions, keeps what was not
acknowledged and sends it again with the same id. How it reads, and how it goes away, depends on its kind.
A `Vandal` breaks every rule it can think of; it must harm nobody else.
"""

import random
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.events import CloseConnection, Event, Message, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from trio_chat.wire.frames import unmask

from .network import End

if TYPE_CHECKING:
    from .world import World

LOST = (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError)
KINDS = ("chatty", "chatty", "quiet", "slow", "frozen", "flapping", "half-open")


class Gone(Exception):
    """The connection is over, or did not come about."""


@attrs.frozen
class Shown:
    """What a person was shown as one event."""

    user: str
    id: str | None
    text: str


class Link:
    """A WebSocket of the chat endpoint, in wsproto's terms."""

    def __init__(self, end: End, *, compress: bool = False) -> None:
        self.end = end
        self._compression = [PerMessageDeflate()] if compress else []
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._text = ""
        self._sending = trio.StrictFIFOLock()

    async def handshake(self) -> None:
        """Become a WebSocket, or raise `Gone`."""
        offers = "".join(
            f"Sec-WebSocket-Extensions: {each.name}; {each.offer()}\r\n" for each in self._compression
        )
        await self.end.send_all(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + offers.encode()
            + b"\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self.end.receive_some()
            if not data:
                raise Gone
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Gone
        for header in head.decode().split("\r\n"):
            name, _, value = header.partition(":")
            if name.lower() == "sec-websocket-extensions":
                (extension,) = self._compression
                extension.finalize(value.strip())
                self._ws = WSConnection(ConnectionType.CLIENT, extensions=[extension])
        self._feed(rest)

    def _feed(self, data: bytes) -> None:
        if data:
            try:
                self._ws.receive_data(data)
            except RemoteProtocolError as error:
                raise AssertionError(f"the server broke the protocol: {error}") from error

    async def send(self, **fields: object) -> None:
        await self._send(TextMessage(msgspec.json.encode(fields).decode()))

    async def close(self) -> None:
        await self._send(CloseConnection(1000))

    async def _send(self, event: Event) -> None:
        async with self._sending:
            await self.end.send_all(self._ws.send(event))

    async def receive(self) -> dict[str, Any]:
        """The next operation. Raises `Gone`, or what the stream raises."""
        while True:
            for event in self._ws.events():
                if isinstance(event, Ping):
                    await self._send(event.response())
                elif isinstance(event, CloseConnection):
                    assert event.code != 1002, f"the server complains: {event.reason}"
                    if self._ws.state.name == "REMOTE_CLOSING":
                        await self._send(event.response())
                    raise Gone
                elif isinstance(event, Message):
                    assert isinstance(event, TextMessage)
                    self._text += event.data
                    if event.message_finished:
                        text, self._text = self._text, ""
                        frame: dict[str, Any] = msgspec.json.decode(text)
                        return frame
            data = await self.end.receive_some()
            if not data:
                raise Gone
            self._feed(data)


class Person:
    """See the module. ``seen``, ``acked`` and ``submitted`` are its transcript."""

    def __init__(self, world: "World", name: str, kind: str, rooms: list[str], rng: random.Random) -> None:
        self.world = world
        self.name = name
        self.kind = kind
        self.rooms = rooms
        self.rng = rng
        self.user_id: str | None = None
        self.token: str | None = None
        self.positions: dict[str, tuple[str, int]] = {}
        self.joined: set[str] = set()
        self.unacked: dict[str, tuple[str, str]] = {}
        self.submitted: dict[str, tuple[str, str]] = {}
        self.acked: dict[str, int] = {}
        self.resent: set[str] = set()
        self.orders: list[list[str]] = []
        """The ids submitted on each connection, in order."""
        self.seen: dict[str, dict[int, Shown]] = {room: {} for room in rooms}
        self.number = 0
        self._awake = trio.Event()
        self._link: Link | None = None

    # --- what the world does to it ---------------------------------------------------

    def cut(self) -> None:
        """Lose the connection, soon or at once, in one direction or in both."""
        if self._link is not None:
            end = self._link.end
            if self.rng.random() < 0.5:
                end.reset()
            else:
                pipe = self.rng.choice((end.incoming, end.outgoing))
                pipe.cut_after = self.rng.randrange(1, 400)

    def wake(self) -> None:
        """End whatever pause it makes."""
        self._awake.set()
        self._awake = trio.Event()

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while; less than nothing once the world is calm."""
        if not self.world.calm:
            with trio.move_on_after(seconds):
                await self._awake.wait()

    # --- its life ----------------------------------------------------------------------

    async def live(self) -> None:
        """Connect, talk, lose the connection, come back; until cancelled."""
        await trio.sleep(self.rng.random())
        while True:
            end = await self.world.connect(self.rng)
            if end is not None:
                self._link = Link(end, compress=self.rng.random() < 0.5)
                self.joined.clear()
                self.orders.append([])
                try:
                    with trio.fail_after(120):
                        await self._link.handshake()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._act, self._link)
                        await self._read(self._link)
                except* (Gone, trio.TooSlowError, *LOST):
                    pass
                finally:
                    self._link = None
                    self.joined.clear()
                if self.kind == "half-open" and not self.world.calm and self.rng.random() < 0.5:
                    self.world.nursery.start_soon(self._haunt, end, self.rng.random() * 60)
                else:
                    end.close()
            await self.pause(self.rng.random() * (0.2 if self.kind == "flapping" else 2))
            await trio.sleep(0.05)

    async def _haunt(self, end: End, seconds: float) -> None:
        """An end that nobody serves any more: the server can't know."""
        await trio.sleep(seconds)
        end.reset()

    async def _act(self, link: Link) -> None:
        """Say who one is, join, and talk as long as the connection lasts."""
        fields = {"resume": self.token} if self.token else {}
        await link.send(op="hello", id="hello", name=self.name, **fields)
        for room in self.rooms:
            await self._join(link, room)
        while True:
            await self._unsent(link)
            if self.world.calm:
                await trio.sleep(1)
                continue
            await trio.sleep(self.rng.expovariate(self.world.rate(self.kind)))
            await self._move(link)

    async def _join(self, link: Link, room: str) -> None:
        if room in self.positions:
            epoch, seq = self.positions[room]
            known = {"epoch": epoch} if self.rng.random() < 0.9 else {}
            await link.send(op="join", id=f"join {room} {seq}", room=room, since=seq, **known)
        else:
            await link.send(op="join", id=f"join {room}", room=room)

    async def _unsent(self, link: Link) -> None:
        """Send again what was submitted on another connection, or refused."""
        for key, (room, text) in list(self.unacked.items()):
            if key not in self.orders[-1] and room in self.joined and self.user_id is not None:
                self.resent.add(key)
                self.orders[-1].append(key)
                await link.send(op="say", id=key, room=room, text=text)

    async def _move(self, link: Link) -> None:
        """One random thing that a client may do."""
        room = self.rng.choice(self.rooms)
        dice = self.rng.random()
        if dice < 0.7 and room in self.joined and self.user_id is not None:
            for _ in range(self.rng.choice((1, 1, 1, 3, 10))):
                self.number += 1
                key = f"m{self.number}"
                text = f"{self.name} {self.number} " + "x" * self.rng.choice((0, 10, 200, 1500))
                self.unacked[key] = self.submitted[key] = (room, text)
                self.orders[-1].append(key)
                await link.send(op="say", id=key, room=room, text=text)
        elif dice < 0.75:
            await link.send(op="typing", room=room)
        elif dice < 0.8 and room in self.joined:
            await link.send(op="history", id=f"history {room}", room=room, limit=self.rng.randrange(1, 60))
        elif dice < 0.83 and room in self.joined and len(self.rooms) > 1:
            self.joined.discard(room)
            await link.send(op="leave", id=f"leave {room}", room=room)
        elif dice < 0.86:
            await link.send(op=self.rng.choice(("ping", "rooms")))
        elif dice < 0.9 and self.kind == "flapping":
            await link.close()
        elif dice < 0.95 and self.kind in ("flapping", "half-open"):
            raise Gone

    # --- what it is told -------------------------------------------------------------------

    async def _read(self, link: Link) -> None:
        while True:
            if self.kind == "slow":
                await self.pause(self.rng.random() * 0.1)
            elif self.kind == "frozen" and self.rng.random() < 0.01:
                await self.pause(self.rng.random() * 30)
            frame = await link.receive()
            handle = getattr(self, f"_on_{frame['op']}", None)
            if handle is not None:
                await handle(link, frame)

    def _wrong(self, what: str) -> None:
        self.world.fail(f"{self.name} ({self.kind}): {what}")

    async def _on_welcome(self, link: Link, frame: dict[str, Any]) -> None:
        if self.user_id not in (None, frame["user"]["id"]):
            self._wrong(f"came back as somebody else: {frame}")
        self.user_id, self.token = frame["user"]["id"], frame["session"]

    async def _on_joined(self, link: Link, frame: dict[str, Any]) -> None:
        room = frame["room"]
        if room in self.positions:
            epoch, seq = self.positions[room]
            if not frame["recovered"] or frame["epoch"] != epoch or frame["head"] < seq:
                self._wrong(f"position {seq} of {room} was not honoured: {frame}")
        else:
            self.positions[room] = (frame["epoch"], frame["head"])
        self.joined.add(room)

    async def _on_left(self, link: Link, frame: dict[str, Any]) -> None:
        self.joined.discard(frame["room"])
        await self._join(link, frame["room"])

    async def _on_message(self, link: Link, frame: dict[str, Any]) -> None:
        room, seq = frame["room"], frame["seq"]
        if room not in self.positions:
            self._wrong(f"got {seq} of {room} before it had joined")
            return
        epoch, last = self.positions[room]
        if seq != last + 1:
            self._wrong(f"got {seq} of {room} after {last}")
        self.positions[room] = (epoch, seq)
        self.seen[room][seq] = Shown(frame["user"]["id"], frame.get("id"), frame["text"])
        self.world.shown += 1

    async def _on_gap(self, link: Link, frame: dict[str, Any]) -> None:
        self._wrong(f"a gap, though nothing was trimmed: {frame}")

    async def _on_lagging(self, link: Link, frame: dict[str, Any]) -> None:
        self.world.lagged += 1
        if frame["seq"] != self.positions[frame["room"]][1]:
            self._wrong(f"lagging at {frame['seq']}, but is at {self.positions[frame['room']][1]}")

    async def _on_history(self, link: Link, frame: dict[str, Any]) -> None:
        seqs = [message["seq"] for message in frame["messages"]]
        if seqs != list(range(seqs[0], seqs[0] + len(seqs)) if seqs else []):
            self._wrong(f"a page of history with holes: {seqs}")
        for message in frame["messages"]:
            shown = Shown(message["user"]["id"], message.get("id"), message["text"])
            self.world.in_history.append((frame["room"], message["seq"], shown))

    async def _on_ack(self, link: Link, frame: dict[str, Any]) -> None:
        key, seq = frame["re"], frame["seq"]
        if self.acked.setdefault(key, seq) != seq:
            self._wrong(f"{key} was acknowledged as {self.acked[key]} and now as {seq}")
        self.unacked.pop(key, None)

    async def _on_error(self, link: Link, frame: dict[str, Any]) -> None:
        key = frame.get("re", "")
        if frame["code"] == "unavailable":
            self.world.refused += 1
            if key.startswith("join "):
                await trio.sleep(self.rng.random())
                await self._join(link, key.split()[1])
            else:
                self._to_be_sent_again(key)
        elif frame["code"] not in ("not_joined", "already_joined"):
            self._wrong(f"an error: {frame}")
        else:
            self._to_be_sent_again(key)

    def _to_be_sent_again(self, key: str) -> None:
        self.resent.add(key)
        if key in self.unacked and key in self.orders[-1]:
            self.orders[-1].remove(key)

    async def _on_bye(self, link: Link, frame: dict[str, Any]) -> None:
        self.world.byes[frame["code"]] = self.world.byes.get(frame["code"], 0) + 1


class Vandal:
    """Sends what nobody should; reads or doesn't; goes without a word."""

    def __init__(self, world: "World", rng: random.Random) -> None:
        self.world = world
        self.rng = rng

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(self.rng.random() * 3)
            end = await self.world.connect(self.rng)
            if end is None:
                continue
            with trio.move_on_after(self.rng.random() * 40):
                try:
                    if self.rng.random() < 0.9:
                        await Link(end).handshake()
                    async with trio.open_nursery() as nursery:
                        if self.rng.random() < 0.5:
                            nursery.start_soon(self._swallow, end)
                        while True:
                            await end.send_all(self._rubbish())
                            await trio.sleep(self.rng.random())
                except* (Gone, *LOST):
                    pass
            end.reset()

    async def _swallow(self, end: End) -> None:
        while await end.receive_some():
            pass
        raise Gone

    def _rubbish(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            return rng.randbytes(rng.randrange(1, 200))
        if kind == 1:  # a frame of any kind
            return _frame(rng.randrange(256), rng.randbytes(rng.randrange(0, 130)))
        if kind == 2:
            return _frame(
                0x81, rng.choice((b"{", b"[]", b'{"op":"fly"}', b'{"op":7}', b"\xff", b"null", b""))
            )
        if kind == 3:  # half a frame
            return _frame(0x81, b'{"op":"ping"}')[: rng.randrange(1, 12)]
        if kind == 4:
            return _frame(0x89, rng.randbytes(4)) * rng.randrange(1, 300)
        if kind == 5:
            return _frame(0x81, b'{"op":"rooms"}') * rng.randrange(1, 300)
        if kind == 6:  # joins, says, names itself, all at once
            room = rng.choice(self.world.rooms)
            ops = (
                {"op": "hello", "name": "vandal"},
                {"op": "join", "room": room, "since": rng.randrange(5)},
                {"op": "say", "room": room, "text": "v" * rng.randrange(1, 900), "id": str(rng.randrange(9))},
                {"op": "leave", "room": room},
            )
            return b"".join(_frame(0x81, msgspec.json.encode(op)) for op in rng.choices(ops, k=20))
        return _frame(0x01, b'{"op":') + _frame(0x00, b"") * rng.randrange(2000)


def _frame(first: int, payload: bytes) -> bytes:
    """A client's frame of up to 2000 bytes."""
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
    return head + b"mask" + unmask(payload, b"mask")
