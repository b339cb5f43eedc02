"""Where others find a server that listens everywhere."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from trio_chat.listeners import own_address, urls_elsewhere

from .peers import has_ipv6

FOUND = {
    "192.0.2.1": "192.168.1.5",
    "10.254.254.254": "10.8.0.3",
    "172.31.254.254": "192.168.1.5",
    "2001:db8::1": "fd12::7",
}


def found(_: socket.AddressFamily, elsewhere: str) -> str | None:
    """A machine in a network at home and in a company's."""
    return FOUND.get(elsewhere)


@pytest.fixture
def bound() -> Iterator[object]:
    """Makes sockets with an address, which nobody can connect to as they don't listen."""
    with ExitStack() as stack:

        def bind(host: str) -> tuple[socket.socket, int]:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.bind((host, 0))
            return sock, sock.getsockname()[1]

        yield bind


def test_a_wildcard_is_reached_at_the_machines_addresses(bound: object) -> None:
    """Each address once, with the scheme and the port."""
    sock, port = bound("0.0.0.0")  # type: ignore[operator]
    at_home, at_work = f"192.168.1.5:{port}", f"10.8.0.3:{port}"
    assert urls_elsewhere([sock], tls=False, source=found) == [f"http://{at_home}", f"http://{at_work}"]
    assert urls_elsewhere([sock], tls=True, source=found) == [f"https://{at_home}", f"https://{at_work}"]


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
def test_an_ipv6_wildcard_is_reached_by_ipv6(bound: object) -> None:
    """The address is in brackets."""
    sock, port = bound("::")  # type: ignore[operator]
    assert urls_elsewhere([sock], tls=False, source=found) == [f"http://[fd12::7]:{port}"]


@pytest.mark.parametrize("own", [None, "127.0.0.1", "0.0.0.0", "169.254.7.7"])
def test_what_leads_nowhere_is_not_told(bound: object, own: str | None) -> None:
    """No network, or an address that others can't use."""
    sock, _ = bound("0.0.0.0")  # type: ignore[operator]
    assert urls_elsewhere([sock], tls=False, source=lambda family, elsewhere: own) == []


def test_one_address_says_itself_where_it_is(bound: object) -> None:
    """A server that listens on one address, or on a Unix socket, has said so already."""
    sock, _ = bound("127.0.0.1")  # type: ignore[operator]
    with socket.socket(socket.AF_UNIX) as unix:
        assert urls_elsewhere([sock, unix], tls=False, source=found) == []


@pytest.mark.parametrize("elsewhere", ["192.0.2.1", "127.0.0.1"])
def test_this_machine_can_be_asked(elsewhere: str) -> None:
    """The answer is an address or none; asking raises nothing."""
    own = own_address(socket.AF_INET, elsewhere)
    assert own is None or ipaddress.ip_address(own)


def test_no_way_is_no_address() -> None:
    """A machine that has no route says so by an error, which is the answer."""
    assert own_address(socket.AF_INET, "::1") is None
