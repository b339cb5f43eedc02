"""Looking up what was done to messages, in pages however small."""

import pytest

from trio_chat.chat import limits

from .talk import clients, talking


async def test_pages_smaller_than_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was done to these messages, or something that fills many pages: history shows them."""
    monkeypatch.setattr(limits, "PAGE_BYTES", 50)
    async with talking() as server, clients(server, "ann") as (ann,):
        await ann.say("one")
        page = await ann.ask("history", room="lobby")
        assert [message["text"] for message in page["messages"]] == ["one"]
        for text in ("two", "three", "four"):
            assert (await ann.ask("edit", room="lobby", seq=1, text=text))["op"] == "ack"
        page = await ann.ask("history", room="lobby")
        assert [message["text"] for message in page["messages"]] == ["four"]
