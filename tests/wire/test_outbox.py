"""The outbox with a socket that takes as many bytes as a test allows."""

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_chat.wire import outbox as module
from trio_chat.wire.outbox import Outbox
from trio_chat.wire.transport import Begun


@attrs.define
class Peer:
    """A socket with ``space`` bytes left; ``received`` is what it took. ``writers`` counts those started."""

    space: int = 0
    received: bytes = b""
    writers: int = 0
    dead: bool = False
    drained: int = 0

    def try_send(self, data: bytes) -> int:
        if self.dead:
            raise BrokenPipeError
        if not self.space:
            raise BlockingIOError
        taken = data[: self.space]
        self.received += taken
        self.space -= len(taken)
        return len(taken)

    def start_writer(self) -> None:
        self.writers += 1

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.received += data

    async def on_drained(self) -> None:
        self.drained += 1


def outbox_to(peer: Peer, max_bytes: int = 100) -> Outbox:
    return Outbox(peer.try_send, peer.start_writer, max_bytes)


async def test_what_the_socket_takes_is_written_through() -> None:
    """With space in the socket nothing waits and no writer is started."""
    peer = Peer(space=1000)
    outbox = outbox_to(peer)
    assert outbox.offer(b"one")
    assert outbox.offer(b"two")
    assert peer.received == b"onetwo"
    assert (peer.writers, outbox.waiting_bytes, outbox.crowded) == (0, 0, False)


async def test_what_the_socket_does_not_take_waits_in_order() -> None:
    """A partial write leaves its rest at the front; what comes later waits behind it, for one writer."""
    peer = Peer(space=4)
    outbox = outbox_to(peer)
    for data in (b"first,", b"second,", b"third"):
        assert outbox.offer(data)
    assert (peer.received, outbox.waiting_bytes, peer.writers) == (b"firs", 14, 1)
    peer.space = 100
    assert outbox.offer(b"!")
    assert peer.received == b"firs"
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"first,second,third!"
    assert (outbox.waiting_bytes, peer.drained, peer.writers) == (0, 1, 1)
    assert outbox.offer(b"through")
    assert peer.received.endswith(b"!through")


async def test_an_offer_is_taken_whole_or_refused_whole() -> None:
    """Beyond the bound an offer is refused and changes nothing; up to the bound it is taken."""
    peer = Peer()
    outbox = outbox_to(peer, max_bytes=10)
    assert outbox.offer(b"12345")
    assert not outbox.offer(b"678901")
    assert outbox.waiting_bytes == 5
    assert outbox.offer(b"67890")
    assert not outbox.offer(b"x")
    assert not outbox.crowded
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"1234567890"


async def test_one_offer_may_be_larger_than_the_bound() -> None:
    """When nothing waits even a large offer is taken, so that it can't wait for ever."""
    peer = Peer()
    outbox = outbox_to(peer, max_bytes=10)
    assert outbox.offer(b"x" * 50)
    assert not outbox.offer(b"y")
    assert outbox.crowded
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"x" * 50


async def test_the_number_of_pieces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small pieces are refused before their bytes are too many; there is room for replies even then."""
    monkeypatch.setattr(module, "_MAX_OFFERED", 8)
    outbox = outbox_to(Peer())
    for _ in range(8):
        assert not outbox.crowded
        assert outbox.offer(b"x")
    assert outbox.crowded
    assert not outbox.offer(b"x")
    outbox.force(b"reply")
    assert not outbox.overflowed
    assert outbox.waiting_bytes == 13


async def test_signals_are_dropped_while_anything_waits() -> None:
    """A signal goes out when nothing waits, else it is forgotten; an empty one is nothing."""
    peer = Peer(space=3)
    outbox = outbox_to(peer)
    outbox.offer_signal(b"")
    outbox.offer_signal(b"one")
    assert outbox.offer(b"event")
    outbox.offer_signal(b"two")
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"oneevent"


async def test_replies_are_taken_whatever_waits() -> None:
    """`force` takes what `offer` would refuse, and keeps the order; the outbox is crowded then."""
    peer = Peer()
    outbox = outbox_to(peer, max_bytes=10)
    outbox.force(b"x" * 10)
    outbox.force(b"reply")
    assert outbox.crowded
    assert not outbox.offer(b"y")
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"x" * 10 + b"reply"
    peer.space = 10
    outbox.force(b"through")
    assert peer.received.endswith(b"through")


async def test_too_many_replies_are_not_lost_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that finds no place even so marks the outbox, for the connection to be ended."""
    monkeypatch.setattr(module, "_MAX_PIECES", 4)
    outbox = outbox_to(Peer())
    for _ in range(4):
        outbox.force(b"x")
    assert not outbox.overflowed
    outbox.force(b"x")
    assert outbox.overflowed
    assert outbox.waiting_bytes == 0


