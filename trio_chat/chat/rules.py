"""The words for what is wrong with a request that can't be decoded.

Refuses to know who is told, and how. What is wrong raises `ValueError`: one line that names the field.
"""

import re
from typing import TypeVar, get_args

import msgspec

from . import schema

NOT_DECODED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What `schema.decode_client_op` raises."""

_OPS = sorted(kind.__struct_config__.tag for kind in get_args(schema.ClientOp))
_CHOICES = {"kind": ("public", "private"), "role": ("owner", "moderator", "member")}
# A pair of surrogates, one alone (group 1), or any other escape.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S
)


def describe(error: Exception, data: bytes) -> str:
    """What is wrong with ``data``, a request that can't be decoded, naming the field."""
    text = str(error)
    if isinstance(error, RecursionError):
        return "not a JSON object: nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        # Of half a pair at the end of a text the decoder only says that something is missing.
        alone = next((found[1].decode() for found in _ESCAPE.finditer(data) if found[1]), None)
        return f"not a JSON object: {text}" if alone is None else _half(f"\\{alone}")
    problem, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if problem.startswith("Invalid value") and field == "op":
        # A known one is no wrong value; the decoder went by the first of two.
        is_known = problem.removeprefix("Invalid value ").strip("'") in _OPS
        return "op: given twice" if is_known else f"op: one of {', '.join(_OPS)}"
    if problem.startswith("Invalid enum value") and field in _CHOICES:
        problem = f"one of {', '.join(_CHOICES[field])}"
    return f"{field}: {problem}" if field else problem


def _half(escape: str) -> str:
    return f"not text: {escape} is half of a character, without its other half"


R = TypeVar("R", bound=schema.Request)


def checked(request: R) -> R:
    """``request``, made in process, if it could come from a client; else `ValueError`."""
    try:
        data = schema.encode(request)
    except UnicodeEncodeError as error:
        raise ValueError(_half(ascii(error.object[error.start])[1:-1])) from None
    try:
        schema.decode_client_op(data)
    except NOT_DECODED as error:
        raise ValueError(describe(error, data)) from None
    return request
