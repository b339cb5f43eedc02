"""What an upload is: decided by its content alone."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.files.content import SAFE_TYPES, UNKNOWN, Image, declared_type, image_in

from .samples import HOSTILE, SAFE, jpeg, segment


@pytest.mark.parametrize("name", SAFE)
def test_images_are_known_with_their_size(name: str) -> None:
    """Whatever the format's variant."""
    content, kind = SAFE[name]
    assert image_in(io.BytesIO(content)) == Image(kind, 3, 2)


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_is_no_image(name: str) -> None:
    """Also what begins like one."""
    assert image_in(io.BytesIO(HOSTILE[name][0])) is None


@pytest.mark.parametrize("name", SAFE)
def test_half_an_image_is_none_or_the_same(name: str) -> None:
    """Cut anywhere, nothing is raised, and no other size is found."""
    content, kind = SAFE[name]
    for end in range(min(len(content), 200)):
        assert image_in(io.BytesIO(content[:end])) in (None, Image(kind, 3, 2))


def test_a_jpeg_of_endless_segments_is_given_up() -> None:
    """The number of segments is bounded."""
    assert image_in(io.BytesIO(jpeg(before=segment(0xE1, b"12345") * 2000))) is None


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"\xff\xd8\xff", b""]), st.binary(max_size=400)
)
def test_any_bytes_are_fine(start: bytes, rest: bytes) -> None:
    """Nothing is raised, and what is found is safe and has a size."""
    found = image_in(io.BytesIO(start + rest))
    assert found is None or (found.type in SAFE_TYPES and found.width * found.height > 0)


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ("application/pdf", "application/pdf"),
        ("Text/HTML; charset=utf-8", "text/html"),
        ("image/svg+xml", "image/svg+xml"),
        ("image/png", UNKNOWN),
        ("", UNKNOWN),
        ("html", UNKNOWN),
        ("a/b\r\nX: y", UNKNOWN),
        ("a/b<script>", UNKNOWN),
        ("x/" + "y" * 65, UNKNOWN),
    ],
)
def test_a_declared_type_is_a_word_for_people(declared: str, shown: str) -> None:
    """Never one that would be shown in place, and never more than a type."""
    assert declared_type(declared) == shown
