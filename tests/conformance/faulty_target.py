"""The server of ``scripts/fuzzlib/target.py`` with mistakes put in: it forgets nothing and may raise."""

import runpy
import sys
from pathlib import Path

from trio_chat.chat.relay import RelayMember
from trio_chat.wire import connection
from trio_chat.wire.frames import Message

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KEPT: list[list[int]] = []

take = RelayMember.take
open_connection = connection.Connection.open


def failing_take(self: RelayMember, messages: list[Message]) -> list[Message]:
    """Can't stand a zero byte."""
    if any(b"\x00" in payload for _, payload in messages):
        raise RuntimeError("planted")
    return take(self, messages)


async def remembering_open(self: connection.Connection, *arguments: object) -> None:
    """Keeps something of every connection."""
    KEPT.append(list(range(1000, 1400)))
    await open_connection(self, *arguments)  # type: ignore[arg-type]


RelayMember.take = failing_take  # type: ignore[method-assign]
connection.Connection.open = remembering_open  # type: ignore[method-assign]
sys.path.insert(0, str(SCRIPTS / "fuzzlib"))
runpy.run_path(str(SCRIPTS / "fuzzlib" / "target.py"), run_name="__main__")
