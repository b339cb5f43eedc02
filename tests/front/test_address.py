"""The client's address through proxies: tables of what is believed, and that forged headers change
nothing."""

import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_chat.front.address import (
    MAX_PROXY_V1_BYTES,
    MAX_PROXY_V2_BYTES,
    UNIX,
    Client,
    TrustedProxies,
    limit_key,
    normal_address,
    parse_proxy_header,
    starts_proxy_header,
)
from trio_chat.front.head import BadRequest, Headers

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:ffff::/48", "unix"])
PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:DB8::0:1]:80", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:80", "192.0.2.1"),
        ("::1", "::1"),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2.1:", None),
        ("192.0.2.1:x", None),
        ("192.0.2.1:123456", None),
        ("192.0.2.256", None),
        ("192.0.02.1", None),
        ("192.0.2", None),
        ("[192.0.2.1]", None),
        ("[::1", None),
        ("[::1]80", None),
        ("[::1]:80:90", None),
        ("::1%" + "a" * 100, None),
        ("１.2.3.4", None),
    ],
)
def test_addresses_have_one_form(text: str, expected: str | None) -> None:
    """Ports, brackets and scopes go, IPv4 in IPv6 is IPv4, and anything else is no address."""
    assert normal_address(text) == expected


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        (UNIX, UNIX),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, key: str) -> None:
    """A customer has a /64, so its addresses count together; every other address for itself."""
    assert limit_key(address) == key


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("2001:db8:ffff::1%eth0", True),
        ("11.0.0.1", False),
        ("2001:db8::1", False),
        (None, True),
        ("unix", True),
        ("nonsense", False),
    ],
)
def test_which_peers_are_trusted(peer: str | None, trusted: bool) -> None:
    """Those in a configured network of their family, and Unix sockets if named."""
    assert PROXIES.trusts(peer) == trusted
    assert not TrustedProxies().trusts(peer)


def test_one_address_is_a_network() -> None:
    """A proxy may be named by its address alone; a network by any address in it."""
    assert TrustedProxies(["192.0.2.1"]).trusts("192.0.2.1")
    assert TrustedProxies(["192.0.2.1/24"]).trusts("192.0.2.9")


