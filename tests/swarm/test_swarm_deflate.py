"""permessage-deflate in the swarm: against frames that `websockets` compresses, and our own server."""

import pytest
import trio
from swarmlib.deflate import DeflatingFrameMaker, Inflater, agreed
from swarmlib.frames import FrameError, Scanner
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from swarm.test_swarm_runs import LOAD, swarm
from trio_chat import Config, serve
from trio_chat.wire.frames import FrameReader

MESSAGES = [b'{"op":"message","text":"%d %s"}' % (number, b"hello " * (number % 5)) for number in range(40)]
STATELESS = Inflater(takes_over=False).inflate


def compressed_frames(*, takes_over: bool) -> list[bytes]:
    """`MESSAGES` as a server's frames."""
    extension = PerMessageDeflate(not takes_over, not takes_over, 15, 15)
    return [Frame(Opcode.TEXT, message).serialize(mask=False, extensions=[extension]) for message in MESSAGES]


@pytest.mark.parametrize("takes_over", [False, True])
def test_opens_what_a_server_compressed(takes_over: bool) -> None:
    """With a context frame after frame, without one each by itself: then one inflating does for all."""
    frames = compressed_frames(takes_over=takes_over)
    inflater = Inflater(takes_over=takes_over)
    seen, plain_bytes = [], 0
    for part in (frames[:15], frames[15:]):
        stream = b"".join(part)
        scanner = Scanner(bytearray(stream), inflate=STATELESS)
        assert (scanner.scan(len(stream), []), scanner.used) == (len(part), len(stream))
        for block in scanner.blocks:
            opened = inflater.open(block)
            assert takes_over or inflater.open(block) is opened
            seen += opened.payloads()
            plain_bytes += opened.plain_bytes
    assert seen == MESSAGES
    assert plain_bytes == sum(len(Frame(Opcode.TEXT, message).serialize(mask=False)) for message in MESSAGES)


def test_tells_compressed_deliveries_by_the_marker() -> None:
    """A reply is one also when it is compressed."""
    extension = PerMessageDeflate(True, True, 15, 15)
    payloads = [b'{"op":"message","n":1}', b'{"op":"joined"}', b'{"op":"message","n":2}']
    stream = b"".join(
        Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=[extension]) for payload in payloads
    )
    scanner = Scanner(bytearray(stream), b"m", 7, STATELESS)
    assert scanner.scan(len(stream), []) == 2
    assert [(frame.first, frame.payload) for frame in scanner.others] == [(0x81, payloads[1])]


def test_refuses_compressed_frames_that_nobody_agreed_to() -> None:
    """And content that isn't DEFLATE."""
    frame = compressed_frames(takes_over=False)[0]
    with pytest.raises(FrameError, match="0xc1"):
        Scanner(bytearray(frame)).scan(len(frame), [])
    with pytest.raises(FrameError, match="can't be inflated"):
        STATELESS(b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("extensions", "takes_over", "window"),
    [
        ("permessage-deflate", True, 15),
        ("permessage-deflate; server_no_context_takeover", False, 15),
        ("permessage-deflate; client_max_window_bits=10; server_max_window_bits=12", True, 10),
        ('permessage-deflate; client_no_context_takeover; client_max_window_bits="9"', True, 9),
    ],
)
def test_takes_what_was_agreed(extensions: str, takes_over: bool, window: int) -> None:
    """Who keeps a context, and the window that the client must stay within."""
    inflater = agreed(extensions)
    assert (inflater.takes_over, inflater.window_bits) == (takes_over, window)


@pytest.mark.parametrize(
    "extensions",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate; nonsense",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate, permessage-deflate",
    ],
)
def test_refuses_what_it_did_not_offer(extensions: str) -> None:
    """In one line that quotes it."""
    with pytest.raises(ValueError, match="the server chose") as caught:
        agreed(extensions)
    assert extensions in str(caught.value)


def test_sends_what_a_server_can_read() -> None:
    """Compressed, masked, in the window that was agreed."""
    maker = DeflatingFrameMaker(9)
    messages, _ = FrameReader(1 << 20, deflate=True).feed(b"".join(map(maker.frame, MESSAGES)))
    assert [payload for _, payload in messages] == MESSAGES


@pytest.mark.parametrize(("path", "size"), [("/ws", "130"), ("/relay", "300")])
async def test_verifies_compressed_talk(path: str, size: str) -> None:
    """Our own server: everybody agrees, everything arrives, and the saving is told."""
    options = ("--deflate", "--content", "talk", "--size", size, "--verify", "--rate", "100")
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, Config(port=0, log="memory:", rate=0))
        status, result, errors = await swarm(f"{server.url}{path}", *LOAD, *options)
        nursery.cancel_scope.cancel()
    assert status == 0, (result, errors)
    assert result["deflate"]["agreed"] == 6
    assert result["total"]["deliveries"] > 0
    assert 290 < result["deflate"]["plain_bytes_per_delivery"] < 320
