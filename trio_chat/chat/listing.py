"""What the lists of rooms say of a room without opening it: the label that the log keeps beside its events.

Owns the label. It is made of the room's state, whenever a control event changes it.
"""

import msgspec

from ..log.base import Listing
from .schema import RoomKind
from .state import RoomState


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """A room in a list."""

    kind: RoomKind = "public"
    topic: str = ""
    archived: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Label).decode


def label_of(state: RoomState) -> Label:
    """The label of a room in this state."""
    return Label(state.kind, state.topic, state.archived)


def decode_label(text: str) -> Label:
    """What the log has as a room's label; nothing, if it is an open room without a topic."""
    return _decode(text) if text else Label()


def listing(before: RoomState, after: RoomState) -> Listing | None:
    """What changes in the lists of rooms when the state changes so; None: nothing."""
    new = tuple(each for each in after.entries if each not in before.entries)
    label = label_of(after)
    if label == label_of(before) and not new:
        return None
    return Listing(_encode(label).decode(), after.kind != "public", new)


def topic_listing(state: RoomState, topic: str) -> Listing:
    """What the lists of rooms say when the topic is another one."""
    label = Label(state.kind, topic, state.archived)
    return Listing(_encode(label).decode(), state.kind != "public")
