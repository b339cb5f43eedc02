"""permessage-deflate against zlib itself, wsproto and `websockets`, and against those who mean no good."""

import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import parse_extension
from wsproto import ConnectionType
from wsproto.connection import Connection as WSConnection
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate

from trio_chat.wire.deflate import MIN_BYTES, WINDOWS, TooLong, deflate, inflate, negotiate
from trio_chat.wire.frames import BINARY, CLOSE, PING, TEXT, FrameReader, compressed, frame

from .test_frames import FIN, client, everything, failure, one_by_one, pieces, read

RSV1 = 0x40
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

OFFERS = [
    ("", None, 0),
    ("permessage-bzip2", None, 0),
    ("permessage-deflate", ANSWER, 15),
    ("PERMESSAGE-DEFLATE", ANSWER, 15),
    (" permessage-deflate ; client_max_window_bits ", ANSWER, 15),
    ("permessage-deflate; client_max_window_bits=10", ANSWER, 15),
    ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", ANSWER, 15),
    ("permessage-deflate; server_max_window_bits=15", ANSWER + "; server_max_window_bits=15", 15),
    ('permessage-deflate; server_max_window_bits="9"', ANSWER + "; server_max_window_bits=9", 9),
    ("permessage-deflate; server_max_window_bits=12", ANSWER + "; server_max_window_bits=9", 9),
    ("permessage-deflate; server_max_window_bits=8", None, 0),
    ("permessage-deflate; server_max_window_bits", None, 0),
    ("permessage-deflate; server_max_window_bits=", None, 0),
    ("permessage-deflate; server_max_window_bits=16", None, 0),
    ("permessage-deflate; server_max_window_bits=09", None, 0),
    ("permessage-deflate; client_max_window_bits=", None, 0),
    ("permessage-deflate; client_max_window_bits=7", None, 0),
    ("permessage-deflate; server_no_context_takeover=1", None, 0),
    ("permessage-deflate; client_max_window_bits; client_max_window_bits", None, 0),
    ("permessage-deflate; unheard_of", None, 0),
    ("permessage-deflate; unheard_of, permessage-deflate", ANSWER, 15),
    ("x, permessage-deflate; server_max_window_bits=8, permessage-deflate", ANSWER, 15),
]


@pytest.mark.parametrize(("offer", "answer", "bits"), OFFERS)
def test_offers(offer: str, answer: str | None, bits: int) -> None:
    """The first acceptable offer is answered; a wrong one is passed over (RFC 7692 7.1)."""
    agreed = negotiate(offer)
    assert (agreed and agreed.answer) == answer
    assert (agreed.window_bits if agreed else 0) == bits


@pytest.mark.parametrize("offer", [row[0] for row in OFFERS if row[1] is not None])
def test_answers_are_what_another_server_would_allow(offer: str) -> None:
    """`websockets` finds the accepted offers acceptable too."""
    factory = ServerPerMessageDeflateFactory()
    found = False
    for name, parameters in parse_extension(offer.strip()):
        if name.lower() == "permessage-deflate":
            try:
                factory.process_request_params(parameters, [])
            except Exception:  # noqa: BLE001 - its way to say no
                continue
            found = True
    assert found


# --- ours to others, others' to us ---------------------------------------------------


@given(st.binary(max_size=5000) | st.text().map(str.encode) | st.integers(0, 70_000).map(bytes))
def test_what_is_deflated_is_inflated(payload: bytes) -> None:
    """With each window, by zlib with that window and by ourselves."""
    for bits in WINDOWS:
        data = deflate(payload, bits)
        assert inflate(data, len(payload)) == payload
        assert zlib.decompressobj(-bits).decompress(data + b"\x00\x00\xff\xff") == payload


@pytest.mark.parametrize("size", [0, MIN_BYTES - 1, MIN_BYTES, 125, 126, 65535, 65536, 200_000])
@pytest.mark.parametrize("bits", WINDOWS)
def test_wsproto_reads_compressed_frames(size: int, bits: int) -> None:
    """A compressed frame is the same message, again and again; one that is too short stays as it is."""
    text = ("hello " * size)[:size]
    plain = frame(TEXT, text.encode())
    data = compressed(plain, bits)
    assert (data == plain) == (size < MIN_BYTES)
    assert len(data) <= len(plain)
    extension = PerMessageDeflate()
    extension.finalize(f"{ANSWER}; server_max_window_bits={bits}")
    peer = WSConnection(ConnectionType.CLIENT, extensions=[extension])
    for _ in range(2):  # no context is taken over
        peer.receive_data(data)
        assert "".join(event.data for event in peer.events() if isinstance(event, TextMessage)) == text


def test_what_does_not_shrink_stays() -> None:
    """Random bytes are sent plain."""
    data = frame(BINARY, zlib.compress(bytes(range(256)) * 99, 9)[:100])
    assert compressed(data, 15) == data


