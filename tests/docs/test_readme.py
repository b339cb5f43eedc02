"""README.md: what it shows runs."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_chat

from .page import fenced

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


async def test_the_program_with_a_chat_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who isn't signed in is told in a way that a page can show; a member is let in and greeted."""
    block = next(block for block in fenced(README) if "trio.run(main)" in block.text)
    monkeypatch.chdir(tmp_path)
    heard, hear = trio.open_memory_channel[trio_chat.Message](10)
    names: dict[str, Any] = {"print": heard.send_nowait}
    exec(compile(block.text.replace("trio.run(main)", ""), "README.md", "exec"), names)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["main"])
            greeting = await hear.receive()
            url = re.sub(r"^open at ", "", greeting.text)
            with pytest.raises(trio_chat.Refused, match="sign in"):
                async with trio_chat.open_client(url):
                    raise AssertionError
            member = trio_chat.UpgradeRequest(path="/ws", headers={"Cookie": "member=ann"})
            assert await names["upgrade"](member) == trio_chat.Accept("ann")
            assert (await names["upgrade"](trio_chat.UpgradeRequest(path="/ws"))).close_code == 4501
            nursery.cancel_scope.cancel()
    heard.close()
    hear.close()


def test_a_bot_that_speaks_survives_a_full_disk() -> None:
    """Each program that is shown or is an example, and says something in process, minds `LogUnavailable`."""
    root = Path(__file__).resolve().parents[2]
    programs = [block.text for block in fenced(README) if block.language == "python"]
    programs += [path.read_text("utf-8") for path in (root / "examples").glob("*.py")]
    speaking = [text for text in programs if ".hub.join(" in text and ".say(" in text]
    assert len(speaking) == 3
    for text in speaking:
        ast.parse(text)
        assert "LogUnavailable" in text
