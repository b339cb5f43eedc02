"""A request's body, taken apart: bytes in, content out (h11 does it). No I/O, no clock.

Owns whether a body is framed as it should be. Refuses to know what it is for and how long it may take. Holds
nothing but what a chunk's framing may have (16 KiB, h11's own bound), however long the body is.
"""

import h11

from trio_chat.front.head import BadRequest, RequestHead


def announced_size(head: RequestHead) -> int | None:
    """The bytes of the body by ``Content-Length``; None if it comes in chunks. Raises `BadRequest`: 411 if
    it is neither, 400 if both (RFC 9112 section 6.3: one of them is forged)."""
    chunked = "transfer-encoding" in head.headers
    length = head.headers.get("content-length")
    if chunked and length is not None:
        raise BadRequest(400, "Content-Length and Transfer-Encoding don't go together")
    if chunked:
        return None
    if length is None:
        raise BadRequest(411, "Content-Length is missing")
    return int(length)  # h11 has made one number of it


class BodyReader:
    """The body of the request with ``head``: `feed` it what follows the head until `done`."""

    def __init__(self, head: RequestHead) -> None:
        self._connection = h11.Connection(h11.SERVER)
        lines = ["POST / HTTP/1.1", "Host: x"]
        lines += [
            f"{name}: {head.headers[name]}"
            for name in ("transfer-encoding", "content-length")
            if name in head.headers
        ]
        self._connection.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self._connection.next_event()
        self.done = False
        """The body has come to its end; what follows is nobody's."""
        self._content()

    def feed(self, data: bytes) -> bytes:
        """The content in ``data``; an empty ``data`` is the end of the connection. Raises `BadRequest`."""
        try:
            self._connection.receive_data(data)
            return self._content()
        except h11.RemoteProtocolError:
            where = "the body ends too early" if not data else "malformed chunk in the body"
            raise BadRequest(400, where) from None

    def _content(self) -> bytes:
        content: list[bytes] = []
        while not self.done:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                break
            if isinstance(event, h11.Data):
                content.append(bytes(event.data))
            self.done = isinstance(event, h11.EndOfMessage)
        return content[0] if len(content) == 1 else b"".join(content)
