"""The access log: accepted, rejected and closed connections are one line each, and say who."""

import io
import logging
from typing import Any

import pytest
import trio

import trio_chat
from trio_chat import door, logs

from .peers import CLOSE, TEXT, ask, connected, lines, serving, troubles, until


def told(record: Any) -> tuple[str, str, str, str | None]:
    """What a line says, and about whom."""
    return record.getMessage(), record.client, record.path, record.user


async def test_a_life_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Accepted and closed: client, path, connection id and user."""
    async with serving() as server:
        async with connected(server, "/ws?name=%C3%84nne&room=lobby") as peer:
            await peer.receive_until("joined")
            (accepted,) = lines(caplog)
            assert told(accepted) == ("accepted", "127.0.0.1", "/ws", "Änne")
            await peer.send_frame(CLOSE, b"\x03\xe8bye")
            await peer.closed()
        await until(lambda: len(lines(caplog)) == 2)
        closed = lines(caplog)[1]
        assert told(closed) == ("closed: 1000 bye", "127.0.0.1", "/ws", "Änne")
        assert closed.connection == accepted.connection
        async with connected(server, "/relay/x"):
            assert lines(caplog)[2].connection > accepted.connection


async def test_a_guest_without_a_name_is_called_by_the_one_that_it_gets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also one whose name can't be."""
    async with serving() as server:
        for path in ("/ws", "/ws?name=%0a"):
            caplog.clear()
            async with connected(server, path) as peer:
                name = (await peer.join())["user"]["name"]
                assert lines(caplog, "accepted")[0].user == name
                assert name.startswith("guest-")


async def test_a_user_who_is_signed_in_is_named_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """On every endpoint."""

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        return trio_chat.Accept("ann")

    async with serving(upgrade=upgrade) as server:
        for path in ("/ws", "/relay/room"):
            caplog.clear()
            async with connected(server, path):
                pass
            await until(lambda: len(lines(caplog)) == 2)
            assert [(record.path, record.user) for record in lines(caplog)] == [(path, "ann")] * 2


async def test_each_end_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """How a connection ended, in code and words."""
    async with serving(max_message=1024) as server:

        async def end(*frames: tuple[int, bytes], cut: bool = False) -> str:
            caplog.clear()
            async with connected(server) as peer:
                for opcode, payload in frames:
                    await peer.send_frame(opcode, payload)
                if cut:
                    peer.reset()
                else:
                    await peer.closed()
            await until(lambda: lines(caplog, "closed"))
            (line,) = lines(caplog, "closed")
            text: str = line.getMessage()
            return text

        assert (await end((CLOSE, b"\x03\xe9"))).startswith("closed: 1001")
        assert await end(cut=True) == "closed: 1006 connection lost"
        assert (await end((2, b"x"))).startswith("closed: 1003 ")
        assert (await end((TEXT, b"\xff"))).startswith("closed: 1007 ")
        assert (await end((TEXT, b"x" * 2000))).startswith("closed: 1009 ")
        assert (await end((3, b""))).startswith("closed: 1002 ")
        bad = [(TEXT, b"{}")] * 40
        assert (await end(*bad)).startswith("closed: 4510 ")


