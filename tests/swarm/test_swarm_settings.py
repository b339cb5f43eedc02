"""The command line: what it means, and one line with status 2 for what it may not be."""

import pytest
from swarmlib.adapters import make_protocol
from swarmlib.cli import main, settings_from
from swarmlib.cli import parser as make_parser
from swarmlib.settings import Settings, guess_protocol
from swarmlib.worker import interleaved

URL = "ws://127.0.0.1:9/"


def settings(*argv: str) -> Settings:
    """What a command line means."""
    return settings_from(make_parser().parse_args(argv))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "URL"),
        (["wss://localhost", "--ca", "/no/such/file"], "--ca: a file of certificates"),
        (["wss://localhost:0"], "wss"),
        (["ftp://localhost"], "not 'ftp://localhost'"),
        (["ws://localhost:99999"], "1 to 65535"),
        (["ws://"], "ws://HOST:PORT"),
        (["ws://localhost/ü"], "ASCII"),
        ([URL, "--clients", "0"], "--clients: 1 to 99999, not 0"),
        ([URL, "--clients", "many"], "--clients"),
        ([URL, "--rooms", "101"], "--rooms: 1 to 100, not 101"),
        ([URL, "--senders", "101"], "--senders"),
        ([URL, "--senders", "0"], "--senders: at least 1"),
        ([URL, "--rate", "nan"], "--rate"),
        ([URL, "--rate", "5", "--window", "1"], "not both"),
        ([URL, "--window", "0"], "--window"),
        ([URL, "--size", "10"], "--size: 48 to 1048576, not 10"),
        ([URL, "--frozen", "1"], "--frozen: 0 to 0, not 1"),
        ([URL, "--senders", "3", "--frozen", "98"], "--frozen: 0 to 97, not 98"),
        ([URL, "--duration", "0"], "--duration"),
        ([URL, "--sample", "2"], "--sample"),
        ([URL, "--processes", "-1"], "--processes"),
        ([URL, "--protocol", "smtp"], "--protocol"),
        ([URL, "--protocol", "plain", "--rooms", "2"], "--rooms"),
        (["ws://example.org", "--source-ips", "3"], "--source-ips"),
        ([URL, "--json", "/no/such/directory/x"], "--json: cannot write"),
        ([URL, "--plot", "picture.gif"], "--plot"),
        ([URL, "--nonsense"], "--nonsense"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option."""
    try:
        status = main(argv)
    except SystemExit as stop:
        status = int(stop.code or 0)
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert output.err.startswith("swarm: ")
    assert output.err.count("\n") == 1
    assert told in output.err


def test_the_path_tells_the_protocol() -> None:
    """As the server prints its URL: chat."""
    paths = ["/", "/ws", "/relay", "/relay/x", "/other"]
    assert [guess_protocol(path) for path in paths] == ["chat", "chat", "relay", "relay", "plain"]


def test_every_client_has_its_request_path() -> None:
    """Rooms are in the path where the server has them there; a query is kept."""

    def path(url: str, client: int, *argv: str) -> str:
        return make_protocol(settings(url, "--room", "r", *argv)).path(client)

    assert path("http://127.0.0.1:9", 3) == "/ws"
    assert path("127.0.0.1:9", 3) == "/ws"
    assert path("ws://h:9/relay", 3, "--rooms", "2") == "/relay/r-1"
    assert path("ws://h:9/relay/x?echo=0", 3, "--rooms", "2") == "/relay/x/r-1?echo=0"
    assert path("ws://h:9/", 3, "--protocol", "relay") == "/relay/r-0"
    assert path("ws://h:9/a?b=c", 3) == "/a?b=c"


def test_a_scheme_tells_tls_and_the_port() -> None:
    """As everywhere: 80 without TLS, 443 with it."""
    targets = [settings(f"{scheme}://h").target for scheme in ("ws", "http", "wss", "https")]
    assert [(target.tls, target.port) for target in targets] == [(False, 80)] * 2 + [(True, 443)] * 2


def test_loops_have_their_defaults() -> None:
    """Open: all send, 20 a second. Closed: one sends."""
    assert (settings(URL).rate, settings(URL).senders) == (20.0, 100)
    closed = settings(URL, "--window", "3")
    assert (closed.rate, closed.senders, closed.window) == (None, 1, 3)


def test_many_clients_are_spread_over_loopback_addresses() -> None:
    """When the ports of one address would not do, or when asked."""
    assert settings(URL, "--clients", "500").source_address(1) is None
    many = settings(URL, "--clients", "50000")
    addresses = {many.source_address(client) for client in range(50_000)}
    assert addresses == {"127.1.0.1", "127.1.0.2", "127.1.0.3"}
    asked = settings(URL, "--clients", "700", "--source-ips", "600")
    assert asked.source_address(599) == "127.1.2.100"


def test_the_sample_follows_the_load() -> None:
    """Everything while it is cheap, a twentieth when not, what was asked for otherwise."""
    assert settings(URL, "--rate", "100").sample_share() == 1.0
    assert settings(URL, "--rate", "10000").sample_share() == 0.05
    assert settings(URL, "--window", "1").sample_share() == 0.05
    assert settings(URL, "--window", "1", "--verify").sample_share() == 1.0
    assert settings(URL, "--window", "1", "--sample", "0.5").sample_share() == 0.5


def test_senders_stand_evenly_in_the_order_of_joining() -> None:
    """One sender stands in the middle."""
    assert interleaved([0], [1, 2, 3, 4]) == [1, 2, 0, 3, 4]
    assert interleaved([0, 1], [2, 3, 4, 5]) == [2, 0, 3, 4, 1, 5]
    assert interleaved([0, 1], []) == [0, 1]
    assert interleaved([], [3, 4]) == [3, 4]
