"""Rooms that people make, through the client library, against the real server."""

import pytest

from trio_chat.client import ChatError, Event, Refused, Room, open_client

from .test_real_server import hear, serving


async def until_its_end(room: Room) -> list[Event]:
    """The events of a room until there are no more."""
    return [event async for event in room]


async def test_a_private_room_from_its_creation_to_its_end() -> None:
    """Created, joined by a link and by name, governed, left for good."""
    async with (
        serving() as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "bob") as bob,
        open_client(server.url, "carol") as carol,
    ):
        await ann.create("den", "private", topic="tea")
        with pytest.raises(ChatError, match="exists"):
            await bob.create("den")
        with pytest.raises(ChatError, match="private"):
            async with bob.join("den"):
                pass
        async with ann.join("den") as here:
            assert (here.kind, here.role, here.topic) == ("private", "owner", "tea")
            link = await here.invitation(expires_in=3600)
            await here.invite(carol.user.id)
            await bob.ask("den", "please")
            async with bob.join("den", invitation=link.token) as there, carol.join("den"):
                assert there.role == "member"
                with pytest.raises(ChatError, match="that needs the role moderator") as refused:
                    await there.kick(carol.user.id)
                assert (refused.value.code, refused.value.retry_after) == ("forbidden", None)
                assert await here.set_role(bob.user.id, "moderator") == 5
                assert await there.mute(carol.user.id, seconds=60) == 6
                assert await there.unmute(carol.user.id) == 7
                assert await there.set(slow_seconds=60) == 8
                await bob.leave_for_good("den")
                assert [event.seq for event in await until_its_end(there)] == [5, 6, 7, 8]
            assert [(room.room, room.kind) for room in await ann.rooms()] == [("den", "private")]
            assert await bob.rooms() == []


async def test_a_room_of_two() -> None:
    """Both join it by the name that either is told."""
    async with (
        serving() as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "bob") as bob,
    ):
        name = await ann.direct(bob.user.id)
        assert await bob.direct(ann.user.id) == name
        async with ann.join(name) as here, bob.join(name, last=0) as there:
            await here.say("between us")
            assert await hear(there, 1) == [(2, "between us")]
            assert (await bob.rooms())[0].with_ == ann.user


async def test_who_is_removed_is_told_why() -> None:
    """The iteration of the room raises it; with the last room the client itself is closed. Slow mode says
    when."""
    async with (
        serving() as server,
        open_client(server.url, "ann") as ann,
        open_client(server.url, "bob") as bob,
    ):
        await ann.create("den")
        async with ann.join("den") as here:
            async with bob.join("lobby"), bob.join("den") as there:
                await here.set(slow_seconds=60)
                await there.say("one")
                with pytest.raises(ChatError, match="slow mode") as refused:
                    await there.say("two")
                assert refused.value.retry_after is not None
                await here.kick(bob.user.id, reason="noise")
                with pytest.raises(ChatError, match="ann has removed you: noise") as left:
                    await until_its_end(there)
                assert left.value.code == "left"
                with pytest.raises(ChatError, match="ann has removed you"):
                    await there.say("but")
            async with bob.join("den") as there:
                await here.ban(bob.user.id, seconds=60)
                assert [state async for state in bob.states()][-1] == "closed"
            with pytest.raises(Refused, match="ann has banned you"):
                await bob.rooms()
            await here.unban(bob.user.id)
