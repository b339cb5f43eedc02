"""Signing in: who a token speaks of, who must sign in, and how long it holds.

Owns the times at which connections are no longer signed in, with one sweeper for all of them: no timer and
no task per connection. Refuses to know where tokens come from and what else a session does.
"""

from collections.abc import Callable

import trio

from ..config import Config
from ..wire.connection import Connection
from .tokens import BadToken, Identity, Tokens

SIGN_IN_SECONDS = 10.0
"""Where there are no guests: how long a client may take to say ``hello`` with its token."""
SWEEP_SECONDS = 1.0
"""How late a connection may be closed after its end has come."""
_SLICE = 5000
"""Connections looked at in one turn of the event loop: well below a millisecond."""
EXPIRED = "the sign-in has expired"


class Accounts:
    """See the module. ``clock``: Unix time in seconds. Raises `ConfigError`, `OSError` for the keys."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens = None if config.jwt_key is None else Tokens(config, clock)
        self.takes_tokens = self._tokens is not None
        self.takes_guests = config.guests
        self._ends: dict[Connection, tuple[float, str]] = {}
        self._waited_for = trio.Event()

    def verify(self, token: str) -> Identity:
        """Who ``token`` speaks of, or `BadToken`."""
        if self._tokens is None:
            raise BadToken("token: this server signs nobody in by a token")
        return self._tokens.verify(token)

    def await_sign_in(self, connection: Connection) -> None:
        """Close ``connection`` if nobody signs in on it in time."""
        self.end_at(connection, self._clock() + SIGN_IN_SECONDS, "nobody has signed in")

    def end_at(self, connection: Connection, at: float | None, reason: str = EXPIRED) -> None:
        """Close ``connection`` with 4501 at this time, and not at the one that was given before; None: at
        none."""
        if at is None:
            self._ends.pop(connection, None)
        else:
            self._ends[connection] = at, reason
            self._waited_for.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._waited_for.wait()
            now = self._clock()
            for count, (connection, end) in enumerate(list(self._ends.items()), 1):
                at, reason = end
                if at <= now and self._ends.get(connection) is end:
                    del self._ends[connection]
                    connection.close(4501, reason)
                if count % _SLICE == 0:
                    await trio.lowlevel.checkpoint()
            if not self._ends:
                self._waited_for = trio.Event()
            else:
                await trio.sleep(SWEEP_SECONDS)
