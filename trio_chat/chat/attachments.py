"""The files that messages carry: found by their hash, before the message is stored.

Owns what the chat needs of whoever keeps files, and nothing of how they come and go.
"""

from collections.abc import Sequence
from typing import Protocol

from .refusal import Refusal
from .schema import File

RETRY_SECONDS = 5.0


class Files(Protocol):
    """Whoever keeps files."""

    def known(self, digest: str) -> File | None:
        """The file of this hash, if that is known without looking."""
        ...

    async def find(self, digest: str) -> File | None:
        """The file of this hash, which is `known` from then on for a while; None: there is none. Raises
        `OSError`."""
        ...


class NoFiles:
    """There are none."""

    def known(self, digest: str) -> File | None:
        """None."""
        return None

    async def find(self, digest: str) -> File | None:
        """None."""
        return None


async def look_up(files: Files, digests: Sequence[str]) -> None:
    """Have those of the files that are there `known`. Raises `Refusal`."""
    try:
        for digest in digests:
            await files.find(digest)
    except OSError as error:
        message = f"the files can't be read: {error}"
        raise Refusal("unavailable", message, retry_after=RETRY_SECONDS) from None


def known(files: Files, digests: Sequence[str]) -> list[File]:
    """The files of these hashes, which were looked up. Raises `Refusal`."""
    found = []
    for digest in digests:
        file = files.known(digest)
        if file is None:
            raise Refusal("not_found", f"files: there is no file {digest}; upload it first")
        found.append(file)
    return found
