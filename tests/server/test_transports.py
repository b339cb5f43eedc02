"""The same service over IPv4, IPv6, a Unix socket and TLS."""

import contextlib
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trustme

import trio_chat
from trio_chat import door
from trio_chat.client import Message, open_client

from .peers import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Answer,
    ask,
    client_frame,
    connected,
    has_ipv6,
    head,
    lines,
    open_stream,
    read_all,
    reset,
    serving,
    shake_hands,
    until,
)
from .test_proxies import v1, v2


async def chat(server: trio_chat.Server, url: str = "", tls: ssl.SSLContext | None = None) -> None:
    """Two talk, with the project's own client."""
    async with (
        open_client(url or server.url, "ann", ssl_context=tls) as ann,
        open_client(url or server.url, "bob", ssl_context=tls) as bob,
        ann.join("lobby") as here,
        bob.join("lobby") as there,
    ):
        await here.say("hello 中文 " + "x" * 5000)
        event = await anext(there)
        assert isinstance(event, Message)
        assert event.text == "hello 中文 " + "x" * 5000


async def test_ipv4() -> None:
    """The URL says where."""
    async with serving() as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        await chat(server)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_ipv6(caplog: pytest.LogCaptureFixture) -> None:
    """The URL has brackets, the log line has none."""
    async with serving(host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        await chat(server)
        async with connected(server, host="::1"):
            pass
    assert {record.client for record in lines(caplog)} == {"::1"}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_every_address_of_a_name_is_served_on_one_port() -> None:
    """A name with an IPv4 and an IPv6 address is served at both."""
    found = {info[4][0] for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    async with serving(host="localhost") as server:
        for address in found & {"127.0.0.1", "::1"}:
            async with connected(server, host=str(address)) as peer:
                await peer.join()


# --- Unix sockets --------------------------------------------------------------------------------------


async def test_a_unix_socket(tmp_path: Path) -> None:
    """It is there while the server runs, and gone when it has stopped or was cancelled."""
    path = tmp_path / "socket"
    async with serving(unix=str(path)) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (await ask(server, "/healthz")).status == 200
        await chat(server, f"unix:{path}")
        server.stop()
        await until(lambda: not path.exists())
    async with serving(unix=str(path)):
        assert path.exists()
    assert not path.exists()


async def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """One that a killed server left behind, where nobody listens."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert path.exists()
    async with serving(unix=str(path)) as server:
        assert (await ask(server, "/healthz")).status == 200


async def test_a_live_unix_socket_is_refused(tmp_path: Path) -> None:
    """The second server fails, and neither that nor its end harms the first."""
    path = tmp_path / "socket"
    config = trio_chat.Config(unix=str(path), log="memory:")
    async with serving(unix=str(path)) as server:
        with pytest.raises(OSError, match="in use"):
            await trio_chat.serve(config)
        assert (await ask(server, "/healthz")).status == 200


async def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    """Only sockets are taken for stale."""
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(OSError, match="is in the way; it was left alone"):
        await trio_chat.serve(trio_chat.Config(unix=str(path), log="memory:"))
    assert path.read_text() == "precious"


async def test_another_server_s_unix_socket_is_left_alone(tmp_path: Path) -> None:
    """A server whose file was taken away does not remove its successor's when it stops."""
    path = tmp_path / "socket"
    async with serving(unix=str(path)) as first:
        path.unlink()
        async with serving(unix=str(path)) as second:
            first.stop()
            with trio.move_on_after(1):
                await until(lambda: not path.exists())
            assert path.exists()
            assert (await ask(second, "/healthz")).status == 200


# --- TLS --------------------------------------------------------------------------------------------------


@attrs.frozen
class Certified:
    """A server's files, and a client's context that trusts them."""

    files: dict[str, Any]
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """A certificate for 127.0.0.1."""
    where = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(where / "key.pem"))
    (where / "cert.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return Certified({"tls_cert": str(where / "cert.pem"), "tls_key": str(where / "key.pem")}, trusting)


async def assert_hung_up(stream: trio.SocketStream, *, end: bool = True) -> None:
    """The server ends the connection (a reset will do); what it says at most is a TLS alert (21)."""
    try:
        if end:
            await stream.send_eof()
        assert (await read_all(stream))[:1] in (b"", b"\x15")
    except trio.BrokenResourceError:
        pass


async def test_tls(certified: Certified) -> None:
    """A chat, a relay and a plain request over https; the handler is told."""
    seen: list[tuple[bool, str]] = []

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        seen.append((request.tls, request.scheme))
        return trio_chat.Accept()

    async with serving(upgrade=upgrade, **certified.files) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        await chat(server, tls=certified.trusting)
        async with connected(
            server, "/relay/x", {"Origin": "https://chat.test"}, tls=certified.trusting
        ) as peer:
            await peer.send_frame(TEXT, b"x" * 60_000)
            assert await peer.frame() == (TEXT, b"x" * 60_000)
        assert set(seen) == {(True, "https")}
        async with trio.SSLStream(
            await open_stream(server), certified.trusting, server_hostname="127.0.0.1", https_compatible=True
        ) as stream:
            await stream.send_all(head("/healthz", upgrade=False))
            assert Answer.parse(await read_all(stream)).status == 200


async def test_tls_ends_with_its_own_goodbye(certified: Certified) -> None:
    """Answers and WebSockets end with a close_notify (RFC 8446 section 6.1): nobody sees a truncation."""
    async with serving(**certified.files) as server:
        for request, last in (
            (head("/healthz", upgrade=False), b"}\n"),
            (head("/relay/x"), b"\x88\x02\x03\xe8"),
        ):
            async with await open_stream(server) as carrier:
                stream = trio.SSLStream(carrier, certified.trusting, server_hostname="127.0.0.1")
                await stream.send_all(request)
                if b"Upgrade" in request:
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
                    await stream.send_all(client_frame(CLOSE, b"\x03\xe8"))
                assert (await read_all(stream)).endswith(last)


async def test_plain_http_to_the_tls_port_is_hung_up(certified: Certified) -> None:
    """Without a traceback, and without waiting; as are garbage, resets and silence."""
    async with serving(**certified.files) as server:
        for data in (head("/", upgrade=False), bytes(range(256)), b"", b"\x16\x03\x01"):
            async with await open_stream(server) as stream:
                if data:
                    await stream.send_all(data)
                await assert_hung_up(stream)
        stream = await open_stream(server)
        await stream.send_all(b"\x16\x03\x01\x02\x00")
        reset(stream)
        await until(lambda: server._open == 0)
        await chat(server, tls=certified.trusting)


async def test_a_tls_handshake_that_fails_is_a_line(
    certified: Certified, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason, and counted; a peer that only looks whether somebody listens is none."""
    async with serving(**certified.files) as server:
        async with await open_stream(server) as stream:
            await stream.send_all(head("/", upgrade=False))
            await assert_hung_up(stream)
        async with await open_stream(server):
            pass
        await until(lambda: server._open == 0)
        assert [line.getMessage() for line in lines(caplog)] == ["rejected: TLS: http request"]
        assert server._metrics.counts.rejected == {"tls": 1}


async def test_tls_to_the_plain_port_is_a_400(certified: Certified) -> None:
    """The client sees a record of the wrong kind at once, and no timeout."""
    async with serving() as server:
        async with await open_stream(server) as plain:
            stream = trio.SSLStream(plain, certified.trusting, server_hostname="127.0.0.1")
            with pytest.raises(trio.BrokenResourceError):
                await stream.do_handshake()
        async with await open_stream(server) as plain:
            await plain.send_all(bytes.fromhex("16030100c8010000c40303"))
            answer = Answer.parse(await read_all(plain))
            assert (answer.status, answer.text) == (400, "this port speaks plain HTTP, not TLS")


async def test_a_tls_handshake_that_never_ends_is_ended(
    certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS has the head's time: then the connection is gone, and its task."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.2)
    async with serving(**certified.files, trusted_proxy=("127.0.0.1",)) as server:
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PROXY TCP4 ", v2("198.51.100.7")):
            async with await open_stream(server) as stream:
                await stream.send_all(data)
                await assert_hung_up(stream, end=False)
        await until(lambda: server._open == 0)


async def test_a_proxy_header_comes_before_tls(
    certified: Certified, caplog: pytest.LogCaptureFixture
) -> None:
    """In one piece with the client hello or alone, chained or not; without one it is plain TLS."""
    trusted = ("127.0.0.1", "10.0.0.0/8")
    async with serving(trusted_proxy=trusted, **certified.files) as server:
        for before, client in (
            (v1("198.51.100.7"), "198.51.100.7"),
            (v2("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
            (v2("10.0.0.1") + v1("198.51.100.7"), "198.51.100.7"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
            (b"", "127.0.0.1"),
        ):
            caplog.clear()
            async with connected(server, tls=certified.trusting, before=before) as peer:
                await peer.join()
                assert [record.client for record in lines(caplog, "accepted")] == [client]
        for broken in (
            b"PROXY TCP4 nonsense\r\n",
            b"POST / HTTP/1.1\r\n",
            b"PX",
            b"\r\n\r\n\x00\r\nQUIT\n\xff",
        ):
            async with await open_stream(server) as stream:
                await stream.send_all(broken)
                await assert_hung_up(stream)


async def test_a_tls_client_that_reads_nothing_is_cut(certified: Certified) -> None:
    """The stop isn't held up by a client that takes nothing, over TLS as over TCP."""
    async with serving(**certified.files, drain=0.5, outbox=4096) as server:
        async with connected(server, "/relay/x", tls=certified.trusting) as peer:
            with trio.move_on_after(1):
                while server.connections:
                    await peer.send_frame(TEXT, b"x" * 60_000)
        await until(lambda: not server.connections)
        server.stop()


async def test_tls_members_that_read_slowly_get_every_byte_in_order(certified: Certified) -> None:
    """Whatever the socket takes of a record at a time: large messages among small ones, sent while the member
    doesn't read, arrive whole; and the server reads on meanwhile."""
    sent = [bytes((n % 251,)) * (1 + n * 7919 % 60_000) for n in range(300)]
    async with (
        serving(**certified.files, outbox=64 << 20) as server,
        connected(server, "/relay/x?echo=0", tls=certified.trusting) as sender,
        connected(server, "/relay/x", tls=certified.trusting) as member,
    ):
        for payload in sent:
            await sender.send_frame(BINARY, payload)
        await sender.send_frame(PING, b"read?")
        assert await sender.frame() == (PONG, b"read?")
        await until(lambda: any(c.outbox.waiting_bytes > 1 << 20 for c in server.connections))
        for payload in sent:
            assert await member.frame() == (BINARY, payload)


async def test_many_frames_in_one_tls_record_are_all_read(certified: Certified) -> None:
    """Nothing that is decrypted already waits inside TLS for the next byte to come."""
    async with (
        serving(**certified.files) as server,
        connected(server, "/relay/x", tls=certified.trusting) as peer,
    ):
        frames = [str(n).encode() for n in range(20_000)]
        await peer.stream.send_all(b"".join([client_frame(TEXT, payload) for payload in frames]))
        for payload in frames:
            assert await peer.frame() == (TEXT, payload)


async def test_an_embedder_s_own_context(certified: Certified) -> None:
    """It is used as it is: here it asks for nothing older than TLS 1.3."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certified.files["tls_cert"], certified.files["tls_key"])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(ssl_context=context) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        await chat(server, tls=certified.trusting)
        async with await open_stream(server) as carrier:
            with pytest.raises(trio.BrokenResourceError):
                await trio.SSLStream(carrier, old).do_handshake()


async def test_an_embedder_s_tls_stream_counts_as_tls(certified: Certified) -> None:
    """A stream handed in says by its type that the client sees https: a page of that origin is let in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certified.files["tls_cert"], certified.files["tls_key"])
    async with serving() as server, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(
            server.serve_stream, trio.SSLStream(theirs, context, server_side=True), "192.0.2.1"
        )
        stream = trio.SSLStream(ours, certified.trusting, server_hostname="127.0.0.1")
        async with await shake_hands(stream, head("/ws", {"Origin": "https://chat.test"})) as peer:
            await peer.join()
        nursery.cancel_scope.cancel()


async def test_a_client_s_context_is_refused(certified: Certified) -> None:
    """At the start, in words, and not at each handshake."""
    with pytest.raises(ValueError, match="ssl_context: a server's"):
        await trio_chat.serve(trio_chat.Config(log="memory:"), ssl_context=certified.trusting)


async def test_sockets_are_not_inherited() -> None:
    """A program that the embedder starts gets neither the listener nor a client's connection."""
    async with serving() as server, connected(server):
        assert not any(os.get_inheritable(fd) for fd in sockets_of_this_process() if fd > 2)


def sockets_of_this_process() -> list[int]:
    """The descriptors that are sockets."""
    found = []
    for fd in range(256):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
    return found
