"""What holds for one room, and who says so.

Owns the choices and their defaults. Refuses to act on them: what becomes of a member that can't keep up is
decided in `Room.deliver`, how long events are kept is seen to by `trio_chat.chat.retention`.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import attrs

from ..config import Config

OnOverflow = Literal["catch_up", "disconnect", "block"]
"""What happens when more waits for a member than may.

``catch_up``: it gets the rest from the log as soon as it reads again. ``disconnect``: its connection is
closed with 1013. ``block``: nothing more that is said in the room is taken up before it has caught up, or is
gone.
"""


def _known(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value not in get_args(OnOverflow):
        raise ValueError(f"{attribute.name}: one of {', '.join(get_args(OnOverflow))}, not {value!r}")


def _none_or_positive(_: object, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{attribute.name}: 0 or more, or None for the server's setting, not {value!r}")


@attrs.frozen(kw_only=True)
class RoomPolicy:
    """How one room is to be treated. What it keeps is as in the server's settings, if it isn't said here."""

    on_overflow: OnOverflow = attrs.field(default="catch_up", validator=_known)
    """What happens when more waits for a member than may."""
    keep_events: int | None = attrs.field(default=None, validator=_none_or_positive)
    """The newest events that are kept; 0: all."""
    keep_days: float | None = attrs.field(default=None, validator=_none_or_positive)
    """How long events are kept; 0: for ever."""


PolicyOf = Callable[[str], RoomPolicy]
"""Says what holds for the room of this name. It is asked often: it should answer at once and never differ."""


def settled_policy(config: Config, rooms: PolicyOf | None) -> PolicyOf | None:
    """What holds for each room, no field left open: ``rooms`` over ``config``. None: nothing but defaults."""
    setting = RoomPolicy(keep_events=config.keep_events, keep_days=config.keep_days)
    if rooms is None:
        return (lambda name: setting) if config.keep_events or config.keep_days else None

    def policy_of(name: str) -> RoomPolicy:
        given = rooms(name)
        return attrs.evolve(
            given,
            keep_events=setting.keep_events if given.keep_events is None else given.keep_events,
            keep_days=setting.keep_days if given.keep_days is None else given.keep_days,
        )

    return policy_of
