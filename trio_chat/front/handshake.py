"""The opening handshake of RFC 6455, as far as the client's half of it goes.

Owns the question whether a request head is a valid WebSocket handshake, and says what is wrong if it isn't.
Refuses to know who may connect (`trio_chat.front.upgrade`) and what an extension means: it hands on the offer
as sent.
"""

import re

import attrs

from trio_chat.front.head import BadRequest, HeaderPairs, RequestHead, is_token, shown

_VERSION = "13"
# 16 bytes in base64: 22 characters and two of padding (RFC 6455 section 4.1, number 7).
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")

_UPGRADE_REQUIRED: HeaderPairs = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION))


@attrs.define
class Handshake:
    """What the client asks for. ``extensions``: the value of ``Sec-WebSocket-Extensions``, empty if not
    sent."""

    key: str
    subprotocols: tuple[str, ...] = ()
    extensions: str = ""


def _tokens(value: str) -> list[str]:
    """The members of a comma-separated list, lower case."""
    return [token.strip() for token in value.lower().split(",")]


def wants_websocket(head: RequestHead) -> bool:
    """Whether this request asks to become a WebSocket, well or badly."""
    upgrade = head.headers.get("upgrade")
    return upgrade is not None and "websocket" in _tokens(upgrade)


def check_handshake(head: RequestHead) -> Handshake:
    """The handshake in ``head`` (RFC 6455 section 4.2.1), or `BadRequest` with a sentence naming the header.

    426 if it isn't an upgrade to WebSocket or one to another version (both answered with the version spoken
    here), 400 for everything else.
    """
    get = head.headers.get
    if not wants_websocket(head):
        raise BadRequest(
            426, "this is a WebSocket endpoint: Upgrade: websocket is missing", _UPGRADE_REQUIRED
        )
    if "upgrade" not in _tokens(get("connection", "")):
        raise BadRequest(
            426, "Connection: Upgrade is missing (is there a proxy in between?)", _UPGRADE_REQUIRED
        )
    if head.method != "GET":
        raise BadRequest(400, f"a WebSocket handshake is a GET, not a {shown(head.method)}")
    if head.http_version != "1.1":
        raise BadRequest(400, f"a WebSocket handshake needs HTTP/1.1, not HTTP/{head.http_version}")
    if not get("host"):
        raise BadRequest(400, "Host is missing")
    version = get("sec-websocket-version")
    if version != _VERSION:
        found = "is missing" if version is None else "is not spoken here"
        raise BadRequest(426, f"Sec-WebSocket-Version {found}: {_VERSION} is", _UPGRADE_REQUIRED)
    key = get("sec-websocket-key")
    if key is None:
        raise BadRequest(400, "Sec-WebSocket-Key is missing")
    if not _KEY.fullmatch(key):
        raise BadRequest(400, "Sec-WebSocket-Key must be 16 bytes in base64, sent once")
    return Handshake(key, _subprotocols(get("sec-websocket-protocol")), get("sec-websocket-extensions", ""))


def _subprotocols(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    # RFC 9110 section 5.6.1.2: empty members of a list are passed over. A dict drops repeats and keeps the
    # order.
    offered = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
    if not all(map(is_token, offered)):
        raise BadRequest(400, "Sec-WebSocket-Protocol must be a list of tokens")
    return offered


def synthetic_head(handshake: Handshake) -> bytes:
    """The smallest request head that a WebSocket library accepts as ``handshake``.

    The library gets it in place of the client's own, which the front door has checked: less to parse and to
    keep, and nothing of the client's reaches it but a key and tokens that were matched against their grammar.
    There are no extensions in it: the wire negotiates those.
    """
    offered = (
        f"Sec-WebSocket-Protocol: {','.join(handshake.subprotocols)}\r\n" if handshake.subprotocols else ""
    )
    return (
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: {_VERSION}\r\nSec-WebSocket-Key: {handshake.key}\r\n{offered}\r\n"
    ).encode("ascii")