WALKS = [
    pytest.param(
        "198.51.100.1", {"X-Forwarded-For": "192.0.2.9"}, "198.51.100.1", id="forged by an untrusted peer"
    ),
    pytest.param(
        "::ffff:198.51.100.1", {"Forwarded": "for=192.0.2.9"}, "198.51.100.1", id="forged, mapped peer"
    ),
    pytest.param(PEER, {}, PEER, id="no header"),
    pytest.param(PEER, {"X-Forwarded-For": "192.0.2.9"}, "192.0.2.9", id="one proxy"),
    pytest.param(None, {"X-Forwarded-For": "192.0.2.9"}, "192.0.2.9", id="one proxy on a Unix socket"),
    pytest.param(None, {}, UNIX, id="Unix socket without header"),
    pytest.param(PEER, {"X-Forwarded-For": "1.1.1.1, 192.0.2.9"}, "192.0.2.9", id="forged on the left"),
    pytest.param(
        PEER, {"X-Forwarded-For": "192.0.2.9, 10.2.0.1 ,10.3.0.1"}, "192.0.2.9", id="past trusted proxies"
    ),
    pytest.param(PEER, {"X-Forwarded-For": "10.9.9.9, 10.2.0.1"}, "10.9.9.9", id="everybody trusted"),
    pytest.param(
        PEER, {"X-Forwarded-For": "192.0.2.9, junk, 10.2.0.1"}, "10.2.0.1", id="garbage ends the walk"
    ),
    pytest.param(PEER, {"X-Forwarded-For": "junk"}, PEER, id="nothing but garbage"),
    pytest.param(PEER, {"X-Forwarded-For": ","}, PEER, id="empty list"),
    pytest.param(PEER, {"X-Forwarded-For": "192.0.2.9,,"}, "192.0.2.9", id="empty members"),
    pytest.param(PEER, {"X-Forwarded-For": "192.0.2.9:1234"}, "192.0.2.9", id="port"),
    pytest.param(PEER, {"X-Forwarded-For": "[2001:db8::9]:1234"}, "2001:db8::9", id="IPv6 and port"),
    pytest.param(PEER, {"X-Forwarded-For": "2001:db8::9"}, "2001:db8::9", id="bare IPv6"),
    pytest.param(
        PEER, {"X-Forwarded-For": "1.1.1.1, ::ffff:192.0.2.9, ::ffff:10.2.0.1"}, "192.0.2.9", id="mapped"
    ),
    pytest.param(PEER, {"Forwarded": "for=192.0.2.9"}, "192.0.2.9", id="RFC 7239"),
    pytest.param(
        PEER, {"Forwarded": 'FOR="192.0.2.9:80";Proto=http;by=203.0.113.1'}, "192.0.2.9", id="quoted"
    ),
    pytest.param(PEER, {"Forwarded": 'for="[2001:db8::9]:4711"'}, "2001:db8::9", id="quoted IPv6"),
    pytest.param(PEER, {"Forwarded": r'for="192.0.2\.9"'}, "192.0.2.9", id="quoted pair"),
    pytest.param(
        PEER, {"Forwarded": "for=1.1.1.1, for=192.0.2.9, for=10.2.0.1"}, "192.0.2.9", id="RFC 7239 walk"
    ),
    pytest.param(PEER, {"Forwarded": "for=1.1.1.1, for=_hidden, for=10.2.0.1"}, "10.2.0.1", id="obfuscated"),
    pytest.param(PEER, {"Forwarded": "for=unknown"}, PEER, id="unknown"),
    pytest.param(PEER, {"Forwarded": "proto=https"}, PEER, id="no for"),
    pytest.param(
        PEER, {"Forwarded": 'for="x, for=192.0.2.9'}, "192.0.2.9", id="unbalanced quote on the left"
    ),
    pytest.param(
        PEER, {"Forwarded": 'for=192.0.2.9, for="10.2.0.1'}, PEER, id="unbalanced quote on the right"
    ),
    pytest.param(PEER, {"Forwarded": "for=192.0.2.9 ;proto=https"}, PEER, id="space before the semicolon"),
    pytest.param(PEER, {"Forwarded": "for=192.0.2.9;"}, PEER, id="nothing after the semicolon"),
    pytest.param(PEER, {"Forwarded": "for=192.0.2.9;for=192.0.2.8"}, PEER, id="for twice"),
    pytest.param(PEER, {"Forwarded": "192.0.2.9"}, PEER, id="no parameter"),
    pytest.param(
        PEER,
        {"Forwarded": "for=192.0.2.9", "X-Forwarded-For": "192.0.2.9"},
        "192.0.2.9",
        id="both headers agree",
    ),
]


@pytest.mark.parametrize(("peer", "fields", "expected"), WALKS)
def test_the_walk_from_the_right(peer: str | None, fields: dict[str, str], expected: str) -> None:
    """Past trusted proxies to the first address that is none; further left nothing is believed."""
    assert PROXIES.client(peer, Headers(fields)) == expected


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_repeated_lines_are_one_list(name: str) -> None:
    """A proxy may add a line of its own instead of a member."""
    prefix = "for=" if name == "Forwarded" else ""
    headers = Headers([(name, f"{prefix}1.1.1.1"), (name, f"{prefix}192.0.2.9"), (name, f"{prefix}10.2.0.1")])
    assert PROXIES.client(PEER, headers) == "192.0.2.9"


