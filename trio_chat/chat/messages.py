"""What is said in a room, and what is done to it.

Owns the operations that become events about messages. Refuses to know how they are stored and shown.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ..log.base import Append, Appended
from . import schema
from .changes import Author
from .operations import Asker, AtOnce, Operations, Waiting
from .room import Room


def say(asker: Asker, request: schema.Say) -> None:
    """Say something."""
    member = asker.member(request.room)
    room, user, hub = member.room, asker.user, asker.hub
    append = hub.changes.say(room, asker.author, request)
    sent = None
    if asker.guest and isinstance(request.id, str):
        sent = (user, request.id, request.text)
        before = room.resend_of(user, request.id, request.text, int(hub.clock() * 1000))
        if before is not None:
            asker.acknowledge(room.name, request.id, before.seq, before.at_ms)
            return
    hub.signals.has_spoken(room, user)
    asker.submit(member, append, request.id, sent)


async def edit(asker: Asker, request: schema.Edit) -> None:
    """Give one's own message another text."""
    await _change(asker, request, asker.hub.changes.edit)


async def delete(asker: Asker, request: schema.Delete) -> None:
    """Delete a message."""
    await _change(asker, request, asker.hub.changes.delete)


async def react(asker: Asker, request: schema.React) -> None:
    """React to a message."""
    await _change(asker, request, asker.hub.changes.react)


async def unreact(asker: Asker, request: schema.Unreact) -> None:
    """Take a reaction back."""
    await _change(asker, request, asker.hub.changes.unreact)


async def _change(
    asker: Asker, request: Any, decide: Callable[[Room, Author, Any], Awaitable[Append | Appended]]
) -> None:
    member = asker.member(request.room)
    decided = await decide(member.room, asker.author, request)
    if isinstance(decided, Append):
        await asker.store(member, decided, request.id)
    else:
        asker.acknowledge(member.room.name, request.id, decided.seq, decided.at_ms)


def topic(asker: Asker, request: schema.Topic) -> None:
    """Say what the room is about."""
    member = asker.member(request.room)
    asker.submit(member, asker.hub.changes.topic(member.room, asker.author, request), request.id)


def typing(asker: Asker, request: schema.Typing) -> None:
    """Let the others know that something is being typed."""
    asker.hub.signals.tell_typing(asker.member(request.room).room, asker.user)


def away(asker: Asker, request: schema.Away) -> None:
    """Let the others know that the user is away, or is back."""
    if asker.hub.people.set_away(asker.user.id, away=request.away):
        for room in asker.rooms:
            asker.hub.signals.tell_presence(room, asker.user, online=True)


def read(asker: Asker, request: schema.Read) -> None:
    """Note how far the user has read."""
    room, user = asker.member(request.room).room, asker.user
    seq = min(request.seq, room.head)
    if asker.hub.markers.move(user, room.name, seq):
        asker.hub.signals.tell_read(room, user, seq)


OPERATIONS: Operations = {
    schema.Say: AtOnce(say, appends=True),
    schema.Edit: Waiting(edit),
    schema.Delete: Waiting(delete),
    schema.React: Waiting(react),
    schema.Unreact: Waiting(unreact),
    schema.Topic: AtOnce(topic, appends=True),
    schema.Typing: AtOnce(typing),
    schema.Away: AtOnce(away),
    schema.Read: AtOnce(read),
}
