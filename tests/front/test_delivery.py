"""How a file is handed out: headers that let nothing run, conditions and ranges."""

from typing import Any

import pytest

from trio_chat.front.delivery import Delivery, deliver
from trio_chat.front.head import Headers, check_headers, encode_response

DIGEST = "ab" * 32


def delivered(size: int = 10, **headers: str) -> Delivery:
    """The answer to a GET with these headers."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return deliver(Headers(fields), digest=DIGEST, name="x.txt", size=size, safe_type=None, shared=False)


@pytest.mark.parametrize(
    ("safe_type", "content_type", "disposition"),
    [("image/png", "image/png", "inline"), (None, "application/octet-stream", "attachment")],
)
def test_only_safe_images_are_shown(safe_type: str | None, content_type: str, disposition: str) -> None:
    """Everything else is a download without a type; none may be guessed at, run or framed."""
    found = deliver(Headers(), digest=DIGEST, name="a b.png", size=3, safe_type=safe_type, shared=False)
    headers = dict(found.response.headers)
    assert headers["Content-Type"] == content_type
    assert headers["Content-Disposition"] == f"{disposition}; filename*=UTF-8''a%20b.png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["ETag"] == f'"{DIGEST}"'
    assert "immutable" in headers["Cache-Control"]
    assert (found.start, found.stop, found.response.length) == (0, 3, 3)


def test_pages_of_other_origins_may_show_it_where_they_may_connect() -> None:
    """As the settings say."""
    found = deliver(Headers(), digest=DIGEST, name="x", size=3, safe_type=None, shared=True)
    assert dict(found.response.headers)["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "name", ['a"; filename=evil.html', "a;b=c", "Zoë 😀.txt", "%41", "a'b", "x" * 128, "a,b"]
)
def test_no_name_gets_out_of_its_header(name: str) -> None:
    """It is one value, in visible ASCII."""
    found = deliver(Headers(), digest=DIGEST, name=name, size=3, safe_type=None, shared=False)
    value = dict(check_headers(found.response.headers))["Content-Disposition"]
    encoded = value.removeprefix("attachment; filename*=UTF-8''")
    assert encoded != value
    assert encoded.isascii()
    assert not set(encoded) & set(" \"';,()<>@:\\/[]?={}")
    encode_response(found.response)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{DIGEST}"', 304),
        (f'W/"{DIGEST}"', 304),
        ("*", 304),
        (f'"x", "{DIGEST}"', 304),
        ('"x"', 200),
        ("", 200),
    ],
)
def test_who_has_it_is_not_sent_it_again(condition: str, status: int) -> None:
    """Content never changes under its hash."""
    found = delivered(if_none_match=condition)
    assert found.response.status == status
    assert (found.stop == 0) == (status == 304)


RANGES: list[tuple[str, Any]] = [
    ("bytes=0-", (0, 10)),
    ("bytes=0-0", (0, 1)),
    ("bytes=2-4", (2, 5)),
    ("bytes=2-400", (2, 10)),
    ("bytes=9-", (9, 10)),
    ("bytes=-3", (7, 10)),
    ("bytes=-300", (0, 10)),
    ("bytes = 1 - 2", (1, 3)),
    ("bytes=10-", 416),
    ("bytes=-0", 416),
    ("bytes=4-2", 200),
    ("bytes=-", 200),
    ("bytes=0-1,3-4", 200),
    ("bytes=a-b", 200),
    ("items=0-1", 200),
    ("bytes=" + "9" * 60 + "-", 200),
]


@pytest.mark.parametrize(("wanted", "found"), RANGES)
def test_a_range(wanted: str, found: Any) -> None:
    """One is sent, what lies beyond the end is 416, and what isn't understood is passed over."""
    answer = delivered(range=wanted)
    if isinstance(found, tuple):
        start, stop = found
        assert (answer.response.status, answer.start, answer.stop) == (206, start, stop)
        assert dict(answer.response.headers)["Content-Range"] == f"bytes {start}-{stop - 1}/10"
        assert answer.response.length == stop - start
    else:
        assert answer.response.status == found
        if found == 416:
            assert dict(answer.response.headers)["Content-Range"] == "bytes */10"


def test_a_range_of_another_version_is_not_sent() -> None:
    """``If-Range`` with another tag: the whole file."""
    assert delivered(range="bytes=1-2", if_range='"x"').response.status == 200
    assert delivered(range="bytes=1-2", if_range=f'"{DIGEST}"').response.status == 206
