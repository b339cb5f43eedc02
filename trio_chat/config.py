"""Every setting of the server: its name, default, unit and bounds, in this one place.

The command line, the environment (``TRIO_CHAT_PORT``), the TOML file and `trio_chat.Config` all are this
class; `load` puts them together. No Trio, and no I/O but reading that one file. A wrong value raises
`ConfigError` with one line that names the setting and what it may be.
"""

import contextlib
import difflib
import ipaddress
import math
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

ENVIRONMENT_PREFIX = "TRIO_CHAT_"

_KIB, _MIB, _GIB, _TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


class ConfigError(ValueError):
    """A setting has a value that it may not have: one line that begins with the setting's name."""

    @property
    def setting(self) -> str:
        """The setting's name, as it is in `Config`."""
        return str(self).partition(":")[0]


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def _size_text(size: int) -> str:
    units = (("TiB", _TIB), ("GiB", _GIB), ("MiB", _MIB), ("KiB", _KIB), ("bytes", 1))
    unit, factor = next((unit, factor) for unit, factor in units if size % factor == 0)
    return f"{size // factor} {unit}"


def _check_number(attribute: "attrs.Attribute[Any]", value: object, low: float, high: float) -> bool:
    kinds = int if attribute.type is int else int | float
    return (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and not math.isnan(value)
        and low <= value <= high
    )


def _in_range(low: float, high: float, unit: str) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not _check_number(attribute, value, low, high):
            raise ConfigError(f"{attribute.name}: {_number(low)} to {_number(high)} {unit}, not {value!r}")

    return check


def _size(low: int, high: int, zero: str = "") -> Any:
    """``zero``: what 0 means, where it may be."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value == 0 and zero and not isinstance(value, bool):
            return
        if not _check_number(attribute, value, low, high):
            allowed = f"{_size_text(low)} to {_size_text(high)}, as bytes or like 64KiB"
            allowed += f" (0: {zero})" if zero else ""
            raise ConfigError(f"{attribute.name}: {allowed}, not {value!r}")

    return check


def _text(what: str) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is None and attribute.default is None:
            return
        if not isinstance(value, str) or not value or "\0" in value:
            raise ConfigError(f"{attribute.name}: {what}, not {value!r}")

    return check


def _socket_path(config: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    _text("a path")(config, attribute, value)
    # sockaddr_un: 108 bytes on Linux, 104 on macOS and the BSDs, one of them the NUL at the end.
    most = 107 if sys.platform == "linux" else 103
    if isinstance(value, str) and (size := len(os.fsencode(value))) > most:
        raise ConfigError(
            f"{attribute.name}: the path of a Unix socket is at most {most} bytes here, not {size}"
        )


def _flag(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name}: true or false, not {value!r}")


def _one_of(*allowed: str) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value not in allowed:
            raise ConfigError(f"{attribute.name}: one of {', '.join(allowed)}, not {value!r}")

    return check


_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.\-]*://[^/\s?#@]+")


def _origins(_: object, __: object, value: tuple[str, ...]) -> None:
    for origin in value:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"origin: like https://chat.example.org, or *, not {origin!r}")


def _networks(_: object, __: object, value: tuple[str, ...]) -> None:
    for network in value:
        if network != "unix":
            try:
                # A number would pass for an address: ip_network(1) is 0.0.0.1/32.
                ipaddress.ip_network(str(network), strict=False)
            except ValueError:
                allowed = "an address or a CIDR like 10.0.0.0/8, or unix"
                raise ConfigError(f"trusted_proxy: {allowed}, not {network!r}") from None


JWT_ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""What a token may be signed with (RFC 7518, RFC 8037); ``none`` is not among them."""


def _algorithms(_: object, __: object, value: tuple[str, ...]) -> None:
    for name in value:
        if name not in JWT_ALGORITHMS:
            raise ConfigError(f"jwt_algorithms: one or more of {', '.join(JWT_ALGORITHMS)}, not {name!r}")


_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


