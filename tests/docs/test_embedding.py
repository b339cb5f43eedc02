"""docs/embedding.md: its code runs, as it stands on the page, and its tables are complete.

The blocks are run one after the other as one module, and type-checked as such. Each function that they
define is used by a test here.
"""

import ast
import json
import re
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import trio
import trio_websocket

import trio_chat
from trio_chat import LocalRoom
from trio_chat.chat.policy import OnOverflow
from trio_chat.log.memory import open_memory_log
from trio_chat.testing import MemoryClient, MemoryServer, open_memory_server

from .page import Page, table

PAGE = Page("embedding.md")
ROOT = Path(__file__).resolve().parents[2]
BLOCKS = PAGE.blocks("python")
REQUEST = partial(trio_chat.UpgradeRequest, path="/ws")
INTERNAL = {
    "start", "on_open", "take", "on_messages", "settle", "on_drained", "farewell", "on_closed", "stored",
    "refused", "end", "tell", "removed", "leave",
}  # fmt: skip
"""Methods that the server calls, not its users."""
COOKIE = {"Cookie": "session=4f0a7c19"}


def run_page() -> types.ModuleType:
    """The page's blocks as a module."""
    module = types.ModuleType("embedding_page")
    sys.modules[module.__name__] = module
    for block in BLOCKS:
        exec(compile("\n" * block.line + block.text, PAGE.name, "exec"), vars(module))
    return module


page: Any = run_page()


def test_every_function_of_the_page_is_used_here() -> None:
    """Nothing stands on the page that only compiles."""
    here = Path(__file__).read_text("utf-8")
    for block in BLOCKS:
        for node in ast.parse(block.text).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert re.search(rf"\bpage\.{node.name}\b", here), node.name
    assert len(BLOCKS) > 12


def test_all_blocks_are_python() -> None:
    """No block has another language, which nobody would run."""
    assert PAGE.text.count("```") == 2 * len(BLOCKS)


