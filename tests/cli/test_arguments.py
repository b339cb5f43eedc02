"""Arguments: each mistake is one line and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from trio_chat import cli

from .process import environment


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", environment())


WRONG = [
    (["--port", "99999"], "port: 0 to 65535 (0: the system chooses), not 99999"),
    (["--port", "abc"], "port: 0 to 65535 (0: the system chooses), not 'abc'"),
    (["--port", "-1"], "port: 0 to 65535 (0: the system chooses), not '-1'"),
    (["--port="], "port: 0 to 65535 (0: the system chooses), not ''"),
    (["--port"], "parameter --port requires an argument (see --help)"),
    (["--port", "1", "--port", "2"], "parameter --port specified multiple times (see --help)"),
    (["--prot", "1"], "unknown option: --prot. Did you mean --port? (see --help)"),
    (["--nope"], "unknown option: --nope (see --help)"),
    (["--nope=1"], "unknown option: --nope (see --help)"),
    (["--no-comprss"], "unknown option: --no-comprss. Did you mean --no-compress? (see --help)"),
    (["--vesion"], "unknown option: --vesion. Did you mean --version? (see --help)"),
    (["connect", "ws://x", "--nmae", "y"], "unknown option: --nmae. Did you mean --name? (see --help)"),
    (["connect", "ws://x", "--port", "1"], "unknown option: --port (see --help)"),
    (["-x"], "unknown option: -x (see --help)"),
    (["-xyz"], "unknown option: -xyz (see --help)"),
    (["start"], "no such command or argument: 'start'; the commands are serve and connect (see --help)"),
    (
        ["serve", "8080"],
        "no such command or argument: '8080'; the commands are serve and connect (see --help)",
    ),
    (["--max-message", "5"], "max_message: 1 KiB to 1 GiB, as bytes or like 64KiB, not 5"),
    (["--log", "x"], "log: memory:, sqlite:///FILE or redis://HOST:PORT/DB, not 'x'"),
    (["--sync", "x"], "sync: one of full, normal, not 'x'"),
    (["--log-format", "x"], "log_format: one of text, json, not 'x'"),
    (["--tls-cert", "x"], "tls_key: tls_cert and tls_key go together, a file each"),
    (
        ["--origin", "https://a.example", "--origin", "x"],
        "origin: like https://chat.example.org, or *, not 'x'",
    ),
    (
        ["--trusted-proxy", "10.0.0.0/99"],
        "trusted_proxy: an address or a CIDR like 10.0.0.0/8, or unix, not '10.0.0.0/99'",
    ),
    (["--verbose=perhaps"], "verbose: true or false, not 'perhaps'"),
    (["--no-verbose=perhaps"], "verbose: true or false, not 'perhaps'"),
    (["--compress="], "compress: true or false, not ''"),
    (["--unix", "x" * 200], "unix: the path of a Unix socket is at most 107 bytes here, not 200"),
    (["--host", "a\nb\x1b", "--port", "x"], "port: 0 to 65535 (0: the system chooses), not 'x'"),
    (["--log", "a\nb\x1b"], "log: memory:, sqlite:///FILE or redis://HOST:PORT/DB, not 'a\\nb\\x1b'"),
    (
        ["--config", "/nowhere"],
        "config: a TOML file that can be read; /nowhere: No such file or directory",
    ),
    (["connect"], 'command "connect" parameter URL requires an argument (see --help)'),
    (
        ["connect", "ws://x", "y"],
        "no such command or argument: 'y'; the commands are serve and connect (see --help)",
    ),
    (
        ["connect", "ftp://x"],
        "url: like ws://HOST:PORT, https://HOST or unix:PATH, not 'ftp://x'",
    ),
    (["connect", "ws://x:99999"], "url: like ws://HOST:PORT, not 'ws://x:99999': Port out of range 0-65535"),
    (["connect", "ws://x", "--room", "a b"], "room: 1 to 64 letters, digits, '-', '_' or '.'"),
    (["connect", "ws://x", "--name", " "], "name: 1 to 32 characters"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=[" ".join(case[0])[:40] for case in WRONG])
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the setting and what it may be; standard output stays empty."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"trio_chat: {line}\n")


def test_the_file_and_the_environment_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes outside of the command line say where they are."""
    file = tmp_path / "chat.toml"
    file.write_text("burst = 0")
    assert cli.main(["--config", str(file)]) == 2
    assert capsys.readouterr().err == f"trio_chat: burst: 1 to 1000000000 operations, not 0 (in {file})\n"
    monkeypatch.setitem(cli.configuration.os.environ, "TRIO_CHAT_RATE", "fast")
    assert cli.main([]) == 2
    assert capsys.readouterr().err.endswith("not 'fast' (in the environment, TRIO_CHAT_RATE)\n")


def test_a_typo_in_the_environment_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable of our prefix that is no setting is refused, with the one that was meant."""
    monkeypatch.setitem(cli.configuration.os.environ, "TRIO_CHAT_PROT", "1")
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "trio_chat: config: no setting is called 'TRIO_CHAT_PROT' (in the environment); "
        "did you mean TRIO_CHAT_PORT?\n"
    )


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` has each setting with its explanation and its default, for both commands' sake."""
    assert cli.main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in cli.configuration._FIELDS:
        assert f"--{name.replace('_', '-')}" in text
    assert "Bytes that may wait for one client. [default: 1048576]" in text
    assert "connect" in text
    assert "TRIO_CHAT_PORT" in text
    assert cli.main(["connect", "--help"]) == 0
    assert "--room" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` is one line."""
    assert cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("trio-chat ")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "import trio_chat.cli, trio_chat.terminal",
            [
                "trio_chat.server",
                "trio_chat.front",
                "trio_chat.log",
                "trio_chat.wire",
                "trio_chat.chat.hub",
                "prometheus_client",
            ],
        ),
        (
            "import trio_chat.cli, trio_chat.server",
            ["trio_chat.client", "trio_chat.client_link", "trio_chat.terminal", "termios"],
        ),
        ("import trio_chat.cli", ["trio", "trio_websocket", "rich", "docstring_parser"]),
    ],
)
def test_neither_command_loads_the_other(code: str, absent: list[str]) -> None:
    """The terminal client doesn't wait for the server's imports, nor the other way round."""
    show = f"{code}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
