"""A durable, ordered, resumable chat service on Trio's structured concurrency."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat.local import LocalRoom as LocalRoom
    from .chat.policy import RoomPolicy as RoomPolicy
    from .chat.schema import File as File
    from .chat.schema import User as User
    from .client import CannotConnect as CannotConnect
    from .client import ChatError as ChatError
    from .client import Client as Client
    from .client import ClientError as ClientError
    from .client import Gap as Gap
    from .client import Message as Message
    from .client import Refused as Refused
    from .client import Reset as Reset
    from .client import open_client as open_client
    from .config import Config as Config
    from .config import ConfigError as ConfigError
    from .door import Endpoint as Endpoint
    from .front.upgrade import Accept as Accept
    from .front.upgrade import Reject as Reject
    from .front.upgrade import UpgradeHandler as UpgradeHandler
    from .front.upgrade import UpgradeRequest as UpgradeRequest
    from .front.upgrade import all_of as all_of
    from .front.upgrade import allow_origins as allow_origins
    from .front.upgrade import any_of as any_of
    from .front.upgrade import require_cookie as require_cookie
    from .front.upgrade import require_header as require_header
    from .front.upgrade import same_origin as same_origin
    from .log.base import LogError as LogError
    from .log.base import LogUnavailable as LogUnavailable
    from .server import Server as Server
    from .server import serve as serve
    from .wire.endpoint import ConnectionClosed as ConnectionClosed
    from .wire.endpoint import WebSocket as WebSocket

_HOMES = {
    "File": "chat.schema",
    "LocalRoom": "chat.local",
    "RoomPolicy": "chat.policy",
    "User": "chat.schema",
    **dict.fromkeys(
        (
            "CannotConnect", "ChatError", "Client", "ClientError", "Gap", "Message", "Refused", "Reset",
            "open_client",
        ),
        "client",
    ),
    "Config": "config",
    "ConfigError": "config",
    **dict.fromkeys(
        (
            "Accept", "Reject", "UpgradeHandler", "UpgradeRequest", "all_of", "allow_origins", "any_of",
            "require_cookie", "require_header", "same_origin",
        ),
        "front.upgrade",
    ),
    "Endpoint": "door",
    **dict.fromkeys(("LogError", "LogUnavailable"), "log.base"),
    **dict.fromkeys(("Server", "serve"), "server"),
    **dict.fromkeys(("ConnectionClosed", "WebSocket"), "wire.endpoint"),
}  # fmt: skip

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used: the client needs no server, nor the other
    way."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
