"""What a log line looks like: text for people, JSON for programs, both to standard error in UTC.

Owns the formats and the set-up of `logging`; knows nothing of what is logged. Loggers are named
``trio_chat.*`` and give their fields through ``extra={"client": ..., "path": ...}``.

Rules: one record is one line (in text, the lines of a traceback follow, each marked with ``  | ``). Nothing
that came from outside can begin a line, colour a terminal or hide: control, format and
bidirectional characters are shown escaped, in the message and in every field.
"""

import datetime
import logging
import re
import sys
import unicodedata
from typing import Literal, TextIO

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN_VALUE = re.compile(r"[^\s\"=\\]+")
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str) -> str:
    r"""``text`` with every character that isn't plainly visible as ``\n``, ``\x1b`` or ``\u202e``."""
    if text.isprintable():  # what it lets through has none of the categories above
        return text
    return "".join(c if unicodedata.category(c) not in _ESCAPED else ascii(c)[1:-1] for c in text)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None
    }


def _time(record: logging.LogRecord) -> str:
    at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    text = escape(str(value).replace("\\", "\\\\"))
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO    front: accepted client=192.0.2.1 path=/ws``"""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and those of its traceback."""
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        name = record.name.removeprefix("trio_chat.")
        line = f"{_time(record)} {record.levelname:<7} {name}: {escape(record.getMessage())}{fields}"
        if record.exc_info:
            traceback = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  | {escape(part)}" for part in traceback)
        return line


class JsonFormatter(logging.Formatter):
    """One object per line: ``time``, ``level``, ``logger``, ``message``, the fields, ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            plain = value if isinstance(value, bool | int | float) else str(value)
            line[name if name not in line else f"{name}_"] = plain
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # JSON escapes the C0 controls only; the rest would reach the terminal of whoever reads the file.
        text = msgspec.json.encode(_without_surrogates(line)).decode()
        if text.isprintable():
            return text
        return "".join(c if unicodedata.category(c) not in _ESCAPED else _json_escape(c) for c in text)


def _without_surrogates(line: dict[str, object]) -> dict[str, object]:
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in line.items()
    }


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that `configure` replaces."""


def configure(
    log_format: Literal["text", "json"] = "text", *, verbose: bool = False, stream: TextIO | None = None
) -> None:
    """Send every record to ``stream`` (standard error) in that format; calling it again replaces the first.

    ``trio_chat`` logs from INFO on, with ``verbose`` from DEBUG on; everybody else from WARNING on.
    """
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("trio_chat").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # A reader of standard error that has gone away is no reason to print tracebacks to it.
    logging.raiseExceptions = False
