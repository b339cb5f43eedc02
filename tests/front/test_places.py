"""Places: connections at once and handshakes in a time, without a server."""

from trio_chat.front import places
from trio_chat.front.places import HANDSHAKE_BURST_SECONDS, HANDSHAKES_PER_SECOND, Places
from trio_chat.front.upgrade import Reject


def refusal(found: Reject | None) -> tuple[int, str, str]:
    """Status, text and ``Retry-After``."""
    assert found is not None
    assert isinstance(found.body, str)
    return found.status, found.body, dict(found.headers)["Retry-After"]


def test_places_are_counted_in_all_and_by_address() -> None:
    """One beyond either limit is refused with a reason, and let in when a place is free again."""
    found = Places(3, 2)
    assert [found.take("192.0.2.1", 0.0) for _ in range(2)] == [None, None]
    assert refusal(found.take("192.0.2.1", 0.0)) == (429, "more than 2 connections from 192.0.2.1", "5")
    assert found.take("192.0.2.2", 0.0) is None
    assert refusal(found.take("192.0.2.3", 0.0)) == (503, "this server is full", "5")
    found.free("192.0.2.1")
    assert found.take("192.0.2.1", 0.0) is None


def test_handshakes_of_one_address_have_a_rate() -> None:
    """After the burst they pass at the rate; whoever is refused learns when to come back."""
    found = Places(10**6, 5)
    rate = HANDSHAKES_PER_SECOND * 5
    burst = int(rate * HANDSHAKE_BURST_SECONDS)

    def passed(now: float, tries: int) -> int:
        """How many of so many handshakes are let in, each leaving at once."""
        count = 0
        for _ in range(tries):
            if found.take("192.0.2.1", now) is None:
                count += 1
                found.free("192.0.2.1")
        return count

    assert passed(0.0, 10 * burst) == burst
    assert refusal(found.take("192.0.2.1", 0.0)) == (
        429,
        "more than 10 handshakes per second from 192.0.2.1",
        "1",
    )
    assert passed(1.0, 10 * burst) == rate
    assert found.take("192.0.2.2", 1.0) is None
    assert burst - 1 <= passed(1000.0, 10 * burst) <= burst


def test_a_network_of_ipv6_has_one_rate() -> None:
    """All of a /64 count together."""
    found = Places(10**6, 1)
    burst = int(HANDSHAKES_PER_SECOND * HANDSHAKE_BURST_SECONDS)
    for number in range(burst):
        assert found.take(f"2001:db8::{number:x}", 0.0) is None
        found.free(f"2001:db8::{number:x}")
    assert refusal(found.take("2001:db8::ffff", 0.0))[0] == 429
    assert found.take("2001:db8:0:1::1", 0.0) is None


def test_addresses_that_have_rested_are_forgotten() -> None:
    """A million addresses that come once each cost no memory for ever."""
    found = Places(10**6, 1)
    for number in range(5000):
        address = f"10.0.{number >> 8}.{number & 255}"
        assert found.take(address, float(number)) is None
        found.free(address)
    assert len(found._paid_until) <= places._SWEEP + 1
