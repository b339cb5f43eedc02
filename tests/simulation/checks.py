"""What must hold whatever happens: while a run goes on, when it is at rest, and afterwards.

What a client can check by itself is in `simulation.transcript` and `simulation.people`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import attrs
import msgspec

from trio_chat.log.base import Event, EventLog
from trio_chat.server import Server

from .tasks import server_tasks
from .transcript import Shown, Transcript, as_shown

_ALWAYS = {
    "chat.hub.Hub.run": 1,
    "chat.hub.Hub._commit": 1,
    "chat.signals.Signals.run": 1,
    "chat.markers.Markers.run": 1,
    "chat.turns.Turns.run": 1,
    "chat.retention.Retention.run": 1,
    "chat.accounts.Accounts.run": 1,
    "wire.heartbeat.Heartbeat.run": 1,
}
"""The server's tasks of which there is one all the time."""

# --- while a run goes on ------------------------------------------------------------------------------


def left_behind(server: Server) -> str | None:
    """A member that counts as live, but is passed over."""
    for room in server.hub.rooms.values():
        for member in room.members:
            if member.live and member.cursor < room.delivered:
                return f"a live member of {room.name} is at {member.cursor}, not {room.delivered}"
    return None


# --- at rest ------------------------------------------------------------------------------------------


def behind(transcripts: Sequence[Transcript]) -> str | None:
    """Somebody who hasn't everything that somebody has, or waits for an answer."""
    heads: dict[str, int] = {}
    for each in transcripts:
        for room, (_, seq) in each.positions.items():
            heads[room] = max(seq, heads.get(room, 0))
    for each in transcripts:
        for room in each.rooms:
            if room not in each.positions or each.positions[room][1] != heads[room] or each.unacked:
                return f"{each.name} ({each.kind}): {each.positions}, {[*each.unacked]}; heads {heads}"
    return None


def left_in(server: Server, transcripts: Sequence[Transcript]) -> str | None:
    """What the server keeps although nobody needs it."""
    for name, room in server.hub.rooms.items():
        known = [each.user_ids for each in transcripts if name in each.rooms]
        strangers = [id_ for id_ in room.users if not any(id_ in ids for ids in known)]
        if strangers or len(room.users) != len(known):
            return f"in {name} are {sorted(user.name for user, _ in room.users.values())}"
    connections = len(server.connections)
    allowed = _ALWAYS | {
        "server.Server.serve_stream": connections,
        "wire.connection.Connection._live": connections,
        "wire.connection.Connection._run_writer": sum(
            connection.outbox.waiting_bytes > 0 for connection in server.connections
        ),
    }
    many = {name: count for name, count in server_tasks().items() if count > allowed.get(name, 0)}
    return f"tasks: {many} for {connections} connections" if many else None


# --- afterwards ---------------------------------------------------------------------------------------


@attrs.frozen
class Page:
    """A page of history: the messages' numbers; ``exact``: nothing was trimmed before it."""

    room: str
    way: str
    beyond: int
    seqs: list[int]
    exact: bool


@attrs.define
class Stored:
    """All events that were ever stored, by room, in order; and where each text is."""

    events: dict[str, list[Shown]] = attrs.Factory(dict)
    times: dict[str, list[int]] = attrs.Factory(dict)
    """When each was stored, milliseconds."""
    first: dict[str, int] = attrs.Factory(dict)
    """The oldest that is kept."""
    places: dict[str, list[tuple[str, int]]] = attrs.Factory(dict)
    messages: dict[str, list[int]] = attrs.Factory(dict)
    """By room: which of the events are messages."""
    wrong: list[str] = attrs.Factory(list)

    def has(self, room: str, seq: int, shown: Shown) -> bool:
        """Whether ``shown`` is event ``seq`` of ``room``."""
        events = self.events[room]
        return seq <= len(events) and events[seq - 1] == shown


async def read(log: EventLog, rooms: Iterable[str], archive: Mapping[str, Mapping[int, Event]]) -> Stored:
    """What the file holds, and the ``archive`` of what was removed; with what is wrong with that."""
    stored = Stored()
    for room in rooms:
        kept = {event.seq: event for event in await log.read(room, 0, 1_000_000, max_bytes=1 << 30)}
        position = await log.position(room)
        stored.first[room] = position.first
        if list(kept) != list(range(position.first, position.head + 1)):
            stored.wrong.append(f"{room} is stored with holes")
        removed = archive.get(room, {})
        if any(kept.get(seq, event) != event for seq, event in removed.items()):
            stored.wrong.append(f"{room} has changed")
        events = [event for _, event in sorted((removed | kept).items())]
        if [event.seq for event in events] != list(range(1, position.head + 1)):
            stored.wrong.append(f"{room} has lost events")
        stored.times[room] = [event.at_ms for event in events]
        if any(one > other for one, other in pairwise(stored.times[room])):
            stored.wrong.append(f"time goes backwards in {room}")
        shown = stored.events[room] = []
        for seq, event in enumerate(events, 1):
            body = msgspec.json.decode("{" + event.body)
            shown.append(as_shown({"op": event.kind, **body}))
            if event.kind == "message":
                stored.messages.setdefault(room, []).append(seq)
                stored.places.setdefault(body["text"], []).append((room, seq))
    return stored


def page_of(stored: Stored, page: Page) -> str | None:
    """What is wrong with a page of history; messages are left out of it at its far end only."""
    if not page.seqs:
        return None
    low, high = page.seqs[0], page.seqs[-1]
    if page.way == "after":
        low = max(page.beyond + 1, stored.first[page.room]) if page.exact else low
    elif page.way == "before":
        high = page.beyond - 1
    there = [seq for seq in stored.messages.get(page.room, []) if low <= seq <= high]
    return None if there == page.seqs else f"a page of history had {page.seqs} of {page.room}, not {there}"


def compare(transcript: Transcript, stored: Stored, known_seconds: float) -> Iterator[str]:
    """What a client knows, and the file doesn't have like that.

    ``known_seconds``: for how long a message that is sent again is known.
    """
    name = transcript.name
    for room, seen in transcript.seen.items():
        for seq, shown in seen.items():
            if not stored.has(room, seq, shown):
                yield f"{name} was shown {seq} of {room}, which is not what is stored"
    for room, through in transcript.gaps:
        if through >= stored.first[room]:
            yield f"{name} was told that {through} of {room} is kept no more, which it is"
    for key, (room, text) in transcript.submitted.items():
        places = stored.places.get(text, [])
        times = [stored.times[place][seq - 1] for place, seq in places]
        if any(other - one < known_seconds * 1000 for one, other in pairwise(times)):
            yield f"{name}: {key} is stored {len(places)} times: {places}"
        acked = transcript.acked.get(key)
        if acked is not None and (room, acked) not in places:
            yield f"{name}: {key} was acknowledged as {acked} of {room}, but is stored as {places}"
        for place, at in places:
            user, id_, _ = stored.events[place][at - 1]
            if (
                place != room
                or user not in transcript.user_ids
                or (transcript.kind != "library" and id_ != key)
            ):
                yield f"{name}: {key} is stored as {id_} of {user} in {place}"
    for order in transcript.orders:
        once = [key for key in order if key not in transcript.resent and key in transcript.acked]
        for room in transcript.rooms:
            seqs = [transcript.acked[key] for key in once if transcript.submitted[key][0] == room]
            if seqs != sorted(seqs):
                yield f"{name} said {once} in {room} in this order, but they are stored as {seqs}"
