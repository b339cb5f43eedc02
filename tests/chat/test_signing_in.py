"""Signing in on the chat endpoint: tokens in ``hello`` and in the upgrade request, their end, and guests."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import trio
import trio_websocket

import trio_chat
from trio_chat.chat import schema
from trio_chat.chat.limits import NAME_RESERVED_SECONDS
from trio_chat.testing import MemoryServer, open_memory_server

from .issuer import ISSUERS, NOW
from .talk import Client, client, config

HS = ISSUERS["HS256"]


@asynccontextmanager
async def serving(path: Path, **more: Any) -> AsyncIterator[MemoryServer]:
    """A server that takes the issuer's tokens; its time begins at `NOW`."""
    options = {name: more.pop(name) for name in ("upgrade", "endpoints") if name in more}
    settings = config(jwt_key=HS.key_file(path), **more)
    begun = trio.current_time()
    async with open_memory_server(
        settings, clock=lambda: NOW + trio.current_time() - begun, **options
    ) as server:
        yield server


@asynccontextmanager
async def user(server: MemoryServer, path: str = "/ws", **claims: Any) -> AsyncIterator[Client]:
    """Somebody who signs in by the first word; `u1`, called Ann, but for these claims."""
    async with client(server, path) as connected:
        reply = await connected.ask("hello", token=HS.token(claims))
        assert reply["op"] == "welcome", reply
        yield connected


async def test_a_token_signs_in(tmp_path: Path, autojump_clock: object) -> None:
    """The guest is that user from then on, also for those who see it in a room."""
    async with (
        serving(tmp_path) as server,
        client(server, "/ws?name=bob&room=lobby") as bob,
        client(server, "/ws?name=guest&room=lobby") as ann,
    ):
        await bob.quiet()
        reply = await ann.ask("hello", token=HS.token())
        assert reply["user"] == {"id": "u1", "name": "Ann"}
        told = [frame for frame in await bob.quiet() if frame["op"] == "presence"]
        assert [(frame["user"]["name"], frame["online"]) for frame in told] == [
            ("guest", False),
            ("Ann", True),
        ]
        await ann.say("hello")
        assert (await bob.until("message"))["user"] == {"id": "u1", "name": "Ann"}


async def test_a_bad_token_changes_nothing(tmp_path: Path, autojump_clock: object) -> None:
    """The guest is told why, and stays who it was."""
    async with serving(tmp_path) as server, client(server, "/ws?name=ann&room=lobby") as ann:
        reply = await ann.ask("hello", token=HS.token(exp=NOW - 1))
        assert (reply["code"], reply["message"]) == ("bad_token", "token: expired 1 seconds ago")
        assert (await ann.ask("hello"))["user"]["name"] == "ann"


async def test_a_server_without_keys_takes_no_token(autojump_clock: object) -> None:
    """It says so."""
    async with open_memory_server() as server, client(server) as ann:
        reply = await ann.ask("hello", token=HS.token())
        assert (reply["code"], reply["message"]) == (
            "bad_token",
            "token: this server signs nobody in by a token",
        )


async def test_the_connection_ends_with_the_token(tmp_path: Path, autojump_clock: object) -> None:
    """``bye`` says why, and 4501 that coming back is of no use; a guest beside it stays."""
    async with serving(tmp_path) as server, user(server) as ann, client(server) as guest:
        start = trio.current_time()
        assert await ann.closed() == (4501, "the sign-in has expired")
        assert 59 <= trio.current_time() - start <= 62
        assert ann.heard[-1] == {"op": "bye", "code": 4501, "reason": "the sign-in has expired"}
        assert (await guest.ask("ping"))["op"] == "pong"


async def test_a_new_token_of_the_same_user_goes_on(tmp_path: Path, autojump_clock: object) -> None:
    """The newest one counts, and its name too; another user's is refused."""
    async with serving(tmp_path) as server, user(server) as ann:
        await ann.join()
        await trio.sleep(30)
        reply = await ann.ask("hello", token=HS.token(exp=NOW + 120, name="Annie"))
        assert reply["user"] == {"id": "u1", "name": "Annie"}
        await trio.sleep(60)
        assert (await ann.ask("hello", token=HS.token(sub="u2", exp=NOW + 999)))["code"] == "bad_token"
        assert (await ann.ask("hello"))["user"] == {"id": "u1", "name": "Annie"}
        assert (await ann.closed())[0] == 4501
        assert 119 <= trio.current_time() <= 123


