"""The limits on files that are not settings; those are `max_file` and `file_quota` in `trio_chat.config`."""

from typing import Final

CHUNK_BYTES: Final = 64 * 1024
"""What of one file is in memory at a time, on its way in or out."""
MAX_UPLOADS: Final = 64
"""Uploads at once: some 8 MB of memory, and as many files being written."""
MAX_UPLOADS_PER_CLIENT: Final = 4
"""Uploads at once from one client address (an IPv6 /64 counts as one)."""
UPLOADS_PER_SECOND: Final = 0.5
"""Uploads per second from one client address, after the first `UPLOAD_BURST`: nobody shares more by hand."""
UPLOAD_BURST: Final = 30
UPLOAD_SILENCE_SECONDS: Final = 10.0
"""How long an upload may bring nothing."""
UPLOAD_SECONDS: Final = 30.0
MIN_UPLOAD_BYTES_PER_SECOND: Final = 16 * 1024
"""An upload may take `UPLOAD_SECONDS`, and the time that its size takes at this rate, a slow phone's."""
MAX_DOWNLOADS: Final = 512
"""Downloads at once: some 32 MB while they all wait for slow readers."""
DOWNLOAD_STALL_SECONDS: Final = 20.0
"""How long `CHUNK_BYTES` of a download may take to be written."""
MAX_PIXELS: Final = 100_000_000
"""Of an image that is shown in place: a small file can describe one that fills a browser's memory. Beyond it
there is a download."""
MAX_KNOWN: Final = 1024
"""Descriptions of files kept in memory, those last asked for: some 500 KB."""
