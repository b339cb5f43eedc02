"""The client's address behind proxies: believed from trusted peers only, and the same in every log line."""

import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.testing

import trio_chat
from trio_chat import door

from .peers import Answer, ask, connected, head, lines, open_stream, read_all, serving, shake_hands


def v1(source: str, destination: str = "192.0.2.254") -> bytes:
    """A PROXY header, version 1."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} 51234 443\r\n".encode()


def v2(source: str, destination: str = "192.0.2.254", *, command: int = 1, extra: bytes = b"") -> bytes:
    """A PROXY header, version 2."""
    addresses = ip_address(source).packed + ip_address(destination).packed + struct.pack("!HH", 51234, 443)
    family = 0x21 if ":" in source else 0x11
    length = len(addresses) + len(extra)
    start = b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x20 | command, family, length)
    return start + addresses + extra


async def client_of(
    server: trio_chat.Server, caplog: pytest.LogCaptureFixture, before: bytes = b"", /, **headers: str
) -> str:
    """The client's address in the log lines of a connection."""
    caplog.clear()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connected(server, "/relay/x", named, before=before) as peer:
        await peer.send_frame(8, b"\x03\xe8")
        await peer.closed()
    records = lines(caplog)
    assert [record.getMessage().split(":")[0] for record in records][:1] == ["accepted"]
    clients = {record.client for record in records}
    assert len(clients) == 1
    client: str = clients.pop()
    return client


async def test_a_forged_header_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    """From a peer that isn't trusted neither of the two headers means anything."""
    async with serving() as server:
        assert await client_of(server, caplog, X_Forwarded_For="203.0.113.9") == "127.0.0.1"
        assert await client_of(server, caplog, X_Real_IP="203.0.113.9") == "127.0.0.1"
        assert await client_of(server, caplog, Forwarded="for=203.0.113.9") == "127.0.0.1"


async def test_a_trusted_peer_s_header_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    """From the right up to the first address that isn't a trusted proxy; what the client wrote stays left."""
    async with serving(trusted_proxy=("127.0.0.0/8", "10.0.0.0/8")) as server:
        assert await client_of(server, caplog) == "127.0.0.1"
        assert await client_of(server, caplog, X_Forwarded_For="198.51.100.1") == "198.51.100.1"
        forged = "203.0.113.9, 198.51.100.1, 10.1.1.1"
        assert await client_of(server, caplog, X_Forwarded_For=forged) == "198.51.100.1"
        forwarded = 'for="[2001:db8::1]:99";proto=https'
        assert await client_of(server, caplog, Forwarded=forwarded) == "2001:db8::1"
        both = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.2"}
        assert (await ask(server, "/ws", both, upgrade=True)).status == 400


async def test_the_upgrade_handler_sees_client_and_peer() -> None:
    """And the scheme that the client used, which counts for the same origin."""
    seen: list[tuple[str, str | None, str]] = []

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        seen.append((request.client, request.peer, request.scheme))
        return trio_chat.Accept()

    headers = {
        "X-Forwarded-For": "198.51.100.1",
        "X-Forwarded-Proto": "https",
        "Origin": "https://chat.test",
    }
    async with (
        serving(upgrade=upgrade, trusted_proxy=("127.0.0.1",)) as server,
        connected(server, "/ws", headers),
    ):
        assert seen == [("198.51.100.1", "127.0.0.1", "https")]
    async with serving(upgrade=upgrade) as server:
        assert (await ask(server, "/ws", headers, upgrade=True)).status == 403


# --- PROXY protocol ----------------------------------------------------------------------------------------