async def test_many_ends_at_once(tmp_path: Path, autojump_clock: object) -> None:
    """One sweep closes all whose time has come and none of the others; those gone before cost nothing."""
    async with serving(tmp_path) as server, trio.open_nursery() as nursery:
        ended: list[tuple[int, int]] = []

        async def be(number: int) -> None:
            async with user(server, sub=f"u{number}", exp=NOW + 20 + 10 * (number % 2)) as somebody:
                ended.append((number, (await somebody.closed())[0]))

        async with user(server):
            pass
        for number in range(40):
            nursery.start_soon(be, number)
        await trio.sleep(25)
        assert sorted(ended) == [(number, 4501) for number in range(0, 40, 2)]


# --- in the upgrade request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {"Authorization": "Bearer {}"}),
        ({}, {"Authorization": "bearer  {}"}),
        ({"jwt_header": "X-Token"}, {"X-Token": "{}"}),
        ({"jwt_header": "X-Token"}, {"X-Token": "Bearer {}"}),
        ({"jwt_cookie": "session"}, {"Cookie": "a=b; session={}"}),
    ],
)
async def test_a_token_in_the_upgrade_request(
    settings: dict[str, Any], headers: dict[str, str], tmp_path: Path, autojump_clock: object
) -> None:
    """In a header or a cookie: signed in from the first moment, and until the token ends."""
    sent = {name: value.format(HS.token()) for name, value in headers.items()}
    async with (
        serving(tmp_path, **settings) as server,
        client(server, "/ws?name=x&room=lobby", headers=sent) as ann,
    ):
        assert (await ann.next())["user"] == {"id": "u1", "name": "Ann"}
        assert (await ann.closed())[0] == 4501
        assert 59 <= trio.current_time() <= 62


async def test_a_bad_token_in_a_header_is_a_status(tmp_path: Path, autojump_clock: object) -> None:
    """401 with the reason, for programs."""
    async with serving(tmp_path) as server:
        with pytest.raises(trio_websocket.ConnectionRejected) as refused:
            async with client(server, headers={"Authorization": f"Bearer {HS.token(exp=NOW - 9)}"}):
                pass
        assert refused.value.status_code == 401
        assert (b"www-authenticate", b'Bearer error="invalid_token"') in [
            (name.lower(), value) for name, value in refused.value.headers
        ]


async def test_a_bad_token_in_a_cookie_is_visible(tmp_path: Path, autojump_clock: object) -> None:
    """A page sees no status: it gets ``bye`` and 4501, also where guests are welcome."""
    cookie = {"Cookie": f"session={HS.token(exp=NOW - 9)}"}
    async with serving(tmp_path, jwt_cookie="session") as server, client(server, headers=cookie) as ann:
        assert await ann.closed() == (4501, "token: expired 9 seconds ago")
        assert ann.heard == [{"op": "bye", "code": 4501, "reason": "token: expired 9 seconds ago"}]


async def test_other_credentials_are_not_ours(tmp_path: Path, autojump_clock: object) -> None:
    """What a proxy wants in ``Authorization`` is passed over, and so is an empty cookie."""
    headers = {"Authorization": "Basic YTpi", "Cookie": "session="}
    async with serving(tmp_path, jwt_cookie="session") as server, client(server, headers=headers) as guest:
        assert (await guest.ask("hello"))["user"]["id"].startswith("guest-")


async def test_a_handler_of_ones_own_has_the_last_word(tmp_path: Path, autojump_clock: object) -> None:
    """It may name the user, give an end, and need not."""

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        if "who" in request.query:
            return trio_chat.Accept(user=request.query["who"], expires_at=NOW + 10)
        return trio_chat.Accept()

    bearer = {"Authorization": f"Bearer {HS.token()}"}
    async with serving(tmp_path, upgrade=upgrade, guests=False) as server:
        async with client(server, "/ws?room=lobby", headers=bearer) as ann:
            assert (await ann.next())["user"]["id"] == "u1"
        async with client(server, "/ws?room=lobby&who=zoe", headers=bearer) as zoe:
            assert (await zoe.next())["user"]["id"] == "zoe"
            assert (await zoe.closed())[0] == 4501
            assert trio.current_time() < 20


