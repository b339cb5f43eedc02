"""The simulated clients that do what a good client does, over a WebSocket each.

A `Person` comes back with its session and its positions, keeps what was not acknowledged and sends it again
with the same id, and waits as long as a ``bye`` asks it to. How much it says, how it reads, and how it goes
away depends on its kind:

- ``chatty`` and ``quiet`` read at once, keep to the rate, and answer: nothing bad may ever happen to them;
- ``slow`` and ``frozen`` read late, or for a while not at all;
- ``flapping`` goes and comes, at times as somebody new; ``half-open`` goes without a word;
- ``spamming`` says much more than it may, and some of it twice.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from .checks import Page
from .climate import unix_time
from .link import LOST, Gone, Link, StrictLink, decode
from .network import End, damage
from .transcript import CHANGES, Transcript, as_shown

if TYPE_CHECKING:
    from .world import World

RATES = {"chatty": 3.0, "quiet": 0.2, "spamming": 0.4}
"""How often a person of a kind does something, per second; the others: 0.7."""
PROMPT = ("chatty", "quiet")
LATE = ("slow", "frozen")
LATE_SECONDS = 2.5
"""How late an event may reach somebody who reads at once over a fast network, in a world that had no trouble
lately."""
RECOVERY_SECONDS = 5.0
"""How long a room may take to catch up after trouble: with a slow disk each page has its turn."""
SIZES = (0, 500, 2000, 4000)
"""Characters of a message beside its beginning: two of the longest are more than the smallest outbox."""
STRICT = 8
"""One of so many persons has its frames read by wsproto."""

Frame = dict[str, Any]


class Person(Transcript):
    """See the module."""

    def __init__(self, world: "World", name: str, kind: str, rooms: list[str], rng: random.Random) -> None:
        super().__init__(name, kind, rooms, world.fail, forgotten=world.climate.keep > 0)
        self.world = world
        self.rng = rng
        self.user_id: str | None = None
        self.token: str | None = None
        self.joined: set[str] = set()
        self.link: Link | None = None
        self._strict = rng.randrange(STRICT) == 0
        self._asked: dict[str, int] = {}
        """Rooms that it has asked to join on this connection, and how many past messages it wants."""
        self._awake = trio.Event()
        self._changes = 0
        self._rate = 0.0
        self._refused = False
        self._bye: Frame | None = None
        self._since = 0.0
        """When it last had reason to be late; infinity if it is too slow."""
        self._handlers: dict[str, Callable[[Frame], None]] = {
            name.removeprefix("_on_"): getattr(self, name) for name in dir(self) if name.startswith("_on_")
        }

    # --- what the world does to it ---------------------------------------------------

    def cut(self) -> None:
        """Lose the connection, or nearly."""
        if self.link is not None:
            self.link.tampered = True
            damage(self.link.end, self.rng, self.world.nursery)

    def wake(self) -> None:
        """End whatever pause it makes."""
        self._awake.set()
        self._awake = trio.Event()

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while; less than nothing once the world is calm."""
        if not self.world.calm:
            with trio.move_on_after(seconds):
                await self._awake.wait()

    # --- its life ----------------------------------------------------------------------

    async def live(self) -> None:
        """Connect, talk, lose the connection, come back; until cancelled."""
        await trio.sleep(self.rng.random() * 2)
        while True:
            self._bye = None
            self._refused = True
            end = await self.world.lives.connect(self.rng, narrow=self.kind in LATE)
            if end is not None:
                await self._be_connected(end)
            if self._refused:
                await trio.sleep(0.5 + self.rng.random())
            elif self._bye is not None and self.kind != "flapping":
                await trio.sleep(self._bye.get("retry_after", 0.0))
            await self.pause(self.rng.random() * (0.2 if self.kind == "flapping" else 2))
            await trio.sleep(0.05)

    async def _be_connected(self, end: End) -> None:
        make = StrictLink if self._strict else Link
        link = self.link = make(end, self.rng, compress=self.rng.random() < 0.5)
        self.world.links[link] = None
        self.joined.clear()
        self._asked.clear()
        self._since = 0.0
        self.orders.append([])
        self._forget()
        try:
            with trio.fail_after(120):
                await link.handshake(self._path())
            self._refused = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._act, link)
                await self._read(link)
        except* Gone as lost:
            self._check_end(link, lost)
        except* (trio.TooSlowError, *LOST):
            pass
        finally:
            del self.world.links[link]
            self.link = None
            self.joined.clear()
        if self.kind == "half-open" and not self.world.calm and self.rng.random() < 0.5:
            self.world.nursery.start_soon(self._haunt, end, self.rng.random() * 60)
        else:
            end.close()

    def _forget(self) -> None:
        """At times a flapping one comes back as somebody new."""
        if self.kind == "flapping" and not self.unacked and self.rng.random() < 0.2:
            self.token = self.user_id = None

    def _path(self) -> str:
        """At times a quiet one's first join is in the query, as with the simplest clients."""
        if self.kind != "quiet" or self.positions or self.rng.random() < 0.5:
            return "/ws"
        room = self.rooms[0]
        last = 0 if self.world.climate.keep else self.rng.randrange(20)
        self._asked[room] = last
        return f"/ws?name={self.name}&room={room}&last={last}"

    def _check_end(self, link: Link, lost: BaseExceptionGroup[Gone]) -> None:
        """Whoever reads, and keeps to the rate, is sent away by a restart only, and told so."""
        gone = next((each for each in _leaves(lost) if each.code is not None), None)
        code = gone.code if gone is not None else None
        if self._bye is not None and code not in (None, 1000, self._bye["code"]):  # 1000: both at once
            self.wrong(f"closed with {code} after {self._bye}")
        if code in (1012, 4008, 4029, 4510) and self._bye is None:
            self.wrong(f"closed with {code} and no bye")
        fine = (1000, 1012, 1013) if self.world.climate.on_overflow == "disconnect" else (1000, 1012)
        if self.kind in PROMPT and not link.tampered and not self._refused and code not in fine:
            self.wrong(f"lost its connection: {code}, {self._bye}")

    async def _haunt(self, end: End, seconds: float) -> None:
        """An end that nobody serves any more: the server can't know."""
        await trio.sleep(seconds)
        end.reset()

    async def _act(self, link: Link) -> None:
        """Say who one is, join, and talk as long as the connection lasts."""
        fields = {"resume": self.token} if self.token else {}
        await link.send(op="hello", id="hello", name=self.name, **fields)
        while True:
            for room in self.rooms:
                if room not in self._asked:
                    await self._join(link, room)
            await self._send_again(link)
            if self.world.calm:
                await trio.sleep(1)
            else:
                await self.pause(self.rng.expovariate(RATES.get(self.kind, 0.7) * self.world.pace))
                await self._move(link)

    async def _join(self, link: Link, room: str) -> None:
        self._asked[room] = 0
        how: dict[str, object] = {}
        if room in self.positions:
            epoch, seq = self.positions[room]
            how = {"since": seq, "epoch": epoch} if self.rng.random() < 0.9 else {"since": seq}
        elif not self.world.climate.keep and self.rng.random() < 0.5:
            self._asked[room] = how["last"] = self.rng.randrange(30)
        await link.send(op="join", id=f"join {room}", room=room, **how)

    async def _send_again(self, link: Link) -> None:
        """Send what was submitted on another connection, or refused."""
        for key, (room, text) in list(self.unacked.items()):
            if key not in self.orders[-1] and room in self.joined and self.user_id is not None:
                if any(key in order for order in self.orders[:-1]):
                    self.resent.add(key)
                self.orders[-1].append(key)
                await self._say(link, key, room, text)

    async def _say(self, link: Link, key: str, room: str, text: str) -> None:
        await link.send(op="say", id=key, room=room, text=text)
        if self._rate and self.kind != "spamming":
            await trio.sleep(1.1 / self._rate)

    async def _move(self, link: Link) -> None:
        """One random thing that a client may do."""
        rng, room = self.rng, self.rng.choice(self.rooms)
        dice = rng.random()
        if dice < 0.15:
            if room in self.joined and self.user_id is not None:
                await self._change(link, room)
        elif dice < 0.7:
            if room in self.joined and self.user_id is not None:
                await self._talk(link, room)
        elif dice < 0.75:
            if room in self.joined:
                await link.send(op="typing", room=room)
        elif dice < 0.8:
            if room in self.joined:
                await self._look_back(link, room)
        elif dice < 0.85:
            if room in self.joined and len(self.rooms) > 1:
                self.joined.discard(room)
                await link.send(op="leave", id=f"leave {room}", room=room)
        elif dice < 0.87:
            op = rng.choice(("ping", "rooms"))
            await link.send(op=op, id=op)
        elif dice < 0.88:
            await link.send(op="hello", id="hello", name=f"{self.name}-{rng.randrange(9)}")
        elif dice < 0.9 and self.kind == "flapping":
            await link.close()
        elif dice < 0.95 and self.kind in ("flapping", "half-open"):
            link.tampered = True
            raise Gone

    async def _talk(self, link: Link, room: str) -> None:
        spamming = self.kind == "spamming"
        count = self.rng.choice((1, 1, 1, 3, 10))
        if spamming:  # enough to be sent away for it, where there is a limit
            count = 60 if self._rate else self.rng.randrange(30)
        for _ in range(count):
            key = self.submit(room, "x" * self.rng.choice(SIZES))
            self.orders[-1].append(key)
            _, text = self.submitted[key]
            await self._say(link, key, room, text)
            if spamming and self.rng.random() < 0.2:
                await self._say(link, key, room, text)

    async def _change(self, link: Link, room: str) -> None:
        """Do something to a message that it has seen; whether it may, and whether it is stored, is open."""
        seen = [seq for seq, (_, _, text) in self.seen[room].items() if not text.startswith(CHANGES)]
        if seen:
            self._changes += 1
            op = self.rng.choice(("edit", "edit", "delete", "react", "react", "react", "unreact"))
            fields: dict[str, object] = {"seq": self.rng.choice(seen[-20:])}
            if op == "edit":
                fields["text"] = f"{self.name} changes {self._changes}"
            elif op != "delete":
                fields["emoji"] = self.rng.choice("👍🎉")
            await link.send(op=op, id=f"change {self._changes}", room=room, **fields)

    async def _look_back(self, link: Link, room: str) -> None:
        _, seq = self.positions[room]
        limit = self.rng.randrange(1, 60)
        way = self.rng.choice(("latest", "before", "after"))
        beyond = {} if way == "latest" else {way: self.rng.randrange(seq + 2)}
        where = f"history {way} {beyond.get(way, 0)} {limit}"
        await link.send(op="history", id=where, room=room, limit=limit, **beyond)

    # --- what it is told -------------------------------------------------------------------

    async def _read(self, link: Link) -> None:
        while True:
            if self.kind == "slow":
                await self.pause(self.rng.random() * 0.3)
            elif self.kind == "frozen" and self.rng.random() < 0.2:
                await self.pause(self.rng.random() * 30)
            for payload in await link.receive():
                frame = decode(payload)
                if self._bye is not None:
                    self.wrong(f"told after the bye: {frame}")
                handle = self._handlers.get(frame["op"])
                if handle is not None:
                    handle(frame)

    def _on_welcome(self, frame: Frame) -> None:
        if self.user_id not in (None, frame["user"]["id"]):
            self.wrong(f"came back as somebody else: {frame}")
        self.user_id, self.token = frame["user"]["id"], frame["session"]
        self.user_ids.add(frame["user"]["id"])
        self._rate = frame["limits"]["rate"]

    def _on_joined(self, frame: Frame) -> None:
        room = frame["room"]
        self._since = max(self._since, trio.current_time())
        if room in self.positions:
            epoch, seq = self.positions[room]
            if not frame["recovered"] or frame["epoch"] != epoch or frame["head"] < seq:
                self.wrong(f"position {seq} of {room} was not honoured: {frame}")
        else:
            self.starts(room, frame["epoch"], max(0, frame["head"] - self._asked[room]))
        self.joined.add(room)

    def _on_left(self, frame: Frame) -> None:
        self.joined.discard(frame["room"])
        self._asked.pop(frame["room"], None)

    def _on_message(self, frame: Frame) -> None:
        room, seq = frame["room"], frame["seq"]
        self.event(room, seq, as_shown(frame))
        link = self.link
        if self.kind in PROMPT and link is not None and link.end.incoming.fast and not link.tampered:
            late = unix_time() - frame["at"]
            trouble = max(self._since, self.world.lives.disk.trouble_at)
            if late > LATE_SECONDS and trouble + RECOVERY_SECONDS < trio.current_time() - late:
                self.wrong(f"got {seq} of {room} {late:.1f} seconds late")

    def _on_change(self, frame: Frame) -> None:
        self.event(frame["room"], frame["seq"], as_shown(frame))

    _on_edited = _on_deleted = _on_reacted = _on_unreacted = _on_change

    def _on_gap(self, frame: Frame) -> None:
        self.gap(frame["room"], frame["from"], frame["to"])

    def _on_lagging(self, frame: Frame) -> None:
        self.world.report.lagged += 1
        self._since = float("inf")
        if frame["seq"] != self.positions[frame["room"]][1]:
            self.wrong(f"lagging at {frame['seq']}, but is at {self.positions[frame['room']][1]}")

    def _on_history(self, frame: Frame) -> None:
        room, messages = frame["room"], frame["messages"]
        _, way, beyond, limit = frame["re"].split()
        seqs = [message["seq"] for message in messages]
        if seqs != sorted(set(seqs)) or len(seqs) > int(limit):
            self.wrong(f"a page of history out of order, or too long: {frame['re']}, {seqs}")
        exact = not self.world.climate.keep
        self.world.pages.append(Page(room, way, int(beyond), seqs, exact))
        if exact and way != "after" and not frame["more"] and seqs and seqs[0] != 1:
            self.wrong(f"history ends at {seqs[0]} of {room}, they say")
        for message in messages:
            if "edited_at" not in message and "deleted" not in message:
                self.world.in_history.append((room, message["seq"], as_shown(message)))

    def _on_ack(self, frame: Frame) -> None:
        if frame["re"].startswith("change "):
            self.world.report.changed += 1
            return
        self.acknowledged(frame["re"], frame["seq"])

    def _on_error(self, frame: Frame) -> None:
        re = frame.get("re", "")
        if re.startswith("change ") and frame["code"] in ("forbidden", "not_found", "deleted"):
            return
        if frame["code"] != "unavailable":
            self.wrong(f"an error: {frame}")
        self.world.report.refused += 1
        if re.startswith("join ") or not re:  # without a name it was the one in the query
            self._asked.pop(re.removeprefix("join ") or self.rooms[0])
        else:
            self.refused(re)

    def _on_bye(self, frame: Frame) -> None:
        self._bye = frame
        byes = self.world.report.byes
        byes[frame["code"]] = byes.get(frame["code"], 0) + 1
        if frame["code"] == 1012 and not 1.0 <= frame["retry_after"] <= self.world.lives.latest_return:
            self.wrong(f"when to come back is not spread: {frame}")


def _leaves(group: BaseExceptionGroup[Gone]) -> list[Gone]:
    found: list[Gone] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
