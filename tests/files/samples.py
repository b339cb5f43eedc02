"""Small files of each kind, made here."""

import struct
import zlib


def png(width: int = 3, height: int = 2) -> bytes:
    """A PNG with this size, the rest as it must be."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * min(width, 64) for _ in range(min(height, 64)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def gif(width: int = 3, height: int = 2, version: bytes = b"GIF89a") -> bytes:
    """A GIF of one colour."""
    return (
        version + struct.pack("<HH", width, height) + b"\x80\0\0\xff\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    )


def jpeg(width: int = 3, height: int = 2, before: bytes = b"", marker: int = 0xC0) -> bytes:
    """The segments of a JPEG up to its frame header, which is all that is read."""
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    frame = bytes((0xFF, marker)) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return start + before + frame + b"\xff\xda\0\0\xff\xd9"


def segment(marker: int, data: bytes) -> bytes:
    """Any segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def webp(kind: bytes, rest: bytes) -> bytes:
    """The beginning of a WebP."""
    body = b"WEBP" + kind + struct.pack("<I", len(rest)) + rest
    return b"RIFF" + struct.pack("<I", len(body)) + body


WEBP_LOSSY = webp(b"VP8 ", b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", 3, 2) + b"\0" * 8)
WEBP_LOSSLESS = webp(b"VP8L", b"\x2f" + struct.pack("<I", 2 | 1 << 14) + b"\0" * 8)
WEBP_EXTENDED = webp(b"VP8X", b"\0\0\0\0" + (2).to_bytes(3, "little") + (1).to_bytes(3, "little") + b"\0" * 8)

SAFE = {
    "png": (png(), "image/png"),
    "gif": (gif(), "image/gif"),
    "gif 87": (gif(version=b"GIF87a"), "image/gif"),
    "jpeg": (jpeg(), "image/jpeg"),
    "jpeg with segments": (
        jpeg(before=segment(0xE1, b"x" * 60_000) + segment(0xDB, b"y" * 65)),
        "image/jpeg",
    ),
    "jpeg with fill bytes": (jpeg(before=b"\xff\xff\xff" + segment(0xE2, b"z")), "image/jpeg"),
    "progressive jpeg": (jpeg(marker=0xC2), "image/jpeg"),
    "lossy webp": (WEBP_LOSSY, "image/webp"),
    "lossless webp": (WEBP_LOSSLESS, "image/webp"),
    "extended webp": (WEBP_EXTENDED, "image/webp"),
}
"""What may be shown in place, each 3 pixels wide and 2 high."""

SCRIPT = b"<script>alert(1)</script>"
HOSTILE = {
    "html": (b"<!doctype html>" + SCRIPT, "page.html", "text/html"),
    "html that says it is an image": (SCRIPT, "photo.png", "image/png"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "x.svg", "image/svg+xml"),
    "xhtml": (
        b'<html xmlns="http://www.w3.org/1999/xhtml"><script/></html>',
        "x.xhtml",
        "application/xhtml+xml",
    ),
    "javascript": (b"alert(1)", "x.js", "text/javascript"),
    "css": (b"body{background:url(//evil.example)}", "x.css", "text/css"),
    "xml": (b'<?xml version="1.0"?><?xml-stylesheet href="x"?>', "x.xml", "text/xml"),
    "pdf": (b"%PDF-1.7 /JavaScript", "x.pdf", "application/pdf"),
    "bmp": (b"BM" + b"\0" * 60, "x.bmp", "image/bmp"),
    "an icon": (b"\0\0\1\0\1\0", "x.ico", "image/x-icon"),
    "the first bytes of a PNG": (b"\x89PNG\r\n\x1a\n" + SCRIPT, "x.png", "image/png"),
    "a GIF without a size": (b"GIF89a\0\0\0\0" + SCRIPT, "x.gif", "image/gif"),
    "a JPEG without a frame": (b"\xff\xd8\xff\xe0" + SCRIPT, "x.jpg", "image/jpeg"),
    "half a WebP": (b"RIFF\0\0\0\0WEBPVP8 ", "x.webp", "image/webp"),
    "an image of too many pixels": (png(20_000, 20_000), "x.png", "image/png"),
    "one byte": (b"<", "x", "text/html"),
}
"""What must never be served as what it is, or says it is: content, name, declared type."""
