"""A peer to measure against: picows (Cython, asyncio) on uvloop, as its documentation advises.

``picows_server.py [--port N] [--echo]``: everybody whose path is the same gets every message; with ``--echo``
only its sender does.
"""

import sys
from collections import defaultdict

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

LISTEN_BACKLOG = 4096
MAX_FRAME_BYTES = 2 << 20

HEADER_ROOM = 14
"""Bytes that it wants before a message, to send it without a copy."""

rooms: defaultdict[bytes, set[WSTransport]] = defaultdict(set)


class Member(WSListener):  # type: ignore[misc]
    """One client."""

    def __init__(self, path: bytes, *, echo: bool) -> None:
        self.echo = echo
        self.room = rooms[path]

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.room.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.room.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            payload = frame.get_payload_as_bytes()
            if self.echo:
                transport.send(kind, payload)
                return
            # All get the same bytes, header included, because what a server sends is not masked.
            buffer = bytearray(HEADER_ROOM) + payload
            for member in self.room:
                member.send_reuse_external_bytearray(kind, buffer, HEADER_ROOM)


async def main(port: int, *, echo: bool) -> None:
    """Serve until killed."""

    def member(request: WSUpgradeRequest) -> Member:
        return Member(bytes(request.path), echo=echo)

    server = await ws_create_server(
        member,
        "127.0.0.1",
        port,
        backlog=LISTEN_BACKLOG,
        max_frame_size=MAX_FRAME_BYTES,
        enable_auto_pong=True,
    )
    print(f"peer serving on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    chosen = int(given[given.index("--port") + 1]) if "--port" in given else 0
    uvloop.run(main(chosen, echo="--echo" in given))
