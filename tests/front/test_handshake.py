"""The opening handshake: what is accepted, what is said about the rest, and that libraries take what is made
of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from trio_chat.front.handshake import Handshake, check_handshake, synthetic_head, wants_websocket
from trio_chat.front.head import BadRequest, Headers, RequestHead, encode_response

from .feeding import BROWSER, every_way, head_of, read_whole

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def changed(start: str = "GET /ws HTTP/1.1", **changes: str | None) -> RequestHead:
    """A good handshake with some headers changed or, where None, left out."""
    fields = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    return head_of(*(f"{name}: {value}" for name, value in fields.items() if value is not None), start=start)


def test_a_browsers_handshake_is_read_however_it_arrives() -> None:
    """Key, subprotocols in order, and extensions as sent."""
    for head, _, _ in every_way(BROWSER):
        assert head is not None
        assert check_handshake(head) == Handshake(
            KEY, ("trio-chat.v1", "other"), "permessage-deflate; client_max_window_bits"
        )


@pytest.mark.parametrize(
    ("changes", "subprotocols"),
    [
        ({}, ()),
        ({"Connection": "keep-alive, UPGRADE"}, ()),
        ({"Connection": "upgrade,keep-alive"}, ()),
        ({"Upgrade": "WebSocket"}, ()),
        ({"Upgrade": "h2c, websocket"}, ()),
        ({"Sec_WebSocket_Protocol": "a , b,,a"}, ("a", "b")),
        ({"Sec_WebSocket_Protocol": ""}, ()),
        ({"Sec_WebSocket_Key": "/+/+/+/+/+/+/+/+/+/+/B=="}, ()),
    ],
)
def test_every_lawful_spelling_is_accepted(changes: dict[str, str], subprotocols: tuple[str, ...]) -> None:
    """Lists, whatever their case and order; RFC 6455 section 4.2.1."""
    head = changed(**changes)
    assert wants_websocket(head)
    handshake = check_handshake(head)
    assert handshake.subprotocols == subprotocols
    assert handshake.extensions == ""


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"Upgrade": None}, 426, "Upgrade: websocket is missing"),
        ({"Upgrade": "h2c"}, 426, "Upgrade: websocket is missing"),
        ({"Upgrade": "websockets"}, 426, "Upgrade: websocket is missing"),
        ({"Connection": None}, 426, "Connection: Upgrade is missing"),
        ({"Connection": "keep-alive"}, 426, "Connection: Upgrade is missing"),
        ({"Sec_WebSocket_Version": None}, 426, "Sec-WebSocket-Version is missing"),
        ({"Sec_WebSocket_Version": "8"}, 426, "Sec-WebSocket-Version is not spoken here: 13 is"),
        ({"Sec_WebSocket_Version": "13, 13"}, 426, "Sec-WebSocket-Version"),
        ({"start": "POST /ws HTTP/1.1"}, 400, "is a GET, not a POST"),
        ({"start": f"{'A' * 300} /ws HTTP/1.1"}, 400, "AAA..."),
        ({"start": "GET /ws HTTP/1.0"}, 400, "needs HTTP/1.1, not HTTP/1.0"),
        ({"Host": ""}, 400, "Host is missing"),
        ({"Sec_WebSocket_Key": None}, 400, "Sec-WebSocket-Key is missing"),
        ({"Sec_WebSocket_Key": ""}, 400, "Sec-WebSocket-Key must be"),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j"}, 400, "Sec-WebSocket-Key must be"),
        ({"Sec_WebSocket_Key": f"{KEY}{KEY}"}, 400, "Sec-WebSocket-Key must be"),
        ({"Sec_WebSocket_Key": f"{KEY}, {KEY}"}, 400, "Sec-WebSocket-Key must be"),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZ!=="}, 400, "Sec-WebSocket-Key must be"),
        ({"Sec_WebSocket_Protocol": "a b"}, 400, "Sec-WebSocket-Protocol must be"),
        ({"Sec_WebSocket_Protocol": 'a, "b"'}, 400, "Sec-WebSocket-Protocol must be"),
    ],
)
def test_a_bad_handshake_is_told_which_header(
    changes: dict[str, str | None], status: int, sentence: str
) -> None:
    """426 names the protocol and version spoken here (RFC 6455 section 4.4), 400 what is wrong."""
    with pytest.raises(BadRequest) as caught:
        check_handshake(changed(**changes))  # type: ignore[arg-type]
    assert caught.value.status == status
    assert sentence in str(caught.value)
    answer = encode_response(caught.value.response())
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    for line in (b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Connection: close, upgrade"):
        assert (b"\r\n%s\r\n" % line in answer) == (status == 426)


def test_a_plain_request_wants_no_websocket() -> None:
    """A page that is fetched isn't an upgrade."""
    assert not wants_websocket(head_of("Host: x", start="GET / HTTP/1.1"))


@given(
    key=st.from_regex(r"[A-Za-z0-9+/]{22}==", fullmatch=True),
    subprotocols=st.lists(
        st.from_regex(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+", fullmatch=True), unique=True, max_size=4
    ),
    choice=st.integers(0, 4),
)
def test_wsproto_accepts_the_synthetic_head(key: str, subprotocols: list[str], choice: int) -> None:
    """It finds the same subprotocols, and answers the client's key."""
    head = synthetic_head(Handshake(key, tuple(subprotocols), "permessage-deflate"))
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(head)
    (event,) = server.events()
    assert isinstance(event, Request)
    assert event.subprotocols == subprotocols
    assert event.extensions == []
    chosen = subprotocols[choice] if choice < len(subprotocols) else None
    answer = server.send(AcceptConnection(subprotocol=chosen))
    assert answer.startswith(b"HTTP/1.1 101 ")


def test_the_answer_to_the_synthetic_head_is_the_one_of_the_rfc() -> None:
    """The worked example of RFC 6455 section 1.3."""
    head, _ = read_whole(BROWSER)
    assert head is not None
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(synthetic_head(check_handshake(head)))
    list(server.events())
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in server.send(AcceptConnection())


def test_the_synthetic_head_passes_the_check_itself() -> None:
    """It is a good handshake, of less than 160 bytes."""
    data = synthetic_head(Handshake(KEY))
    assert len(data) < 160
    head, rest = read_whole(data)
    assert head is not None
    assert check_handshake(head) == Handshake(KEY)
    assert rest == b""


def test_headers_made_by_hand_are_checked_alike() -> None:
    """A head without Host, which the reader would not have let through, is refused here too."""
    with pytest.raises(BadRequest, match="Host is missing"):
        check_handshake(
            RequestHead(
                method="GET",
                target="/",
                path="/",
                raw_query="",
                headers=Headers({name: value for name, value in GOOD.items() if name != "Host"}),
            )
        )
