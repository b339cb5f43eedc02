"""What one run does: the target and every number of the load, checked in this one place.

No I/O. `SettingsError` is one line that names the option and what it may be.
"""

import ipaddress
import math
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from swarmlib.mix import Mix

PROTOCOLS = ("chat", "relay", "plain", "echo", "socketio", "mqtt", "nats", "xmpp")
BINARY_PROTOCOLS = ("mqtt", "nats")
_PATHS = {"/socket.io": "socketio", "/mqtt": "mqtt", "/nats": "nats", "/xmpp-websocket": "xmpp"}
CONTENTS = ("filler", "talk")
_ROOM = re.compile(r"[A-Za-z0-9_.-]{1,40}")
MIN_SIZE = 48
"""A payload carries its sender, number and intended time: `protocol.STAMP_BYTES`, rounded up."""
MIN_TALK_SIZE = 220
"""Of a whole event in JSON, where the server makes none of the text."""
MAX_SIZE = 1 << 20
MAX_CLIENTS = 99_999
"""Five digits are kept for the sender in each payload."""
CLIENTS_PER_ADDRESS = 20_000
"""Linux hands out 28,232 ephemeral ports by default; some linger from the run before."""
MAX_SOURCE_IPS = 60_000


class SettingsError(ValueError):
    """An argument has a value that it may not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the clients connect."""

    host: str
    port: int
    path: str
    query: str
    tls: bool = False

    @property
    def authority(self) -> str:
        """``host:port`` as the ``Host`` header has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is an address of this machine's loopback network, or ``localhost``."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_url(url: str) -> Target:
    """The target that ``url`` names; a bare ``HOST:PORT`` will do."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    if parts.scheme not in ("ws", "http", "wss", "https"):
        raise SettingsError(f"url: ws://HOST:PORT[/PATH], http, wss or https, not {url!r}")
    tls = parts.scheme in ("wss", "https")
    try:
        port = parts.port if parts.port is not None else 443 if tls else 80
    except ValueError:
        raise SettingsError(f"url: a port is 1 to 65535, not in {url!r}") from None
    if not parts.hostname or port == 0:
        raise SettingsError(f"url: ws://HOST:PORT[/PATH], http, wss or https, not {url!r}")
    if not url.isascii() or any(c.isspace() for c in url):
        raise SettingsError(f"url: ASCII without spaces, not {url!r}")
    return Target(parts.hostname, port, parts.path or "/", parts.query, tls)


def guess_protocol(path: str) -> str:
    """What a server most likely speaks at ``path``."""
    if path in ("/", "/ws"):
        return "chat"
    if path == "/relay" or path.startswith("/relay/"):
        return "relay"
    return _PATHS.get(path.rstrip("/"), "plain")


