"""What a log that one node has for itself does where `EventLog` speaks of other nodes: nothing."""

from collections.abc import Mapping

from trio_chat.log.base import Follower


class SingleNode:
    """The base of such engines: there is nobody else to hear of."""

    shared = False

    def subscribe(self, follower: Follower) -> None:
        """See `EventLog.subscribe`: ``follower`` is never called."""

    async def follow(self, room: str) -> None:
        """See `EventLog.follow`."""

    def unfollow(self, room: str) -> None:
        """See `EventLog.unfollow`."""

    def announce(self, room: str, data: bytes) -> None:
        """See `EventLog.announce`."""

    def announced(self, room: str) -> Mapping[str, bytes]:
        """See `EventLog.announced`."""
        return {}

    def signal(self, room: str, data: bytes) -> None:
        """See `EventLog.signal`."""