@pytest.mark.parametrize(
    "fields",
    [
        {"Forwarded": "for=1.1.1.1", "X-Forwarded-For": "192.0.2.9"},
        {"Forwarded": "for=junk", "X-Forwarded-For": "192.0.2.9"},
        {"Forwarded": "for=192.0.2.9", "X-Forwarded-For": "junk"},
    ],
)
def test_contradicting_headers_are_refused(fields: dict[str, str]) -> None:
    """A proxy that sets one of them lets a client forge the other: neither is believed then."""
    with pytest.raises(BadRequest, match="different clients") as caught:
        PROXIES.client(PEER, Headers(fields))
    assert caught.value.status == 400
    assert PROXIES.client("198.51.100.1", Headers(fields)) == "198.51.100.1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Client(PEER, "http", "own")),
        ({"X-Forwarded-Proto": "HTTPS"}, Client(PEER, "https", "own")),
        ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "a:81"}, Client(PEER, "https", "a:81")),
        ({"X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "a b"}, Client(PEER, "http", "own")),
        (
            {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "[::1]:8"},
            Client("192.0.2.9", "https", "[::1]:8"),
        ),
        (
            {"X-Forwarded-For": "1.1.1.1, 192.0.2.9", "X-Forwarded-Proto": "http, https"},
            Client("192.0.2.9", "https", "own"),
        ),
        (
            {"X-Forwarded-For": "192.0.2.9, 10.2.0.1", "X-Forwarded-Proto": "https, http"},
            Client("192.0.2.9", "https", "own"),
        ),
        (
            {"X-Forwarded-For": "192.0.2.9, 10.2.0.1", "X-Forwarded-Proto": "https"},
            Client("192.0.2.9", "https", "own"),
        ),
        (
            {"Forwarded": 'for=192.0.2.9;proto=https;host="a:81", for=10.2.0.1;proto=http;host=b'},
            Client("192.0.2.9", "https", "a:81"),
        ),
        (
            {"Forwarded": "for=192.0.2.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a"},
            Client("192.0.2.9", "https", "a"),
        ),
        ({"Forwarded": 'for=192.0.2.9;proto=x;host="a b"'}, Client("192.0.2.9", "http", "own")),
    ],
)
def test_scheme_and_host_are_the_clients(fields: dict[str, str], expected: Client) -> None:
    """As told by the proxy that the client talked to; the connection's own where nothing credible is told."""
    assert PROXIES.resolve(PEER, Headers({"Host": "own", **fields})) == expected


def test_an_untrusted_peer_speaks_for_itself() -> None:
    """Its scheme is the connection's, its host the one it sent."""
    headers = Headers({"X-Forwarded-Proto": "http", "X-Forwarded-Host": "a", "Host": "own"})
    assert PROXIES.resolve("198.51.100.1", headers, tls=True) == Client("198.51.100.1", "https", "own")
    assert PROXIES.resolve("198.51.100.1", Headers()) == Client("198.51.100.1", "http", "")


_ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.0.0.0/8").map(str),
    st.ip_addresses(v=6).map(lambda ip: f'"[{ip}]:80"'),
    st.sampled_from(["unknown", "_x", "", '"', "10.0.0.1:80"]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=8),
)


@given(
    st.lists(_ADDRESSES, max_size=5),
    st.sampled_from(["X-Forwarded-For", "Forwarded", "both"]),
    st.text(max_size=8),
)
def test_whatever_a_client_claims_a_trusted_proxy_has_the_last_word(
    claims: list[str], name: str, proto: str
) -> None:
    """No claim raises anything but a refusal, nor changes what the nearest proxy says."""
    members = [f"for={claim}" for claim in claims] if name == "Forwarded" else claims
    fields = {"X-Forwarded-Proto": proto}
    for one in ("X-Forwarded-For", "Forwarded") if name == "both" else (name,):
        fields[one] = ", ".join(members)
    try:
        client = PROXIES.client(PEER, Headers(fields))
    except BadRequest:
        assert name == "both"
    else:
        assert client == PEER or str(ip_address(client)) == client
    if name != "both":
        truth = "for=192.0.2.9" if name == "Forwarded" else "192.0.2.9"
        assert PROXIES.client(PEER, Headers({name: ", ".join([*members, truth])})) == "192.0.2.9"


@given(st.lists(st.ip_addresses(v=4), min_size=1, max_size=5))
def test_both_headers_tell_the_same(addresses: list[object]) -> None:
    """The same way in either header leads to the same client: the last one outside the trusted networks."""
    names = [str(address) for address in addresses]
    plain = Headers({"X-Forwarded-For": ", ".join(names)})
    standard = Headers({"Forwarded": ",".join(f"for={name}" for name in names)})
    outside = [name for name in names if ip_address(name) not in ip_network("10.0.0.0/8")]
    assert (
        PROXIES.client(PEER, plain)
        == PROXIES.client(PEER, standard)
        == (outside[-1] if outside else names[0])
    )


