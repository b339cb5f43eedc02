"""Guests: their ids, their names, and the tokens that they and others come back with.

Owns who holds which guest name: as long as its sessions are here, and for some minutes longer if they may
come back. Refuses to know connections: a name is claimed as often as sessions hold it.
"""

import base64
import hashlib
import hmac
import random
import time
import unicodedata
from collections.abc import Callable

import msgspec

from . import limits
from .schema import IGNORABLE, MAX_NAME_CHARS, User, encode

GUEST = "guest-"
"""How a guest's id begins, and nobody else's."""
_SEARCHED_NUMBERS = 100


class _Session(msgspec.Struct, omit_defaults=True):
    """What a session token says: who, whether signed in, and until when (Unix seconds)."""

    id: str
    name: str
    signed_in: bool = False
    until: float | None = None


class Guests:
    """``secret`` signs session tokens; ``rng`` makes ids, which are not secret; ``clock``: Unix time."""

    def __init__(self, secret: bytes, rng: random.Random, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._rng = rng
        self._clock = clock
        self._holders: dict[str, list[str]] = {}
        self._reserved: dict[str, tuple[str, float]] = {}
        """By name, oldest first: the user that may come back for it, and until when it is kept."""

    def claim_name(self, wanted: str, user_id: str) -> str:
        """Hold a name that nobody else has: ``wanted``, or ``wanted-2``, ``wanted-3``, ...

        Give it back with `free_name`.
        """
        name, number = wanted, 1
        while self._is_anothers(fold(name), user_id):
            number += 1
            if number > _SEARCHED_NUMBERS:  # so that a thousand guests of one name don't take a million steps
                number = self._rng.randrange(_SEARCHED_NUMBERS, 1_000_000)
            suffix = f"-{number}"
            name = wanted[: MAX_NAME_CHARS - len(suffix)] + suffix
        self.hold_name(name, user_id)
        return name

    def _is_anothers(self, key: str, user_id: str) -> bool:
        if any(holder != user_id for holder in self._holders.get(key, ())):
            return True
        reserved_for, until = self._reserved.get(key, (user_id, 0.0))
        return reserved_for != user_id and until > self._clock()

    def hold_name(self, name: str, user_id: str) -> None:
        """Keep guests from taking ``name``, as somebody signed in has it. Give it back with `free_name`."""
        key = fold(name)
        self._holders.setdefault(key, []).append(user_id)
        self._reserved.pop(key, None)

    def free_name(self, name: str, user_id: str, *, reserve: bool = False) -> None:
        """Give a name back that was held for ``user_id``; ``reserve``: it may come back for it.

        The reservations are bounded in number: beyond that the oldest one is forgotten.
        """
        key = fold(name)
        self._holders[key].remove(user_id)
        if self._holders[key]:
            return
        del self._holders[key]
        if reserve:
            self._reserved[key] = user_id, self._clock() + limits.NAME_RESERVED_SECONDS
            while len(self._reserved) > limits.MAX_RESERVED_NAMES or self._oldest_is_over():
                del self._reserved[next(iter(self._reserved))]

    def _oldest_is_over(self) -> bool:
        return next(iter(self._reserved.values()))[1] <= self._clock()

    def holders(self, folded: str) -> list[str]:
        """The ids of the users here whose name, put through `fold`, is this."""
        return self._holders.get(folded, [])

    def new_id(self) -> str:
        """A new guest's id."""
        return f"{GUEST}{self._rng.getrandbits(64):016x}"

    def session_token(self, user: User, *, signed_in: bool = False, until: float | None = None) -> str:
        """The secret by which ``user`` is known again, until that time or as long as the log lives.

        A guest's is good for `resumed` and `holder`, that of somebody ``signed_in`` for `holder` alone: to
        sign in is another's decision each time.
        """
        body = encode(_Session(user.id, user.name, signed_in, until))
        body = base64.urlsafe_b64encode(body).rstrip(b"=")
        return f"{body.decode()}.{self._sign(body)}"

    def resumed(self, token: str) -> User | None:
        """The guest of a session token of ours, or None."""
        found = self._opened(token)
        if found is None or found.signed_in or not found.id.startswith(GUEST):
            return None
        return User(found.id, found.name)

    def holder(self, token: str) -> User | None:
        """Whose session token this is, guest or not, or None if it isn't one of ours (any more)."""
        found = self._opened(token)
        if found is None or (found.until is not None and found.until <= self._clock()):
            return None
        return User(found.id, found.name)

    def _opened(self, token: str) -> _Session | None:
        body, _, signature = token.partition(".")
        if not hmac.compare_digest(self._sign(body.encode()).encode(), signature.encode()):
            return None
        try:
            padded = body + "=" * (-len(body) % 4)
            return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Session)
        except (ValueError, msgspec.MsgspecError):
            return None

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()[:32]


def fold(name: str) -> str:
    """What makes two names the same: compatibility forms, case, and what isn't seen aside."""
    seen = " ".join(IGNORABLE.sub("", name).split())
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
