"""The frame scanner against frames that other implementations built, split at random."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmlib.adapters import make_protocol
from swarmlib.connection import Connection, RoomView, State
from swarmlib.counts import Counts
from swarmlib.frames import PING, PONG, FrameError, Scanner, client_frame
from swarmlib.poller import SelectorPoller
from swarmlib.settings import Settings, parse_url
from swarmlib.traffic import Traffic
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import FrameProtocol

SIZES = st.one_of(st.integers(0, 140), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))
DATA = st.sampled_from([Opcode.TEXT, Opcode.BINARY])


def server_frame(opcode: Opcode, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as `websockets` sends it."""
    return Frame(opcode, payload, final).serialize(mask=False)


class Feed:
    """A socket that gives what it was given, in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def recv_into(self, view: memoryview) -> int:
        """The next piece, as far as it fits."""
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces[0][: len(view)]
        self.pieces[0] = self.pieces[0][len(piece) :]
        if not self.pieces[0]:
            del self.pieces[0]
        view[: len(piece)] = piece
        return len(piece)


class Reader:
    """`Traffic` over a `Feed`, with what it called back."""

    def __init__(self, protocol: str = "plain", *, verify: bool = False, resume: bool = False) -> None:
        self.settings = Settings(
            target=parse_url("ws://127.0.0.1:1/"),
            protocol=protocol,
            clients=3,
            senders=1,
            verify=verify,
            resume=resume,
        )
        self.lost: list[str] = []
        self.sent: list[bytes] = []
        self.returned = 0
        self.counts = Counts()
        self.traffic = Traffic(
            self.settings,
            make_protocol(self.settings),
            self.counts,
            on_ready=lambda connection: None,
            on_lost=lambda connection, reason: self.lost.append(reason),
            on_returned=self.on_returned,
            send=lambda connection, data: self.sent.append(data),
        )
        self.room = RoomView(0)

    def on_returned(self, connection: Connection, number: int) -> None:
        """Count them."""
        self.returned += number

    def connection(self, client: int = 0) -> Connection:
        """A client that has joined."""
        poller = SelectorPoller()
        poller.close()
        connection = Connection(client, self.room, poller)
        connection.state = State.READY
        connection.comes_back = self.settings.resume
        return connection

    def feed(self, connection: Connection, pieces: list[bytes]) -> None:
        """Let the connection read all of ``pieces``."""
        feed = Feed(list(pieces))
        connection.receive = feed.recv_into
        while feed.pieces and not self.lost:
            self.traffic.read(connection)


def split(data: bytes, chance: random.Random) -> list[bytes]:
    """``data`` in random pieces."""
    pieces = []
    at = 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 7, 60, 66, 200, 5000, 200_000])
        pieces.append(data[at : at + size])
        at += size
    return pieces


@given(
    st.lists(st.tuples(DATA, SIZES, st.integers(1, 6), st.booleans()), max_size=12),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_counts_every_frame_once_however_it_is_split(
    runs: list[tuple[Opcode, int, int, bool]], seed: int
) -> None:
    """Runs of equal frames, pings between them, several members: each frame is counted once for each."""
    chance = random.Random(seed)
    stream, expected, pings = b"", 0, 0
    for opcode, size, number, ping in runs:
        stream += server_frame(opcode, chance.randbytes(size)) * number
        expected += number
        if ping:
            stream += server_frame(Opcode.PING, b"hi")
            pings += 1
    reader = Reader()
    for client in range(3):
        connection = reader.connection(client)
        reader.feed(connection, split(stream, chance))
        assert (connection.received, connection.tail) == (expected, b"")
    assert (reader.counts.deliveries, len(reader.sent), reader.lost) == (3 * expected, 3 * pings, [])


def test_stops_before_half_a_frame() -> None:
    """What follows the last whole frame is left, at every possible cut."""
    stream = b"".join(server_frame(Opcode.TEXT, b"x" * size) for size in (3, 3, 126, 65536))
    whole = [0, 5, 10, 140, len(stream)]
    for cut in [*range(150), len(stream) - 1, len(stream)]:
        buffer = bytearray(stream[:cut])
        scanner = Scanner(buffer)
        count = scanner.scan(cut, [])
        assert (scanner.used, count) == (whole[count], sum(end <= cut for end in whole[1:]))


def test_tells_deliveries_from_replies_by_the_marker() -> None:
    """Chat: ``message`` is a delivery, everything else is a reply, also between messages of one size."""
    message, ack = b'{"op":"message","n":1}', b'{"op":"ack","re":"abcd"}'
    assert len(message) + 2 == len(ack)
    stream = b"".join(
        server_frame(Opcode.TEXT, payload) for payload in (message, message, ack, message, b"{}")
    )
    scanner = Scanner(bytearray(stream), b"m", 7)
    assert scanner.scan(len(stream), []) == 3
    assert [frame.payload for frame in scanner.others] == [ack, b"{}"]
    assert [list(block.payloads()) for block in scanner.blocks] == [[message, message], [message]]


def test_finds_the_same_block_again_and_its_prefix_changed() -> None:
    """A remembered block counts again only where every byte is the same."""
    recent: list[object] = []
    first = server_frame(Opcode.TEXT, b"a" * 64) * 3
    other = server_frame(Opcode.TEXT, b"a" * 63 + b"b") + server_frame(Opcode.TEXT, b"c")
    buffer = bytearray(first + first + other)
    scanner = Scanner(buffer)
    assert scanner.scan(len(first), recent) == 3
    block = scanner.blocks[0]
    assert scanner.scan(2 * len(first), recent) == 6
    assert scanner.blocks == [block, block]
    assert scanner.scan(len(buffer), recent) == 8


@pytest.mark.parametrize("data", [b"\x81\x85abcdhello", b"\xc1\x01x", b"\x83\x00"])
def test_refuses_what_a_server_may_not_send(data: bytes) -> None:
    """Masked frames, frames with reserved bits, unknown opcodes end the connection."""
    with pytest.raises(FrameError):
        Scanner(bytearray(data)).scan(len(data), [])
    reader = Reader()
    reader.feed(reader.connection(), [data])
    assert len(reader.lost) == 1


@given(SIZES, st.binary(min_size=4, max_size=4))
def test_client_frames_are_understood_by_another_implementation(size: int, key: bytes) -> None:
    """wsproto unmasks what we mask."""
    payload = random.Random(size).randbytes(size)
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(client_frame(payload, 0x2, key))
    got = b"".join(bytes(frame.payload) for frame in protocol.received_frames())
    assert got == payload


def test_puts_fragments_together() -> None:
    """A message in three frames, with a ping inside, is one delivery."""
    stream = server_frame(Opcode.TEXT, b"one ", final=False) + server_frame(Opcode.CONT, b"two", final=False)
    stream += (
        server_frame(Opcode.PING, b"?") + server_frame(Opcode.CONT, b"!") + server_frame(Opcode.TEXT, b"x")
    )
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        reader = Reader()
        connection = reader.connection()
        reader.feed(connection, pieces)
        assert (connection.received, connection.tail, reader.lost) == (2, b"", [])
        assert len(reader.sent) == 1
        assert reader.sent[0][0] == 0x80 | PONG != PING


def test_a_close_frame_is_told_with_code_and_reason() -> None:
    """What the server said is the reason of the loss."""
    reader = Reader()
    reader.feed(reader.connection(), [server_frame(Opcode.CLOSE, (1013).to_bytes(2) + b"overloaded")])
    assert reader.lost == ["closed by the server with 1013 (overloaded)"]
