"""What a client of the chat says, mostly right: request heads, operations, whole sessions as bytes.

Everything comes from the `random.Random` that is handed in.
"""

import json
import random
from typing import Any, get_args

import msgspec

from trio_chat.chat import schema

from .streams import FIN, TEXT, client_frame, close, control

PATHS = (
    "/ws", "/ws?name=ann", "/ws?name=ann&room=lobby&last=20", "/ws?room=a&room=b&room=c",
    "/relay/fuzz", "/relay/fuzz?echo=0", "/echo",
)  # fmt: skip
DEFLATE = "permessage-deflate; client_max_window_bits"
ROOMS = ("lobby", "lobby", "a", "b", "küche", "x" * 64, "", "no/room", "\u202e")
_WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 53, 1 << 70, 1e308, 0.5, "", "x" * 5000, "\x00", "\u202e", [], [[]], {},
    {"op": "say"},
)  # fmt: skip
_OPERATIONS = [msgspec.structs.fields(kind) for kind in get_args(schema.ClientOp)]
_TAGS = [kind.__struct_config__.tag for kind in get_args(schema.ClientOp)]
_PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "room": ROOMS,
    "text": ("hello", "@ann @all", "*", '"a" OR b*', "x" * 4000, ""),
    "user": ("guest-0000000000000001", "ann", "nobody", ""),
    "emoji": ("\N{THUMBS UP SIGN}", "\N{THUMBS UP SIGN}" * 40, "a", ""),
    "kind": ("public", "private", "direct", "odd"),
    "role": ("owner", "moderator", "member", "none", "god"),
    "files": ([], ["0" * 64], ["x"] * 30),
    "name": ("ann", "bob", "x" * 40, ""),
}
"""What stands in a field of this name; in others a number or a truth."""
_HEADERS = (
    "Origin: http://evil.example", "Cookie: a=b; c", "X-Forwarded-For: 1.2.3.4", "Forwarded: for=_x",
    "Sec-WebSocket-Protocol: trio-chat.v1, x", "Sec-WebSocket-Extensions: permessage-deflate; x",
    "Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c",
    "X: " + "y" * 9000,
)  # fmt: skip


def head(rng: random.Random, path: str, *, deflate: bool = False) -> bytes:
    """A request that becomes a WebSocket."""
    key = "".join(rng.choices("ABCDEFGHabcdefgh0123", k=21)) + "A=="
    lines = [
        f"GET {path} HTTP/1.1", "Host: chat.test", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
    ]  # fmt: skip
    if deflate:
        lines.append(f"Sec-WebSocket-Extensions: {DEFLATE}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def odd_head(rng: random.Random) -> bytes:
    """A request head with a few oddities in it, allowed or not."""
    lines = head(rng, rng.choice(PATHS), deflate=rng.random() < 0.5).decode().split("\r\n")[:-2]
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                lines.insert(at + 1, rng.choice(_HEADERS))
            case 1 if len(lines) > 1:
                del lines[at]
            case 2:
                lines[at] = lines[at].swapcase()
            case 3:
                lines.insert(at, lines[at])
            case 4:
                lines[at] = lines[at].replace(" ", rng.choice(("\t", "", "  ", "\r\n ", "\x00", "é")), 1)
            case _:
                lines[0] = rng.choice((
                    "GET / HTTP/1.0", "POST /ws HTTP/1.1", "GET /../etc HTTP/1.1", "GET * HTTP/1.1",
                    "GET http://x/ws HTTP/1.1", "PRI * HTTP/2.0", "GET /static/%2e%2e/x HTTP/1.1", "G" * 9000,
                ))  # fmt: skip
    ending = rng.choice(("\r\n", "\r\n", "\r\n", "\n"))
    return (ending.join(lines) + ending * 2).encode("latin-1", "replace")


def any_operation(rng: random.Random) -> dict[str, Any]:
    """One of all the operations that the protocol has, with plausible values."""
    index = rng.randrange(len(_OPERATIONS))
    one: dict[str, Any] = {"op": _TAGS[index]}
    for field in _OPERATIONS[index]:
        if field.required or rng.random() < 0.5:
            some = _PLAUSIBLE.get(field.name, (0, 1, 3, 60, -1, 0.5, True, False, f"{rng.random()}"))
            one[field.encode_name] = rng.choice(some)
    return one


def operation(rng: random.Random) -> dict[str, Any]:
    """One operation of the chat, valid or nearly so."""
    room = rng.choice(ROOMS)
    one: dict[str, Any] = rng.choice((
        any_operation(rng), any_operation(rng), any_operation(rng), any_operation(rng),
        {"op": "hello", "name": rng.choice(("ann", "bob", "x" * 40, ""))},
        {"op": "join", "room": room, "last": rng.randint(-1, 60)},
        {"op": "join", "room": room, "since": rng.choice((0, 1, 5, 1 << 40)), "epoch": "x"},
        {"op": "leave", "room": room},
        {"op": "say", "room": room, "text": "x" * rng.choice((0, 1, 100, 4000)), "id": f"{rng.random()}"},
        {"op": "say", "room": "lobby", "text": "hello", "reply_to": rng.randint(0, 9)},
        {"op": "history", "room": room, "limit": rng.randint(0, 300)},
        {"op": "ping", "id": rng.choice(("1", "x" * 70))},
        {"op": rng.choice(("", "nope", "say\x00"))},
    ))  # fmt: skip
    if rng.random() < 0.3:
        one[rng.choice([*one, "extra", "id"])] = rng.choice(_WRONG)
    return one


def said(rng: random.Random, one: dict[str, Any]) -> bytes:
    """An operation as JSON text, now and then not quite."""
    text = json.dumps(one, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = rng.choice(
            (text[:at], text[:at] + "\\" + text[at:], text + text, "[" * 2000, "nul", text.replace('"', "'"))
        )
    return text.encode("utf-8", "surrogatepass")


def chat(rng: random.Random) -> list[bytes]:
    """The frames of one chat session, in the order of its life; ended by a close frame or not."""
    frames = [client_frame(rng, FIN | TEXT, said(rng, {"op": "join", "room": "lobby"}))]
    for _ in range(rng.randint(1, 25)):
        if rng.random() < 0.1:
            frames.append(control(rng))
        payload = said(rng, operation(rng))
        if rng.random() < 0.2:
            middle = rng.randrange(len(payload) + 1)
            frames += [client_frame(rng, TEXT, payload[:middle]), client_frame(rng, FIN, payload[middle:])]
        else:
            frames.append(client_frame(rng, FIN | TEXT, payload))
    if rng.random() < 0.5:
        frames.append(close(rng))
    return frames
