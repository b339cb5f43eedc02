"""Reading: what comes from a connection is counted, a sample of it timed, all of it verified if wanted.

`Traffic.read` is the hot path: at a million deliveries a second it is called a hundred thousand times a
second. It touches each frame only if the client is watched.
"""

import time
from collections.abc import Callable
from typing import Any

from swarmlib.connection import Connection, LargeFrame, RoomView, State
from swarmlib.counts import Counts
from swarmlib.deflate import Inflater
from swarmlib.frames import CLOSE, PING, PONG, TEXT, Block, Frame, FrameError, Scanner, client_frame
from swarmlib.protocol import Protocol, message_number, parse_reply
from swarmlib.settings import Settings
from swarmlib.verify import AckBook, Agreement, Findings, SenderTranscript, SeqTranscript, ascending_span

READ_BYTES = 256 * 1024
"""Taken by one read at most: what fits the second-level cache."""
LARGE_FRAME = 64 * 1024
LARGEST_FRAME = 2 << 20
"""A server's frame beyond this ends the connection with an error."""


class Traffic:
    """Reads every connection of one process through one buffer.

    ``on_ready(connection)`` when a client has joined, ``on_lost(connection, reason)`` when its connection
    ends by itself, ``on_returned(connection, n)`` when n of its own messages came back (or were refused),
    ``send(connection, data)``.
    """

    def __init__(
        self,
        settings: Settings,
        protocol: Protocol,
        counts: Counts,
        *,
        on_ready: Callable[[Connection], None],
        on_lost: Callable[[Connection, str], None],
        on_returned: Callable[[Connection, int], None],
        send: Callable[[Connection, bytes], None],
    ) -> None:
        self.settings = settings
        self.protocol = protocol
        self.counts = counts
        self.findings = Findings()
        self._looks_closely = settings.verify or settings.frozen > 0
        """For all who look: what one has read of a block, the others find there."""
        self.allowed_rate = 0.0
        """Operations per second that the server allows a connection, if it says so; 0: no limit."""
        self.largest_read = 0
        self._on_ready, self._on_lost, self._on_returned, self._send = on_ready, on_lost, on_returned, send
        self._buffer = bytearray(LARGEST_FRAME + READ_BYTES)
        self._view = memoryview(self._buffer)
        self._read_view = self._view[:READ_BYTES]
        inflate = Inflater(takes_over=False).inflate if settings.deflate else None
        self._scanner = Scanner(self._buffer, protocol.marker, protocol.marker_at, inflate, protocol.inside)
        self._agreements: dict[int, Agreement] = {}

    def read(self, connection: Connection) -> None:
        """Take what has come, once."""
        tail, large = connection.tail, connection.large
        try:
            if large is not None:
                kept = 0
                got = connection.receive(large.rest)
            elif tail:
                kept = len(tail)
                self._buffer[:kept] = tail
                got = connection.receive(self._view[kept : kept + READ_BYTES])
            else:
                kept = 0
                got = connection.receive(self._read_view)
        except BlockingIOError:
            return
        except OSError as error:
            self._on_lost(connection, f"connection lost: {error.strerror}")
            return
        if not got:
            self._on_lost(connection, "connection closed without a close frame")
            return
        counts = self.counts
        counts.reads += 1
        counts.received_bytes += got
        if got > self.largest_read:
            self.largest_read = got
        if large is not None:
            whole = large.filled(got)
            if whole is not None:
                connection.large = None
                self._buffer[: len(whole)] = whole
                self.digest(connection, len(whole))
            return
        self.digest(connection, kept + got)

    def digest(self, connection: Connection, total: int) -> None:
        """Count the first ``total`` bytes of the buffer as this connection's."""
        scanner = self._scanner
        try:
            keep = connection.is_watched or connection.inflater is not None
            delivered = scanner.scan(total, connection.room.recent, keep=keep)
        except FrameError as error:
            self._on_lost(connection, f"bad frame: {error}")
            return
        used = scanner.used
        connection.tail = b"" if used == total else bytes(self._view[used:total])
        if delivered:
            connection.received += delivered
            self.counts.deliveries += delivered
            if connection.inflater is not None:
                self._open(connection)
            else:
                if connection.is_watched:
                    self._look(connection, scanner.blocks)
                if connection.tag:
                    self._count_returned(connection, self._buffer.count(connection.tag, 0, used))
        if scanner.others:
            for frame in scanner.others:
                self._other(connection, frame)
        if scanner.needed > LARGE_FRAME:
            self._large(connection, scanner.needed)

    def _large(self, connection: Connection, size: int) -> None:
        """Half a frame of ``size`` bytes has come."""
        if size > LARGEST_FRAME:
            self._on_lost(connection, f"frame of more than {LARGEST_FRAME} bytes")
        elif connection.tls is None:  # whose records come in their own sizes
            connection.large = LargeFrame(size, connection.tail)
            connection.tail = b""

    def digest_bytes(self, connection: Connection, data: bytes) -> None:
        """Count ``data``, which came with the handshake's answer."""
        self._buffer[: len(data)] = data
        self.digest(connection, len(data))

    def joined(self, connection: Connection, head: int) -> None:
        """``connection`` is a member from ``head`` on: begin its transcript."""
        connection.state = State.READY
        if connection.kind == "half_open":
            pass  # what it would have seen is nobody's business
        elif connection.transcript is not None:
            pass  # it goes on where it was
        elif self.settings.verify or connection.is_frozen:
            if self.protocol.has_acks:
                connection.transcript = SeqTranscript(head)
                if connection.is_sender:
                    connection.book = AckBook(connection.client, self.findings)
            else:
                connection.transcript = SenderTranscript()
        self._on_ready(connection)

    def _open(self, connection: Connection) -> None:
        """Look into the blocks just scanned, which are compressed, if anybody wants to know."""
        if not connection.is_watched and not connection.tag:
            return
        assert connection.inflater is not None
        try:
            blocks = [connection.inflater.open(block) for block in self._scanner.blocks]
        except FrameError as error:
            self._on_lost(connection, f"bad frame: {error}")
            return
        self.counts.opened += sum(block.count for block in blocks)
        self.counts.opened_plain_bytes += sum(block.plain_bytes for block in blocks)
        if connection.is_watched:
            self._look(connection, blocks)
        if connection.tag:
            self._count_returned(connection, sum(block.data.count(connection.tag) for block in blocks))

    def _count_returned(self, connection: Connection, returned: int) -> None:
        if returned:
            connection.returned += returned
            self._on_returned(connection, returned)

    def _look(self, connection: Connection, blocks: list[Block]) -> None:
        """Time (and verify) each delivery of ``blocks``."""
        now = time.monotonic_ns()
        begin, end = self.counts.window_ns
        latencies = self.counts.latencies
        verify = self._looks_closely
        for block in blocks:
            events = block.events
            if events is None:
                events = block.events = self.protocol.events(block) if verify else self.protocol.stamps(block)
                if verify and self.protocol.has_acks:
                    block.span = ascending_span(events)
                    self._agreement(connection.room).see(events)
            for event in () if connection.is_late else events:
                stamp = event[2]
                if begin <= stamp < end:
                    latencies[(now - stamp) // 1000] += 1
            if connection.transcript is not None:
                connection.transcript.see(events, block.span)
                if connection.book is not None:
                    connection.book.see(events)

    def _agreement(self, room: RoomView) -> Agreement:
        if room.number not in self._agreements:
            self._agreements[room.number] = Agreement(self.findings)
        return self._agreements[room.number]

    def _other(self, connection: Connection, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode == PING:
            self._send(connection, client_frame(frame.payload, PONG))
        elif opcode == CLOSE:
            code = int.from_bytes(frame.payload[:2]) if len(frame.payload) > 1 else 1005
            reason = frame.payload[2:].decode("utf-8", "replace")
            self._on_lost(
                connection, f"closed by the server with {code}" + (f" ({reason})" if reason else "")
            )
        elif not frame.final or connection.parts:
            self._fragment(connection, frame)
        elif opcode == TEXT and self.protocol.has_acks:
            self._reply(connection, frame.payload)
        elif self.protocol.converses:
            self._converse(connection, frame.payload)

    def _converse(self, connection: Connection, payload: bytes) -> None:
        """Another server's protocol: what comes before joining, and what asks for an answer."""
        reply = self.protocol.reply(connection.client, payload)
        for answer in reply.answers:
            self._send(connection, client_frame(answer, self.protocol.opcode))
        if reply.failure:
            self._on_lost(connection, reply.failure)
        elif reply.is_joined and connection.state is State.JOINING:
            self.joined(connection, 0)
        elif not reply.answers:
            self.counts.signals += 1

    def _fragment(self, connection: Connection, frame: Frame) -> None:
        """A message in several frames: put together, and read again as if it had come in one."""
        connection.parts.append(frame)
        payload = b"".join(part.payload for part in connection.parts)
        if len(payload) > LARGEST_FRAME:
            self._on_lost(connection, f"message of more than {LARGEST_FRAME} bytes")
        elif frame.final:
            first = connection.parts[0].first
            connection.parts = []
            # The tail is whatever follows in the stream: it must not be mixed with this message.
            tail = connection.tail
            self.digest_bytes(connection, _unmasked(first, payload))
            connection.tail = tail

    def _reply(self, connection: Connection, payload: bytes) -> None:
        """A chat operation that isn't a message."""
        reply = parse_reply(payload)
        op = reply["op"]
        if op == "ack":
            self._ack(connection, reply)
        elif op == "joined" and connection.state is State.JOINING:
            self._joined(connection, reply)
        elif op == "error":
            self._error(connection, reply)
        elif op == "welcome":
            self._welcome(connection, reply)
        elif op == "lagging":
            self.counts.lagging += 1
        elif op == "gap":
            self.findings["gaps told by the server"] += 1
        elif op == "bye" and connection.comes_back:
            after = reply.get("retry_after")
            connection.retry_after = float(after) if isinstance(after, int | float) else None
        elif op == "bye":
            self.counts.errors[f"bye {reply.get('code')}: {reply.get('reason')}"] += 1
        elif not op:
            self.counts.errors["text that is no operation"] += 1
        else:
            self.counts.signals += 1

    def _joined(self, connection: Connection, reply: dict[str, Any]) -> None:
        epoch, seen = str(reply.get("epoch", "")), connection.seen
        if seen is not None and (not reply.get("recovered") or epoch != connection.epoch):
            self.findings["not resumed"] += 1
        connection.epoch = epoch
        self.joined(connection, int(reply.get("head", 0)))

    def _welcome(self, connection: Connection, reply: dict[str, Any]) -> None:
        connection.token = str(reply.get("session", ""))
        limits = reply.get("limits")
        rate = limits.get("rate") if isinstance(limits, dict) else None
        if isinstance(rate, int | float):
            self.allowed_rate = float(rate)

    def _ack(self, connection: Connection, reply: dict[str, Any]) -> None:
        self.counts.acks += 1
        connection.acks += 1
        seq = reply.get("seq")
        if isinstance(seq, int):
            connection.room.head = max(connection.room.head, seq)
        stamp = connection.unacked.pop(message_number(reply.get("re")), None)
        if stamp is not None and self.counts.window_ns[0] <= stamp < self.counts.window_ns[1]:
            self.counts.ack_latencies[(time.monotonic_ns() - stamp) // 1000] += 1
        if connection.book is not None:
            connection.book.ack(reply, connection.sent)

    def _error(self, connection: Connection, reply: dict[str, Any]) -> None:
        if connection.state is State.JOINING:
            self._on_lost(connection, f"join refused: {reply.get('code')}: {reply.get('message')}")
            return
        if connection.kind == "spammer":
            self.counts.told_off += 1
            return
        self.counts.errors[f"error {reply.get('code')}: {reply.get('message')}"] += 1
        if connection.unacked.pop(message_number(reply.get("re")), None) is not None:
            connection.room.refused += 1
            connection.returned += 1
            self._on_returned(connection, 1)


def _unmasked(first: int, payload: bytes) -> bytes:
    """``payload`` as one server frame that begins like its ``first`` fragment."""
    return bytes((0x80 | first, 127)) + len(payload).to_bytes(8) + payload