@pytest.mark.parametrize("cuts", [[], range(0, 9999, 7), range(9999)], ids=["whole", "sevens", "bytes"])
def test_what_wsproto_compresses_is_read(cuts: range) -> None:
    """Its compressed messages are read, however they are cut."""
    extension = PerMessageDeflate(client_no_context_takeover=True)
    extension.finalize(ANSWER)
    peer = WSConnection(ConnectionType.CLIENT, extensions=[extension])
    texts = ["", "x", "hello " * 500, "äöü" * 300]
    data = b"".join(peer.send(TextMessage(text)) for text in texts)
    reader = FrameReader(1 << 16, deflate=True)
    messages = [message for piece in pieces(data, cuts) for message in reader.feed(piece)[0]]
    assert messages == [(TEXT, text.encode()) for text in texts]


def test_a_compressed_message_in_fragments() -> None:
    """Only the first fragment has the bit; a ping may come between."""
    data = deflate("grüße ".encode() * 50, 15)
    stream = client(TEXT | RSV1, data[:5]) + client(FIN | PING) + client(0, data[5:9]) + client(FIN, data[9:])
    for fed in ([stream], one_by_one(stream)):
        assert read(fed, deflate=True) == ([(TEXT, "grüße ".encode() * 50)], client(FIN | PING))
    data = deflate(b"\xff" * 99, 15)
    stream = client(BINARY | RSV1, data[:1]) + client(FIN, data[1:])
    assert read([stream], deflate=True) == ([(BINARY, b"\xff" * 99)], b"")


def test_final_blocks_do_not_end_a_message() -> None:
    """DEFLATE data may come in several streams (RFC 7692 7.2.3.4)."""
    final = zlib.compressobj(6, zlib.DEFLATED, -15)
    part = final.compress(b"hello") + final.flush()
    assert inflate(part + part + deflate(b"!", 15), 100) == b"hellohello!"


# --- those who mean no good -------------------------------------------------------------

WRONG = [
    pytest.param(1002, client(FIN | RSV1 | PING), id="a compressed ping"),
    pytest.param(1002, client(FIN | RSV1 | CLOSE), id="a compressed close"),
    pytest.param(1002, client(FIN | 0x20 | TEXT, b"x"), id="RSV2"),
    pytest.param(1002, client(TEXT | RSV1, b"x") + client(FIN | RSV1, b"x"), id="the bit on a continuation"),
    pytest.param(1007, client(FIN | RSV1 | TEXT, b"\xff" * 9), id="not DEFLATE data"),
    pytest.param(1007, client(FIN | RSV1 | BINARY, b"\x07"), id="a block of the reserved type"),
    pytest.param(1007, client(FIN | RSV1 | TEXT, deflate(b"\xff" * 200, 15)), id="not UTF-8 inside"),
    pytest.param(1009, client(FIN | RSV1 | TEXT, deflate(b"x" * 4097, 15)), id="one byte too long inside"),
    pytest.param(1009, client(FIN | RSV1 | TEXT, deflate(bytes(3_900_000), 15)), id="a bomb"),
    pytest.param(
        1009,
        client(RSV1 | TEXT, deflate(bytes(3_000_000), 15)[:1000])
        + client(FIN, deflate(bytes(3_000_000), 15)[1000:]),
        id="a bomb in fragments",
    ),
]


@pytest.mark.parametrize(("code", "data"), WRONG)
def test_wrong_compression_has_its_close_code(code: int, data: bytes) -> None:
    """Whole or byte by byte, with what came before not lost."""
    good = client(FIN | TEXT, b"good")
    for fed in ([good + data], one_by_one(good + data)):
        found, messages = failure(fed, 4096, deflate=True)
        assert found == code
        assert messages[0] == (TEXT, b"good")


def test_the_limit_is_exact() -> None:
    """As long as may be is read, one byte more is not."""
    data = deflate(b"x" * 4096, 15)
    assert len(inflate(data, 4096)) == 4096
    with pytest.raises(TooLong):
        inflate(data, 4095)


@pytest.mark.parametrize("fragments", [1, 2])
def test_many_small_messages_that_become_large_come_in_slices(fragments: int) -> None:
    """A read of them is no more than some 100 KiB at a time; nothing is lost, and a ping has its place."""
    size = 65_536
    data = deflate(bytes(size), 15)
    one = client(FIN | BINARY | RSV1, data)
    if fragments == 2:
        one = client(BINARY | RSV1, data[:9]) + client(FIN, data[9:])
    reader = FrameReader(size, deflate=True)
    returned = list(everything(reader, [one * 100 + client(FIN | PING) + one * 100 + one[:-1]]))
    assert sum(len(messages) for messages, _ in returned) == 200
    assert max(sum(len(payload) for _, payload in messages) for messages, _ in returned) <= 6 * size
    assert [control for _, control in returned if control] == [client(FIN | PING)]
    assert not reader.pending
    assert reader.feed(one[-1:]) == ([(BINARY, bytes(size))], b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x03\x00" * 32_000, id="empty final blocks"),
        pytest.param(b"\x00\x00\x00\xff\xff" * 12_000, id="empty stored blocks"),
        pytest.param(deflate(bytes(50_000_000), 15), id="a bomb"),
    ],
)
def test_inflating_takes_little_time_whatever_comes(data: bytes) -> None:
    """A message of 64 KiB can't hold the event loop up."""
    began = time.perf_counter()
    for _ in range(3):
        try:
            inflate(data, 65536)
        except (TooLong, zlib.error):
            continue
    assert time.perf_counter() - began < 0.2
