"""What the kernel says of the server's process: memory and processor time. Linux only; None elsewhere."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def process_stats(pid: int) -> dict[str, float] | None:
    """``rss_bytes``, ``cpu_s`` (user and system, all threads) and open ``descriptors`` of process ``pid``."""
    try:
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # another user's
        descriptors = -1
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    # The name in parentheses may hold spaces; user and system time are fields 14 and 15 of the line.
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    found: dict[str, float] = {"rss_bytes": pages * _PAGE_BYTES, "cpu_s": ticks / _TICKS_PER_S}
    return found if descriptors < 0 else found | {"descriptors": descriptors}
