"""Files over HTTP: taking them in, and handing them out.

Owns who may upload, how much and how fast, and the answers. `trio_chat.front.body` reads a body,
`trio_chat.front.delivery` makes the head of a download, `trio_chat.files` keeps the files; `trio_chat.door`
has read the request's head and writes the answers.
"""

import logging
import re

import msgspec
import trio

from .chat.guests import Guests
from .chat.schema import File, file_name
from .config import Config
from .files import limits
from .files.content import SAFE_TYPES
from .files.store import FileStore, StoreFailed, StoreFull, Upload
from .front.body import BodyReader, announced_size
from .front.delivery import Delivery, deliver
from .front.head import BadRequest, HeaderPairs, RequestHead, Response, text_response
from .front.places import Places
from .front.upgrade import Reject, UpgradeRequest, allow_origins
from .metrics import Counts
from .wire.connection import Label
from .wire.transport import Transport

access = logging.getLogger("trio_chat.access")

UPLOADS = "/files"
_FILE = re.compile(r"/files/([0-9a-f]{64})/([^/]+)")
PREFLIGHT: HeaderPairs = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
    ("Access-Control-Max-Age", "600"),
)
"""What a page of another origin is told before it uploads (Fetch, "CORS-preflight request")."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RETRY = (("Retry-After", "5"),)
_BEARER = "bearer "
_STOPPING = text_response(503, "this server is stopping", (("Retry-After", "1"),))


def is_files(path: str) -> bool:
    """Whether requests for this path are answered here."""
    return path == UPLOADS or path.startswith(f"{UPLOADS}/")


class FileRoutes:
    """See the module."""

    def __init__(self, config: Config, store: FileStore, guests: Guests, counts: Counts) -> None:
        self._counts = counts
        self._config = config
        self._store = store
        self._guests = guests
        self._uploads = Places(
            limits.MAX_UPLOADS,
            limits.MAX_UPLOADS_PER_CLIENT,
            per_second=limits.UPLOADS_PER_SECOND,
            burst_seconds=limits.UPLOAD_BURST / limits.UPLOADS_PER_SECOND,
            names=("uploads", "uploads at once"),
        )
        self._downloading = 0
        self._of_listed_origin = allow_origins(*config.origin, strict=True)

    async def shared_with(self, head: RequestHead) -> HeaderPairs:
        """What lets a page of another origin see the answer, if the settings name its origin. There are no
        credentials in it: a page has to know a session or a file's address."""
        if not self._config.origin:
            return ()
        vary = (("Vary", "Origin"),)
        origin = head.headers.get("origin")
        answer = await self._of_listed_origin(UpgradeRequest(path=head.path, headers=head.headers))
        if origin is None or isinstance(answer, Reject):
            return vary
        return (*vary, ("Access-Control-Allow-Origin", origin))

    # --- in --------------------------------------------------------------------------------------------

    async def take_in(
        self, head: RequestHead, rest: bytes, transport: Transport, label: Label, *, closing: bool
    ) -> Response:
        """The answer to a POST of `UPLOADS`, whose body is read here; ``rest`` is what came with the head.

        Raises `BadRequest`, `trio.BrokenResourceError`.
        """
        if closing:
            return _STOPPING
        if not self._config.max_file:
            raise BadRequest(403, "uploads are turned off (max_file)")
        user = self._guests.holder(_bearer(head))
        if user is None:
            raise BadRequest(
                401, "Authorization: Bearer and the session of a welcome", (("WWW-Authenticate", "Bearer"),)
            )
        label.user = user.name
        try:
            name = file_name(head.query.get("name", ""))
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
        size = announced_size(head)
        self._check_size(size or 1)
        refusal = self._uploads.take(label.client, trio.current_time())
        if refusal is not None:
            return refusal.response()
        try:
            file = await self._receive(head, rest, transport, name, size)
        except StoreFull as error:
            return text_response(507, str(error))
        except StoreFailed as error:
            return text_response(503, f"files can't be stored now: {error}", _RETRY)
        finally:
            self._uploads.free(label.client)
        self._counts.uploads += 1
        self._counts.uploaded_bytes += file.size
        access.info("uploaded: %d bytes, %s", file.size, file.hash, extra=label.fields())
        headers = (("Content-Type", "application/json"), ("Location", file.url))
        return Response(201, headers, msgspec.json.encode(file) + b"\n")

    def _check_size(self, size: int) -> None:
        if size > self._config.max_file:
            raise BadRequest(413, f"a file has at most {self._config.max_file} bytes")

    async def _receive(
        self, head: RequestHead, rest: bytes, transport: Transport, name: str, size: int | None
    ) -> File:
        most = self._config.max_file if size is None else size
        seconds = limits.UPLOAD_SECONDS + most / limits.MIN_UPLOAD_BYTES_PER_SECOND
        async with self._store.receiving(most) as upload:
            with trio.move_on_after(seconds):
                if head.headers.get("expect", "").lower() == "100-continue" and not rest:
                    await _write(transport, _CONTINUE)
                if await self._copy(BodyReader(head), rest, transport, upload):
                    if not upload.size:
                        raise BadRequest(400, "the file is empty")
                    with trio.CancelScope(shield=True):
                        return await upload.finish(name, head.headers.get("content-type", ""))
        raise BadRequest(408, "the upload took too long")

    async def _copy(self, body: BodyReader, data: bytes, transport: Transport, upload: Upload) -> bool:
        """Store the body; False if it stops coming."""
        waiting = bytearray(body.feed(data)) if data else bytearray()
        while not body.done:
            if len(waiting) >= limits.CHUNK_BYTES:
                await upload.write(bytes(waiting))
                waiting.clear()
            with trio.move_on_after(limits.UPLOAD_SILENCE_SECONDS) as silence:
                data = await transport.receive()
            if silence.cancelled_caught:
                return False
            waiting += body.feed(data)
            self._check_size(upload.size + len(waiting))
        if waiting:
            self._check_size(upload.size + len(waiting))
            await upload.write(bytes(waiting))
        return True

    # --- out -------------------------------------------------------------------------------------------

    async def delivery(self, head: RequestHead) -> tuple[Delivery, str]:
        """The answer to a GET or HEAD of a file, and its hash. Raises `BadRequest`."""
        match = _FILE.fullmatch(head.path)
        if match is None:
            raise BadRequest(404, "there is nothing here: /files/HASH/NAME is a file")
        digest, name = match.groups()
        try:
            name = file_name(name)
            file = await self._store.find(digest)
        except ValueError as error:
            raise BadRequest(404, str(error)) from None
        except StoreFailed as error:
            raise BadRequest(503, f"files can't be read now: {error}", _RETRY) from None
        if file is None:
            raise BadRequest(404, "there is no such file")
        found = deliver(
            head.headers,
            digest=digest,
            name=name,
            size=file.size,
            safe_type=file.type if file.type in SAFE_TYPES else None,
            shared=bool(self._config.origin),
        )
        return found, digest

    async def send(self, digest: str, found: Delivery, transport: Transport, start: bytes) -> None:
        """Write the answer's ``start`` (its head) and the file's bytes.

        Raises `BadRequest` as long as nothing is written, then `trio.BrokenResourceError`, also for a client
        that reads too slowly.
        """
        if self._downloading >= limits.MAX_DOWNLOADS:
            raise BadRequest(503, "too many files are being downloaded", _RETRY)
        self._downloading += 1
        begun = False
        try:
            async with self._store.reading(digest, found.start, found.stop) as file:
                begun = True
                self._counts.downloads += 1
                await _write(transport, start)
                while chunk := await file.read():
                    await _write(transport, chunk)
        except (FileNotFoundError, StoreFailed, StoreFull) as error:
            self._store.forget(digest)
            if begun:
                raise trio.BrokenResourceError from error
            raise BadRequest(404, "there is no such file") from None
        finally:
            self._downloading -= 1


async def _write(transport: Transport, data: bytes) -> None:
    view = memoryview(data)
    with trio.move_on_after(limits.DOWNLOAD_STALL_SECONDS) as stalled:
        while view:
            view = view[await transport.send_some(view) :]
    if stalled.cancelled_caught:
        raise trio.BrokenResourceError("the client reads too slowly")


def _bearer(head: RequestHead) -> str:
    value = head.headers.get("authorization", "").strip()
    return value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else ""
