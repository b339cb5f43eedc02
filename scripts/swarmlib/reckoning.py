"""What every client must have got in the end, and whether it did: one process' part of the verification.

``expected`` comes from the coordinator, which knows what all processes have sent: by room the number of
messages, each sender's number, and the highest acknowledged ``seq``.
"""

from typing import Any

from swarmlib.connection import Connection, State
from swarmlib.settings import Settings
from swarmlib.verify import Findings, SenderTranscript


class Reckoning:
    """Judges clients; keeps nothing but what was expected of all."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.expected: dict[str, Any] | None = None

    def is_behind(self, client: Connection) -> bool:
        """Whether something is still to come to ``client``, as far as that can be told."""
        if client.kind == "half_open":
            return False
        if self.settings.is_mixed and client.transcript is not None:
            ends, head = self._ends(client)
            if isinstance(client.transcript, SenderTranscript):
                return client.transcript.lacks(ends)
            return client.transcript.seen < head
        return client.received < self._number(client)

    def judge(self, clients: list[Connection], findings: Findings) -> int:
        """Add what the clients' deliveries show; of the frozen ones, how many have got everything."""
        whole = 0
        for client in clients:
            if client.state is State.READY and client.kind != "half_open":
                found = Findings()
                self._judge_one(client, found)
                whole += client.is_frozen and not any(found.values())
                findings.update(found)
        return whole

    def _judge_one(self, client: Connection, findings: Findings) -> None:
        if client.transcript is not None:
            client.transcript.finish(*self._ends(client), findings)
        else:
            missing = self._number(client) - client.received
            findings["gaps" if missing > 0 else "duplicates"] += abs(missing)
        if client.book is not None:
            client.book.finish()

    def _ends(self, client: Connection) -> tuple[dict[int, int], int]:
        """Of the client's room: by sender, how many messages; and the highest acknowledged number."""
        expected = self.expected or {"senders": {}, "heads": {}}
        room = client.room.number
        return expected["senders"].get(room, {}), int(expected["heads"].get(room, 0))

    def _number(self, client: Connection) -> int:
        """How many messages were sent in the client's room."""
        return 0 if self.expected is None else int(self.expected["rooms"].get(client.room.number, 0))
