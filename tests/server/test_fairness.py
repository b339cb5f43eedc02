"""Nobody is starved: however many flood the server, everybody else is served in between."""

from contextlib import AsyncExitStack

import trio

from .peers import BINARY, Peer, client_frame, connected, serving


async def test_floods_starve_nobody() -> None:
    """More floods at once than one turn of the event loop takes; two who talk in a chat go on talking."""
    data = client_frame(BINARY, b"x" * 1000) * 500

    async def flood(peer: Peer) -> None:
        while True:
            await peer.stream.send_all(data)

    async def read(peer: Peer) -> None:
        while await peer.stream.receive_some():
            pass

    async with (
        serving(outbox=1 << 26) as server,
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
    ):
        for number in range(12):
            peer = await stack.enter_async_context(connected(server, f"/relay/r{number}"))
            nursery.start_soon(flood, peer)
            nursery.start_soon(read, peer)
        async with connected(server) as ann, connected(server) as bob:
            await ann.join()
            await bob.join()
            for number in range(10):
                await ann.say(str(number))
                assert await bob.message() == str(number)
        assert len(server.connections) >= 12
        nursery.cancel_scope.cancel()
