"""The opening handshake of RFC 6455, client side: bytes out, bytes in, no sockets.

Refuses anything but a plain 101 with the right ``Sec-WebSocket-Accept``, and no extension unless one was
offered, and says why in one line.
"""

import base64
import hashlib
import os
from typing import NamedTuple

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD_BYTES = 64 * 1024
"""More than any server's answer; beyond it this is no HTTP."""


class HandshakeError(Exception):
    """The server did not upgrade the connection. ``retry_after``: seconds, if it said so."""

    def __init__(self, told: str, retry_after: float | None = None) -> None:
        super().__init__(told)
        self.retry_after = retry_after


def new_key() -> str:
    """A fresh ``Sec-WebSocket-Key``."""
    return base64.b64encode(os.urandom(16)).decode()


class Answer(NamedTuple):
    """A good one: the extensions that the server chose, and what follows the head."""

    extensions: str
    rest: bytes


def request(host: str, path: str, key: str, subprotocol: str = "", extensions: str = "") -> bytes:
    """The request head that asks for ``path`` to become a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def response(data: bytes, key: str, *, offered: bool = False) -> Answer | None:
    """The answer, if it is a good one; None if its head isn't complete. ``offered``: an extension was.

    `HandshakeError` for any other answer.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > MAX_HEAD_BYTES or not b"HTTP/1.1 ".startswith(data[:9]):
            raise HandshakeError("the server does not speak HTTP/1.1")
        return None
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, _, status = status_line.partition(" ")
    if version != "HTTP/1.1":
        raise HandshakeError("the server does not speak HTTP/1.1")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if not status.startswith("101"):
        after = headers.get("retry-after", "")
        raise HandshakeError(_refusal(status, rest), float(after) if after.isdecimal() else None)
    expected = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    if headers.get("sec-websocket-accept") != expected:
        raise HandshakeError("the server's Sec-WebSocket-Accept is wrong")
    extensions = headers.get("sec-websocket-extensions", "")
    if extensions and not offered:
        raise HandshakeError(f"the server chose an extension nobody offered: {extensions}")
    return Answer(extensions, rest)


def _refusal(status: str, body: bytes) -> str:
    told = " ".join(body[:200].decode("utf-8", "replace").split())
    return f"refused with {status.strip()}" + (f" ({told})" if told else "")