async def test_a_dead_socket_shuts_the_outbox() -> None:
    """An error of the socket is not the offering one's problem: all is swallowed from then on."""
    peer = Peer(dead=True)
    outbox = outbox_to(peer)
    assert outbox.offer(b"x")
    assert outbox.offer(b"y")
    outbox.force(b"z")
    outbox.wake()
    assert (outbox.waiting_bytes, peer.writers) == (0, 0)


async def test_waking_has_the_handler_called_although_nothing_waits() -> None:
    """`wake` starts a writer that calls ``on_drained`` once and writes nothing; while data waits it adds
    nothing."""
    peer = Peer()
    outbox = outbox_to(peer)
    outbox.wake()
    assert peer.writers == 1
    await outbox.run(peer.write, peer.on_drained)
    assert (peer.received, peer.drained) == (b"", 1)
    outbox.offer(b"x")
    outbox.wake()
    await outbox.run(peer.write, peer.on_drained)
    assert (peer.received, peer.drained, peer.writers) == (b"x", 2, 2)


async def test_what_on_drained_offers_is_written_by_the_same_writer() -> None:
    """A handler that offers more when drained, as catching up does, needs no second writer."""
    peer = Peer()
    outbox = outbox_to(peer, max_bytes=10)
    left = [b"three", b"two"]

    async def on_drained() -> None:
        if left:
            assert outbox.offer(left.pop())

    outbox.offer(b"one")
    await outbox.run(peer.write, on_drained)
    assert (peer.received, peer.writers) == (b"onetwothree", 1)


async def test_its_end_is_told_once() -> None:
    """Whether it is finished, shut, or finds its socket gone, whoever waits for it hears of it."""

    def gone(data: bytes) -> int:
        raise BrokenPipeError

    for end in (Outbox.finish, Outbox.shut, lambda outbox: outbox.offer(b"data")):
        told = []
        outbox = Outbox(gone, lambda: None, 1000)
        outbox.on_finished = lambda told=told, outbox=outbox: told.append(outbox.finished)
        assert not outbox.finished
        end(outbox)
        outbox.shut()
        assert told == [True]


async def test_finishing_writes_what_waits_and_takes_no_more() -> None:
    """After `finish` what waits goes out, and whatever is offered later does not follow it."""
    peer = Peer()
    outbox = outbox_to(peer)
    outbox.offer(b"last words")
    outbox.finish()
    assert outbox.offer(b"late")
    outbox.force(b"later")
    outbox.wake()
    assert outbox.waiting_bytes == 10
    await outbox.run(peer.write, peer.on_drained)
    peer.space = 100
    assert outbox.offer(b"latest")
    assert (peer.received, peer.writers) == (b"last words", 1)


async def test_shutting_forgets_what_waits() -> None:
    """After `shut` nothing waits, whoever waited for that is woken, and the writer ends."""
    peer = Peer()
    outbox = outbox_to(peer)
    outbox.offer(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.flushed)
        await trio.testing.wait_all_tasks_blocked()
        outbox.shut()
    await outbox.run(peer.write, peer.on_drained)
    assert (peer.received, outbox.waiting_bytes, peer.drained) == (b"", 0, 0)


async def test_shutting_during_a_write_ends_the_writer() -> None:
    """A writer that comes back from a write after `shut` finds nothing to do and counts nothing wrong."""
    peer = Peer()
    outbox = outbox_to(peer)

    async def write(data: bytes) -> None:
        outbox.shut()

    outbox.offer(b"x")
    await outbox.run(write, peer.on_drained)
    assert outbox.waiting_bytes == 0


async def test_flushed_waits_for_everything() -> None:
    """`flushed` returns when nothing waits, also for several who wait, and at once if nothing does."""
    peer = Peer()
    outbox = outbox_to(peer)
    await outbox.flushed()
    outbox.offer(b"x")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(outbox.flushed)
        cancelled = trio.CancelScope()
        nursery.start_soon(_flushed_within, cancelled, outbox)
        await trio.testing.wait_all_tasks_blocked()
        cancelled.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        await outbox.run(peer.write, peer.on_drained)


async def _flushed_within(scope: trio.CancelScope, outbox: Outbox) -> None:
    with scope:
        await outbox.flushed()