def _run_name() -> str:
    return f"swarm-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The load of one run. Times in seconds, sizes in bytes, rates per second over all clients."""

    target: Target
    protocol: str = "chat"
    clients: int = 100
    rooms: int = 1
    senders: int = 100
    rate: float | None = None
    """Open loop: messages are due at this rate, come what may. None: closed loop."""
    window: int = 1
    """Closed loop: each sender's messages that may be under way at once."""
    duration: float = 10.0
    warmup: float = 1.0
    grace: float = 5.0
    ramp: float = 0.0
    mix: Mix = field(default_factory=Mix)
    """Personas, if the clients are not just senders, frozen ones and the rest."""
    slow_bytes: int = 8192
    """What a slow reader reads in a second."""
    spam_rate: float = 100.0
    """Messages that a spammer sends in a second."""
    flap: float = 5.0
    """Seconds that a flapping client stays, on average."""
    storm: float = 10.0
    """Seconds between two storms."""
    frozen: int = 0
    """The last so many clients read nothing while the load runs; afterwards they must get everything."""
    thaw: float = 60.0
    """Seconds that they have for that."""
    size: int = 64
    content: str = "filler"
    deflate: bool = False
    """Offer permessage-deflate; where it is agreed, what is sent is compressed too."""
    processes: int = 1
    verify: bool = False
    resume: bool = False
    """Clients whose connection ends come back and go on where they were."""
    sample: float | None = None
    spin: bool = False
    """Never sleep: on one machine a server pays for waking its receivers, as it would not over a network."""
    source_ips: int = 0
    server_pid: int | None = None
    asks_metrics: bool = False
    """Whether a server of ours is asked for its ``/metrics`` while the run goes on."""
    ca: str | None = None
    """A file of certificates to trust over TLS; None: those that the system trusts."""
    room: str = field(default_factory=_run_name)

    def __post_init__(self) -> None:
        check = _Checker(self)
        check("clients", 1, MAX_CLIENTS)
        check("rooms", 1, self.clients)
        check("senders", 0, self.clients)
        check("rate", 0, 1e7)
        check("window", 1, 10_000)
        check("duration", 0.1, 86_400)
        check("warmup", 0, 3600)
        check("grace", 0, 3600)
        check("ramp", 0, 86_400)
        check("frozen", 0, self.clients - self.senders)
        check("thaw", 0, 3600)
        check("slow_bytes", 100, 1 << 30)
        check("spam_rate", 1, 100_000)
        check("flap", 0.1, 86_400)
        check("storm", 0.5, 86_400)
        check("size", MIN_SIZE, MAX_SIZE)
        check("processes", 1, self.clients)
        check("sample", 0, 1)
        check("source_ips", 0, MAX_SOURCE_IPS)
        if self.rate and not self.senders:
            raise SettingsError("--senders: at least 1 for a rate above 0")
        if self.content == "talk" and self.protocol != "chat" and self.size < MIN_TALK_SIZE:
            raise SettingsError(f"--size: at least {MIN_TALK_SIZE} for --content talk, not {self.size}")
        if self.protocol not in PROTOCOLS:
            raise SettingsError(f"--protocol: one of {', '.join(PROTOCOLS)}, not {self.protocol!r}")
        if self.protocol == "plain" and self.rooms != 1:
            raise SettingsError("--rooms: a plain broadcast server has one room")
        if self.deflate and self.protocol in BINARY_PROTOCOLS:
            raise SettingsError(f"--deflate: not with --protocol {self.protocol}")
        if not _ROOM.fullmatch(self.room):
            raise SettingsError(f"--room: 1 to 40 ASCII letters, digits, '-', '_' or '.', not {self.room!r}")
        if self.resume and self.protocol != "chat":
            raise SettingsError("--resume: only the chat can be resumed")
        if self.target.tls and self.mix.slow:
            raise SettingsError("--mix: slow readers only without TLS, whose records come whole")
        if self.source_ips and not self.target.is_loopback:
            raise SettingsError("--source-ips: for a server on the loopback network only")

    def room_of(self, client: int) -> int:
        """The number of the room that ``client`` is in."""
        return client if self.protocol == "echo" else client % self.rooms

    def room_name(self, room: int) -> str:
        """The name of room number ``room``: the same one in every process of this run."""
        return f"{self.room}-{room}"

    @property
    def is_mixed(self) -> bool:
        """Whether there are personas."""
        return self.mix.members > 0

    def kind_of(self, client: int) -> str:
        """Which persona ``client`` is."""
        if self.is_mixed:
            return self.mix.kind_of(client)
        if client >= self.clients - self.frozen:
            return "frozen"
        return "talker" if client < self.senders else "lurker"

    @property
    def members_per_room(self) -> float:
        """How many deliveries one message makes."""
        return 1.0 if self.protocol == "echo" else self.clients / self.rooms

    def sample_share(self) -> float:
        """The share of clients whose every delivery is timed.

        All of them while that is cheap (up to 50,000 a second), else one in twenty: at 0.2 us for each
        delivery that is 1 % of a core per million deliveries.
        """
        if self.verify:
            return 1.0
        if self.sample is not None:
            return self.sample
        if self.rate is not None and self.rate * self.members_per_room <= 50_000:
            return 1.0
        return 0.05

    def source_address(self, client: int) -> str | None:
        """The loopback address that ``client`` connects from; None: the system's choice."""
        addresses = self.source_ips
        if not addresses and self.target.is_loopback and self.clients > CLIENTS_PER_ADDRESS:
            addresses = math.ceil(self.clients / CLIENTS_PER_ADDRESS)
        if not addresses or ":" in self.target.host:
            return None
        high, low = divmod(client % addresses, 250)
        return f"127.1.{high}.{low + 1}"


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:g}"


class _Checker:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, name: str, low: float, high: float) -> None:
        value = getattr(self.settings, name)
        if value is None:
            return
        if math.isnan(value) or not low <= value <= high:
            raise SettingsError(
                f"--{name.replace('_', '-')}: {_number(low)} to {_number(high)}, not {_number(value)}"
            )
