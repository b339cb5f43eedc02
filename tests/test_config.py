"""Settings: what they may be, where they come from, and what is said when they are wrong."""

import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_chat import config
from trio_chat.config import Config, ConfigError, load

HERE = {"environ": {}}


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting it is 127.0.0.1:8080, with the log in the user's data directory."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert attrs.asdict(load(environ={})) == {
        "host": "127.0.0.1",
        "port": 8080,
        "unix": None,
        "log": f"sqlite:///{Path('/data') / 'trio-chat.db'}",
        "sync": "full",
        "keep_events": 0,
        "keep_days": 0.0,
        "workers": 1,
        "files": None,
        "max_file": 10 << 20,
        "file_quota": 1 << 30,
        "tls_cert": None,
        "tls_key": None,
        "origin": (),
        "admin": (),
        "trusted_proxy": (),
        "user_header": None,
        "jwt_key": None,
        "jwt_algorithms": (),
        "jwt_issuer": None,
        "jwt_audience": None,
        "jwt_user": "sub",
        "jwt_name": "name",
        "jwt_admin": None,
        "jwt_header": "Authorization",
        "jwt_cookie": None,
        "guests": True,
        "max_message": 65536,
        "max_connections": 10_000,
        "max_per_ip": 100,
        "rate": 10.0,
        "burst": 20,
        "outbox": 1048576,
        "compress": True,
        "heartbeat": 20.0,
        "drain": 10.0,
        "log_format": "text",
        "verbose": False,
    }


@pytest.mark.parametrize(
    ("platform", "variables", "directory"),
    [
        ("linux", {"XDG_DATA_HOME": "/x"}, "/x"),
        ("linux", {"HOME": "/home/ann"}, "/home/ann/.local/share"),
        ("darwin", {"HOME": "/Users/ann"}, "/Users/ann/Library/Application Support"),
        ("win32", {"LOCALAPPDATA": "/ann"}, "/ann"),
        ("win32", {"HOME": "/ann"}, "/ann/AppData/Local"),
    ],
)
def test_each_system_has_its_data_directory(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], directory: str
) -> None:
    """The log's default place follows the system's conventions."""
    monkeypatch.setattr("sys.platform", platform)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert config.data_directory() == Path(directory)


GOOD: list[tuple[str, str, Any]] = [
    ("host", "::1", "::1"),
    ("port", "0", 0),
    ("port", " 65535 ", 65535),
    ("unix", "/run/chat", "/run/chat"),
    ("log", "memory:", "memory:"),
    ("log", "sqlite:///relative.db", "sqlite:///relative.db"),
    ("log", "rediss://h:1/0", "rediss://h:1/0"),
    ("sync", "normal", "normal"),
    ("keep_events", "10000", 10_000),
    ("keep_days", "0.5", 0.5),
    ("origin", "https://chat.example.org", ("https://chat.example.org",)),
    ("origin", "https://a.example, *,null", ("https://a.example", "*", "null")),
    ("admin", "ann,auth0|bob", ("ann", "auth0|bob")),
    ("trusted_proxy", "10.0.0.0/8,unix,::1", ("10.0.0.0/8", "unix", "::1")),
    ("jwt_header", "X-Token", "X-Token"),
    ("jwt_user", "user_id", "user_id"),
    ("guests", "no", False),
    ("max_message", "64KiB", 65536),
    ("max_message", "1 mib", 1 << 20),
    ("max_message", "65536", 65536),
    ("max_file", "0", 0),
    ("max_file", "1 GiB", 1 << 30),
    ("file_quota", "2TiB", 2 << 40),
    ("file_quota", "1tb", 10**12),
    ("outbox", "2MB", 2_000_000),
    ("outbox", "4096b", 4096),
    ("max_connections", "1", 1),
    ("max_per_ip", "5", 5),
    ("rate", "0", 0.0),
    ("rate", "2.5", 2.5),
    ("burst", "1", 1),
    ("heartbeat", ".5", 0.5),
    ("drain", "1e1", 10.0),
    ("log_format", "json", "json"),
    ("verbose", "yes", True),
    ("verbose", "OFF", False),
]


@pytest.mark.parametrize(("setting", "text", "value"), GOOD)
def test_the_environment_gives_any_setting(setting: str, text: str, value: object) -> None:
    """`TRIO_CHAT_` and the setting's name in capitals; lists are comma separated; sizes may have a unit."""
    found = getattr(load(environ={f"TRIO_CHAT_{setting.upper()}": text}), setting)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user_header": "X-User"}, "user_header: believed from trusted_proxy only, and there is none"),
        ({"jwt_audience": "chat"}, "jwt_key: a file; jwt_audience means nothing without it"),
        ({"jwt_algorithms": ("HS256",)}, "jwt_key: a file; jwt_algorithms means nothing without it"),
        ({"jwt_cookie": "session"}, "jwt_key: a file; jwt_cookie means nothing without it"),
    ],
)
def test_what_needs_another_setting_says_so(settings: dict[str, Any], message: str) -> None:
    """Nothing is set in vain without a word."""
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert str(caught.value) == message