def _token(what: str) -> Any:
    """A header's or a cookie's name (RFC 9110 section 5.6.2)."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is None and attribute.default is None:
            return
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise ConfigError(f"{attribute.name}: {what}, not {value!r}")

    return check


def _user_ids(_: object, __: object, value: tuple[str, ...]) -> None:
    for user_id in value:
        if not isinstance(user_id, str) or not 1 <= len(user_id) <= 128 or not user_id.isprintable():
            raise ConfigError(f"admin: a user's id, 1 to 128 printable characters, not {user_id!r}")


def _log_url(_: object, __: object, value: str) -> None:
    if isinstance(value, str) and re.fullmatch(r"memory:|sqlite:///[^\0]+|rediss?://.+", value):
        return
    raise ConfigError(f"log: memory:, sqlite:///FILE or redis://HOST:PORT/DB, not {value!r}")


def _tuple(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def data_directory() -> Path:
    """The user's data directory, after the conventions of the system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def default_log() -> str:
    """SQLite, ``trio-chat.db`` in the user's data directory."""
    return f"sqlite:///{data_directory() / 'trio-chat.db'}"


@attrs.frozen(kw_only=True)
class Config:
    """How the server runs. Sizes in bytes, times in seconds."""

    host: str = attrs.field(default="127.0.0.1", validator=_text("an address or a host name"))
    """Address or name to listen on."""
    port: int = attrs.field(default=8080, validator=_in_range(0, 65535, "(0: the system chooses)"))
    """TCP port; 0 lets the system choose."""
    unix: str | None = attrs.field(default=None, validator=_socket_path)
    """Listen on this Unix socket instead of on host and port."""
    log: str = attrs.field(factory=default_log, validator=_log_url)
    """Where events are kept: memory:, sqlite:///FILE or redis://HOST:PORT/DB."""
    sync: Literal["full", "normal"] = attrs.field(default="full", validator=_one_of("full", "normal"))
    """How safely SQLite commits: full survives a power cut, normal only a crash of the process."""
    keep_events: int = attrs.field(default=0, validator=_in_range(0, 1_000_000_000, "events (0: all)"))
    """Events kept of each room, the newest ones; 0: all."""
    keep_days: float = attrs.field(default=0.0, validator=_in_range(0, 36_500, "days (0: for ever)"))
    """Days for which events are kept; 0: for ever."""
    files: str | None = attrs.field(default=None, validator=_text("a directory"))
    """Where uploaded files are kept. Without it: beside the SQLite file, FILE.files."""
    max_file: int = attrs.field(default=10 * _MIB, validator=_size(_KIB, _GIB, "no files"))
    """Largest file that may be uploaded, bytes; 0: none may."""
    file_quota: int = attrs.field(default=_GIB, validator=_size(_MIB, 1024 * _TIB, "no limit"))
    """Bytes of all files together; what doesn't fit any more is refused. 0: as much as the disk takes."""
    workers: int = attrs.field(default=1, validator=_in_range(1, 256, "processes"))
    """Server processes that share the port; more than one needs a log in Redis."""
    tls_cert: str | None = attrs.field(default=None, validator=_text("a file"))
    """Serve TLS with this certificate chain (PEM); needs tls_key too."""
    tls_key: str | None = attrs.field(default=None, validator=_text("a file"))
    """The private key of tls_cert (PEM)."""
    origin: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_origins)
    """Allowed Origin (repeatable; * for any). Without one: the same origin, or none sent."""
    admin: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_user_ids)
    """The ids of users who may do everything in every room but direct ones (repeatable)."""
    trusted_proxy: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_networks)
    """Peers (CIDR, repeatable) whose X-Forwarded-For, Forwarded or PROXY header is believed."""
    user_header: str | None = attrs.field(default=None, validator=_token("a header's name"))
    """The header in which a trusted proxy says who the user is; from anybody else it is not read."""
    jwt_key: str | None = attrs.field(default=None, validator=_text("a file"))
    """Sign users in by tokens (JWT): the file with the secret, the public keys (PEM) or the JWK set."""
    jwt_algorithms: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_algorithms)
    """How tokens may be signed (repeatable). Without one: HS256, RS256, ES256 or EdDSA, as the key is."""
    jwt_issuer: str | None = attrs.field(default=None, validator=_text("a text"))
    """What a token's claim iss must be."""
    jwt_audience: str | None = attrs.field(default=None, validator=_text("a text"))
    """What must be among a token's claim aud."""
    jwt_user: str = attrs.field(default="sub", validator=_text("a claim's name"))
    """The claim that is the user's id."""
    jwt_name: str = attrs.field(default="name", validator=_text("a claim's name"))
    """The claim that is the user's name; without it, the id is the name."""
    jwt_admin: str | None = attrs.field(default=None, validator=_text("a claim, or CLAIM=VALUE"))
    """Who is an administrator of the server: with this claim true, or with this value of it."""
    jwt_header: str = attrs.field(default="Authorization", validator=_token("a header's name"))
    """The header of the upgrade request that may carry a token, with or without Bearer before it."""
    jwt_cookie: str | None = attrs.field(default=None, validator=_token("a cookie's name"))
    """The cookie of the upgrade request that may carry a token."""
    guests: bool = attrs.field(default=True, validator=_flag)
    """Let in who is not signed in, too."""
    max_message: int = attrs.field(default=64 * _KIB, validator=_size(_KIB, _GIB))
    """Longest message taken from a client, bytes; a longer one ends its connection with 1009."""
    max_connections: int = attrs.field(default=10_000, validator=_in_range(1, 10_000_000, "connections"))
    """Connections held at once; one more is answered 503."""
    max_per_ip: int = attrs.field(default=100, validator=_in_range(1, 10_000_000, "connections"))
    """Connections held at once for one client address (an IPv6 /64 is one); one more is answered 429."""
    rate: float = attrs.field(
        default=10.0, validator=_in_range(0, 1e9, "operations per second (0: no limit)")
    )
    """Chat operations per second of one connection: beyond it they wait; for too long: 4029. 0: no limit.
    One of more than 4 KiB counts once for each 4 KiB."""
    burst: int = attrs.field(default=20, validator=_in_range(1, 1_000_000_000, "operations"))
    """Chat operations of one connection that pass at once before the rate applies."""
    outbox: int = attrs.field(default=_MIB, validator=_size(4 * _KIB, _GIB))
    """Bytes that may wait for one client."""
    compress: bool = attrs.field(default=True, validator=_flag)
    """Agree to permessage-deflate with clients that offer it."""
    heartbeat: float = attrs.field(default=20.0, validator=_in_range(0.05, 86_400, "seconds"))
    """Seconds of silence before a ping; after twice as long the connection is ended."""
    drain: float = attrs.field(default=10.0, validator=_in_range(0, 3600, "seconds"))
    """Seconds that a stop may take."""
    log_format: Literal["text", "json"] = attrs.field(default="text", validator=_one_of("text", "json"))
    """Log lines for people (text) or for programs (json)."""
    verbose: bool = attrs.field(default=False, validator=_flag)
    """Log more: each plain HTTP answer, and where an unexpected failure came from."""

    @property
    def shown_log(self) -> str:
        """``log`` without the password that it may have."""
        scheme, found, rest = self.log.partition("://")
        return f"{scheme}://...@{rest.rpartition('@')[2]}" if found and "@" in rest else self.log

    def __attrs_post_init__(self) -> None:
        if self.workers > 1 and not self.log.startswith(("redis://", "rediss://")):
            shown = self.log.partition(":")[0]
            raise ConfigError(
                f"workers: 1, or a log that several processes can share (redis://), not {shown}:"
            )
        if self.workers > 1 and os.name != "posix":
            raise ConfigError("workers: 1 on this system")
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise ConfigError(f"{missing}: tls_cert and tls_key go together, a file each")
        if self.user_header is not None and not self.trusted_proxy:
            raise ConfigError("user_header: believed from trusted_proxy only, and there is none")
        if self.jwt_key is None:
            for name in ("jwt_algorithms", "jwt_issuer", "jwt_audience", "jwt_admin", "jwt_cookie"):
                if getattr(self, name):
                    raise ConfigError(f"jwt_key: a file; {name} means nothing without it")