HEADERS = [
    (v1("198.51.100.7"), "198.51.100.7"),
    (v1("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
    (v1("::ffff:198.51.100.7", "::1"), "198.51.100.7"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.1"),
    (v2("198.51.100.7"), "198.51.100.7"),
    (v2("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
    (v2("198.51.100.7", extra=b"\x02\x00\x0bexample.com" + b"\x04\x03\xe8" + bytes(1000)), "198.51.100.7"),
    (v2("198.51.100.7", command=0), "127.0.0.1"),
]


@pytest.mark.parametrize(("header", "client"), HEADERS)
async def test_a_trusted_peer_s_proxy_header_is_believed(
    caplog: pytest.LogCaptureFixture, header: bytes, client: str
) -> None:
    """Versions 1 and 2: the source is the client; a proxy that speaks for itself is the client."""
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        assert await client_of(server, caplog, header) == client


@pytest.mark.parametrize("header", [HEADERS[0][0], HEADERS[5][0]])
async def test_a_proxy_header_may_come_in_any_pieces(caplog: pytest.LogCaptureFixture, header: bytes) -> None:
    """Byte by byte, or in one piece with the request, or cut in the middle of either."""
    request = head("/relay/x")
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        for cut in (*range(1, len(header) + 3), len(header) + 40):
            data = header + request
            async with await open_stream(server) as stream:
                await stream.send_all(data[:cut])
                await trio.testing.wait_all_tasks_blocked(0.001)
                async with await shake_hands(stream, data[cut:]):
                    pass
        async with await open_stream(server) as stream:
            for byte in header:
                await stream.send_all(bytes((byte,)))
                await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(head("/healthz", upgrade=False))
            assert Answer.parse(await read_all(stream)).status == 200
    assert {record.client for record in lines(caplog, "accepted")} == {"198.51.100.7"}


async def test_a_trusted_peer_needs_no_proxy_header() -> None:
    """A request whose method begins like the header is a request, however slowly it comes."""
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        for start in (b"P", b"PR", b"PRO", b"\r"):
            async with await open_stream(server) as stream:
                await stream.send_all(start)
                await trio.testing.wait_all_tasks_blocked(0.001)
                await stream.send_all(b"UT / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert Answer.parse(await read_all(stream)).status == (400 if start == b"\r" else 405)


async def test_a_stranger_s_proxy_header_is_a_bad_request(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that isn't trusted can't say who it is."""
    async with serving() as server:
        for header, _ in HEADERS:
            async with await open_stream(server) as stream:
                await stream.send_all(header + head())
                assert Answer.parse(await read_all(stream)).status == 400
    assert lines(caplog, "accepted") == []


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 1.2.3.4\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
        b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY " + b"x" * 200,
        b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + bytes(12),
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x01\x00",
    ],
)
async def test_a_broken_proxy_header_is_a_400(header: bytes) -> None:
    """In words; nothing that follows it is read as a request."""
    async with serving(trusted_proxy=("127.0.0.1",)) as server, await open_stream(server) as stream:
        await stream.send_all(header + head("/healthz", upgrade=False))
        answer = Answer.parse(await read_all(stream))
        assert answer.status == 400
        assert "PROXY" in answer.text


async def test_a_client_can_t_add_a_proxy_header_of_its_own() -> None:
    """After a header that names an untrusted client or none, another one is the client's own: refused."""
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        for first in (v1("198.51.100.7"), b"PROXY UNKNOWN\r\n", v2("198.51.100.7", command=0)):
            async with await open_stream(server) as stream:
                await stream.send_all(first + v1("203.0.113.9") + head())
                assert Answer.parse(await read_all(stream)).status == 400


async def test_a_chain_of_proxies_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    """A trusted proxy's word about another trusted proxy, whose own header follows."""
    async with serving(trusted_proxy=("127.0.0.1", "10.0.0.0/8")) as server:
        before = v2("10.0.0.1") + v1("198.51.100.7")
        assert await client_of(server, caplog, before) == "198.51.100.7"
        # And HTTP proxies behind TCP ones: their header counts if they are trusted, else not.
        forwarded = "198.51.100.8"
        assert await client_of(server, caplog, v2("10.0.0.1"), X_Forwarded_For=forwarded) == forwarded
        found = await client_of(server, caplog, v2("198.51.100.7"), X_Forwarded_For=forwarded)
        assert found == "198.51.100.7"


async def test_a_slow_proxy_header_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """Header and head together have the head's time."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.2)
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        for part in (b"PROXY TCP4 1.2", v1("198.51.100.7"), v2("198.51.100.7")[:20]):
            async with await open_stream(server) as stream:
                await stream.send_all(part)
                assert Answer.parse(await read_all(stream)).status == 408


async def test_a_proxy_that_hangs_up_leaves_nothing() -> None:
    """In the middle of its header."""
    async with serving(trusted_proxy=("127.0.0.1",)) as server:
        for part in (b"P", b"PROXY TCP4 1.2", v1("198.51.100.7"), v2("198.51.100.7")[:20]):
            async with await open_stream(server) as stream:
                await stream.send_all(part)
                await stream.send_eof()
                assert await read_all(stream) == b""


async def test_a_unix_peer_is_trusted_by_name(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """`--trusted-proxy unix`: who connects through the Unix socket is believed."""
    path = str(tmp_path / "socket")
    async with serving(unix=path) as server:
        assert await client_of(server, caplog, X_Forwarded_For="198.51.100.1") == "unix"
    async with serving(unix=path, trusted_proxy=("unix",)) as server:
        assert await client_of(server, caplog, X_Forwarded_For="198.51.100.1") == "198.51.100.1"
        assert await client_of(server, caplog, v1("198.51.100.7")) == "198.51.100.7"