# --- PROXY protocol -------------------------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = ip_address("192.0.2.9").packed + ip_address("10.0.0.1").packed + struct.pack("!HH", 4711, 80)
IPV6 = ip_address("2001:db8::9").packed + ip_address("::1").packed + struct.pack("!HH", 4711, 80)
MAPPED = ip_address("::ffff:192.0.2.9").packed + ip_address("::1").packed + struct.pack("!HH", 4711, 80)


def v2(command: int, family: int, addresses: bytes, length: int | None = None) -> bytes:
    """A version 2 header of these parts; ``length`` is claimed in place of the true one."""
    size = len(addresses) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + addresses


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80\r\n", "192.0.2.9"),
        (b"PROXY TCP6 2001:DB8::0:9 ::1 4711 80\r\n", "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 4711 80\r\n", "192.0.2.9"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN what ever\r\n", None),
        (b"PROXY UNKNOWN " + b"f" * (MAX_PROXY_V1_BYTES - 16) + b"\r\n", None),
        (v2(0x21, 0x11, IPV4), "192.0.2.9"),
        (v2(0x21, 0x12, IPV4 + b"\x04\x00\x01x"), "192.0.2.9"),
        (v2(0x21, 0x21, IPV6), "2001:db8::9"),
        (v2(0x21, 0x21, MAPPED), "192.0.2.9"),
        (v2(0x21, 0x31, bytes(216)), None),
        (v2(0x21, 0x00, b""), None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, IPV4), None),
        (v2(0x20, 0xFF, b"xyz"), None),
        (v2(0x21, 0x11, IPV4 + bytes(MAX_PROXY_V2_BYTES - 16 - len(IPV4))), "192.0.2.9"),
    ],
)
def test_a_proxy_header_is_read_however_much_of_it_is_there(header: bytes, source: str | None) -> None:
    """Less than all of it asks for more; what follows isn't touched."""
    for size in range(len(header)):
        assert starts_proxy_header(header[:size])
        assert parse_proxy_header(header[:size]) is None
    for trailing in (b"", b"GET / HTTP/1.1\r\n\r\n"):
        assert parse_proxy_header(header + trailing) == (source, len(header))


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXYTCP4",
        b"\r\n\r\nx",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 4711\r\n",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80 90\r\n",
        b"PROXY TCP4  192.0.2.9 10.0.0.1 80\r\n",
        b"PROXY TCP4 2001:db8::9 ::1 4711 80\r\n",
        b"PROXY TCP6 192.0.2.9 10.0.0.1 4711 80\r\n",
        b"PROXY TCP4 192.0.2.9 nonsense 4711 80\r\n",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 65536 80\r\n",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 -1 80\r\n",
        b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 \xb2\r\n",
        b"PROXY TCP5 192.0.2.9 10.0.0.1 4711 80\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN " + b"f" * (MAX_PROXY_V1_BYTES - 15) + b"\r\n",
        v2(0x11, 0x11, IPV4),
        v2(0x22, 0x11, IPV4),
        v2(0x21, 0x41, IPV4),
        v2(0x21, 0x13, IPV4),
        v2(0x21, 0x11, IPV4[:-1]),
        v2(0x21, 0x21, IPV6[:-1]),
        v2(0x21, 0x11, b"", MAX_PROXY_V2_BYTES),
    ],
)
def test_a_bad_proxy_header_is_an_error(header: bytes) -> None:
    """With a message that says which rule it breaks."""
    with pytest.raises(ValueError, match="PROXY header"):
        parse_proxy_header(header)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]),
    st.binary(max_size=80),
)
def test_no_bytes_break_the_proxy_header(start: bytes, data: bytes) -> None:
    """Address and length, more, or `ValueError`; never anything else."""
    try:
        found = parse_proxy_header(start + data)
    except ValueError:
        return
    if found is not None:
        source, size = found
        assert 0 < size <= len(start + data)
        assert source is None or str(ip_address(source)) == source
