"""A port for servers that must be told one: below those that the system gives to clients."""

import random
import socket

FIRST, LAST = 20_000, 32_000
TRIES = 100


def free_port() -> int:
    """One on which nobody listens now."""
    for _ in range(TRIES):
        port = random.randrange(FIRST, LAST)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise SystemExit(f"no free port between {FIRST} and {LAST}")
