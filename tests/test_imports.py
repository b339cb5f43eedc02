"""Who may import whom: the package's layers, read from its source.

`trio_chat.chat.schema`, `trio_chat.log.base` and `trio_chat.config` are the ground. The log's engines, the
wire and the front door stand on it side by side; the chat stands on them; the server and the command line on
top. The client and the terminal are beside: they share the schema with the server and nothing else.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "trio_chat"


@attrs.frozen
class Import:
    """``importer`` takes ``name`` (or all) of ``module``, in line ``line``."""

    importer: str
    module: str
    name: str | None
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}
IS_PACKAGE = {module_name(path) for path in (ROOT / PACKAGE).rglob("__init__.py")}


def imports_of(importer: str) -> Iterator[Import]:
    """Every import in a module, wherever it stands; ``from . import x`` is an import of the module x."""
    for node in ast.walk(MODULES[importer]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = importer.split(".")
                up = node.level - (importer in IS_PACKAGE)
                base = ".".join([*here[: len(here) - up], *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in MODULES:
                    yield Import(importer, f"{base}.{alias.name}", None, node.lineno)
                else:
                    yield Import(importer, base, alias.name, node.lineno)


IMPORTS = [each for importer in MODULES for each in imports_of(importer)]


def within(module: str, *prefixes: str) -> bool:
    """``module`` is one of ``prefixes`` (below `trio_chat`), or inside one; ``x*`` also is what begins so."""
    short = module.removeprefix(f"{PACKAGE}.")
    return any(
        short == prefix
        or short.startswith(f"{prefix}.")
        or (prefix.endswith("*") and short.startswith(prefix[:-1]))
        for prefix in prefixes
    )


LAYERS = [
    # who, may import of the package
    (("chat.schema",), ()),
    (("log.base",), ()),
    (("config",), ()),
    (("log",), ("log",)),
    (("wire",), ("wire",)),
    (("front",), ("front", "chat.schema")),
    (("chat",), ("chat", "wire", "log.base", "config")),
    (("client*", "terminal*"), ("client*", "terminal*", "chat.schema")),
    (("files",), ("files", "chat.schema")),
    (("file_routes",), ("chat", "config", "files", "front", "metrics", "wire")),
    (("metrics",), ("chat", "files", "lag", "wire")),
    (("logs",), ()),
    (("listeners",), ("config",)),
    (("workers",), ("config", "listeners")),
    (("siblings",), ("listeners",)),
    (("lag",), ()),
    (("identity",), ("chat", "config", "front")),
    (("door",), ("chat", "config", "file_routes", "files", "front", "identity", "metrics", "wire")),
    (("server",), ("chat", "config", "door", "files", "front", "lag", "listeners", "log", "metrics", "wire")),
    (("testing",), ("chat.schema", "config", "server")),
]


@pytest.mark.parametrize(("who", "allowed"), LAYERS, ids=lambda value: "+".join(value) or "nothing")
def test_imports_go_one_way(who: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """A layer imports what is below it and nothing else of the package."""
    ours = [each for each in IMPORTS if within(each.importer, *who) and each.module.startswith(PACKAGE)]
    wrong = [each for each in ours if not within(each.module, *allowed)]
    assert wrong == []


@pytest.mark.parametrize("module", ["chat.schema", "log.base", "config", "logs"])
def test_the_ground_does_no_io(module: str) -> None:
    """What everybody stands on knows no event loop and no sockets."""
    found = {each.module.partition(".")[0] for each in IMPORTS if within(each.importer, module)}
    assert found.isdisjoint({"trio", "trio_websocket", "wsproto", "h11", "socket", "asyncio", "sqlite3"})


def test_only_the_wire_and_the_client_know_trio_websocket() -> None:
    """The chat, the log and the front door don't know how a WebSocket is spoken."""
    users = {
        each.importer for each in IMPORTS if each.module.partition(".")[0] in ("trio_websocket", "wsproto")
    }
    assert all(within(user, "wire", "client*", "testing") for user in users), users


def test_nobody_uses_anothers_private_names() -> None:
    """A name with an underscore is its module's own, imported or by attribute."""
    wrong = [
        each
        for each in IMPORTS
        if each.module.startswith(PACKAGE) and each.name is not None and each.name.startswith("_")
    ]
    assert wrong == []
    for importer, tree in MODULES.items():
        modules = {
            each.module.rpartition(".")[2]
            for each in IMPORTS
            if each.importer == importer and each.name is None and each.module.startswith(PACKAGE)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                assert not (private and node.value.id in modules), (importer, node.lineno, node.attr)


def test_private_modules_of_trio_are_left_alone() -> None:
    """Nothing is imported from ``trio._core`` and the like."""
    wrong = [each for each in IMPORTS if any(part.startswith("_") for part in each.module.split(".")[1:])]
    assert [each for each in wrong if each.module != f"{PACKAGE}.__main__"] == []


def test_there_are_no_cycles() -> None:
    """Modules can be put in an order in which each imports only earlier ones, type checking included."""
    needs = {
        module: {each.module for each in IMPORTS if each.importer == module and each.module in MODULES}
        for module in MODULES
    }
    while ready := {module for module, needed in needs.items() if not needed}:
        needs = {module: needed - ready for module, needed in needs.items() if module not in ready}
    assert needs == {}


def test_every_module_says_what_it_owns() -> None:
    """Each has a docstring."""
    assert [name for name, tree in MODULES.items() if not ast.get_docstring(tree)] == []
