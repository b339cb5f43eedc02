"""Guests' names and resume tokens, and the rate limit's bucket."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.chat import limits
from trio_chat.chat.guests import Guests
from trio_chat.chat.limits import Bucket
from trio_chat.chat.schema import MAX_NAME_CHARS, User, user_name


def guests(secret: bytes = b"secret") -> Guests:
    return Guests(secret, random.Random(1))


def test_a_name_in_use_gets_a_number() -> None:
    """The first has the name, the next ``-2``, and a number that was given back is free again."""
    them = guests()
    assert [them.claim_name("ann", str(i)) for i in range(3)] == ["ann", "ann-2", "ann-3"]
    them.free_name("ann-2", "1")
    assert them.claim_name("ann", "9") == "ann-2"


def test_one_user_may_hold_a_name_often() -> None:
    """Several sessions of a user share its name; it is free when all have given it back."""
    them = guests()
    assert them.claim_name("ann", "1") == them.claim_name("ann", "1") == "ann"
    them.free_name("ann", "1")
    assert them.claim_name("ann", "2") == "ann-2"
    them.free_name("ann", "1")
    assert them.claim_name("ann", "3") == "ann"


@pytest.mark.parametrize("name", ["Ann", "ANN", "\uff41\uff4e\uff4e", "\u1d43nn", "ann\ufe0f", "a\ufe0enn"])
def test_names_that_look_the_same_are_the_same(name: str) -> None:
    """Case, compatibility forms and what can't be seen don't make another name."""
    them = guests()
    them.hold_name("ann", "signed-in")
    assert them.claim_name(name, "guest") == f"{name}-2"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jo Ann", "jo  ann"),
        ("e\ufe0f\u0301", "\u00e9"),
        ("\u01c5", "\u01c6"),
        ("\u1e9e", "ss"),
        ("ann\ufe0f", "ann"),
    ],
)
def test_same_is_the_same_both_ways(one: str, other: str) -> None:
    """Whoever comes first has the name, however it is written."""
    for first, second in ((one, other), (other, one)):
        them = guests()
        them.hold_name(first, "1")
        assert them.claim_name(second, "2") == f"{second}-2"


def test_a_numbered_name_still_fits() -> None:
    """A long name is cut for its number, and passes the rules."""
    them = guests()
    names = [them.claim_name("x" * MAX_NAME_CHARS, str(i)) for i in range(12)]
    assert len(set(names)) == 12
    assert all(len(user_name(name)) == MAX_NAME_CHARS for name in names)


def test_a_thousand_guests_of_one_name() -> None:
    """They all get names of their own, without a million steps."""
    them = guests()
    assert len({them.claim_name("bot", str(i)) for i in range(1000)}) == 1000


def test_tokens_bring_their_user_back() -> None:
    """A token is good at every server of the same log, and nowhere else."""
    user = User("guest-1", "Zoë 😀")
    token = guests().session_token(user)
    assert guests().resumed(token) == user
    assert guests(b"another").resumed(token) is None


BAD_TOKENS = ["", ".", "x", "x.y", "ä.ö", "e30.", "....", "x" * 60_000]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=lambda token: ascii(token[:8]))
def test_forged_tokens_are_nobody(token: str) -> None:
    """Whatever is not ours is refused without an error."""
    assert guests().resumed(token) is None


@given(st.integers(0, 200), st.characters(codec="utf-8"))
def test_a_changed_token_is_nobody(at: int, character: str) -> None:
    """One changed character is enough."""
    token = guests().session_token(User("guest-1", "ann"))
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    assert changed == token or guests().resumed(changed) is None


# --- names that are kept ---------------------------------------------------------------------------------


class Clock:
    """Time that stands still until it is told otherwise."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_reserved_name_waits_for_its_user() -> None:
    """Others get a number until it is back, or the time is over."""
    clock = Clock()
    them = Guests(b"secret", random.Random(1), clock)
    them.free_name(them.claim_name("ann", "1"), "1", reserve=True)
    assert them.claim_name("ANN", "2") == "ANN-2"
    clock.now += limits.NAME_RESERVED_SECONDS - 1
    assert them.claim_name("ann", "3") == "ann-3"
    assert them.claim_name("ann", "1") == "ann"
    them.free_name("ann", "1", reserve=True)
    clock.now += limits.NAME_RESERVED_SECONDS + 1
    assert them.claim_name("ann", "4") == "ann"


