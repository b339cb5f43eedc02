"""Sign in by a cookie: an upgrade handler looks it up and says who the client is.

    python examples/cookie_auth.py --port 8080

and connect with the cookie that the rest of the site would have set, for example

    wscat -H "Cookie: session=4f0a7c19" -c "ws://127.0.0.1:8080/ws?room=lobby"

The handler is asked after the `Origin` was checked, so another site's page can't use its visitor's cookie.
"""

import argparse
from functools import partial

import trio

import trio_chat

# What a site keeps in its database: long random session keys, and to whom they belong.
SESSIONS = {
    "4f0a7c19": trio_chat.User(id="u1", name="Ann"),
    "b82d55e0": trio_chat.User(id="u2", name="Bob"),
}


async def sign_in(request: trio_chat.UpgradeRequest) -> trio_chat.Accept | trio_chat.Reject:
    """Let in who has a session; tell the others to sign in, so that a page can show it."""
    user = SESSIONS.get(request.cookies.get("session", ""))
    if user is None:
        return trio_chat.Reject.visibly(4501, "please sign in")
    return trio_chat.Accept(user=user)


async def main(port: int) -> None:
    """Serve until cancelled."""
    async with trio.open_nursery() as nursery:
        config = trio_chat.Config(port=port, log="memory:")
        server: trio_chat.Server = await nursery.start(partial(trio_chat.serve, upgrade=sign_in), config)
        print(f"trio_chat serving on {server.url}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat server that signs in by a cookie.")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.port)
    except* KeyboardInterrupt:
        pass
