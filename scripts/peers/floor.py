"""What a server could do at best: no library, no checks, one `send` per client for all read in one turn.

``floor.py [--port N] [--echo] [--each]``: everybody gets every message; with ``--echo`` only its sender does;
with ``--each`` every message is a write of its own. It understands text frames of fewer than 64 KiB from
clients that behave, and nothing else: a yardstick for servers and for the swarm, not a server.
"""

import base64
import hashlib
import select
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
READ_BYTES = 65536


def accept_key(head: bytes) -> bytes:
    """The answer to the client's ``Sec-WebSocket-Key``."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            return base64.b64encode(hashlib.sha1(value.strip() + GUID, usedforsecurity=False).digest())
    raise ValueError("no key")


def frames_in(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames at the start of ``data``, as server frames, and the rest; a close frame ends them."""
    frames = []
    at = 0
    while len(data) - at >= 6:
        size = data[at + 1] & 0x7F
        head = 2
        if size == 126:
            size = int.from_bytes(data[at + 2 : at + 4])
            head = 4
        end = at + head + 4 + size
        if end > len(data) or data[at] & 0x0F == 8:
            break
        mask = (data[at + head : at + head + 4] * (size // 4 + 1))[:size]
        payload = int.from_bytes(data[at + head + 4 : end]) ^ int.from_bytes(mask)
        short = bytes((data[at], data[at + 1] & 0x7F)) + data[at + 2 : at + head]
        frames.append(short + payload.to_bytes(size))
        at = end
    return frames, data[at:]


class Floor:
    """All of the server."""

    def __init__(self, port: int, *, echo: bool, each: bool) -> None:
        self.echo = echo
        self.each = each
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.poller = select.epoll()
        self.poller.register(self.listener.fileno(), select.EPOLLIN)
        self.sockets: dict[int, socket.socket] = {}
        self.members: dict[int, socket.socket] = {}
        self.waiting: dict[int, bytes] = {}
        """Half a request head or half a frame, by descriptor."""
        self.queued: dict[int, bytes] = {}
        """What a client's socket did not take."""

    def run(self) -> None:
        """Serve until killed."""
        print(f"peer serving on http://127.0.0.1:{self.listener.getsockname()[1]}", flush=True)
        while True:
            batch: list[bytes] = []
            for number, events in self.poller.poll():
                if number == self.listener.fileno():
                    self.accept()
                    continue
                if events & select.EPOLLOUT:
                    self.flush(number)
                if events & ~select.EPOLLOUT:
                    batch += self.read(number)
            for data in batch if self.each else [b"".join(batch)] if batch else []:
                for number in list(self.members):
                    self.write(number, data)

    def accept(self) -> None:
        """Take one connection."""
        client, _ = self.listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets[client.fileno()] = client
        self.waiting[client.fileno()] = b""
        self.poller.register(client.fileno(), select.EPOLLIN)

    def read(self, number: int) -> list[bytes]:
        """What is to go to everybody."""
        try:
            data = self.sockets[number].recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.forget(number)
            return []
        data = self.waiting[number] + data
        if number not in self.members:
            self.waiting[number] = self.shake_hands(number, data)
            return []
        frames, self.waiting[number] = frames_in(data)
        if self.echo and frames:
            self.write(number, b"".join(frames))
            return []
        return frames

    def shake_hands(self, number: int, head: bytes) -> bytes:
        """Answer a whole request head; what is left of half a one."""
        if not head.endswith(b"\r\n\r\n"):
            return head
        self.members[number] = self.sockets[number]
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.write(number, answer + b"Sec-WebSocket-Accept: " + accept_key(head) + b"\r\n\r\n")
        return b""

    def forget(self, number: int) -> None:
        """A client has gone."""
        self.poller.unregister(number)
        self.sockets.pop(number).close()
        for table in (self.members, self.waiting, self.queued):
            table.pop(number, None)

    def write(self, number: int, data: bytes) -> None:
        """Send what fits; keep the rest for when the client has room."""
        if number in self.queued:
            self.queued[number] += data
            return
        try:
            sent = self.sockets[number].send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self.queued[number] = data[sent:]
            self.poller.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def flush(self, number: int) -> None:
        """Send what was kept."""
        self.poller.modify(number, select.EPOLLIN)
        self.write(number, self.queued.pop(number, b""))


if __name__ == "__main__":
    given = sys.argv[1:]
    chosen = int(given[given.index("--port") + 1]) if "--port" in given else 0
    Floor(chosen, echo="--echo" in given, each="--each" in given).run()
