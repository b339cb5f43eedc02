"""Who the client is, when proxies stand in between: its address, and the scheme and host it used.

Owns the belief in `X-Forwarded-For`, ``Forwarded`` (RFC 7239) and the PROXY protocol. Refuses to know sockets
and what the address is used for. Everything is text: an address in its shortest form, IPv4 in IPv6 as IPv4,
without port and scope, or ``unix`` for a peer on a Unix socket.

Rules:

1. A header is read only if the peer is a trusted proxy. The client's own claims stand left of what a proxy
   added, so the walk goes from the right and ends at the first address that isn't a trusted proxy: that is
   the client.
2. What can't be read ends the walk at the last address believed. Nothing that stands further left, an
   unbalanced quote for example, changes how the rest is read.
3. A proxy that sets one of the two headers lets the other pass. So when both are there and lead to different
   clients, one of them may be forged, and the request is refused.
"""

import re
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

from trio_chat.front.head import BadRequest, Headers

UNIX = "unix"
"""The address of whoever connects through a Unix socket, and how the configuration names such a peer."""

_LONGEST_ADDRESS = 64
"""Longest text that may be an address with its port, characters: 39 for IPv6, the rest for brackets, port and
scope."""

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
# RFC 7239 section 4. A quoted value with a comma in it isn't matched: `Forwarded` is split at commas from the
# right.
_PARAMETER = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\,]|\\[^,])*)")')
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(?::[0-9]{1,5})?")
_PORT = re.compile(r":[0-9]{1,5}|")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def _short(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address.scope_id is not None:
            return str(IPv6Address(int(address)))
    return str(address)


@lru_cache(maxsize=4096)
def normal_address(text: str) -> str | None:
    """``text``, with or without port, brackets and scope, as an address in its normal form; None if it is
    none."""
    if len(text) > _LONGEST_ADDRESS:
        return None
    if text[:1] == "[":
        host, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in host or not _PORT.fullmatch(port):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _PORT.fullmatch(f":{port}") or not port:
            return None
    else:
        host = text
    try:
        return _short(ip_address(host))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def limit_key(address: str) -> str:
    """What limits per client address count under: an IPv6 address's /64 (one customer's network), else
    itself."""
    if ":" not in address:
        return address
    try:
        return f"{IPv6Address(int(IPv6Address(address)) >> 64 << 64)}/64"
    except ValueError:
        return address


@attrs.frozen
class Client:
    """The client as trusted proxies describe it: ``scheme`` is http or https, ``host`` as it wrote it in
    ``Host``."""

    address: str
    scheme: str
    host: str


@attrs.frozen
class _Hop:
    """What one proxy says about whoever sent it the request."""

    address: str | None
    scheme: str | None = None
    host: str | None = None


class TrustedProxies:
    """The peers whose word is taken: networks and ``unix``, as ``Config.trusted_proxy`` has them."""

    __slots__ = ("_networks", "_trusted", "_unix")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        names = list(networks)
        self._unix = UNIX in names
        self._networks = [ip_network(name, strict=False) for name in names if name != UNIX]
        # Bounded: the addresses that are asked about are mostly the proxies', but any client's may be among
        # them.
        self._trusted: Callable[[str], bool] = lru_cache(maxsize=4096)(self._contains)

    def _contains(self, address: str) -> bool:
        ip = ip_address(address)
        return any(ip in network for network in self._networks if _same_family(network, ip))

    def trusts(self, peer: str | None) -> bool:
        """Whether ``peer`` (None: on a Unix socket) is a proxy whose headers and PROXY header are
        believed."""
        if peer is None or peer == UNIX:
            return self._unix
        if not self._networks:
            return False
        address = normal_address(peer)
        return address is not None and self._trusted(address)

    def client(self, peer: str | None, headers: Headers) -> str:
        """The client's address. Raises `BadRequest` if the two kinds of header contradict each other."""
        return self._walk(peer, headers)[0]

    def resolve(self, peer: str | None, headers: Headers, *, tls: bool = False) -> Client:
        """The client's address, scheme and host; ``tls``: whether the peer itself speaks TLS with this
        server.

        Scheme and host are the client's as the outermost believed proxy tells them, else the connection's
        own. Raises `BadRequest` if the two kinds of header contradict each other.
        """
        address, hop = self._walk(peer, headers)
        scheme = "https" if tls else "http"
        host = headers.get("host", "")
        if hop is None:
            return Client(address, scheme, host)
        return Client(address, hop.scheme or scheme, hop.host or host)

    def _walk(self, peer: str | None, headers: Headers) -> tuple[str, _Hop | None]:
        address = UNIX if peer is None else normal_address(peer) or peer
        if not self.trusts(peer):
            return address, None
        customary, hop = self._follow(address, _x_forwarded_hops(headers))
        if "forwarded" not in headers:
            return customary, hop
        standard, standard_hop = self._follow(address, _forwarded_hops(headers))
        if standard != customary and "x-forwarded-for" in headers:
            raise BadRequest(400, "Forwarded and X-Forwarded-For name different clients")
        # Many a proxy sends Forwarded for the address alone, and X-Forwarded-Proto beside it.
        return standard, _Hop(None, standard_hop.scheme or hop.scheme, standard_hop.host or hop.host)

    def _follow(self, address: str, hops: Iterable[_Hop]) -> tuple[str, _Hop]:
        """Walk ``hops``, the nearest first, as long as they come from a trusted proxy."""
        last = _Hop(None)
        for hop in hops:
            last = hop
            if hop.address is None:
                break
            address = hop.address
            if not self._trusted(address):
                break
        return address, last


def _same_family(network: IPv4Network | IPv6Network, ip: IPv4Address | IPv6Address) -> bool:
    return network.version == ip.version


def _from_the_right(headers: Headers, name: str) -> Iterable[str]:
    """The members of a list header, the last one first, without empty ones."""
    for line in reversed(headers.get_all(name)):
        for member in reversed(line.split(",")):
            if text := member.strip():
                yield text


def _x_forwarded_hops(headers: Headers) -> Iterable[_Hop]:
    """The hops of ``X-Forwarded-For`` with the ``-Proto`` and ``-Host`` that belong to them.

    These two are often set once, by the outermost proxy: then they belong to every hop. Without
    ``X-Forwarded-For`` there may still be one of them: a hop of unknown address.
    """
    addresses = [normal_address(text) for text in _from_the_right(headers, "x-forwarded-for")] or [None]
    schemes = [_scheme(text) for text in _from_the_right(headers, "x-forwarded-proto")] or [None]
    hosts = [_host(text) for text in _from_the_right(headers, "x-forwarded-host")] or [None]
    for number, address in enumerate(addresses):
        yield _Hop(
            address,
            schemes[min(number, len(schemes) - 1)],
            hosts[min(number, len(hosts) - 1)],
        )


def _forwarded_hops(headers: Headers) -> Iterable[_Hop]:
    for text in _from_the_right(headers, "forwarded"):
        parameters = _parameters(text)
        if parameters is None:
            yield _Hop(None)
        else:
            yield _Hop(
                normal_address(parameters.get("for", "")),
                _scheme(parameters.get("proto", "")),
                _host(parameters.get("host", "")),
            )


def _parameters(text: str) -> dict[str, str] | None:
    """The parameters of one element of ``Forwarded``, names in lower case; None if it isn't well-formed."""
    found: dict[str, str] = {}
    at = 0
    while True:
        match = _PARAMETER.match(text, at)
        if match is None:
            return None
        name, token, quoted = match.groups()
        if name.lower() in found:
            return None
        found[name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
        if at == len(text):
            return found
        if text[at] != ";":
            return None
        at += 1


def _scheme(text: str) -> str | None:
    return _SCHEMES.get(text.lower())


def _host(text: str) -> str | None:
    return text if _HOST.fullmatch(text) else None


# --- PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt, 2020/03/05)
# --------------------------

MAX_PROXY_V1_BYTES = 107
"""The specification's own bound on a version 1 line with its line end."""
MAX_PROXY_V2_BYTES = 4096
"""A version 2 header with its extensions; they carry names and certificate subjects, seldom 500 bytes."""

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = struct.Struct("!12sBBH")
_V1_FAMILIES: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}
_V2_ADDRESS_BYTES = {0: 0, 1: 4, 2: 16, 3: 108}
"""By address family (unspecified, IPv4, IPv6, Unix): bytes of one address."""
_V2_PORTS_BYTES = {0: 0, 1: 4, 2: 4, 3: 0}


def starts_proxy_header(data: bytes) -> bool:
    """Whether ``data``, the first bytes of a connection, begins a PROXY header or may still come to."""
    return data.startswith((_V1, _V2)) or _V1.startswith(data) or _V2.startswith(data)


def parse_proxy_header(data: bytes) -> tuple[str | None, int] | None:
    """The source address in the PROXY header that ``data`` begins with, and the header's length in bytes.

    The address is None when the proxy speaks for itself (LOCAL) or doesn't say (UNKNOWN, UNSPEC, a Unix
    socket): the peer is the client then. None alone: more data is needed. `ValueError`: not a PROXY header.
    """
    if data.startswith(_V1):
        return _parse_v1(data)
    if data.startswith(_V2):
        return _parse_v2(data)
    if starts_proxy_header(data):
        return None
    raise ValueError("not a PROXY header")


def _parse_v1(data: bytes) -> tuple[str | None, int] | None:
    end = data.find(b"\r\n", 0, MAX_PROXY_V1_BYTES)
    if end < 0:
        if len(data) >= MAX_PROXY_V1_BYTES:
            raise ValueError(f"PROXY header, version 1: longer than {MAX_PROXY_V1_BYTES} bytes")
        return None
    family, *fields = data[len(_V1) : end].split(b" ")
    if family == b"UNKNOWN":
        return None, end + 2
    if family not in _V1_FAMILIES or len(fields) != 4:
        raise ValueError(
            "PROXY header, version 1: expected TCP4, TCP6 or UNKNOWN, two addresses and two ports"
        )
    source, destination, *ports = (field.decode("latin-1") for field in fields)
    if not all(port.isascii() and port.isdigit() and int(port) <= 0xFFFF for port in ports):
        raise ValueError("PROXY header, version 1: a port is a number up to 65535")
    parse = _V1_FAMILIES[family]
    try:
        parse(destination)
        return _short(parse(source)), end + 2
    except ValueError as error:
        raise ValueError(f"PROXY header, version 1: {error}") from None


def _parse_v2(data: bytes) -> tuple[str | None, int] | None:
    if len(data) < _V2_FIXED.size:
        return None
    _, version_command, family_transport, length = _V2_FIXED.unpack_from(data)
    version, command = divmod(version_command, 16)
    family, transport = divmod(family_transport, 16)
    if version != 2 or command > 1:
        raise ValueError("PROXY header, version 2: unknown version or command")
    size = _V2_FIXED.size + length
    if size > MAX_PROXY_V2_BYTES:
        raise ValueError(f"PROXY header, version 2: longer than {MAX_PROXY_V2_BYTES} bytes")
    if command == 0:
        return None if len(data) < size else (None, size)
    if family not in _V2_ADDRESS_BYTES or transport > 2:
        raise ValueError("PROXY header, version 2: unknown address family or transport")
    if length < 2 * _V2_ADDRESS_BYTES[family] + _V2_PORTS_BYTES[family]:
        raise ValueError("PROXY header, version 2: too short for its addresses")
    if len(data) < size:
        return None
    if family not in (1, 2):
        return None, size
    source = data[_V2_FIXED.size : _V2_FIXED.size + _V2_ADDRESS_BYTES[family]]
    return _short(ip_address(source)), size