async def test_a_refusal_is_one_line_with_its_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the handler, by the origin, by a crash, for want of a place, or while stopping."""
    monkeypatch.setattr(door, "UPGRADE_SECONDS", 0.1)

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept | trio_chat.Reject:
        match request.raw_query:
            case "crash":
                raise RuntimeError
            case "hang":
                await trio.sleep_forever()
            case "visible":
                return trio_chat.Reject.visibly(4501, "sign in first")
            case "status":
                return trio_chat.Reject(401, "no cookie\nat all")
        return trio_chat.Accept()

    async with serving(upgrade=upgrade, max_connections=2, max_per_ip=1) as server:

        async def refusal(query: str, **headers: str) -> str:
            caplog.clear()
            await ask(server, f"/relay/x?{query}", headers, upgrade=True)
            (line,) = lines(caplog)
            troubles(caplog)
            assert told(line)[1:] == ("127.0.0.1", "/relay/x", None)
            assert line.connection > 0
            text: str = line.getMessage()
            return text

        assert await refusal("status") == "rejected: 401 no cookie"
        assert await refusal("crash") == "rejected: 500 internal error"
        assert await refusal("hang") == "rejected: 503 signing in took too long"
        evil = "rejected: 403 origin http://evil.test is not allowed"
        assert await refusal("", Origin="http://evil.test") == evil
        caplog.clear()
        async with connected(server, "/relay/x?visible") as peer:
            assert (await peer.closed())[0] == 4501
        await until(lambda: not server.connections)
        messages = [record.getMessage() for record in lines(caplog)]
        assert messages == ["rejected: 4501 sign in first", "closed: 4501 sign in first"]
        async with connected(server, "/relay/x"):
            assert await refusal("") == "rejected: 429 more than 1 connections from 127.0.0.1"


async def test_what_can_not_become_a_websocket_is_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    """A handshake or a head that is wrong: one line with the status and the reason, and counted."""
    key = {"Sec-WebSocket-Key": None}
    async with serving() as server:
        for path, headers, line in (
            ("/nope", {}, "rejected: 404 there is nothing here"),
            ("/relay/a%20b", {}, "rejected: 404 room: 1 to 64 letters, digits, '-', '_' or '.'"),
            ("/relay/a?echo=3", {}, "rejected: 400 echo: 0 or 1, not 3"),
            ("/ws", key, "rejected: 400 Sec-WebSocket-Key is missing"),
            ("/ws", {"Sec-WebSocket-Version": "8"}, "rejected: 426 Sec-WebSocket-Version is not spoken here"),
            ("/ws?" + "x" * 9000, {}, "rejected: 414 the request line is longer than 8192 bytes"),
        ):
            caplog.clear()
            answer = await ask(server, path, headers, upgrade=True)
            (record,) = lines(caplog)
            assert record.getMessage().startswith(line)
            assert (record.client, record.connection > 0) == ("127.0.0.1", True)
            assert record.getMessage().split()[1] == str(answer.status)
        caplog.clear()
        assert (await ask(server, "/nope")).status == 404
        assert (await ask(server, "/ws")).status == 426
        assert [record.getMessage()[:13] for record in lines(caplog)] == ["rejected: 426"]
        metrics = (await ask(server, "/metrics")).text
        assert 'trio_chat_rejected_total{reason="404"} 2.0' in metrics


async def test_nobody_writes_lines_of_his_own() -> None:
    """Paths, names, origins and reasons with line ends and escapes come out as one printable line each."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.TextFormatter())
    logging.getLogger("trio_chat").addHandler(handler)
    try:
        async with serving() as server:
            hostile = "%0d%0a2026-01-01T00:00:00.000Z%20INFO%20forged%1b[31m%e2%80%ae"
            assert (await ask(server, f"/relay/{hostile}", upgrade=True)).status in (400, 404)
            assert (await ask(server, "/relay/%e2%80%ae", upgrade=True)).status == 404
            assert (await ask(server, "/ws", {"Origin": "http://\u00ad\u0085x"}, upgrade=True)).status == 403
            async with connected(server, f"/ws?name={hostile}&room={hostile}") as peer:
                await peer.receive_until("error")
                await peer.send("hello", name="a\u2028b\u202e")
                await peer.receive_until("error")
                await peer.send_frame(CLOSE, b"\x0f\xa1\n\x1b[31m forged")
                await peer.closed()
            await until(lambda: not server.connections)
    finally:
        logging.getLogger("trio_chat").removeHandler(handler)
    written = stream.getvalue().split("\n")
    assert written.pop() == ""
    assert len(written) > 6
    for line in written:
        assert line.isprintable()
        assert line.split(" ")[1] in ("INFO", "DEBUG")
