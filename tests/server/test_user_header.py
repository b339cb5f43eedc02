"""A trusted proxy's word about who the user is: believed from it, and from nobody else."""

import pytest

import trio_chat

from .peers import Refused, ask, connected, serving

NAME = "X-Remote-User"


@pytest.mark.parametrize(
    ("sent", "user"),
    [
        ("ann", {"id": "ann", "name": "ann"}),
        (" ann@example.org ", {"id": "ann@example.org", "name": "ann@example.org"}),
        ("Zo\u00c3\u00ab", {"id": "Zo\u00eb", "name": "Zo\u00eb"}),  # UTF-8, as a header's bytes are read
        ("x" * 50, {"id": "x" * 50, "name": "x" * 31 + "…"}),
    ],
)
async def test_a_trusted_proxy_names_the_user(sent: str, user: dict[str, str]) -> None:
    """The header's text is the id, and the name as far as a name goes."""
    async with (
        serving(user_header=NAME, trusted_proxy=("127.0.0.1",)) as server,
        connected(server, "/ws?name=other", {NAME: sent}) as peer,
    ):
        assert (await peer.join())["user"] == user


async def test_from_anybody_else_it_is_not_there() -> None:
    """Neither for the server nor for the embedding program's handler."""
    seen: list[str | None] = []

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        seen.append(request.headers.get(NAME))
        return trio_chat.Accept()

    async with serving(user_header=NAME, trusted_proxy=("10.0.0.0/8",), upgrade=upgrade) as server:
        for name in (NAME, NAME.lower()):
            async with connected(server, "/ws?name=eve", {name: "admin"}) as peer:
                assert (await peer.join())["user"]["name"] == "eve"
    assert seen == [None, None]


async def test_two_of_them_are_refused() -> None:
    """One of them is what the client sent, and the proxy let it pass."""
    async with serving(user_header=NAME, trusted_proxy=("127.0.0.1",)) as server:
        with pytest.raises(Refused) as refused:
            async with connected(server, "/ws", [(NAME, "eve"), (NAME, "ann")]):
                pass
        assert refused.value.answer.status == 400
        assert refused.value.answer.text == "X-Remote-User: once, not 2 times"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("guest-1", "id: begins with guest-, as only guests' do"),
        ("\xff\xfe", "can't decode byte"),
        ("a\u00e2\u0080\u00aeb", "id: 1 to 128 printable characters"),
    ],
)
async def test_what_is_no_user_is_refused(sent: str, reason: str) -> None:
    """With the reason: it is the proxy that must be put right."""
    async with serving(user_header=NAME, trusted_proxy=("127.0.0.1",)) as server:
        with pytest.raises(Refused) as refused:
            async with connected(server, "/ws", {NAME: sent}):
                pass
        assert refused.value.answer.status == 400
        assert reason in refused.value.answer.text


async def test_without_it_a_client_is_a_guest_or_refused() -> None:
    """As the setting says."""
    nobody: list[dict[str, str | None]] = [{}, {NAME: " "}]
    async with serving(user_header=NAME, trusted_proxy=("127.0.0.1",)) as server:
        for sent in nobody:
            async with connected(server, "/ws?name=gus", sent) as peer:
                assert (await peer.join())["user"]["id"].startswith("guest-")
    async with serving(user_header=NAME, trusted_proxy=("127.0.0.1",), guests=False) as server:
        for sent in nobody:
            async with connected(server, "/ws", sent) as peer:
                assert await peer.closed() == (4501, "sign in first")
        assert (await ask(server, "/readyz")).status == 200
