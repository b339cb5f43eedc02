"""One client of the swarm: its socket, where it is in its life, and what it has counted.

Plain state with the few operations on a non-blocking socket; the `worker` decides when.
"""

import contextlib
import enum
import socket
import ssl
from collections.abc import Callable

from swarmlib.deflate import DeflatingFrameMaker, Inflater
from swarmlib.frames import Block, Frame, FrameMaker
from swarmlib.mix import STINGY
from swarmlib.poller import EpollPoller, SelectorPoller, Unwatched
from swarmlib.tls import Tls
from swarmlib.verify import AckBook, SenderTranscript, SeqTranscript

MAX_UNSENT_BYTES = 4 << 20
"""Beyond this a sender whose server reads nothing is given no more: its messages count as not sent."""
FROZEN_BUFFER_BYTES, THAWED_BUFFER_BYTES = 4096, 1 << 20
"""What the kernel holds for a client that reads nothing: little, so that the server meets it at once."""
ETHERNET_SEGMENT_BYTES = 1460
"""The sender's kernel holds more for larger segments: 2.6 MB for those of the loopback device."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Linux: choose the port at connect, when the whole 4-tuple is known; Python 3.11 has no name for it."""


class State(enum.Enum):
    """Where a connection is in its life."""

    CONNECTING = enum.auto()
    SECURING = enum.auto()
    SHAKING_HANDS = enum.auto()
    JOINING = enum.auto()
    READY = enum.auto()
    CLOSED = enum.auto()


class RoomView:
    """What the members of one room in this process share: the blocks that went by last."""

    __slots__ = ("head", "number", "recent", "refused")

    def __init__(self, number: int) -> None:
        self.number = number
        self.recent: list[Block] = []
        self.head = 0
        """The highest acknowledged ``seq``."""
        self.refused = 0
        """Messages that the server answered with an error."""


class LargeFrame:
    """A frame that takes many reads: they fill its own buffer, instead of copying what came before each."""

    __slots__ = ("_got", "_view")

    def __init__(self, size: int, begun: bytes) -> None:
        self._view = memoryview(bytearray(size))
        self._view[: len(begun)] = begun
        self._got = len(begun)

    @property
    def rest(self) -> memoryview:
        """What is still to be filled."""
        return self._view[self._got :]

    def filled(self, got: int) -> memoryview | None:
        """So many bytes more have come: the frame, if it is whole now."""
        self._got += got
        return self._view if self._got == len(self._view) else None


class Connection:
    """A client. ``returned`` counts its own messages that came back, ``received`` all deliveries."""

    __slots__ = (
        "acks",
        "book",
        "client",
        "comes_back",
        "epoch",
        "fd",
        "frames",
        "inflater",
        "is_frozen",
        "is_late",
        "is_sender",
        "is_watched",
        "key",
        "kind",
        "large",
        "message",
        "opened_at",
        "outgoing",
        "parts",
        "poller",
        "receive",
        "received",
        "retry_after",
        "returned",
        "room",
        "sent",
        "sock",
        "state",
        "tag",
        "tail",
        "tls",
        "token",
        "transcript",
        "unacked",
    )

    def __init__(self, client: int, room: RoomView, poller: EpollPoller | SelectorPoller | Unwatched) -> None:
        self.client = client
        self.room = room
        self.poller = poller
        """Where its descriptor is watched."""
        self.state = State.CONNECTING
        self.tail = b""
        self.tls: Tls | None = None
        self.large: LargeFrame | None = None
        """Instead of ``tail``, while a large frame comes in."""
        self.outgoing = bytearray()
        self.parts: list[Frame] = []
        self.key = ""
        self.opened_at = 0
        self.is_sender = False
        self.message: Callable[[int, int], bytes]
        """Of a sender: makes a payload from its number and its intended time."""
        self.frames: FrameMaker | DeflatingFrameMaker
        self.inflater: Inflater | None = None
        """If compression was agreed."""
        self.is_watched = False
        self.kind = "lurker"
        """Which persona this is: of `mix.KINDS`."""
        self.is_frozen = False
        """Reads nothing while the load runs."""
        self.is_late = False
        """Gets its deliveries late by its own doing: they are not timed."""
        self.comes_back = False
        """When its connection ends, it opens another one."""
        self.tag = b""
        self.received = self.returned = self.sent = self.acks = 0
        self.unacked: dict[int, int] = {}
        """By number, the intended times of messages that were not acknowledged yet."""
        self.token = self.epoch = ""
        """What a resumed session shows, and the life of the room that it knows."""
        self.retry_after: float | None = None
        """What the server's ``bye`` said."""
        self.transcript: SeqTranscript | SenderTranscript | None = None
        self.book: AckBook | None = None

    def connect(self, address: tuple[str, int], family: socket.AddressFamily, source: str | None) -> None:
        """Begin to connect, for the first time or again; `OSError` if that fails at once."""
        self.state = State.CONNECTING
        self.tail, self.outgoing, self.parts = b"", bytearray(), []
        self.tls = self.large = self.inflater = None
        self.sock = sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.kind in STINGY:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FROZEN_BUFFER_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_SEGMENT_BYTES)
        self.fd = sock.fileno()
        self.receive = sock.recv_into
        if source is not None:
            if hasattr(
                socket, "SO_REUSEPORT"
            ):  # this is Linux or alike, where the option below exists or is refused
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Put TLS between the socket and everything else."""
        self.tls = Tls(context, host, self.sock.recv)
        self.receive = self.tls.receive_into

    def send(self, data: bytes) -> bool:
        """Write what the socket takes and keep the rest; whether nothing is left.

        `OSError` if the connection is broken.
        """
        return self.send_raw(data if self.tls is None else self.tls.encipher(data))

    def send_raw(self, data: bytes) -> bool:
        """`send` for what is enciphered already."""
        if self.outgoing:
            self.outgoing += data
            return False
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self.outgoing += data[sent:]
        return False

    def flush(self) -> bool:
        """Write what was kept; whether nothing is left."""
        try:
            sent = self.sock.send(self.outgoing)
        except BlockingIOError:
            return False
        del self.outgoing[:sent]
        return not self.outgoing

    @property
    def seen(self) -> int | None:
        """The last ``seq`` before which nothing is missing; None before the first join."""
        return self.transcript.seen if isinstance(self.transcript, SeqTranscript) else None

    @property
    def is_stuffed(self) -> bool:
        """Whether too much waits to be sent."""
        return len(self.outgoing) > MAX_UNSENT_BYTES

    def freeze(self) -> None:
        """Read nothing any more."""
        self.poller.forget(self.fd)

    def thaw(self, events: int) -> None:
        """Read again, as fast as any other."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, THAWED_BUFFER_BYTES)
        self.poller.watch(self.fd, events)

    def pace(self, limit: int | None) -> None:
        """From now on, take at most ``limit`` bytes in one read; None: whatever is there."""
        receive = self.sock.recv_into
        self.receive = receive if limit is None else lambda view: receive(view[:limit])

    def close(self) -> None:
        """Close the socket at once."""
        self.state = State.CLOSED
        self.sock.close()
