"""The swarm against other people's protocols: it joins, counts and verifies as it does with ours."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from swarmlib.adapters import make_protocol
from swarmlib.frames import Scanner
from swarmlib.settings import Settings, parse_url
from websockets.frames import Opcode

from swarm.dialects import DIALECTS, serve_dialect
from swarm.test_swarm_frames import server_frame
from swarm.test_swarm_runs import LOAD, swarm

FOUND = {"none": {}, "dropped": {"gaps": 1}, "duplicated": {"duplicates": 1}, "reordered": {"order": 1}}


@pytest.mark.parametrize(
    ("dialect", "fault"),
    [(each, fault) for each in DIALECTS for fault in FOUND if each == "nats" or fault in ("none", "dropped")],
)
async def test_verifying_finds_what_is_planted(dialect: str, fault: str) -> None:
    """Exactly that, whichever protocol the server speaks."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_dialect, dialect, fault)
        load = [*LOAD, "--rate", "100", "--senders", "1", "--verify", "--protocol", dialect]
        status, result, errors = await swarm(f"ws://127.0.0.1:{port}/", *load)
        nursery.cancel_scope.cancel()
    assert result, errors
    found = {kind: count for kind, count in result["findings"].items() if count}
    assert (status, found, result["errors"]) == (int(fault != "none"), FOUND[fault], {})
    assert result["total"]["sends"] > 5
    assert result["latency_ms"]["count"] > 0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_comes_back_where_nothing_is_resumed_is_not_said_to_have_missed_something(
    dialect: str,
) -> None:
    """Also when deliveries come before the server says that it has joined."""
    mix = "talker=3,lurker=2,storm=4,flapping=2,spammer=1"
    times = ("--rate", "200", "--duration", "1", "--warmup", "0.2", "--storm", "0.5", "--flap", "0.5")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_dialect, dialect, "none")
        status, result, errors = await swarm(
            f"ws://127.0.0.1:{port}/", "--protocol", dialect, "--mix", mix, *times
        )
        nursery.cancel_scope.cancel()
    assert status == 0, (result["findings"], result["errors"], errors)
    assert result["returns"]["returned"] >= 4


def settings(protocol: str, **more: object) -> Settings:
    """Of a run with that protocol."""
    given_ = {"clients": 9, "senders": 9, "room": "swarm-1"} | more
    return Settings(target=parse_url("ws://h:1/"), protocol=protocol, **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "refusal", "told"),
    [
        ("socketio", b'44{"message":"no"}', 'Socket.IO refused: 44{"message":"no"}'),
        ("mqtt", b"\x20\x02\x00\x05", "MQTT refused the connection with code 5"),
        ("mqtt", b"\x90\x03\x00\x01\x80", "MQTT refused the subscription"),
        ("nats", b"-ERR 'Authorization Violation'\r\n", "NATS said -ERR 'Authorization Violation'"),
        ("xmpp", b"<failure><not-authorized/></failure>", "XMPP refused: <failure>"),
        ("xmpp", b"<presence type='error'><error/></presence>", "XMPP refused the room: <presence"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(protocol: str, refusal: bytes, told: str) -> None:
    """One line."""
    assert make_protocol(settings(protocol)).reply(0, refusal).failure.startswith(told)


def test_keep_alive_questions_are_answered() -> None:
    """Otherwise a longer run would lose its clients."""
    assert make_protocol(settings("socketio")).reply(0, b"2").answers == (b"3",)
    assert make_protocol(settings("nats")).reply(0, b"PING\r\n").answers == (b"PONG\r\n",)


@pytest.mark.parametrize(("size", "length"), [(64, b"\x4b"), (1024, b"\x8b\x08"), (16384, b"\x8b\x80\x01")])
def test_an_mqtt_packet_tells_its_length_in_groups_of_seven_bits(size: int, length: bytes) -> None:
    """Two bytes for the topic's length, nine for ``swarm-1-0``, then the text."""
    protocol = make_protocol(settings("mqtt", size=size))
    message = protocol.message_maker(0)(7, 1)
    assert message.startswith(b"\x30" + length + b"\x00\x09swarm-1-0~00000~00000007~")
    assert len(message) == 1 + len(length) + 11 + size


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 200))
def test_messages_are_counted_inside_frames(counts: list[int], cut: int) -> None:
    """However many a frame has; one without any is something else, and half a frame waits."""
    frames = [server_frame(Opcode.BINARY, b"MSG a 1 2\r\nhi\r\n" * count or b"PING\r\n") for count in counts]
    data = b"".join(frames)
    cut = min(cut, len(data))
    buffer = bytearray(data)
    scanner = Scanner(buffer, inside=b"MSG ")
    recent: list[object] = []
    first = scanner.scan(cut, recent)  # type: ignore[arg-type]
    others = len(scanner.others)
    rest = data[scanner.used :]
    buffer[: len(rest)] = rest
    second = scanner.scan(len(rest), recent)  # type: ignore[arg-type]
    assert first + second == sum(counts)
    assert others + len(scanner.others) == counts.count(0)
