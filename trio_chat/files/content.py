"""What an uploaded file is: an image that may be shown, or something to download.

Owns the decision, made from the content alone: neither a name nor a declared type changes it. Pure but for
reading a file that it is given. The formats are those that every browser shows and that can't hold a script:
PNG (ISO/IEC 15948), JPEG (ITU-T T.81), GIF (89a) and WebP (RFC 9649).
"""

import re
import struct
from typing import BinaryIO

import attrs

from .limits import MAX_PIXELS

UNKNOWN = "application/octet-stream"
SAFE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What is served as what it is, to be shown in place; everything else is a download."""
_HEAD_BYTES = 32
_MAX_SEGMENTS = 1000
"""Segments of a JPEG before its size is given up: cameras write some 20."""
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


@attrs.frozen
class Image:
    """An image that may be shown in place, and its size in pixels."""

    type: str
    width: int
    height: int


def image_in(file: BinaryIO) -> Image | None:
    """The image that ``file`` holds, or None for anything else; reads a few hundred bytes of it."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    found: Image | None = None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        found = Image("image/png", *struct.unpack(">II", head[16:24]))
    elif head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        found = Image("image/gif", *struct.unpack("<HH", head[6:10]))
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        found = _webp(head)
    elif head.startswith(b"\xff\xd8\xff"):
        found = _jpeg(file)
    if found is None or not 0 < found.width * found.height <= MAX_PIXELS:
        return None
    return found


def _webp(head: bytes) -> Image | None:
    kind = head[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    elif kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", head[26:30]))
    else:
        return None
    return Image("image/webp", width, height)


def _jpeg(file: BinaryIO) -> Image | None:
    """The size is in the frame header, behind segments of any kind and length (T.81, annex B)."""
    file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        kind = marker[1]
        if kind == 0xFF:  # fill bytes
            file.seek(-1, 1)
            continue
        segment = file.read(7)
        if len(segment) < 7 or kind in (0xD8, 0xD9, 0xDA):
            return None
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", segment[3:7])
            return Image("image/jpeg", width, height)
        length = int.from_bytes(segment[:2], "big")
        if length < 2:
            return None
        file.seek(length - 7, 1)
    return None


def declared_type(value: str) -> str:
    """What a client says that a download is, for people to see: a type without parameters, and no image
    that would be shown in place (that is the content's to say)."""
    kind = value.partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) and kind not in SAFE_TYPES else UNKNOWN
