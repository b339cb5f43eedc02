"""How an uploaded file is handed out, so that nothing in it can run: the head of the answer. Pure.

Owns the headers, the condition and the range of a download. Refuses to know where files are kept.
"""

import re
from urllib.parse import quote

import attrs

from trio_chat.front.head import HeaderPairs, Headers, Response, text_response

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
# RFC 5987 section 3.2.1, attr-char.
_PLAIN = "!#$&+-.^_`|~"
_CACHE = ("Cache-Control", "private, max-age=31536000, immutable")


@attrs.frozen
class Delivery:
    """The head of an answer, and which bytes of the file follow it."""

    response: Response
    start: int = 0
    stop: int = 0


def deliver(
    request: Headers, *, digest: str, name: str, size: int, safe_type: str | None, shared: bool
) -> Delivery:
    """What to answer to a GET or HEAD of a file.

    ``safe_type``: its media type if it may be shown in place; else it is a download without a type.
    ``shared``: pages of other origins may show it, too.
    """
    tag = f'"{digest}"'
    headers: HeaderPairs = (
        ("Content-Type", safe_type or "application/octet-stream"),
        ("Content-Disposition", _disposition(name, inline=safe_type is not None)),
        ("X-Content-Type-Options", "nosniff"),
        # Should a browser ever take it for a page: one without scripts, origin, forms and requests.
        ("Content-Security-Policy", "sandbox; default-src 'none'"),
        ("Cross-Origin-Resource-Policy", "cross-origin" if shared else "same-origin"),
        ("Accept-Ranges", "bytes"),
        ("ETag", tag),
        _CACHE,
    )
    condition = request.get("if-none-match")
    if condition is not None and any(
        each.strip().removeprefix("W/") in (tag, "*") for each in condition.split(",")
    ):
        return Delivery(Response(304, headers))
    wanted = request.get("range")
    if wanted is not None and request.get("if-range", tag) == tag:
        found = _range(wanted, size)
        if found == ():
            return Delivery(
                text_response(416, "no such range of bytes", (("Content-Range", f"bytes */{size}"),))
            )
        if found:
            start, stop = found
            part = ("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            return Delivery(Response(206, (*headers, part), length=stop - start), start, stop)
    return Delivery(Response(200, headers, length=size), 0, size)


def _range(wanted: str, size: int) -> tuple[int, int] | tuple[()] | None:
    """Start and end of the one range that is asked for (RFC 9110 section 14.2); empty if the file has
    nothing there, None if everything is sent: for several ranges, and for what isn't understood."""
    match = _RANGE.fullmatch(wanted.strip().replace(" ", ""))
    if match is None or match.groups() == ("", "") or len(wanted) > 50:
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    return (start, stop) if start < stop else ()


def _disposition(name: str, *, inline: bool) -> str:
    """RFC 6266: with the name in UTF-8, and nothing in it that could end the header's value."""
    return f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(name, safe=_PLAIN)}"
