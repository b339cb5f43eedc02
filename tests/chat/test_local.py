"""Members in process: who they are, and what they may say."""

import pytest
from trio.testing import MockClock

from trio_chat.chat.schema import User

from .talk import clients, talking


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


async def test_a_member_in_process_may_say_what_others_may(autojump_clock: MockClock) -> None:
    """The same limits as on a socket, refused in the same words; nothing of it is stored."""
    async with talking() as server, clients(server, "ann") as (ann,), server.hub.join("lobby") as room:
        for said in (
            {"text": ""}, {"text": "x" * 10_001}, {"text": "x", "reply_to": 0}, {"text": "x", "reply_to": 1},
            {"text": "x", "reply_to": 2**53}, {"text": "x", "id": ""}, {"text": "x", "id": "x" * 65},
            {"text": 5}, {"text": "x", "id": 5}, {"text": "x", "reply_to": "1"},
        ):  # fmt: skip
            with pytest.raises(ValueError, match=r"^(text|id|reply_to): ") as caught:
                await room.say(**said)  # type: ignore[arg-type]
            await ann.send("say", room="lobby", **said)
            assert (await ann.until("error"))["message"] == str(caught.value)
        for said in ({"text": "a\ud800"}, {"text": "x", "id": "\udc00"}):
            with pytest.raises(ValueError, match=r"^not text: .* is half of a character") as caught:
                await room.say(**said)  # type: ignore[arg-type]
            assert not isinstance(caught.value, UnicodeError)
        event = await room.say("x" * 10_000, id="x" * 64)
        assert (event.seq, (await room.say("y", reply_to=1)).seq) == (1, 2)
