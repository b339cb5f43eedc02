"""Presence, typing, and how far somebody has read: volatile signals, gathered over a tick and told to a
room's members at once.

Owns what is to be told. A signal is dropped for a member whose outbox is not empty. In rooms with more than
`limits.MAX_LISTED_MEMBERS` users a count is told instead of names, and typing not at all, so that n users
who join cost each member a bounded number of signals and not n.
"""

import math
from collections.abc import Callable

import trio

from . import limits
from .people import People
from .room import Room, text_frame
from .schema import Count, Presence, ReadSignal, TypingSignal, User, encode


class Signals:
    """See the module. `run` is its task.

    ``tell_others`` is for other nodes: it gets a room with each tick in which something happened here,
    whether somebody came or went, and who is typing.
    """

    def __init__(
        self, people: People, tell_others: Callable[[Room, bool, list[User]], None] | None = None
    ) -> None:
        self._people = people
        self._tell_others = tell_others
        self._presence: dict[Room, dict[str, tuple[User, bool]]] = {}
        self._typing: dict[Room, dict[str, User]] = {}
        self._read: dict[Room, dict[str, tuple[User, int]]] = {}
        self._presence_here: set[Room] = set()
        self._typing_here: dict[Room, dict[str, User]] = {}
        self._due: dict[Room, float] = {}
        self._wake = trio.Event()

    def tell_presence(self, room: Room, user: User, *, online: bool, here: bool = True) -> None:
        """Have the members told, with the next tick, that ``user`` came or went, ``here`` or on another
        node."""
        if here and self._tell_others is not None:
            self._presence_here.add(room)
        changes = self._presence.setdefault(room, {})
        before = changes.pop(user.id, None)
        if before is None or before[1] == online or before[0] != user:
            changes[user.id] = (user, online)
        self._schedule(room, limits.PRESENCE_TICK)

    def tell_count(self, room: Room) -> None:
        """Have the members of a large room told, with the next tick, how many are there."""
        self._presence.setdefault(room, {})
        self._schedule(room, limits.PRESENCE_TICK)

    def tell_typing(self, room: Room, user: User, *, here: bool = True) -> None:
        """Have the members of a small room told, with the next tick, that ``user`` is typing."""
        if room.count <= limits.MAX_LISTED_MEMBERS:
            self._typing.setdefault(room, {})[user.id] = user
            if here and self._tell_others is not None:
                self._typing_here.setdefault(room, {})[user.id] = user
            self._schedule(room, limits.SIGNAL_TICK)

    def tell_read(self, room: Room, user: User, seq: int) -> None:
        """Have it told, with the next tick, that ``user`` has read up to ``seq``: to all sessions of this
        user, and to the members of a room with at most `limits.MAX_READ_SIGNALS` users."""
        self._read.setdefault(room, {})[user.id] = user, seq
        self._schedule(room, limits.SIGNAL_TICK)

    def has_spoken(self, room: Room, user: User) -> None:
        """What ``user`` was typing is said: no need to tell that it is being typed."""
        if room in self._typing:
            self._typing[room].pop(user.id, None)
            if room in self._typing_here:
                self._typing_here[room].pop(user.id, None)

    def _schedule(self, room: Room, tick: float) -> None:
        due = trio.current_time() + max(tick, len(room.members) / limits.SIGNALS_PER_SECOND)
        if due < self._due.get(room, math.inf):
            self._due[room] = due
            self._wake.set()

    async def run(self) -> None:
        """Tell what is due, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._due:
                with trio.move_on_at(min(self._due.values())) as waiting:
                    await self._wake.wait()  # something is due sooner
                if not waiting.cancelled_caught:
                    self._wake = trio.Event()
                    continue
                now = trio.current_time()
                for room in [room for room, due in self._due.items() if due <= now]:
                    del self._due[room]
                    await self._tell(room)

    async def _tell(self, room: Room) -> None:
        """One tick's signals of one room; nobody is told of itself."""
        changes = self._presence.pop(room, None)
        typing = self._typing.pop(room, {})
        read = self._encode_read(room)
        if self._tell_others is not None:
            self._pass_on(room, self._tell_others)
        signals: dict[str, bytes] = {}
        everybody = b""
        if room.count > limits.MAX_LISTED_MEMBERS:
            if changes is not None:
                everybody = text_frame(encode(Count(room=room.name, count=room.count)))
        else:
            for user, online in (changes or {}).values():
                away = online and self._people.is_away(user.id)
                signal = Presence(room=room.name, user=user, online=online, away=away)
                signals[user.id] = text_frame(encode(signal))
            for user in typing.values():
                data = text_frame(encode(TypingSignal(room=room.name, user=user)))
                signals[user.id] = signals.get(user.id, b"") + data
            everybody = b"".join(signals.values())
        if room.count <= limits.MAX_READ_SIGNALS:
            for user_id, data in read.items():
                signals[user_id] = signals.get(user_id, b"") + data
            everybody += b"".join(read.values())
        if not everybody:
            return
        for count, member in enumerate(list(room.members), 1):
            if member.user.id in signals:
                member.outbox.offer_signal(
                    b"".join(data for user_id, data in signals.items() if user_id != member.user.id)
                )
            else:
                member.outbox.offer_signal(everybody)
            if count % 500 == 0:
                await trio.lowlevel.checkpoint()

    def _encode_read(self, room: Room) -> dict[str, bytes]:
        """The signals of how far users have read. They themselves are told at once, wherever they are."""
        encoded = {}
        for user, seq in self._read.pop(room, {}).values():
            data = encoded[user.id] = text_frame(encode(ReadSignal(room=room.name, user=user, seq=seq)))
            for place in self._people.places(user.id):
                place.tell(data)
        return encoded

    def _pass_on(self, room: Room, tell_others: Callable[[Room, bool, list[User]], None]) -> None:
        """Tell other nodes of what happened here."""
        presence = room in self._presence_here
        self._presence_here.discard(room)
        typing = list(self._typing_here.pop(room, {}).values())
        if presence or typing:
            tell_others(room, presence, typing)
