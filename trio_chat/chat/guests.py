"""Guests: their ids, their names while they are here, and the tokens they come back with.

Owns who holds which guest name. Refuses to know connections: a name is claimed as often as sessions hold it.
"""

import base64
import hashlib
import hmac
import random
import unicodedata

import msgspec

from .schema import IGNORABLE, MAX_NAME_CHARS, User, encode

_SEARCHED_NUMBERS = 100


class Guests:
    """``secret`` signs resume tokens; ``rng`` makes ids, which are not secret."""

    def __init__(self, secret: bytes, rng: random.Random) -> None:
        self._secret = secret
        self._rng = rng
        self._holders: dict[str, list[str]] = {}

    def claim_name(self, wanted: str, user_id: str) -> str:
        """Hold a name that nobody else has: ``wanted``, or ``wanted-2``, ``wanted-3``, ...

        Give it back with `free_name`.
        """
        name, number = wanted, 1
        while any(holder != user_id for holder in self._holders.get(_fold(name), ())):
            number += 1
            if number > _SEARCHED_NUMBERS:  # so that a thousand guests of one name don't take a million steps
                number = self._rng.randrange(_SEARCHED_NUMBERS, 1_000_000)
            suffix = f"-{number}"
            name = wanted[: MAX_NAME_CHARS - len(suffix)] + suffix
        self.hold_name(name, user_id)
        return name

    def hold_name(self, name: str, user_id: str) -> None:
        """Keep guests from taking ``name``, as somebody signed in has it. Give it back with `free_name`."""
        self._holders.setdefault(_fold(name), []).append(user_id)

    def free_name(self, name: str, user_id: str) -> None:
        """Give a name back that was held for ``user_id``."""
        key = _fold(name)
        self._holders[key].remove(user_id)
        if not self._holders[key]:
            del self._holders[key]

    def new_id(self) -> str:
        """A new guest's id."""
        return f"guest-{self._rng.getrandbits(64):016x}"

    def session_token(self, user: User) -> str:
        """The secret that `resumed` turns back into ``user``, as long as the log lives."""
        body = base64.urlsafe_b64encode(encode(user)).rstrip(b"=")
        return f"{body.decode()}.{self._sign(body)}"

    def resumed(self, token: str) -> User | None:
        """The user of a session token of ours, or None."""
        body, _, signature = token.partition(".")
        if not hmac.compare_digest(self._sign(body.encode()).encode(), signature.encode()):
            return None
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=User)
        except (ValueError, msgspec.MsgspecError):
            return None

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()[:32]


def _fold(name: str) -> str:
    """What makes two names the same: compatibility forms, case, and what isn't seen aside."""
    seen = " ".join(IGNORABLE.sub("", name).split())
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
