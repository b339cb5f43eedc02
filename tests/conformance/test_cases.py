"""Every case against an echo endpoint of the real server, over in-memory streams, cut in three ways."""

from collections.abc import AsyncIterator

import pytest
import trio
from server.peers import CLOSE, Peer, head, shake_hands
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.config import Config
from trio_chat.testing import MemoryServer, open_memory_server
from trio_chat.wire.endpoint import WebSocket

from .cases import CASES, FAIL_FAST, NORMAL, Answer, Case, cuts


async def echo(websocket: WebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


@pytest.fixture
async def server() -> AsyncIterator[MemoryServer]:
    config = Config(log="memory:", max_message=16 << 20, max_per_ip=100_000)
    async with open_memory_server(config, endpoints={"/echo": echo}) as server:
        yield server


async def send(stream: trio.abc.Stream, pieces: list[bytes]) -> None:
    """Send the pieces one by one; the server may have ended before the last."""
    try:
        for piece in pieces:
            await stream.send_all(piece)
            if len(pieces) < 100:
                await wait_all_tasks_blocked()
    except trio.BrokenResourceError:
        pass


async def to_the_end(peer: Peer) -> tuple[list[Answer], int]:
    """All frames up to the server's close frame, which is answered, and its code; then the stream ends."""
    answers: list[Answer] = []
    while (found := await peer.frame()) is not None:
        opcode, payload = found
        if opcode == CLOSE:
            await send(peer.stream, [NORMAL])
            assert await peer.frame() is None
            return answers, int.from_bytes(payload[:2], "big") or 1005
        answers.append(found)
    return answers, 1006


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_case(autojump_clock: MockClock, server: MemoryServer, case: Case) -> None:
    """The answers are the table's, in its order; then the close code; then the server ends the stream."""
    began = trio.current_time()
    for how, pieces in cuts(case).items():
        stream = server.open_stream()
        async with await shake_hands(stream, head("/echo")) as peer:
            await send(stream, pieces)
            answers = []
            if not case.ends:
                answers = [await peer.frame() for _ in case.answers]
                await send(stream, [NORMAL])
            more, code = await to_the_end(peer)
            assert (*answers, *more) == case.answers, how
            assert code == case.code, how
    assert trio.current_time() == began, "something was waited for"


@pytest.mark.parametrize("case", FAIL_FAST, ids=lambda case: case.id)
async def test_wrong_text_ends_before_the_rest_comes(
    autojump_clock: MockClock, server: MemoryServer, case: Case
) -> None:
    """The first piece is fine, the second is the end; nobody sends a third."""
    first, second, _ = case.sent
    stream = server.open_stream()
    async with await shake_hands(stream, head("/echo")) as peer:
        await stream.send_all(first)
        with trio.move_on_after(1) as waiting:
            await peer.frame()
        assert waiting.cancelled_caught
        await stream.send_all(second)
        assert await to_the_end(peer) == ([], 1007)


def test_no_case_is_there_twice() -> None:
    """A case's number names one row."""
    assert len({case.id for case in CASES}) == len(CASES)
