"""What is said in a room, and what is done to it.

Owns the operations that become events about messages. Refuses to know how they are stored and shown.
"""

from . import rules, schema
from .operations import Asker, AtOnce, Operations
from .refusal import valid


def say(asker: Asker, request: schema.Say) -> None:
    """Say something."""
    member = asker.member(request.room)
    room, user, hub = member.room, asker.user, asker.hub
    append = valid(rules.message, room, user, request)
    sent = None
    if asker.guest and isinstance(request.id, str):
        sent = (user, request.id, request.text)
        before = room.resend_of(user, request.id, request.text, int(hub.clock() * 1000))
        if before is not None:
            asker.acknowledge(room.name, request.id, before.seq, before.at_ms)
            return
    hub.signals.has_spoken(room, user)
    asker.submit(member, append, request.id, sent)


def typing(asker: Asker, request: schema.Typing) -> None:
    """Let the others know that something is being typed."""
    asker.hub.signals.tell_typing(asker.member(request.room).room, asker.user)


OPERATIONS: Operations = {
    schema.Say: AtOnce(say, appends=True),
    schema.Typing: AtOnce(typing),
}
