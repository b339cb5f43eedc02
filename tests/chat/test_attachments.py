"""Messages with files: carried whole in the event, refused where a file isn't there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from files.samples import png

from trio_chat.chat.schema import MAX_FILES, File
from trio_chat.files.store import FileStore
from trio_chat.testing import MemoryServer

from .talk import Client, client, clients, talking


def store_of(server: MemoryServer) -> FileStore:
    """Where the server keeps files."""
    files = server.hub.changes.files
    assert isinstance(files, FileStore)
    return files


async def put(server: MemoryServer, content: bytes, name: str) -> File:
    """Keep a file, as an upload does."""
    async with store_of(server).receiving(len(content)) as upload:
        await upload.write(content)
        return await upload.finish(name, "text/plain")


def put_out_of_order(directory: Path) -> None:
    """What should be a file's description is a directory."""
    (note,) = directory.rglob("*.json")
    note.unlink()
    note.mkdir()


async def settled(ann: Client) -> None:
    """What was sent before has been answered."""
    assert (await ann.ask("ping"))["op"] == "pong"


async def test_a_message_carries_its_files(tmp_path: Path) -> None:
    """Everybody gets what they are, in the event and in history."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann", "bob") as (ann, bob):
        text, image = await put(server, b"hello", "a.txt"), await put(server, png(), "b.png")
        await ann.say("look", files=[text.hash, image.hash])
        event = await bob.until("message")
        assert event["text"] == "look"
        assert event["files"] == [
            {
                "hash": text.hash, "name": "a.txt", "size": 5, "type": "text/plain",
                "url": f"/files/{text.hash}/a.txt",
            },
            {
                "hash": image.hash, "name": "b.png", "size": len(png()), "type": "image/png",
                "url": f"/files/{image.hash}/b.png", "width": 3, "height": 2,
            },
        ]  # fmt: skip
        page = await bob.ask("history", room="lobby")
        assert page["messages"] == [event]


async def test_beside_files_the_text_may_be_empty(tmp_path: Path) -> None:
    """Without any it may not."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann") as (ann,):
        file = await put(server, b"hello", "a.txt")
        await ann.say("", files=[file.hash])
        for more in ({}, {"files": []}):
            reply = await ann.ask("say", room="lobby", text="", **more)
            assert reply["code"] == "bad_request"
            assert reply["message"] == "text: 1 to 10000 characters, or files"


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And nothing is said."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann") as (ann,):
        file = await put(server, b"hello", "a.txt")
        missing = "0" * 64
        reply = await ann.ask("say", room="lobby", text="x", files=[file.hash, missing])
        assert reply["code"] == "not_found"
        assert reply["message"] == f"files: there is no file {missing}; upload it first"
        assert (await ann.ask("history", room="lobby"))["messages"] == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["x"], "files[0]: Expected `str` matching regex"),
        (["../" * 21 + "x"], "files[0]: Expected `str` matching regex"),
        (["A" * 64], "files[0]: Expected `str` matching regex"),
        (["0" * 64] * (MAX_FILES + 1), "files: Expected `array` of length <= 10"),
        ("0" * 64, "files: Expected `array`, got `str`"),
    ],
)
async def test_what_is_no_list_of_files_is_refused(files: Any, words: str) -> None:
    """The field is named."""
    async with talking() as server, clients(server, "ann") as (ann,):
        reply = await ann.ask("say", room="lobby", text="x", files=files)
        assert reply["code"] == "bad_request"
        assert words in reply["message"]


async def test_a_server_without_files_has_none() -> None:
    """Asking for one makes no directory."""
    async with talking() as server, clients(server, "ann") as (ann,):
        assert (await ann.ask("say", room="lobby", text="x", files=["0" * 64]))["code"] == "not_found"
        assert store_of(server)._directory is None


async def test_what_is_said_keeps_its_order(tmp_path: Path) -> None:
    """A message whose file has to be looked for comes before what was said after it."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann", "bob") as (ann, bob):
        file = await put(server, b"hello", "a.txt")
        store_of(server).forget(file.hash)
        await ann.send("say", room="lobby", text="one")
        await ann.send("say", room="lobby", text="two", files=[file.hash])
        await ann.send("say", room="lobby", text="three")
        await settled(ann)
        assert await bob.texts(3) == [(1, "one"), (2, "two"), (3, "three")]


async def test_said_twice_it_is_stored_once(tmp_path: Path) -> None:
    """By its id, as without files; also when the file is gone meanwhile."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann") as (ann,):
        file = await put(server, b"hello", "a.txt")
        assert [await ann.say("", files=[file.hash], id="m1") for _ in range(2)] == [1, 1]


async def test_a_deleted_message_has_no_files(tmp_path: Path) -> None:
    """An edited one keeps them."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann") as (ann,):
        file = await put(server, b"hello", "a.txt")
        await ann.say("", files=[file.hash])
        await ann.ask("edit", room="lobby", seq=1, text="look")
        (message,) = (await ann.ask("history", room="lobby"))["messages"]
        assert (message["text"], len(message["files"])) == ("look", 1)
        await ann.ask("delete", room="lobby", seq=1)
        (message,) = (await ann.ask("history", room="lobby"))["messages"]
        assert (message["text"], "files" in message) == ("", False)


async def test_files_that_can_not_be_read_now(tmp_path: Path, errors: Callable[[], list[str]]) -> None:
    """The sender is told when to try again, and the log why."""
    async with talking(files=str(tmp_path)) as server, clients(server, "ann") as (ann,):
        file = await put(server, b"hello", "a.txt")
        store_of(server).forget(file.hash)
        put_out_of_order(tmp_path)
        reply = await ann.ask("say", room="lobby", text="x", files=[file.hash])
        assert (reply["code"], reply["retry_after"]) == ("unavailable", 5.0)
        assert errors() == ["files can't be stored or read"]


async def test_who_left_meanwhile_says_nothing(tmp_path: Path) -> None:
    """The refusal is the usual one."""
    async with talking(files=str(tmp_path)) as server, client(server) as ann:
        reply = await ann.ask("say", room="lobby", text="x", files=["0" * 64])
        assert reply["code"] == "not_joined"


async def test_a_member_in_process_says_files(tmp_path: Path) -> None:
    """With the same rules."""
    async with talking(files=str(tmp_path)) as server, server.hub.join("lobby") as room:
        file = await put(server, b"hello", "a.txt")
        event = await room.say("", files=[file.hash])
        assert msgspec.to_builtins(event.files) == [msgspec.to_builtins(file)]
        assert await anext(room) == event
        with pytest.raises(ValueError, match="files: there is no file"):
            await room.say("x", files=["0" * 64])
