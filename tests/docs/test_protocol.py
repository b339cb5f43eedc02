"""docs/protocol.md: every example comes out as shown, and nothing of the protocol is missing."""

import ast
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import trio_chat
from trio_chat.chat import changes, limits, mentions, schema
from trio_chat.chat.access import SORTS, TABLE
from trio_chat.chat.state import Why

from .page import Block, Page, fenced, table, words
from .transcripts import parse, play

PAGE = Page("protocol.md")
SOURCE = Path(trio_chat.__file__).parent
EXAMPLES = PAGE.blocks("chat")
SENT, ANSWERED = "What a client sends", "What the server sends"
SERVER = Page("protocol.md").section(ANSWERED)


def kinds(union: Any) -> list[type[msgspec.Struct]]:
    """The types of one direction."""
    found = get_args(union)
    assert found
    assert isinstance(union, types.UnionType)
    return list(found)


def op_of(kind: type[msgspec.Struct]) -> str:
    """The ``op`` of a type."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def named(union: Any, section: str) -> list[Any]:
    """Test parameters: each type of a direction with its section of the page."""
    return [pytest.param(kind, section, id=f"{section}: {op_of(kind)}") for kind in kinds(union)]


EVERYTHING = [*named(schema.ClientOp, SENT), *named(schema.ServerOp, ANSWERED)]


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line {block.line}") for block in EXAMPLES])
async def test_an_example_comes_out_as_shown(block: Block, autojump_clock: object) -> None:
    """The server sends what the page shows, and nothing else."""
    await play(block.text, trio_chat.Config(log="memory:", max_per_ip=1_000_000))


def test_there_are_no_other_blocks() -> None:
    """A block that nobody plays could say anything."""
    assert len(fenced(PAGE.text)) == len(EXAMPLES) > 25


@pytest.mark.parametrize(("kind", "section"), EVERYTHING)
def test_every_operation_has_a_section_with_all_fields_and_an_example(kind: Any, section: str) -> None:
    """The table has the fields of the schema, with ``?`` where one may be left out; an example has the
    operation."""
    op = op_of(kind)
    text = PAGE.section(f"`{op}`", within=section)
    fields = {field.encode_name + ("" if field.required else "?") for field in msgspec.structs.fields(kind)}
    described = {row[0] for row in table(text)} if "|" in text else set()
    assert described == fields
    side = ">" if section == SENT else "<"
    shown = [step for block in fenced(text) for step in parse(block.text) if step.kind == side]
    assert any(f'{{"op":"{op}"' in step.text for step in shown)


@pytest.mark.parametrize(("union", "section"), [(schema.ClientOp, SENT), (schema.ServerOp, ANSWERED)])
def test_no_operation_is_described_that_is_not_there(union: Any, section: str) -> None:
    """The headings are the schema's operations."""
    described = [title.strip("`") for title in PAGE.titles(3, within=section) if title != "Signals"]
    assert sorted(described) == sorted(op_of(kind) for kind in kinds(union))


@pytest.mark.parametrize("inner", [schema.User, schema.Limits, schema.File, schema.RoomInfo, schema.Reaction])
def test_the_fields_of_inner_objects_are_described(inner: type[msgspec.Struct]) -> None:
    """Each field of an object within a frame is named in the server's part."""
    for field in msgspec.structs.fields(inner):
        assert f"`{field.encode_name}`" in SERVER


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line {block.line}") for block in EXAMPLES])
def test_what_the_examples_show_is_valid(block: Block) -> None:
    """Each frame of the chat endpoint has the schema's shape; a client's only where no error follows."""
    if "/relay/" in block.text:
        return
    steps = [step for step in parse(block.text) if step.text.startswith("{")]
    wrong = {
        msgspec.json.decode(step.text).get("re")
        for step in steps
        if step.kind == "<" and '"code":"bad_request"' in step.text
    }
    for step in steps:
        if step.kind == "<":
            schema.decode_server_op(step.text)
        elif msgspec.json.decode(step.text).get("id") not in wrong:
            schema.decode_client_op(step.text)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the package, by the name of what is called."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                yield name, node


def test_every_error_code_is_described() -> None:
    """The table has the codes that the server uses, and no others."""
    used = {
        node.args[0].value
        for name, node in calls()
        if name == "Refusal" and node.args and isinstance(node.args[0], ast.Constant)
    }
    used |= set(get_args(Why))
    assert used == {row[0] for row in table(PAGE.section("Errors"))}
    assert len(used) > 5


