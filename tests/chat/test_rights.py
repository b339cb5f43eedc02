"""The table of who may do what, cell by cell, over real sessions: whatever a page would offer or not."""

from typing import Any

import pytest
from trio.testing import MockClock

from trio_chat.chat.access import SORTS, Right, Sort
from trio_chat.chat.governing import direct_name
from trio_chat.chat.schema import User

from .household import House, house
from .talk import Client, Frame
from .test_access import MAY, PEOPLE

CELLS = [
    pytest.param(right, sort, who, user, may == "+", id=f"{right}-{sort}-{who}-{user.name}")
    for right, rows in MAY.items()
    for sort, row in zip(SORTS, rows, strict=True)
    for (who, user), may in zip(PEOPLE[sort], row, strict=True)
]


class Scene:
    """A room of one sort with the people of `test_access`, and two more: zoe, to whom things are done, and
    otto, so that ann isn't the only owner. The event ``said`` is zoe's, in a direct room the other one's."""

    def __init__(self, home: House, sort: Sort, actor: User) -> None:
        self.home = home
        self.sort = sort
        self.actor = actor
        self.room = direct_name("u-bob", "u-carol") if sort == "direct" else "plaza"
        self.target = "u-zoe"
        self.said = 0

    async def prepare(self) -> None:
        if self.sort == "direct":
            other = "carol" if self.actor.name == "bob" else "bob"
            bob, carol = await self.home.clients("bob", "carol")
            await bob.ask("direct", user="u-carol")
            self.target = f"u-{other}"
            speaker = bob if other == "bob" else carol
            await speaker.join(self.room)
        else:
            speaker = await self._people()
        self.said = await speaker.say("hello", self.room)
        await self.home.client("yan")

    async def _people(self) -> Client:
        ann, zoe, root, *_ = await self.home.clients("ann", "zoe", "root", "bob", "carol", "eve", "otto")
        if self.sort == "open":
            await root.join(self.room)
            await self._ok(root, "ban", user="u-eve")
        else:
            await self._ok(ann, "create", kind=self.sort)
            await ann.join(self.room)
            for name in ("bob", "carol", "zoe", "otto"):
                await self._ok(ann, "invite", user=f"u-{name}")
            await self._ok(ann, "role", user="u-bob", role="moderator")
            await self._ok(ann, "role", user="u-otto", role="owner")
            await self._ok(ann, "ban", user="u-eve")
        await zoe.join(self.room)
        return zoe

    async def _ok(self, client: Client, op: str, **fields: Any) -> None:
        reply = await client.ask(op, room=self.room, **fields)
        assert reply["op"] == "ack", reply

    async def act(self, client: Client, right: Right) -> Frame:
        """Use the right, by the operation that needs it."""
        match right:
            case "edit" | "delete":
                said = await client.ask("say", room=self.room, text="mine")
                return await client.ask(right, room=self.room, seq=said.get("seq", 1), **(
                    {"text": "ours"} if right == "edit" else {}
                ))  # fmt: skip
            case "mention_all":
                reply = await client.ask("say", room=self.room, text="@all look")
                if reply["op"] == "ack":
                    named = [
                        f for f in await client.quiet() if f["op"] == "message" and f["text"] == "@all look"
                    ]
                    if "mentions_all" not in named[0]:
                        return {"op": "error", "code": "forbidden"}
                return reply
        op, fields = self._operation(right)
        return await client.ask(op, room=self.room, **fields)

    def _operation(self, right: Right) -> tuple[str, dict[str, Any]]:
        target = {"user": self.target}
        return {
            "see": ("history", {}),
            "say": ("say", {"text": "hi"}),
            "react": ("react", {"seq": self.said, "emoji": "👍"}),
            "delete_other": ("delete", {"seq": self.said}),
            "topic": ("topic", {"text": "tea"}),
            "invite": ("invite", {"user": "u-yan"}),
            "ask": ("ask", {}),
            "give_up": ("leave", {"for_good": True}),
            "kick": ("kick", target),
            "ban": ("ban", target),
            "mute": ("mute", target),
            "role": ("role", target | {"role": "moderator"}),
            "slow_seconds": ("settings", {"slow_seconds": 5}),
            "archived": ("settings", {"archived": True}),
            "private": ("settings", {"private": True}),
        }[right]


@pytest.mark.parametrize(("right", "sort", "who", "user", "may"), CELLS)
async def test_a_cell_over_the_wire(
    autojump_clock: MockClock, right: Right, sort: Sort, who: str, user: User, may: bool
) -> None:
    """Who may, does it; who may not is refused, and nothing happens."""
    async with house() as home:
        scene = Scene(home, sort, user)
        await scene.prepare()
        client = await home.client(user.name)
        joined = await client.ask("join", room=scene.room)
        is_in = joined["op"] == "joined"
        assert is_in == (MAY["join"][SORTS.index(sort)][[each for each, _ in PEOPLE[sort]].index(who)] == "+")
        if right == "join":
            assert is_in == may
            if not is_in:
                assert joined["code"] == ("banned" if who == "banned" else "private")
            return
        await client.quiet()
        head = home.hub.rooms[scene.room].head
        reply = await scene.act(client, right)
        if right == "ask" and is_in and sort == "private":
            assert reply["code"] == "exists"  # who may ask for it has it
        elif may:
            assert reply["op"] != "error", reply
        else:
            assert reply["op"] == "error", reply
            codes = {"banned", "private", "forbidden"} if is_in or right in ("ask", "give_up") else set()
            assert reply["code"] in codes | ({"not_joined"} if not is_in else set())
            assert home.hub.rooms[scene.room].head - head == (right == "mention_all" and is_in)
