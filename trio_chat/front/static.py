"""The web client's files, read once and served from memory.

Owns which files are served, under which paths, with which headers. Refuses to know the file system after
`load`: a path is looked up in a table, so there is nothing to traverse, and a request costs a dictionary
lookup.

Every file has a strong ETag over its content and ``no-cache``: a browser asks each time and is mostly
answered 304, so that after an update no page runs with another version's script.
"""

import gzip
import hashlib
import re
from pathlib import Path

import attrs

from trio_chat.front.head import HeaderPairs, Headers, Response, text_response

WEB = Path(__file__).resolve().parent.parent / "web"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".license": "text/plain; charset=utf-8",
}
"""What is served, by suffix; other files in the directory (an editor's backup, for example) are not."""

_PACKED = frozenset({".png", ".woff2"})
"""Compressed already: gzip would only cost."""

SECURITY_HEADERS: HeaderPairs = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    # Room names may be in the page's address. A WebSocket and a CORS request carry their Origin whatever this
    # says (Fetch, "append a request Origin header"); it would be null only in forms and no-cors POSTs, of
    # which there are none.
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # No Cross-Origin-Opener-Policy: over plain HTTP in a local network Chromium ignores it, and complains on
    # the console. The page has little to gain by it: its links are noopener, it can't be framed, listens to
    # no other window and shares no memory with any. A proxy that has TLS may add it.
)

_ICONS = ("favicon.ico", "favicon.svg", "icon.svg", "favicon.png", "icon.png")
_VENDOR_REFERENCE = re.compile(r"""["'][./]*(?:static/)?vendor/([\w.-]+)["']""")


@attrs.frozen
class _Variant:
    """A file in one encoding."""

    etag: str
    found: Response
    unchanged: Response

    @classmethod
    def of(cls, etag: str, content: bytes, content_headers: HeaderPairs) -> "_Variant":
        # RFC 9110 section 15.4.5: a 304 says about caching what the 200 would have said.
        caching: HeaderPairs = (("ETag", etag), ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))
        return cls(
            etag,
            Response(200, (*content_headers, *caching, *SECURITY_HEADERS), content),
            Response(304, (*caching, *SECURITY_HEADERS)),
        )


@attrs.frozen
class _File:
    """A file as it is, and packed where that is smaller."""

    plain: _Variant
    packed: _Variant | None

    @classmethod
    def of(cls, content: bytes, suffix: str) -> "_File":
        digest = hashlib.sha256(content).hexdigest()[:32]
        content_type = ("Content-Type", _TYPES[suffix])
        plain = _Variant.of(f'"{digest}"', content, (content_type,))
        if suffix in _PACKED:
            return cls(plain, None)
        # Without a time in it: the same file has the same bytes, and ETag, after every start.
        packed = gzip.compress(content, 9, mtime=0)
        if len(packed) > 0.9 * len(content):
            return cls(plain, None)
        packed_headers = (content_type, ("Content-Encoding", "gzip"))
        return cls(plain, _Variant.of(f'"{digest}-gzip"', packed, packed_headers))

    def answer(self, headers: Headers) -> Response:
        variant = self.plain
        if self.packed is not None and _accepts_gzip(headers.get("accept-encoding", "")):
            variant = self.packed
        condition = headers.get("if-none-match")
        return variant.unchanged if condition and _matches(condition, variant.etag) else variant.found


class StaticFiles:
    """The files of the web client by URL path; see `load`."""

    __slots__ = ("_files", "_missing")

    def __init__(self, files: dict[str, _File], missing: str | None = None) -> None:
        self._files = files
        self._missing = missing
        """What the page needs and isn't there."""

    @classmethod
    def load(cls, directory: Path = WEB / "static", vendor: Path | None = None) -> "StaticFiles":
        """Read ``directory``, and ``vendor`` (by default its neighbour ``vendor``) as ``/static/vendor/``.

        ``index.html`` is ``/``. A directory that isn't there is an empty one: the server runs without the
        page, and ``/`` says how to build it. Raises `OSError` for a file that can't be read.
        """
        contents = _read(directory) | {
            f"vendor/{name}": content
            for name, content in _read(vendor or directory.parent / "vendor").items()
        }
        files = {f"/static/{name}": _File.of(content, _suffix(name)) for name, content in contents.items()}
        for icon in _ICONS:
            if icon in contents:
                files["/favicon.ico"] = files[f"/static/{icon}"]
                break
        missing = _missing(contents)
        if missing is None:
            files["/"] = files["/static/index.html"]
        files.pop("/static/index.html", None)
        return cls(files, missing)

    def get(self, path: str, headers: Headers) -> Response | None:
        """The answer to a GET or HEAD of ``path``, or None if there is no such file."""
        file = self._files.get(path)
        if file is not None:
            return file.answer(headers)
        if path == "/":
            return text_response(
                503,
                f"The web client is not built ({self._missing} is missing): run python scripts/build_web.py",
            )
        return None


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _read(directory: Path) -> dict[str, bytes]:
    """The served files under ``directory`` by their path in it; hidden ones and links that lead out are left
    out."""
    root = directory.resolve()
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.suffix.lower() not in _TYPES or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_file() and path.resolve().is_relative_to(root):
            found[name.as_posix()] = path.read_bytes()
    return found


def _missing(contents: dict[str, bytes]) -> str | None:
    """The page itself, or the first vendor file that it or one of its scripts names, if it isn't there."""
    if "index.html" not in contents:
        return "index.html"
    for name, content in contents.items():
        if _suffix(name) in (".html", ".js", ".mjs") and not name.startswith("vendor/"):
            for reference in _VENDOR_REFERENCE.findall(content.decode("utf-8", "replace")):
                if f"vendor/{reference}" not in contents:
                    return f"vendor/{reference}"
    return None


def _accepts_gzip(value: str) -> bool:
    """Whether ``Accept-Encoding`` allows gzip (RFC 9110 section 12.5.3): by name, else by ``*``."""
    allowed = False
    for part in value.lower().split(","):
        coding, _, parameter = part.partition(";")
        coding = coding.strip()
        if coding in ("gzip", "x-gzip", "*"):
            name, _, weight = parameter.partition("=")
            allowed = name.strip() != "q" or weight.strip(" \t0.") != ""
            if coding != "*":
                return allowed
    return allowed


def _matches(condition: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names ``etag``, by weak comparison (RFC 9110 section 13.1.2)."""
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in condition.split(","))