@pytest.mark.slow
def test_the_code_of_the_page_is_well_typed(tmp_path: Path) -> None:
    """mypy in strict mode has nothing to say about it."""
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "page.py"
    lines = [line for block in BLOCKS for line in block.text.splitlines()]
    imports = [line for line in lines if re.match(r"(import|from) \w", line)]
    rest = [line for line in lines if line not in imports]
    file.write_text("\n".join(["import trio.testing", *imports, *rest]))
    options = ["--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path)]
    out, _, status = api.run([*options, str(file)])
    assert status == 0, out


def test_links_lead_somewhere() -> None:
    """Each link goes to a file, and to a heading in it if it names one."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", PAGE.text):
        assert not target or (ROOT / "docs" / target).exists() or target == "performance.md", target
        if anchor:
            text = Page(target).text if target else PAGE.text
            slugs = [
                re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
                for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            ]
            assert anchor in slugs, anchor


# --- serving --------------------------------------------------------------------------------------------


async def test_serving(capsys: pytest.CaptureFixture[str]) -> None:
    """It says where it is, and comes to its end."""
    with trio.fail_after(60):
        await page.serve_for_a_while(0.05)
    assert re.fullmatch(r"serving on http://127\.0\.0\.1:[0-9]+\n", capsys.readouterr().out)


def test_a_configuration(tmp_path: Path) -> None:
    """The example is one."""
    assert page.make_config(str(tmp_path)).max_message == 131072


async def test_a_clock_of_ones_own() -> None:
    """Events have its time."""
    with trio.fail_after(60):
        assert await page.serve_at(1000.5) == 1000.5


@pytest.mark.parametrize("serve", [page.serve_members, page.serve_endpoints, page.serve_rooms])
async def test_serving_with_options(serve: Any) -> None:
    """The functions that pass options on start a server."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            config = trio_chat.Config(port=0, log="memory:")
            server = await nursery.start(serve, config)
            assert server.url
            nursery.cancel_scope.cancel()


# --- who comes in ---------------------------------------------------------------------------------------


async def test_the_handlers() -> None:
    """A member, a program with a token, another site's page, a visitor without anything, and where from."""
    member, visitor = REQUEST(headers=COOKIE), REQUEST()
    assert await page.sign_in(member) == trio_chat.Accept(user=trio_chat.User("u1", "Ann"))
    assert (await page.sign_in(visitor)).status == 401
    assert (await page.sign_in_visibly(visitor)).close_code == 4501
    assert (await page.sign_in_visibly(member)).user.name == "Ann"
    assert page.is_token("Bearer tahini")
    assert isinstance(
        await page.from_here_only(REQUEST(headers={"Authorization": "Bearer sesame"})), trio_chat.Accept
    )
    assert (await page.from_here_only(visitor)).status == 401
    foreign = REQUEST(headers=COOKIE | {"Origin": "https://evil.example"}, host="chat.example.org")
    assert (await page.from_here_only(foreign)).status == 403
    near = page.from_network("10.0.0.0/8")
    assert isinstance(await near(REQUEST(client="10.0.0.1")), trio_chat.Accept)
    assert isinstance(await near(REQUEST(client="192.0.2.1")), trio_chat.Reject)


async def test_visible_refusals_are_seen(autojump_clock: trio.testing.MockClock) -> None:
    """The client is told why."""
    async with open_memory_server(upgrade=page.sign_in_visibly) as memory, memory.connect("/ws") as client:
        assert await client.receive() == {"op": "bye", "code": 4501, "reason": "sign in first"}
        assert await client.closed() == (4501, "sign in first")


def first_cells(title: str) -> list[str]:
    """What the first column of a section's first table names."""
    return [name.strip() for row in table(PAGE.section(title)) for name in row[0].split(",")]


def test_the_request_is_described() -> None:
    """The table has every public attribute of `UpgradeRequest`."""
    fields = {
        field.name for field in attrs.fields(trio_chat.UpgradeRequest) if not field.name.startswith("_")
    }
    properties = {
        name for name, value in vars(trio_chat.UpgradeRequest).items() if isinstance(value, property)
    }
    assert sorted(first_cells("Who comes in")) == sorted(fields | properties)


def public(kind: type) -> set[str]:
    """Public methods and properties of a class."""
    return {name for name in vars(kind) if not name.startswith("_")}


def test_the_server_is_described() -> None:
    """What the table names is there, and every method that isn't the server's own business."""
    named = ", ".join(row[0] for row in table(PAGE.section("Serving")))
    described = {name.partition("(")[0] for name in re.split(r", (?![^(]*\))", named)}
    assert public(trio_chat.Server) - {"accept", "stopped", "drain"} <= described
    assert {"url", "port", "hub", "connections", "config"} <= described


def test_websocket_and_room_are_described() -> None:
    """Every public method and property is in the section."""
    for kind, title in (
        (trio_chat.WebSocket, "Endpoints of your own"),
        (LocalRoom, "Taking part without a socket"),
        (MemoryServer, "Testing your program"),
        (MemoryClient, "Testing your program"),
    ):
        text = PAGE.section(title)
        for name in public(kind) - INTERNAL:
            assert re.search(rf"[`. ]{name}[(`, ]", text), f"{kind.__name__}.{name}"


def test_every_public_name_is_on_the_page() -> None:
    """What `trio_chat` exports is explained here."""
    for name in trio_chat.__all__:
        assert re.search(rf"\b{name}\b", PAGE.text), name


# --- endpoints ------------------------------------------------------------------------------------------


async def test_the_endpoints(autojump_clock: trio.testing.MockClock) -> None:
    """Each does what its name says, and only the one with a handler of its own asks who comes."""
    assert page.ENDPOINTS["/shout"].handler is page.shout
    assert page.ENDPOINTS["/whoami"].handler is page.whoami
    async with open_memory_server(endpoints=page.ENDPOINTS) as memory:
        async with memory.connect("/shout") as client:
            await client.websocket.send_message("hello")
            assert await client.websocket.get_message() == "HELLO"
        async with memory.connect("/whoami", headers=COOKIE, peer="192.0.2.1") as client:
            assert await client.websocket.get_message() == "Ann from 192.0.2.1"
            assert await client.closed() == (1000, None)
        with pytest.raises(trio_websocket.ConnectionRejected):
            async with memory.connect("/whoami"):
                pass


# --- policies -------------------------------------------------------------------------------------------


async def test_the_policies() -> None:
    """The function answers for every room, and the table has all that a policy says, with its defaults."""
    assert page.policy_of("news-today").keep_days == 30
    assert page.policy_of("lobby") == trio_chat.RoomPolicy()
    used = {page.policy_of(name).on_overflow for name in ("lobby", "news-today", "pipeline-1")}
    described = PAGE.section("Policies for rooms").partition("three ways")[2]
    assert {row[0] for row in table(described)} == used == set(get_args(OnOverflow))
    rows = {row[0]: row[1].partition(":")[0] for row in table(PAGE.section("Policies for rooms"))}
    assert rows == {field.name: str(field.default) for field in attrs.fields(trio_chat.RoomPolicy)}


# --- taking part ----------------------------------------------------------------------------------------


async def test_a_bot_that_answers_once(autojump_clock: trio.testing.MockClock) -> None:
    """Started again from an old position, it says nothing twice."""
    async with open_memory_server() as memory, memory.connect("/ws?name=ann&room=lobby") as ann:
        await ann.send("say", room="lobby", text="one two three")
        for _ in range(2):
            with trio.move_on_after(1):
                await page.count_words(memory.server, "lobby", 0)
        await ann.send("history", room="lobby")
        found = await ann.receive_until("history")
    assert [message["text"] for message in found["messages"]] == ["one two three", "3 words"]


async def test_a_full_disk_ends_no_bot(autojump_clock: trio.testing.MockClock) -> None:
    """Nor the server whose nursery it shares; what was not answered is answered when it can be."""
    full = False

    def commit_through(commit: Callable[[], None]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        commit()

    async with open_memory_log(commit_through=commit_through) as log, open_memory_server(log=log) as memory:
        async with memory.hub.join("lobby", name="ann") as room, trio.open_nursery() as nursery:
            nursery.start_soon(page.answer_pings, memory.server, "lobby")
            await room.say("!ping")
            await trio.sleep(1)
            asked = await room.say("!ping")
            full = True
            await trio.sleep(1)
            assert await page.count_words(memory.server, "lobby", asked.seq - 1) == asked.seq - 1
            full = False
            await room.say("!ping")
            await trio.sleep(1)
            with trio.move_on_after(1):
                await page.count_words(memory.server, "lobby", asked.seq - 1)
            nursery.cancel_scope.cancel()
        events = await log.read("lobby", 0, 100)
    texts = [json.loads(f"{{{event.body}")["text"] for event in events]
    assert texts == ["!ping", "pong", "!ping", "!ping", "pong", "1 words", "1 words", "1 words"]


async def test_the_tests_of_the_page(autojump_clock: trio.testing.MockClock) -> None:
    """They pass."""
    await page.test_the_bot_answers(autojump_clock)
    await page.test_members_only(autojump_clock)
    await page.test_my_client(autojump_clock)
    assert page.answer_pings


# --- clients --------------------------------------------------------------------------------------------


async def test_the_clients() -> None:
    """One talks; one that was away hears what was said meanwhile."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            config = trio_chat.Config(port=0, log="memory:")
            server = await nursery.start(trio_chat.serve, config)
            assert await page.talk(server.url) == ["ann: hello"]
            async with trio_chat.open_client(server.url, name="ann") as client:
                async with client.join("lobby") as room:
                    position = room.epoch, room.seq
                session, ann = client.session, client.user
            async with server.hub.join("lobby", name="bob") as local:
                await local.say("are you there?")
            event = await page.come_back(server.url, session, *position)
            assert event.text == "are you there?"
            async with trio_chat.open_client(server.url, session=session) as client:
                assert client.user == ann
            nursery.cancel_scope.cancel()


async def test_a_file_is_shared(tmp_path: Path) -> None:
    """From its path, and its address is the server's."""
    (tmp_path / "notes.txt").write_text("hello")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(trio_chat.serve, trio_chat.Config(port=0, log="memory:"))
            async with server.hub.join("lobby", name="bob") as local:
                url = await page.share(server.url, str(tmp_path / "notes.txt"))
                event = await anext(local)
                assert isinstance(event, trio_chat.Message)
                assert event.files
                assert url == f"{server.url}{event.files[0].url}"
            nursery.cancel_scope.cancel()


async def test_a_client_stays_signed_in(tmp_path: Path) -> None:
    """By newer and newer tokens."""
    jwt = pytest.importorskip("jwt")
    secret = "x" * 32
    (tmp_path / "key").write_text(secret)
    issued = []
    enough = trio.Event()

    def issue() -> str:
        issued.append(jwt.encode({"sub": "u1", "name": "Ann", "exp": 4e9 + len(issued)}, secret, "HS256"))
        if len(issued) == 4:
            enough.set()
        token: str = issued[-1]
        return token

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            config = trio_chat.Config(port=0, log="memory:", jwt_key=str(tmp_path / "key"), guests=False)
            server = await nursery.start(trio_chat.serve, config)
            nursery.start_soon(page.stay, server.url, issue, 0.01)
            await enough.wait()
            assert [connection.label.user for connection in server.connections] == ["Ann"]
            nursery.cancel_scope.cancel()


async def test_other_ways_in() -> None:
    """A listener of one's own serves the chat."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            nursery.start_soon(page.serve_on, listener, trio_chat.Config(log="memory:"))
            assert await page.talk(f"http://127.0.0.1:{port}") == ["ann: hello"]
            nursery.cancel_scope.cancel()
