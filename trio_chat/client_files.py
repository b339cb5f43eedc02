"""Sending a file to a chat server: one POST over a stream of its own.

Owns the request and what its answer means. Refuses to know connections' ends and beginnings beyond that one:
`trio_chat.client` says where, who, and whether to try again.
"""

import errno
import mimetypes
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from urllib.parse import quote

import attrs
import h11
import msgspec
import trio

from .chat import schema
from .client_link import Address, Ended
from .client_room import ChatError

_CHUNK_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 64 * 1024
_STALL_SECONDS = 60.0
"""How long nothing may be taken or answered: twice what the server grants."""
_CODES = {400: "bad_request", 401: "bad_token", 403: "forbidden", 413: "too_big", 507: "full"}
"""The protocol's word for a status; others count as ``refused``."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
Source = bytes | str | os.PathLike[str]


@attrs.frozen
class Parcel:
    """What is to be sent: bytes, or a file, of which ``size`` bytes are read."""

    content: bytes | trio.Path
    name: str
    type: str
    size: int

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The content, piece by piece. Raises `OSError`, also for a file that has become shorter."""
        if isinstance(self.content, bytes):
            for at in range(0, self.size, _CHUNK_BYTES):
                yield self.content[at : at + _CHUNK_BYTES]
            return
        left = self.size
        async with await self.content.open("rb") as file:
            while left:
                chunk = await file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise OSError(errno.EIO, "the file has become shorter", str(self.content))
                left -= len(chunk)
                yield chunk


async def parcel(source: Source, name: str | None) -> Parcel:
    """What ``source`` is: content, or the path of a file. Raises `OSError`, `ValueError` for the name."""
    if isinstance(source, bytes):
        if name is None:
            raise ValueError("name: bytes need one")
        content: bytes | trio.Path = source
        size = len(source)
    else:
        content = trio.Path(source)
        name = content.name if name is None else name
        size = (await content.stat()).st_size
        if not await content.is_file():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(content))
    name = schema.file_name(name)
    return Parcel(content, name, mimetypes.guess_type(name)[0] or "application/octet-stream", size)


async def send(stream: trio.abc.Stream, address: Address, session: str, sent: Parcel) -> schema.File:
    """POST it over ``stream``, and return what the server makes of it.

    Raises `ChatError` for a refusal, `Ended` where trying again may help, `OSError` for a file that can't be
    read.
    """
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="POST",
        target=f"/files?name={quote(sent.name, safe='')}",
        headers=[
            ("Host", address.authority),
            ("Authorization", f"Bearer {session}"),
            ("Content-Type", sent.type),
            ("Content-Length", str(sent.size)),
        ],
    )
    head = connection.send(request)
    assert head is not None
    unreadable: OSError | None = None
    answer: tuple[h11.Response, bytes] | Ended = Ended("the server takes nothing of the file")
    with trio.CancelScope(deadline=trio.current_time() + _STALL_SECONDS) as patience:

        async def write() -> None:
            nonlocal unreadable
            # A server that refuses hangs up: its answer may be there even so.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(head)
                try:
                    async with aclosing(sent.chunks()) as chunks:
                        async for chunk in chunks:
                            await stream.send_all(connection.send(h11.Data(chunk)) or b"")
                            patience.deadline = trio.current_time() + _STALL_SECONDS
                except OSError as error:
                    unreadable = error
                    patience.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            try:
                answer = await _answer(stream, connection)
            except Ended as ended:
                answer = ended
            nursery.cancel_scope.cancel()
    if unreadable is not None:
        raise unreadable
    if isinstance(answer, Ended):
        raise answer
    return _verdict(*answer)


async def _answer(stream: trio.abc.Stream, connection: h11.Connection) -> tuple[h11.Response, bytes]:
    """The response and its body. Raises `Ended`."""
    answer: h11.Response | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some()))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data) and len(body) < _MAX_ANSWER_BYTES:
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and answer is not None:
                return answer, body
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise Ended("the server hung up without an answer")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise Ended("the connection was lost while the file was on its way") from None
    except h11.RemoteProtocolError:
        raise Ended("there is no chat server there") from None


def _verdict(answer: h11.Response, body: bytes) -> schema.File:
    if answer.status_code == 201:
        try:
            return msgspec.json.decode(body, type=schema.File)
        except msgspec.MsgspecError:
            raise Ended("the server's answer to a file is none") from None
    text = body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
    reason = text or f"the server answered {answer.status_code}"
    if answer.status_code in _PASSING:
        after = dict(answer.headers).get(b"retry-after", b"")
        raise Ended(reason, retry_after=float(after) if after.isdigit() else None)
    raise ChatError(_CODES.get(answer.status_code, "refused"), reason)