async def test_dropping_spares_the_piece_that_is_being_written() -> None:
    """`drop_waiting` forgets what waits, but not the writer's piece: half a frame must not be left behind."""
    peer = Peer()
    outbox = outbox_to(peer)

    async def write(data: bytes) -> None:
        outbox.offer(b"dropped")
        outbox.drop_waiting()
        assert outbox.waiting_bytes == len(data)
        peer.received += data

    outbox.offer(b"begun")
    await outbox.run(write, peer.on_drained)
    assert peer.received == b"begun"


async def test_dropping_spares_the_rest_of_a_partial_write() -> None:
    """A piece of which the socket has already taken some is written to its end, before the writer has begun
    and after."""
    peer = Peer(space=2)
    outbox = outbox_to(peer)
    outbox.offer(b"begun")
    outbox.offer(b"dropped")
    outbox.drop_waiting()
    assert outbox.waiting_bytes == 3
    outbox.force(b"|bye")
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"begun|bye"


async def test_dropping_spares_what_the_socket_may_have_begun() -> None:
    """Of a write that TLS could not finish nobody knows how much is on its way: its bytes must come next."""
    peer = Peer()

    def try_send(data: bytes) -> int:
        raise Begun

    outbox = Outbox(try_send, peer.start_writer, 100)
    outbox.offer(b"begun")
    outbox.offer(b"dropped")
    outbox.drop_waiting()
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b"begun"


async def test_dropping_what_has_not_begun_leaves_nothing() -> None:
    """Pieces that the socket has seen nothing of are forgotten, and whoever waits for `flushed` is told."""
    peer = Peer()
    outbox = outbox_to(peer)
    outbox.offer(b"dropped")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.flushed)
        await trio.testing.wait_all_tasks_blocked()
        outbox.drop_waiting()
        nursery.cancel_scope.deadline = trio.current_time() + 1
    assert not nursery.cancel_scope.cancelled_caught
    await outbox.run(peer.write, peer.on_drained)
    assert peer.received == b""


async def test_large_backlogs_are_written_in_bounded_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer joins small pieces, up to a size, and counts down what waits as it goes."""
    monkeypatch.setattr(module, "_MAX_WRITE", 10)
    peer = Peer()
    outbox = outbox_to(peer, max_bytes=1000)
    waiting = []

    async def write(data: bytes) -> None:
        waiting.append((len(data), outbox.waiting_bytes))

    for _ in range(8):
        outbox.offer(b"1234")
    await outbox.run(write, peer.on_drained)
    assert waiting == [(12, 32), (12, 20), (8, 8)]


# --- against a model ---------------------------------------------------

operations = st.lists(
    st.one_of(
        st.tuples(st.just("space"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["offer", "offer", "signal", "force"]), st.integers(0, 25)),
        st.tuples(st.sampled_from(["run", "wake", "drop", "finish", "shut"]), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(operations)
def test_any_sequence_keeps_order_and_bounds(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: the peer gets whole pieces in order, none twice, none half."""

    async def play() -> None:
        peer = Peer()
        outbox = outbox_to(peer, max_bytes=40)
        number = 0
        taken: list[bytes] = []
        ended = False
        for step, value in steps:
            if step in ("offer", "signal", "force"):
                number += 1
                piece = bytes([number % 251]) * value
                waited = outbox.waiting_bytes
                if step == "offer":
                    accepted = outbox.offer(piece)
                    assert accepted or waited + len(piece) > 40
                    assert not waited or outbox.waiting_bytes <= max(40, waited)
                    assert accepted or outbox.waiting_bytes == waited
                elif step == "force":
                    outbox.force(piece)
                    accepted = True
                else:
                    outbox.offer_signal(piece)
                    accepted = not waited
                if accepted and not ended:
                    taken.append(piece)
            elif step == "space":
                peer.space += value
            elif step == "wake":
                outbox.wake()
            elif step == "drop":
                outbox.drop_waiting()
                taken = _whole(peer.received, taken, outbox.waiting_bytes)
            elif step == "run":
                await outbox.run(peer.write, peer.on_drained)
                assert outbox.waiting_bytes == 0
            elif step == "finish":
                outbox.finish()
                ended = True
            else:
                outbox.shut()
                taken = [peer.received]
                ended = True
            sent = b"".join(taken)
            assert sent.startswith(peer.received)
            assert len(sent) == len(peer.received) + outbox.waiting_bytes
        await outbox.run(peer.write, peer.on_drained)
        assert peer.received == b"".join(taken)

    trio.run(play)


def _whole(received: bytes, taken: list[bytes], waiting: int) -> list[bytes]:
    """The pieces of ``taken`` that the peer has got or begun to get; no more than ``waiting`` is missing."""
    size = 0
    kept = []
    for piece in taken:
        if size >= len(received):
            break
        kept.append(piece)
        size += len(piece)
    assert size == len(received) + waiting
    return kept