# --- loading ------------------------------------------------------------------------------------------

_FIELDS = {field.name: field for field in attrs.fields(Config)}
_VARIABLES = {name: ENVIRONMENT_PREFIX + name.upper() for name in (*_FIELDS, "config")}
_SIZE_UNITS = {
    "": 1, "b": 1, "kib": _KIB, "mib": _MIB, "gib": _GIB, "tib": _TIB,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_FLAGS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def from_text(setting: str, text: str) -> object:
    """The value that ``text`` stands for in ``setting``; if none, ``text`` itself: `Config` refuses it."""
    kind: object = _FIELDS[setting].type
    if kind is bool:
        return _FLAGS.get(text.strip().lower(), text)
    if kind is int and (size := re.fullmatch(r"([0-9]+)\s*([a-z]*)", text.strip().lower())):
        sized = setting in ("max_message", "max_file", "file_quota", "outbox")
        factor = _SIZE_UNITS.get(size[2]) if sized or not size[2] else None
        return int(size[1]) * factor if factor else text
    if kind is float:
        with contextlib.suppress(ValueError):
            return float(text)
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Which of ``known`` (in lower case) somebody who wrote ``name`` may have meant, if any is near."""
    return next(iter(difflib.get_close_matches(name.lower(), known, 1)), None)


def _unknown(setting: str, where: str, name: str, known: Mapping[str, str]) -> ConfigError:
    near = nearest(name, known)
    hint = f"did you mean {known[near]}?" if near else f"there are {', '.join(known.values())}"
    return ConfigError(f"config: no setting is called {setting!r} ({where}); {hint}")


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings with a variable of their own (``TRIO_CHAT_PORT``); an empty one counts as absent.

    Raises `ConfigError` for any other variable of that prefix.
    """
    found: dict[str, str] = {}
    for variable, text in environ.items():
        if text and variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if _VARIABLES.get(name) != variable:
                raise _unknown(variable, "in the environment", name, _VARIABLES)
            found[name] = text
    found.pop("config", None)
    return found


def from_file(path: str) -> dict[str, object]:
    """The settings in a TOML file: top-level keys, ``max_message`` or ``max-message``."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config: a TOML file that can be read; {path}: {error.strerror}") from None
    except ValueError as error:  # also bad UTF-8, and a NUL in the path
        raise ConfigError(f"config: a TOML file; {path}: {error}") from None
    settings: dict[str, object] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _FIELDS:
            raise _unknown(key, path, name, {name: name for name in _FIELDS})
        if name in settings:
            raise ConfigError(f"{name}: once, not both with '-' and with '_' ({path})")
        settings[name] = value
    return settings


def load(
    options: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | None = None,
) -> Config:
    """Put a configuration together: ``options`` over the environment over the file over the defaults.

    Options and the file may give text for any setting; lists are comma separated in the
    environment. ``environ`` is `os.environ` if None. Raises `ConfigError`; its text says also where the value
    comes from.
    """
    environ = os.environ if environ is None else environ
    options = options or {}
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    path = file or environ.get(_VARIABLES["config"], "")
    if path:
        values |= from_file(path)
        sources |= dict.fromkeys(values, f"in {path}")
    for name, text in from_environment(environ).items():
        several = _FIELDS[name].default == ()
        values[name] = [part.strip() for part in text.split(",") if part.strip()] if several else text
        sources[name] = f"in the environment, {ENVIRONMENT_PREFIX}{name.upper()}"
    values |= options
    sources |= dict.fromkeys(options, "")
    try:
        return Config(
            **{  # type: ignore[arg-type]
                name: from_text(name, value) if isinstance(value, str) else value
                for name, value in values.items()
            }
        )
    except ConfigError as error:
        source = sources.get(error.setting)
        raise ConfigError(f"{error} ({source})" if source else str(error)) from None
