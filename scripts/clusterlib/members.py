"""The clients of ``scripts/cluster.py``: those of ``scripts/crash.py``, at home on every node."""

from collections.abc import Sequence
from typing import Any

import attrs
import crash
import trio
import trio_websocket

from clusterlib.processes import Node

_OPEN_SECONDS = 4.0
"""How long a node may take to answer; a stopped one doesn't."""
_SAY_SECONDS = 0.03
_AGAIN_SECONDS = 0.4


@attrs.define(eq=False)
class Member(crash.Client):
    """One guest, over all its connections."""

    where: str = "no node"
    returns: int = 0
    refused: int = 0
    seen: int = 0
    _speaking: trio.Event = attrs.field(factory=trio.Event)
    _number: int = 0

    def speak(self) -> None:
        """Say things from now on."""
        self._speaking.set()

    def pause(self) -> None:
        """Say nothing new."""
        self._speaking = trio.Event()

    def forget(self) -> None:
        """What was compared need not be known any more."""
        self.seen += len(self.shown)
        self.shown.clear()
        self.acknowledged.clear()

    async def live(self, nodes: Sequence[Node]) -> None:
        """Be connected to some node, always."""
        while True:
            node = self.rng.choice([node for node in nodes if node.url] or list(nodes))
            if node.url:
                self.where = f"node {node.number}"
                self.returns += 1
                await self._visit(node.url)
            await trio.sleep(0.2 * self.rng.random())

    async def _visit(self, url: str) -> None:
        try:
            with trio.move_on_after(_OPEN_SECONDS) as opening:
                async with trio_websocket.open_websocket_url(
                    f"{url.replace('http', 'ws', 1)}/ws", max_message_size=1 << 24, disconnect_timeout=0.5
                ) as websocket:
                    await self._enter(websocket)
                    opening.deadline = float("inf")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._listen, websocket, nursery.cancel_scope)
                        nursery.start_soon(self._resend, websocket)
                        await self._speak(websocket)
        except* (
            OSError,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            trio_websocket.ConnectionClosed,
        ):
            pass  # that is what this is about
        except* (trio_websocket.HandshakeError, _NotNow):
            pass

    async def _receive(self, websocket: trio_websocket.WebSocketConnection) -> dict[str, Any]:
        frame = await super()._receive(websocket)
        if frame["op"] == "bye":
            await trio.sleep_forever()  # the close frame ends it
        return frame

    async def _resend(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send again what isn't acknowledged: at once, and what stays so now and then."""
        open_before: set[str] = set(self.unacknowledged)
        while True:
            for message_id in open_before:
                text = self.unacknowledged.get(message_id)
                if text is not None:
                    self.resent += 1
                    await self._send(websocket, op="say", id=message_id, room=self.room, text=text)
            open_before = set(self.unacknowledged)
            await trio.sleep(_AGAIN_SECONDS)

    async def _speak(self, websocket: trio_websocket.WebSocketConnection) -> None:
        while True:
            await self._speaking.wait()
            if len(self.unacknowledged) < crash.WINDOW:
                self._number += 1
                message_id = f"{self.name}-{self._number}"
                text = f"{message_id} {'x' * self.rng.randrange(1, 200)}"
                self.unacknowledged[message_id] = text
                await self._send(websocket, op="say", id=message_id, room=self.room, text=text)
            await trio.sleep(_SAY_SECONDS * 2 * self.rng.random())

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["op"] == "error" and frame["code"] == "unavailable":
            self.refused += 1
            if "re" in frame and frame["re"] not in self.unacknowledged:
                raise _NotNow  # it was the join
            return
        super()._take(frame)


class _NotNow(Exception):
    """The room can't be joined now."""
