"""The ways in which a head may arrive, and what came of it: h11's manner of testing a parser."""

from collections.abc import Iterator

from trio_chat.front.head import BadRequest, HeadReader, RequestHead

TRAILING = b"\x81\x85trailing\r\n\r\n"
"""Bytes of whatever comes after the head; an empty line in them must not matter."""

BROWSER = (
    b"GET /ws?name=ann&room=lobby HTTP/1.1\r\n"
    b"Host: chat.example.org\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Pragma: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: http://chat.example.org\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=abcdef; theme=dark\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"Sec-WebSocket-Protocol: trio-chat.v1, other\r\n"
    b"\r\n"
)


def read_whole(data: bytes) -> tuple[RequestHead | None, bytes]:
    """The head in ``data``, fed at once, and what is left."""
    reader = HeadReader()
    head = reader.feed(data)
    return head, reader.rest


def read_in(data: bytes, step: int) -> tuple[RequestHead | None, bytes]:
    """The head in ``data``, fed in pieces of ``step`` bytes, and what is left of its last piece and all
    others."""
    reader = HeadReader()
    for at in range(0, len(data), step):
        head = reader.feed(data[at : at + step])
        if head is not None:
            return head, reader.rest + data[at + step :]
    return None, b""


def every_way(data: bytes) -> Iterator[tuple[RequestHead | None, bytes, bytes]]:
    """Head, rest and expected rest for ``data`` whole, byte by byte, and both with trailing bytes."""
    for trailing in (b"", TRAILING):
        yield (*read_whole(data + trailing), trailing)
        yield (*read_in(data + trailing, 1), trailing)
        yield (*read_in(data + trailing, 7), trailing)


def refusals(data: bytes) -> list[BadRequest]:
    """What each way of feeding ``data`` raises; a way that raises nothing adds nothing."""
    found = []
    for trailing in (b"", TRAILING):
        for step in (len(data) + len(trailing), 1, 7):
            try:
                read_in(data + trailing, step)
            except BadRequest as error:
                found.append(error)
    return found


def head_of(*lines: str, start: str = "GET /ws HTTP/1.1") -> RequestHead:
    """A request head of these lines."""
    head, _ = read_whole("\r\n".join([start, *lines, "", ""]).encode("latin-1"))
    assert head is not None
    return head