async def test_a_relay_member_is_signed_in_too(tmp_path: Path, autojump_clock: object) -> None:
    """Its connection ends with its token, and without one it is not let in where there are no guests."""
    bearer = {"Authorization": f"Bearer {HS.token()}"}
    async with serving(tmp_path, guests=False) as server:
        async with client(server, "/relay/game", headers=bearer) as ann:
            assert (await ann.closed())[0] == 4501
        async with client(server, "/relay/game") as guest:
            assert await guest.closed() == (4501, "sign in first")


# --- what somebody may -----------------------------------------------------------------------------------


async def test_a_token_may_make_an_administrator(tmp_path: Path, autojump_clock: object) -> None:
    """In `hello` or in the upgrade request; a newer token without it ends that."""
    admin = HS.token(roles=["boss"])
    async with serving(tmp_path, jwt_admin="roles=boss") as server:
        async with client(server, headers={"Authorization": f"Bearer {admin}"}) as ann:
            assert (await ann.join())["role"] == "admin"
        async with client(server) as ann:
            await ann.ask("hello", token=admin)
            assert (await ann.join())["role"] == "admin"
            await ann.ask("hello", token=HS.token())
            assert (await ann.join("other"))["role"] == "member"


async def test_a_handler_may_make_an_administrator(tmp_path: Path, autojump_clock: object) -> None:
    """Of the user that it names, and of nobody by what a token says of another."""

    async def upgrade(request: trio_chat.UpgradeRequest) -> trio_chat.Accept:
        return trio_chat.Accept(user="zoe", admin="boss" in request.query)

    bearer = {"Authorization": f"Bearer {HS.token(admin=True)}"}
    async with serving(tmp_path, jwt_admin="admin", upgrade=upgrade) as server:
        async with client(server, "/ws?boss") as zoe:
            assert (await zoe.join())["role"] == "admin"
        async with client(server, headers=bearer) as zoe:
            assert (await zoe.join())["role"] == "member"


@pytest.mark.parametrize("how", ["token", "resume"])
async def test_who_is_banned_does_not_stay_as_another(
    how: str, tmp_path: Path, autojump_clock: object
) -> None:
    """A guest that becomes a banned user is out of the room, and told so; its other rooms stay."""
    async with serving(tmp_path) as server, client(server) as owner:
        await owner.ask("create", room="club")
        async with client(server) as bob:
            told = await bob.ask("hello", name="bob")
            await bob.join("club")
            await owner.join("club")
            banned = told["user"]["id"] if how == "resume" else "u1"
            if how == "token":
                async with user(server):
                    pass
            await owner.ask("ban", room="club", user=banned)
        async with client(server, "/ws?name=eve&room=club&room=lobby") as eve:
            await eve.until("joined")
            await eve.until("joined")
            proof = {"resume": told["session"]} if how == "resume" else {"token": HS.token()}
            assert (await eve.ask("hello", **proof))["user"]["id"] == banned
            left = await eve.until("left")
            assert left["room"] == "club"
            assert (await eve.ask("history", room="club"))["code"] == "not_joined"
            assert await eve.say("still here") == 1


# --- without guests --------------------------------------------------------------------------------------


async def test_without_guests_the_first_word_signs_in(tmp_path: Path, autojump_clock: object) -> None:
    """After that everything is as ever."""
    async with serving(tmp_path, guests=False) as server, user(server) as ann:
        await ann.join()
        assert await ann.say("hello") == 1


