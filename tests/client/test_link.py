"""Addresses, and what a refused upgrade means."""

import pytest

from trio_chat.client_link import Address, Ended, Refused, parse_url, refusal_of_status

URLS = [
    ("ws://h", Address("h", 80, "/ws", tls=False), "h"),
    ("http://h/", Address("h", 80, "/ws", tls=False), "h"),
    ("https://h", Address("h", 443, "/ws", tls=True), "h"),
    ("wss://h:8443/chat/ws", Address("h", 8443, "/chat/ws", tls=True), "h:8443"),
    ("http://h:443", Address("h", 443, "/ws", tls=False), "h:443"),
    ("127.0.0.1:8080", Address("127.0.0.1", 8080, "/ws", tls=False), "127.0.0.1:8080"),
    ("ws://[::1]:8080/?room=a&last=5#x", Address("::1", 8080, "/ws?room=a&last=5", tls=False), "[::1]:8080"),
    ("HTTP://Example.ORG", Address("example.org", 80, "/ws", tls=False), "example.org"),
    ("unix:/run/chat", Address("localhost", 80, "/ws", tls=False, unix="/run/chat"), "localhost"),
]


@pytest.mark.parametrize(("url", "address", "authority"), URLS)
def test_urls(url: str, address: Address, authority: str) -> None:
    """Every scheme that people have at hand works; the path is /ws unless there is one."""
    assert parse_url(url) == address
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "ws://",
        "ws://h:99999",
        "ws://h:x",
        "ws://user@h",
        "ws://h/a b",
        "ws://h/\n",
        "unix:",
        "ws://[::1",
    ],
)
def test_what_is_no_url_is_told(url: str) -> None:
    """One line that shows what it may be."""
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        parse_url(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "text", "retry_after"),
    [
        (403, (), b"origin not allowed\n", Refused, "origin not allowed (403)", None),
        (404, (), None, Refused, "Not Found (404)", None),
        (400, (), b"<html><body>", Refused, "Bad Request (400)", None),
        (499, (), b"", Refused, "the server refused the connection (499)", None),
        (429, ((b"Retry-After", b"3"),), b"", Ended, "the server answered 429: Too Many Requests", 3.0),
        (503, ((b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT"),), b"draining", Ended,
         "the server answered 503: draining", None),
        (502, (), b"", Ended, "the server answered 502: Bad Gateway", None),
    ],
)  # fmt: skip
def test_statuses(
    status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes | None, kind: type[Exception],
    text: str, retry_after: float | None,
) -> None:  # fmt: skip
    """429 and 5xx pass, the rest stays; the words are the server's where it has some."""
    error = refusal_of_status(status, headers, body)
    assert type(error) is kind
    assert str(error) == text
    assert getattr(error, "retry_after", None) == retry_after