BAD: list[tuple[str, Any, str]] = [
    ("max_file", 1023, "1 KiB to 1 GiB, as bytes or like 64KiB (0: no files), not 1023"),
    ("max_file", False, "1 KiB to 1 GiB, as bytes or like 64KiB (0: no files), not False"),
    ("file_quota", "1 KiB", "1 MiB to 1024 TiB, as bytes or like 64KiB (0: no limit), not 1024"),
    ("files", "", "a directory, not ''"),
    ("user_header", "X User", "a header's name, not 'X User'"),
    ("jwt_cookie", "a=b", "a cookie's name, not 'a=b'"),
    ("jwt_algorithms", ("none",), f"one or more of {', '.join(config.JWT_ALGORITHMS)}, not 'none'"),
    ("guests", "maybe", "true or false, not 'maybe'"),
    ("host", "", "an address or a host name, not ''"),
    ("host", 5, "an address or a host name, not 5"),
    ("port", 65536, "0 to 65535 (0: the system chooses), not 65536"),
    ("port", "eighty", "0 to 65535 (0: the system chooses), not 'eighty'"),
    ("port", "8KiB", "0 to 65535 (0: the system chooses), not '8KiB'"),
    ("port", 80.0, "0 to 65535 (0: the system chooses), not 80.0"),
    ("port", True, "0 to 65535 (0: the system chooses), not True"),
    ("port", None, "0 to 65535 (0: the system chooses), not None"),
    ("unix", "a\0b", "a path, not 'a\\x00b'"),
    ("log", "postgres://x", "memory:, sqlite:///FILE or redis://HOST:PORT/DB, not 'postgres://x'"),
    ("log", "sqlite:///", "memory:, sqlite:///FILE or redis://HOST:PORT/DB, not 'sqlite:///'"),
    ("log", 1, "memory:, sqlite:///FILE or redis://HOST:PORT/DB, not 1"),
    ("sync", "never", "one of full, normal, not 'never'"),
    ("tls_cert", "", "a file, not ''"),
    ("origin", ["chat.example.org"], "like https://chat.example.org, or *, not 'chat.example.org'"),
    ("origin", 5, "like https://chat.example.org, or *, not 5"),
    ("origin", "https://a.example/path", "like https://chat.example.org, or *, not 'https://a.example/path'"),
    ("admin", [""], "a user's id, 1 to 128 printable characters, not ''"),
    ("admin", ["a\nb"], "a user's id, 1 to 128 printable characters, not 'a\\nb'"),
    ("admin", ["x" * 129], f"a user's id, 1 to 128 printable characters, not {'x' * 129!r}"),
    ("admin", [1], "a user's id, 1 to 128 printable characters, not 1"),
    ("trusted_proxy", ["10.0.0.0/99"], "an address or a CIDR like 10.0.0.0/8, or unix, not '10.0.0.0/99'"),
    ("trusted_proxy", [1], "an address or a CIDR like 10.0.0.0/8, or unix, not 1"),
    ("max_message", 5, "1 KiB to 1 GiB, as bytes or like 64KiB, not 5"),
    ("max_message", "1 furlong", "1 KiB to 1 GiB, as bytes or like 64KiB, not '1 furlong'"),
    ("outbox", "2GiB", "4 KiB to 1 GiB, as bytes or like 64KiB, not 2147483648"),
    ("max_connections", 0, "1 to 10000000 connections, not 0"),
    ("rate", -1, "0 to 1000000000 operations per second (0: no limit), not -1"),
    ("rate", float("nan"), "0 to 1000000000 operations per second (0: no limit), not nan"),
    ("burst", 0, "1 to 1000000000 operations, not 0"),
    ("heartbeat", 0.01, "0.05 to 86400 seconds, not 0.01"),
    ("drain", "soon", "0 to 3600 seconds, not 'soon'"),
    ("log_format", "xml", "one of text, json, not 'xml'"),
    ("verbose", "perhaps", "true or false, not 'perhaps'"),
    ("verbose", 1, "true or false, not 1"),
]


@pytest.mark.parametrize(("setting", "value", "message"), BAD)
def test_a_wrong_value_is_named_with_what_it_may_be(setting: str, value: object, message: str) -> None:
    """One line: the setting, what it may be, what it is."""
    with pytest.raises(ConfigError) as caught:
        load({setting: value}, **HERE)
    assert str(caught.value) == f"{setting}: {message}"
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("given", "missing"), [({"tls_cert": "c"}, "tls_key"), ({"tls_key": "k"}, "tls_cert")]
)
def test_a_certificate_needs_its_key(given: dict[str, str], missing: str) -> None:
    """The two TLS files go together."""
    with pytest.raises(ConfigError, match=f"^{missing}: tls_cert and tls_key go together"):
        Config(**given)  # type: ignore[arg-type]
    assert Config(tls_cert="c", tls_key="k").tls_key == "k"


