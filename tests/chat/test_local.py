"""Members in process: who they are, and what they may say."""

import pytest
from trio.testing import MockClock

from trio_chat.chat.schema import User

from .talk import talking


async def test_a_given_user_is_checked(autojump_clock: MockClock) -> None:
    """Its name is trimmed and in NFC, as everybody's; an id that nobody could read is refused."""
    async with talking() as server:
        async with server.hub.join("lobby", user=User("1", " Zoe\u0308\n")) as room:
            assert room.user == User("1", "Zo\u00eb")
            assert (await room.say("hi")).user == room.user
        for user in (User("", "ann"), User("a\nb", "ann"), User("1", "\u034f")):
            with pytest.raises(ValueError, match=r"^(id|name): "):
                async with server.hub.join("lobby", user=user):
                    raise AssertionError