def test_a_name_is_reserved_when_the_last_session_leaves() -> None:
    """Before that it is held anyway; and who comes back and leaves for good frees it."""
    them = guests()
    them.claim_name("ann", "1")
    them.claim_name("ann", "1")
    them.free_name("ann", "1", reserve=True)
    assert not them._reserved
    them.free_name("ann", "1", reserve=True)
    assert them.claim_name("ann", "2") == "ann-2"
    assert them.claim_name("ann", "1") == "ann"
    them.free_name("ann", "1")
    assert them.claim_name("ann", "3") == "ann"


def test_reservations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest one goes, and so do those whose time is over."""
    monkeypatch.setattr(limits, "MAX_RESERVED_NAMES", 3)
    clock = Clock()
    them = Guests(b"secret", random.Random(1), clock)
    for number in range(5):
        name = them.claim_name(f"n{number}", str(number))
        them.free_name(name, str(number), reserve=True)
        assert len(them._reserved) <= 3
    assert [them.claim_name(f"n{number}", "x") for number in range(5)] == ["n0", "n1", "n2-2", "n3-2", "n4-2"]
    clock.now += limits.NAME_RESERVED_SECONDS + 1
    them.free_name(them.claim_name("last", "9"), "9", reserve=True)
    assert list(them._reserved) == ["last"]


def test_a_session_of_who_is_signed_in_resumes_nobody() -> None:
    """It says who somebody is, until its time is over; to sign in again takes more."""
    clock = Clock()
    them = Guests(b"secret", random.Random(1), clock)
    user = User("u1", "Ann")
    token = them.session_token(user, signed_in=True, until=1060.0)
    assert them.resumed(token) is None
    assert them.holder(token) == user
    clock.now = 1060.0
    assert them.holder(token) is None
    assert them.holder(them.session_token(user, signed_in=True)) == user
    assert them.resumed(them.session_token(user)) is None


def test_a_signed_token_without_a_user_is_nobody() -> None:
    """Our own signature under something else makes no user of it."""
    them = guests()
    for body in (b"e30", b"!!!", b"bnVsbA", b""):
        assert them.resumed(f"{body.decode()}.{them._sign(body)}") is None


# --- the bucket ---------------------------------------------------


def test_a_burst_passes_and_then_the_rate() -> None:
    """``burst`` at once, then one each ``1 / rate`` seconds, and each later one waits longer."""
    bucket = Bucket(10.0, 3)
    assert [bucket.take(0.0) for _ in range(5)] == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]
    assert not bucket.ready(0.25)
    assert bucket.ready(0.31)
    assert bucket.take(0.31) == 0


def test_a_pause_fills_the_bucket_up_to_the_burst() -> None:
    """However long the pause, no more than ``burst`` pass at once."""
    bucket = Bucket(1.0, 2)
    bucket.take(0.0)
    assert [bucket.take(1e6) for _ in range(3)] == [0, 0, pytest.approx(1.0)]


def test_a_refill_takes_what_was_spent() -> None:
    """After so many seconds the burst is there again; what was taken in advance counts too."""
    bucket = Bucket(10.0, 3)
    assert bucket.refill_seconds() == 0
    for _ in range(5):
        bucket.take(0.0)
    assert bucket.refill_seconds() == pytest.approx(0.5)
    bucket.take(0.5)
    assert bucket.refill_seconds() == pytest.approx(0.1)


def test_rate_zero_lets_everything_pass() -> None:
    """No limit is no limit."""
    bucket = Bucket(0.0, 1)
    assert not any(bucket.take(0.0) for _ in range(1000))


@given(st.lists(st.floats(0, 5), max_size=50))
def test_no_more_pass_than_rate_and_burst_allow(pauses: list[float]) -> None:
    """What passed up to any time is at most ``burst + rate * time``."""
    bucket = Bucket(2.0, 4)
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        if bucket.ready(now):
            assert bucket.take(now) == 0
            passed += 1
        assert passed <= 4 + 2.0 * now + 1e-6
