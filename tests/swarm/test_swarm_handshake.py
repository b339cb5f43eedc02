"""The opening handshake, bytes in and bytes out."""

import pytest
from swarmlib.handshake import HandshakeError, new_key, request, response

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def test_takes_the_rfc_answer_at_any_cut() -> None:
    """Incomplete until the last byte of the head; what follows is handed back."""
    for cut in range(len(GOOD)):
        assert response(GOOD[:cut], KEY) is None
    assert response(GOOD, KEY) == ("", b"")
    assert response(GOOD + b"\x81\x01x", KEY) == ("", b"\x81\x01x")


def test_hands_over_the_extension_that_was_offered() -> None:
    """As the server wrote it."""
    answer = GOOD.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate; a=b\r\n\r\n")
    assert response(answer, KEY, offered=True) == ("permessage-deflate; a=b", b"")
    assert b"Sec-WebSocket-Extensions: x\r\n" in request("h", "/", KEY, extensions="x")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b"HTTP/1.1 429 Too Many Requests\r\n\r\nslow down\n",
            r"^refused with 429 Too Many Requests \(slow down\)$",
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", r"^refused with 404 Not Found$"),
        (GOOD.replace(b"s3pP", b"XXXX"), "Sec-WebSocket-Accept"),
        (
            GOOD.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: foo\r\n\r\n"),
            "extension nobody offered: foo",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.0 101 x\r\n\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 " + b"x" * 70_000, "does not speak HTTP/1.1"),
    ],
)
def test_refuses_any_other_answer_in_one_line(data: bytes, told: str) -> None:
    """And says which."""
    with pytest.raises(HandshakeError, match=told) as caught:
        response(data, KEY)
    assert "\n" not in str(caught.value)


def test_asks_for_what_it_was_told() -> None:
    """The head has the path, the host, the key and the subprotocol."""
    key = new_key()
    head = request("[::1]:80", "/ws?a=b", key, "trio-chat.v1").decode()
    assert head.startswith("GET /ws?a=b HTTP/1.1\r\nHost: [::1]:80\r\n")
    assert f"Sec-WebSocket-Key: {key}\r\n" in head
    assert head.endswith("Sec-WebSocket-Protocol: trio-chat.v1\r\n\r\n")
    assert new_key() != key
