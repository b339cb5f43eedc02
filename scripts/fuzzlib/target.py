"""The server that is attacked: defaults, an endpoint at /echo beside the chat, a JSON log on standard error.

    python scripts/fuzzlib/target.py DIRECTORY [--tls]

The heartbeat is fast, so that a short run sees what becomes of silent clients. SIGUSR1 has it print what it
holds: the interpreter's blocks of memory and Trio's tasks.
"""

import argparse
import gc
import json
import signal
import ssl
import sys
from functools import partial
from pathlib import Path

import trio

import trio_chat
from trio_chat import logs

HEARTBEAT_SECONDS = 2.0


async def echo(websocket: trio_chat.WebSocket) -> None:
    """Every message comes back."""
    async for message in websocket:
        await websocket.send(message)


def certificate(directory: Path) -> dict[str, str]:
    """The settings for TLS, with a certificate made for the occasion."""
    import trustme

    own = trustme.CA().issue_cert("127.0.0.1", "localhost")
    cert, key = directory / "cert.pem", directory / "key.pem"
    for number, part in enumerate(own.cert_chain_pems):
        part.write_to_path(str(cert), append=number > 0)
    own.private_key_pem.write_to_path(str(key))
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    return {"tls_cert": str(cert), "tls_key": str(key)}


async def main(directory: Path, tls: bool) -> None:
    """Serve until SIGTERM, then drain."""
    config = trio_chat.Config(
        port=0, log=f"sqlite:///{directory / 'fuzz.db'}", sync="normal", heartbeat=HEARTBEAT_SECONDS,
        **(certificate(directory) if tls else {}),  # type: ignore[arg-type]
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        serve = partial(trio_chat.serve, config, endpoints={"/echo": echo})
        server: trio_chat.Server = await nursery.start(serve)
        print(f"trio_chat serving on {server.url}", flush=True)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
            async for number in signals:
                if number == signal.SIGTERM:
                    break
                gc.collect()
                tasks = trio.lowlevel.current_statistics().tasks_living
                print(json.dumps({"blocks": sys.getallocatedblocks(), "tasks": tasks}), flush=True)
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The server that scripts/fuzz.py attacks.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    logs.configure("json")
    trio.run(main, options.directory, options.tls)
