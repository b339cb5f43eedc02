"""Refusals: the ``error`` that a request is answered with which can't be fulfilled.

Owns their codes and words. Refuses to know who is told, and how.
"""

from collections.abc import Callable
from typing import TypeVar

from .access import Right, needed
from .state import RoomState, Why

T = TypeVar("T")


class Refusal(Exception):
    """A request that can't be fulfilled: the ``error`` to answer it with."""

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


def valid(rule: Callable[..., T], *values: object) -> T:
    """``rule(*values)``, a broken rule being the client's fault."""
    try:
        return rule(*values)
    except ValueError as error:
        raise Refusal("bad_request", str(error)) from None


def unavailable(reason: str) -> Refusal:
    """The log can't take or give anything now."""
    return Refusal("unavailable", f"the log is unavailable: {reason}", retry_after=2.0)


_WORDS: dict[Why, str] = {
    "banned": "you are banned from this room",
    "private": "this room is private: you need an invitation",
    "archived": "this room is archived",
    "muted": "you are muted in this room",
}


def require(state: RoomState, right: Right, user_id: str, now: float, *, admin: bool = False) -> None:
    """Raise a `Refusal` if the user may not do this now (Unix seconds); ``admin``: of the server."""
    why = state.why_not(right, user_id, now, admin=admin)
    if why is None:
        return
    after = None
    if why == "muted" and (until := state.muted_until(user_id, now)) is not None and until != float("inf"):
        after = until - now
    words = _WORDS.get(why) or f"{right.replace('_', ' ')}: {needed(right, state.sort)}"
    raise Refusal(why, words, retry_after=after)
