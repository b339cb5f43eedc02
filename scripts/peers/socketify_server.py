"""A peer to measure against: uWebSockets (C++) by way of socketify, with its own publish; no compression.

``socketify_server.py [--port N] [--echo]``: everybody whose path is the same gets every message; with
``--echo`` only its sender does. Python is called once for each message that comes in; the fan-out is C++.
"""

import sys
from typing import Any

from ports import free_port
from socketify import App, AppListenOptions, CompressOptions

NO_LIMIT_BYTES = 64 << 20
"""Of what may wait for one client: by default it drops what is beyond 64 KiB."""


def upgraded(response: Any, request: Any, context: Any) -> None:
    """Remember the path: it is the room."""
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_url(),
    )


def opened(connection: Any) -> None:
    """A member."""
    connection.subscribe(connection.get_user_data())


def fan_out(connection: Any, message: str | bytes, opcode: Any) -> None:
    """To the others, and to its sender."""
    app.publish(connection.get_user_data(), message, opcode)


def echo(connection: Any, message: str | bytes, opcode: Any) -> None:
    """To its sender."""
    connection.send(message, opcode)


if __name__ == "__main__":
    given = sys.argv[1:]
    app = App()
    app.ws(
        "/*",
        {
            "compression": CompressOptions.DISABLED,
            "max_payload_length": 2 << 20,
            "max_backpressure": NO_LIMIT_BYTES,
            "idle_timeout": 0,
            "upgrade": upgraded,
            "open": opened,
            "message": echo if "--echo" in given else fan_out,
        },
    )
    chosen = (
        int(given[given.index("--port") + 1]) if "--port" in given else free_port()
    )  # it tells nobody which one the system chose
    app.listen(
        AppListenOptions(port=chosen, host="127.0.0.1"),
        lambda config: print(f"peer serving on http://127.0.0.1:{config.port}", flush=True),
    )
    app.loop.uv_loop.run()  # C++ alone, without the event loop of Python that its `run` polls in turn