def test_an_option_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Option, environment, file, default: the first that has the setting."""
    file = tmp_path / "chat.toml"
    file.write_text('port = 1\nburst = 2\nrate = 3\nhost = "h1"\norigin = ["https://f.example"]\n')
    environ = {"TRIO_CHAT_PORT": "4", "TRIO_CHAT_BURST": "5", "TRIO_CHAT_HOST": ""}
    found = load({"port": 6}, environ, str(file))
    assert (found.port, found.burst, found.rate, found.host) == (6, 5, 3.0, "h1")
    assert found.origin == ("https://f.example",)
    assert found.drain == 10.0


def test_the_file_may_come_from_the_environment(tmp_path: Path) -> None:
    """`TRIO_CHAT_CONFIG` names the file unless an option does; hyphens in keys are as good as underscores."""
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    first.write_text('max-message = "1MiB"\nverbose = true\n')
    second.write_text("port = 2\n")
    found = load(environ={"TRIO_CHAT_CONFIG": str(first)})
    assert (found.max_message, found.verbose) == (1 << 20, True)
    assert load(environ={"TRIO_CHAT_CONFIG": str(first)}, file=str(second)).port == 2


def test_the_process_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument it is `os.environ`."""
    for name in [name for name in os.environ if name.startswith("TRIO_CHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIO_CHAT_PORT", "7")
    assert load().port == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", r"config: no setting is called 'prot' \(.*\); did you mean port\?"),
        ("zzz = 1", r"config: no setting is called 'zzz' \(.*\); there are host, port, "),
        ("[server]\nport = 1", r"config: no setting is called 'server'"),
        ("max_message = 1\nmax-message = 2", "max_message: once"),
        ("port = ", r"config: a TOML file; .*: Invalid value"),
        ("\xff", r"config: a TOML file; .*decode"),
        ("port = 99999", r"port: 0 to 65535 \(0: the system chooses\), not 99999 \(in .*chat.toml\)"),
        ("port = [1]", r"port: .*, not \[1\] \(in "),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    """Unknown keys, bad TOML and bad values name the file."""
    file = tmp_path / "chat.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        load(file=str(file), **HERE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/chat.toml", "/", "nul\0"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    """A missing file, a directory, an impossible name."""
    with pytest.raises(ConfigError, match=r"^config: a TOML file"):
        load(file=path, **HERE)


def test_a_wrong_variable_is_named() -> None:
    """What comes from the environment says so."""
    with pytest.raises(
        ConfigError, match=r"not 'tcp://10\.0\.0\.1:80' \(in the environment, TRIO_CHAT_PORT\)$"
    ):
        load(environ={"TRIO_CHAT_PORT": "tcp://10.0.0.1:80"})


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("TRIO_CHAT_PROT", "did you mean TRIO_CHAT_PORT?"),
        ("TRIO_CHAT_CONFG", "did you mean TRIO_CHAT_CONFIG?"),
        ("TRIO_CHAT_ZZZ", "there are TRIO_CHAT_HOST, TRIO_CHAT_PORT, "),
        ("TRIO_CHAT_", "there are TRIO_CHAT_HOST, TRIO_CHAT_PORT, "),
        ("TRIO_CHAT_port", "did you mean TRIO_CHAT_PORT?"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, hint: str) -> None:
    """As an unknown key in the file is, with the nearest name; one that is empty counts as absent."""
    with pytest.raises(ConfigError) as caught:
        load(environ={variable: "1"})
    assert str(caught.value).startswith(f"config: no setting is called {variable!r} (in the environment); ")
    assert hint in str(caught.value)
    assert load(environ={variable: "", "TRIO_CHATTER": "1", "TRIO_CHAT_CONFIG": ""}) == load(environ={})


@pytest.mark.parametrize(("platform", "most"), [("linux", 107), ("darwin", 103)])
def test_a_unix_socket_has_a_short_path(monkeypatch: pytest.MonkeyPatch, platform: str, most: int) -> None:
    """What the system's address has no space for is refused, counted in bytes."""
    monkeypatch.setattr("sys.platform", platform)
    for path in ("x" * most, "\u00e4" * (most // 2)):
        assert Config(unix=path).unix == path
    with pytest.raises(ConfigError, match=f"^unix: .* at most {most} bytes here, not {most + 1}$"):
        Config(unix="\u00e4" * ((most + 1) // 2))
