"""Log lines: one record is one line, and nobody from outside can write one."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from trio_chat import logs

HOSTILE = "a\r\n2026-01-01T00:00:00.000Z INFO    front: forged \x1b[31m\u202e\x85\x00\ud800"


@pytest.fixture
def restored() -> Iterator[None]:
    """`logging` as it was before the test."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.raiseExceptions = raising


LOGGERS = ("", "trio_chat", "trio-websocket")


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    """A record of trio_chat.front at 12:34:56.789 UTC."""
    made = logging.getLogger().makeRecord(
        "trio_chat.front", logging.INFO, "x.py", 1, message, arguments, None, extra=extra
    )
    made.created = 1_770_000_000.789
    return made


def test_text_is_readable() -> None:
    """Time in UTC, level, where, what, and the fields, quoted where needed; absent ones left out."""
    line = logs.TextFormatter().format(
        record("accepted %s", "x", client="192.0.2.1", path="/ws", user="a b", connection=7, token=None)
    )
    assert line == (
        '2026-02-02T02:40:00.789Z INFO    front: accepted x client=192.0.2.1 path=/ws user="a b" connection=7'
    )


def test_json_is_one_object() -> None:
    """The same as fields; a field that bears the name of one of ours gets an underscore."""
    line = logs.JsonFormatter().format(
        record("accepted", client="192.0.2.1", connection=7, rate=1.5, tls=True, path=None, level="high")
    )
    assert json.loads(line) == {
        "time": "2026-02-02T02:40:00.789Z",
        "level": "info",
        "logger": "trio_chat.front",
        "message": "accepted",
        "client": "192.0.2.1",
        "connection": 7,
        "rate": 1.5,
        "tls": True,
        "level_": "high",
    }


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()])
def test_nobody_can_forge_a_line(formatter: logging.Formatter) -> None:
    """Line ends, escape sequences and bidirectional controls come out escaped, in message and fields."""
    line = formatter.format(record("said %s", HOSTILE, user=HOSTILE, path='/"\\'))
    assert line.isprintable()
    assert "forged" in line
    line.encode("utf-8")


def test_what_json_escapes_reads_back() -> None:
    """Escaping changes the bytes of a JSON line, not its meaning."""
    line = logs.JsonFormatter().format(record("x", user="\u202e\U000e0001\n中文"))
    assert json.loads(line)["user"] == "\u202e\U000e0001\n中文"
    assert "中文" in line


def test_quotes_in_fields_cannot_end_them() -> None:
    """A quoted field ends where it ends: quotes and backslashes inside are escaped."""
    line = logs.TextFormatter().format(record("x", path='a" user="root\\'))
    assert line.endswith(r'path="a\" user=\"root\\"')


def test_a_traceback_stays_below_its_line() -> None:
    """In text its lines are marked, in JSON it is a field; neither can be forged by an exception's text."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        failed = logging.getLogger().makeRecord(
            "trio_chat.x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info()
        )
    first, *rest = logs.TextFormatter().format(failed).split("\n")
    assert first.endswith("x: failed")
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)
    line = logs.JsonFormatter().format(failed)
    assert line.isprintable()
    assert "ValueError" in json.loads(line)["traceback"]


@pytest.mark.usefixtures("restored")
def test_configure_sets_levels_and_replaces_itself() -> None:
    """trio_chat from INFO (verbose: DEBUG), others from WARNING; warnings are records; once, not twice."""
    stream = io.StringIO()
    logs.configure("text", stream=io.StringIO())
    logs.configure("json", verbose=True, stream=stream)
    logging.getLogger("trio_chat.a").debug("d")
    logging.getLogger("other").info("no")
    logging.getLogger("trio-websocket").info("no")
    logging.getLogger("other").warning("w")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in found[:2]] == ["d", "w"]
    assert "careful" in found[2]["message"]
    assert len(found) == 3
    logs.configure(stream=stream)
    logging.getLogger("trio_chat.a").debug("no")
    assert len(stream.getvalue().splitlines()) == 3


@pytest.mark.usefixtures("restored")
def test_a_broken_log_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """When standard error has gone away nothing is printed about it, and nothing raised."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    stream.close()
    logging.getLogger("trio_chat.a").info("x")
    assert capsys.readouterr().err == ""
