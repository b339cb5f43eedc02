"""A request's body: the same content however its bytes come, and an error for what isn't well framed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.front.body import BodyReader, announced_size
from trio_chat.front.head import BadRequest, Headers, RequestHead


def head(**headers: str) -> RequestHead:
    """A POST with these headers."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("POST", "/files", "/files", "", Headers(fields))


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


WHOLE = [
    (head(content_length="5"), b"hello"),
    (head(content_length="05"), b"hello"),
    (head(transfer_encoding="chunked"), chunked(b"hel", b"lo")),
    (head(transfer_encoding="chunked"), chunked(b"hello", end=b"0\r\nX: trailer\r\n\r\n")),
    (head(transfer_encoding="chunked"), b"5;name=value\r\nhello\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize(("request_head", "data"), WHOLE)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("trailing", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_the_content_comes_out(request_head: RequestHead, data: bytes, step: int, trailing: bytes) -> None:
    """Whole, byte by byte, and with something behind it, which is left alone."""
    reader = BodyReader(request_head)
    content = b""
    data += trailing
    for at in range(0, len(data), step):
        assert not reader.done
        content += reader.feed(data[at : at + step])
        if reader.done:
            break
    assert reader.done
    assert content == b"hello"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(1, 40), max_size=20))
def test_split_at_random(pieces: list[bytes], steps: list[int]) -> None:
    """Chunks and reads needn't have anything to do with each other."""
    data = chunked(*pieces)
    reader = BodyReader(head(transfer_encoding="chunked"))
    content = b""
    for step in steps:
        if data:
            content += reader.feed(data[:step])
            data = data[step:]
    if data:
        content += reader.feed(data)
    assert reader.done
    assert content == b"".join(pieces)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hell",
        b"x\r\n",
        b"-1\r\n",
        b"5\r\nhelloX\r\n",
        b"5 \x00\r\n",
        b"g\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
def test_a_chunk_that_is_wrong_is_told(data: bytes) -> None:
    """Before its end, or at the end of the connection."""
    reader = BodyReader(head(transfer_encoding="chunked"))

    def read() -> None:
        reader.feed(data)
        reader.feed(b"")

    with pytest.raises(BadRequest) as caught:
        read()
    assert caught.value.status == 400
    assert "body" in caught.value.message


def test_a_chunk_size_that_never_ends_is_bounded() -> None:
    """Its line is not kept without end."""
    reader = BodyReader(head(transfer_encoding="chunked"))

    def read() -> None:
        for _ in range(10_000):
            reader.feed(b"0" * 100)

    with pytest.raises(BadRequest):
        read()


def test_a_body_of_nothing_is_done_at_once() -> None:
    """Nothing need be read for it."""
    assert BodyReader(head(content_length="0")).done


def test_a_body_that_ends_too_early_is_told() -> None:
    """It is not taken for a shorter one."""
    reader = BodyReader(head(content_length="10"))
    assert reader.feed(b"hello") == b"hello"
    with pytest.raises(BadRequest, match="the body ends too early"):
        reader.feed(b"")


def test_the_size_that_is_announced() -> None:
    """A number, or None for chunks; neither is 411, both 400."""
    assert announced_size(head(content_length="5")) == 5
    assert announced_size(head(content_length="9" * 20)) == int("9" * 20)
    assert announced_size(head(transfer_encoding="chunked")) is None
    for wrong, status in (({}, 411), ({"content_length": "5", "transfer_encoding": "chunked"}, 400)):
        with pytest.raises(BadRequest) as caught:
            announced_size(head(**wrong))
        assert caught.value.status == status