def smallest(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """An operation of this kind, with what it must have."""
    found: dict[str, Any] = {"op": kind.__struct_config__.tag}
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.required:
            if isinstance(field.type, msgspec.inspect.LiteralType):
                found[field.encode_name] = field.type.values[0]
            elif isinstance(field.type, msgspec.inspect.BoolType):
                found[field.encode_name] = True
            else:
                found[field.encode_name] = 1 if isinstance(field.type, msgspec.inspect.IntType) else "x"
    return found


@pytest.mark.parametrize("kind", get_args(schema.ClientOp))
async def test_without_guests_nothing_else_is_done(
    kind: type[msgspec.Struct], tmp_path: Path, autojump_clock: object
) -> None:
    """Any other first word gets ``bye`` and 4501, and no answer; what follows it is not read."""
    async with serving(tmp_path, guests=False) as server, client(server) as guest:
        await guest.send(**smallest(kind))
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            await guest.send("hello", token=HS.token())
        assert await guest.closed() == (4501, "sign in first")
        assert guest.heard == [{"op": "bye", "code": 4501, "reason": "sign in first"}]


async def test_without_guests_the_query_joins_nothing(tmp_path: Path, autojump_clock: object) -> None:
    """``room`` in the address is turned away as the operation is."""
    async with serving(tmp_path, guests=False) as server, client(server, "/ws?room=lobby&name=x") as guest:
        assert await guest.closed() == (4501, "sign in first")
        assert "lobby" not in server.hub.rooms


async def test_without_guests_a_bad_token_ends_it(tmp_path: Path, autojump_clock: object) -> None:
    """The error comes first, then the same in ``bye``."""
    async with serving(tmp_path, guests=False) as server, client(server) as guest:
        await guest.send("hello", token="x", id="1")
        assert (await guest.closed())[0] == 4501
        error, bye = guest.heard
        assert error == {
            "op": "error", "re": "1", "code": "bad_token", "message": "token: not a signed JSON Web Token"
        }  # fmt: skip
        assert bye["reason"] == error["message"]


async def test_without_guests_silence_ends_it(tmp_path: Path, autojump_clock: object) -> None:
    """Who says nothing has ten seconds."""
    async with serving(tmp_path, guests=False) as server, client(server) as guest:
        assert await guest.closed() == (4501, "nobody has signed in")
        assert 9 <= trio.current_time() <= 13


async def test_without_guests_and_tokens_the_upgrade_is_refused(autojump_clock: object) -> None:
    """Where nothing that a client could say would help, it is told at once, in a way that a page sees."""
    async with open_memory_server(config(guests=False)) as server, client(server) as guest:
        assert await guest.closed() == (4501, "sign in first")


# --- sessions --------------------------------------------------------------------------------------------


async def test_a_session_does_not_outlive_the_token(tmp_path: Path, autojump_clock: object) -> None:
    """``resume`` brings guests back and nobody else: to sign in takes a token each time."""
    async with serving(tmp_path) as server:
        async with client(server) as ann:
            session = (await ann.ask("hello", token=HS.token()))["session"]
        async with client(server) as other:
            assert (await other.ask("hello", resume=session))["user"]["id"] != "u1"
        guests = server.hub.guests
        holder = guests.holder(session)
        assert holder is not None
        assert holder.id == "u1"
        await trio.sleep(61)
        assert guests.holder(session) is None


async def test_a_name_waits_for_who_was_lost(autojump_clock: object) -> None:
    """For some minutes nobody else gets it; then anybody."""
    async with open_memory_server(config(), clock=lambda: NOW + trio.current_time()) as server:
        async with client(server) as ann:
            session = (await ann.ask("hello", name="ann"))["session"]
            await trio.aclose_forcefully(ann.stream)
        async with client(server) as other:
            assert (await other.ask("hello", name="Ann"))["user"]["name"] == "Ann-2"
        async with client(server) as ann:
            assert (await ann.ask("hello", resume=session))["user"]["name"] == "ann"
            await trio.aclose_forcefully(ann.stream)
        await trio.sleep(NAME_RESERVED_SECONDS + 1)
        async with client(server) as other:
            assert (await other.ask("hello", name="ann"))["user"]["name"] == "ann"


async def test_a_name_does_not_wait_for_who_said_goodbye(autojump_clock: object) -> None:
    """A close with 1000 means it; and who never said ``hello`` has nothing to come back with."""
    async with open_memory_server(config()) as server:
        async with client(server) as ann:
            await ann.ask("hello", name="ann")
        async with client(server, "/ws?name=ann&room=lobby") as ann:
            assert (await ann.next())["user"]["name"] == "ann"
            await trio.aclose_forcefully(ann.stream)
        async with client(server, "/ws?name=ann&room=lobby") as ann:
            assert (await ann.next())["user"]["name"] == "ann"