def test_the_table_of_rights_is_the_real_one() -> None:
    """A row for each right, a column for each sort of room."""
    rows = {row[0]: row[1:5] for row in table(PAGE.section("Roles and rights"))}
    rights = {right for right, _ in TABLE}
    assert set(rows) == rights
    for right in rights:
        assert rows[right] == [TABLE[right, sort] or "-" for sort in SORTS], right


def test_every_close_code_is_described() -> None:
    """The table has every close code that the server uses, and those of the contract."""
    used = {
        argument.value
        for name, node in calls()
        if name in ("close", "cut", "WireError", "_ended", "visibly", "aclose")
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int) and argument.value >= 1000
    }
    contract = {1000, 1001, 1002, 1003, 1007, 1009, 1012, 1013, 4008, 4029, 4501, 4503, 4510}
    described = {int(row[0]) for row in table(PAGE.section("Close codes"))}
    assert used | contract <= described
    assert described <= used | contract | {1008}


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("a frame from a client", f"{trio_chat.Config().max_message:,} bytes"),
        ("id", f"{schema.MAX_ID_CHARS} characters"),
        ("text", f"{schema.MAX_TEXT_CHARS:,} characters"),
        ("topic", f"{schema.MAX_TOPIC_CHARS} characters"),
        ("emoji of a reaction", f"{schema.MAX_EMOJI_CHARS} code points"),
        ("different emojis on one message", f"{changes.MAX_EMOJIS}"),
        ("edits and reactions of one user to one message", f"{changes.MAX_CHANGES_BY_ONE}"),
        ("text of a search", f"{schema.MAX_SEARCH_CHARS} characters"),
        ("messages in an answer to a search", f"{schema.MAX_FOUND}"),
        ("users that one message mentions", f"{mentions.MAX_MENTIONS}"),
        ("files of one message", f"{schema.MAX_FILES}"),
        ("a file", f"{trio_chat.Config().max_file:,} bytes"),
        ("user name", f"{schema.MAX_NAME_CHARS} characters"),
        ("room name", f"{schema.MAX_ROOM_CHARS} characters"),
        ("rooms of one connection", f"{limits.MAX_ROOMS_PER_SESSION}"),
        ("messages in a page of history", f"{schema.MAX_HISTORY}, and {limits.PAGE_BYTES // 1024} KiB"),
        ("users named in joined", f"{limits.MAX_LISTED_MEMBERS}"),
        ("users named in members", f"{limits.MAX_WHO_MEMBERS:,}"),
        ("rooms in rooms", f"{limits.MAX_LISTED_ROOMS:,}"),
        ("wrong requests before 4510", f"{limits.MAX_BAD_REQUESTS}, and one"),
        ("operations", f"{trio_chat.Config().rate:g} per second after the first {trio_chat.Config().burst}"),
    ],
)
def test_the_limits_are_the_real_ones(label: str, value: str) -> None:
    """Each row of the table has the number of the code."""
    rows = {row[0]: row[1] for row in table(PAGE.section("Limits"))}
    assert rows[label].startswith(value)
    assert len(rows) == 21


def test_numbers_in_the_text_are_the_real_ones() -> None:
    """What the sentences say is what the code does."""
    text = words(PAGE.text)
    for phrase in (
        f"subprotocol {schema.SUBPROTOCOL}",
        f"{limits.MAX_THROTTLED_SECONDS:g} seconds",
        f"within {limits.RESEND_SECONDS / 60:g} minutes and the last {limits.MAX_TAIL_EVENTS} messages",
        f"more than {limits.MAX_LISTED_MEMBERS} users, count",
        f"1 to {schema.MAX_HISTORY} | so many at most; {schema.DEFAULT_HISTORY} if left out",
        f"more than {limits.MAX_BAD_REQUESTS} to its account",
        f"A connection may be in {limits.MAX_ROOMS_PER_SESSION} rooms",
    ):
        assert phrase in text, phrase


def test_links_lead_somewhere() -> None:
    """Each link within the page goes to one of its headings."""
    slugs: list[str] = []
    for title in re.findall(r"^#+ (.*)$", PAGE.text, re.MULTILINE):
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        number = slugs.count(slug)
        slugs.append(slug)
        if number:
            slugs.append(f"{slug}-{number}")
    for target in re.findall(r"\]\(#([^)]*)\)", PAGE.text):
        assert target in slugs, target
