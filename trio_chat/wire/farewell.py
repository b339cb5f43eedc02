"""A handler that only says goodbye: an upgrade that is refused visibly.

A browser can't see the HTTP status of a refused upgrade; it sees this.
"""

import msgspec

from .connection import Connection
from .frames import TEXT, Message, frame


class Farewell:
    """Closes its connection with ``code`` as soon as it is open, saying ``bye`` first."""

    def __init__(self, connection: Connection, code: int, reason: str) -> None:
        self._connection = connection
        self._code = code
        self._reason = reason

    async def on_open(self) -> None:
        """Say it."""
        self._connection.close(self._code, self._reason)

    def take(self, messages: list[Message]) -> list[Message]:
        """Nobody listens."""
        return []

    async def on_messages(self, messages: list[Message]) -> None:
        """Nobody listens."""

    async def settle(self) -> None:
        """Nobody listens."""

    async def on_drained(self) -> None:
        """Nothing to add."""

    def farewell(self, code: int, reason: str, retry_after: float | None) -> bytes | None:
        """The reason in words, as on the chat endpoint."""
        return frame(TEXT, msgspec.json.encode({"op": "bye", "code": code, "reason": reason}))

    def on_closed(self) -> None:
        """Nothing to clean up."""
