"""What sessions ask of messages that have been said: pages of history, and searches.

Owns the operations. What is in the answers is decided in `trio_chat.chat.pages`.
"""

from . import pages, schema
from .operations import Asker, Operations, Waiting


async def history(asker: Asker, request: schema.History) -> None:
    """A page of messages."""
    room = asker.member(request.room).room
    asker.reply(await pages.history(asker.hub, room, asker.author, request))


async def search(asker: Asker, request: schema.Search) -> None:
    """Find messages."""
    room = asker.member(request.room).room.name if isinstance(request.room, str) else None
    asker.reply(await pages.search(asker.hub, asker.author, request, room))


OPERATIONS: Operations = {schema.History: Waiting(history), schema.Search: Waiting(search)}
