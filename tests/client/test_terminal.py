"""The terminal client as a person and as a script sees it: a pty, pipes, and the real server."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import trio_chat
from trio_chat.client import Message, open_client

SECONDS = 30.0


class Screen:
    """As much of a terminal as the client uses: rows, a cursor, erasing; anything else fails the test."""

    def __init__(self, columns: int = 60) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0
        self.raw = b""
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Draw what the client has written."""
        self.raw += data
        text = self._rest + data.decode("utf-8", "replace")
        self._rest = ""
        while text:
            if text[0] != "\x1b":
                self._put(text[0])
                text = text[1:]
                continue
            sequence = re.match(r"\x1b\[([?0-9;]*)([A-Za-z])", text)
            if sequence is None:
                assert len(text) < 12, f"an escape sequence: {text!r}"
                self._rest = text
                return
            self._obey(sequence[1], sequence[2])
            text = text[sequence.end() :]

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == len(self.rows):
                self.rows.append("")
        else:
            assert character.isprintable() or character in "\u200d", f"not printable: {character!r}"
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def _obey(self, parameters: str, command: str) -> None:
        match command:
            case "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "C":
                self.column += int(parameters)
            case "H" | "J":
                self.rows, self.row, self.column = [""], 0, 0
            case "m" | "h" | "l":
                pass
            case _:
                raise AssertionError(f"an unknown sequence: {parameters}{command}")

    @property
    def text(self) -> str:
        """All rows."""
        return "\n".join(self.rows)


class Terminal:
    """The client on a pty."""

    def __init__(self, *arguments: str, columns: int = 60) -> None:
        self.screen = Screen(columns)
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        environment = os.environ | {"TERM": "xterm", "TZ": "UTC", "NO_COLOR": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trio_chat", "connect", *arguments],
            stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Until the screen shows it; returns the screen."""
        until = time.monotonic() + SECONDS
        while not re.search(pattern, self.screen.text, re.MULTILINE):
            readable, _, _ = select.select([self._ours], [], [], 0.1)
            if readable:
                self.screen.feed(os.read(self._ours, 65536))
            elif self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"no {pattern!r} in:\n{self.screen.text}\n{self._errors()}")
        return self.screen.text

    def _errors(self) -> str:
        assert self.process.stderr is not None
        ended = self.process.poll() is not None
        return f"status {self.process.returncode}: {self.process.stderr.read().decode()}" if ended else ""

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit status and standard error."""
        assert self.process.stderr is not None
        until = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            if select.select([self._ours], [], [], 0.05)[0]:
                self.screen.feed(os.read(self._ours, 65536))
        while select.select([self._ours], [], [], 0)[0]:
            self.screen.feed(os.read(self._ours, 65536))
        return self.process.wait(1), self.process.stderr.read().decode()

    def close(self) -> None:
        """Give everything back."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self._ours)
        os.close(self.theirs)


@contextmanager
def terminal(*arguments: str, columns: int = 60) -> Iterator[Terminal]:
    """A client on a pty for the time of the block."""
    made = Terminal(*arguments, columns=columns)
    try:
        yield made
    finally:
        made.close()


class ServerThread:
    """The real server in a thread, and a friend in its room who speaks when told to."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[str] = []
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self.server: trio_chat.Server
        self._friend: trio_chat.client.Room

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        config = trio_chat.Config(port=0, log="memory:", rate=0.0, drain=1.0)
        async with trio.open_nursery() as nursery:
            self.server = await nursery.start(trio_chat.serve, config)
            self.url = self.server.url
            async with open_client(self.url, "bob") as client, client.join("lobby") as self._friend:
                self._ready.set()
                async for event in self._friend:
                    if isinstance(event, Message):
                        self.heard.append(event.text)

    def say(self, text: str) -> None:
        """Have bob say something in the lobby."""
        trio.from_thread.run(self._friend.say, text, trio_token=self._token)

    def cut(self) -> None:
        """Break every connection."""

        def break_them() -> None:
            for connection in list(self.server.connections):
                connection.cut(1006, "test")

        trio.from_thread.run_sync(break_them, trio_token=self._token)

    def wait_until_heard(self, *texts: str) -> None:
        """Until bob has heard these."""
        until = time.monotonic() + SECONDS
        while not set(texts) <= set(self.heard):
            assert time.monotonic() < until, self.heard
            time.sleep(0.02)

    def __enter__(self) -> "ServerThread":
        self._thread.start()
        assert self._ready.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            self._friend._client._close(trio.ClosedResourceError("test over"))
            self.server.stop()

        trio.from_thread.run(stop, trio_token=self._token)
        self._thread.join(SECONDS)


@pytest.fixture
def server() -> Iterator[ServerThread]:
    """A server with bob in the lobby."""
    with ServerThread() as running:
        yield running


def run(*arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
    """The client with pipes."""
    return subprocess.run(
        [sys.executable, "-m", "trio_chat", "connect", *arguments],
        input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


# --- pipes --------------------------------------------------------------------------------------------


def test_lines_of_a_pipe_are_said(server: ServerThread) -> None:
    """Each line is said as it is, empty ones left out; status 0 when all are acknowledged, no output."""
    done = run(server.url, "--name", "bot", stdin="one\n\n/two\nthree without an end")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    server.wait_until_heard("one", "/two", "three without an end")
    assert server.heard == ["one", "/two", "three without an end"]


def test_a_file_may_be_standard_input(server: ServerThread, tmp_path: object) -> None:
    """A regular file works like a pipe, an empty one says nothing."""
    with open(f"{tmp_path}/lines", "w+b") as file:
        file.write(b"from a file\r\n")
        file.seek(0)
        subprocess.run(
            [sys.executable, "-m", "trio_chat", "connect", server.url],
            stdin=file,
            timeout=SECONDS,
            check=True,
        )
    assert run(server.url, stdin="").returncode == 0
    server.wait_until_heard("from a file")
    assert server.heard == ["from a file"]


def test_a_line_that_is_refused_is_status_1(server: ServerThread) -> None:
    """What the server doesn't take ends it with the server's words."""
    done = run(server.url, stdin="x" * 10_001 + "\nafter\n")
    assert done.returncode == 1
    assert done.stderr.startswith("trio_chat: ")
    assert done.stderr.count("\n") == 1
    assert "text" in done.stderr


@pytest.mark.parametrize(
    ("path", "message"), [(":1", "cannot connect to 127.0.0.1:1: Connection refused"), ("/x", "(404)")]
)
def test_a_server_that_is_not_there_is_status_1(server: ServerThread, path: str, message: str) -> None:
    """Nobody listens, or nothing is there: one line."""
    done = run(f"http://127.0.0.1{path}" if path[0] == ":" else server.url + path, stdin="hi\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


# --- a terminal -----------------------------------------------------------------------------------------


def test_what_is_typed_survives_what_arrives(server: ServerThread) -> None:
    """Incoming lines appear above the line being typed, which stays as it is, the cursor in its place."""
    server.say("before you came")
    with terminal(server.url, "--name", "ann") as person:
        person.wait_for(r"bob: before you came")
        person.type("hello 中文 wrld\x1b[D\x1b[D\x1b[D")
        person.wait_for(r"^lobby> hello 中文 wrld$")
        server.say("meanwhile")
        server.say("and again")
        text = person.wait_for(r"bob: and again\nlobby> hello 中文 wrld$")
        assert re.search(r"^\d\d:\d\d bob: meanwhile\n\d\d:\d\d bob: and again\nlobby> ", text, re.MULTILINE)
        person.type("o\r")
        person.wait_for(r"ann: hello 中文 world\nlobby> ?$")
        server.wait_until_heard("hello 中文 world")
        person.type("\x04")
        assert person.end() == (0, "")
        assert "lobby>" not in person.screen.text.splitlines()[-1]
        assert termios.tcgetattr(person.theirs) == person.before


def test_nothing_that_others_write_drives_the_terminal(server: ServerThread) -> None:
    """Escape sequences, line breaks and bidirectional controls are written out; further lines are marked."""
    with terminal(server.url, "--name", "ann") as person:
        person.wait_for(r"lobby> ")
        server.say("a\x1b]0;owned\x07\x1b[2J\u202e\n12:00 ann: forged")
        text = person.wait_for("forged")
        assert r"bob: a\x1b]0;owned\x07\x1b[2J\u202e" + "\n    | 12:00 ann: forged" in text
        assert b"\x1b[2J" not in person.screen.raw
        person.type("\x03")
        assert person.end()[0] == 0


def test_commands(server: ServerThread) -> None:
    """Each command does what /help says."""
    for number in range(30):
        server.say(f"old {number}")
    with terminal(server.url, "--name", "ann", "--room", "lobby") as person:
        text = person.wait_for(r"old 29\n")
        assert "old 10\n" in text
        assert "old 9\n" not in text
        person.type("/help\r")
        person.wait_for(r"/quit +leave")
        person.type("/history 5\r")
        person.wait_for(r"old 5\n(.*\n)*.*old 9\n-- there are more before these")
        person.type("/history\r")
        person.wait_for(r"old 0\n(.*\n)*-- that is the beginning")
        person.type("/history x\r")
        person.wait_for(r"-- /history N: 1 to 200")
        person.type("/edit too early\r")
        person.wait_for(r"-- you have said nothing here yet")
        person.type("helo\r")
        person.wait_for(r"ann: helo\n")
        person.type("/edit hello\r")
        person.wait_for(r'-- ann has edited "helo": hello\n')
        person.type("/react 👋\r")
        person.wait_for(r'-- ann: 👋 to "hello"\n')
        person.type("/react word\r")
        person.wait_for(r"-- emoji: one emoji")
        person.type("/topic greetings\r")
        person.wait_for(r"-- ann says what this is about: greetings\n")
        person.type("/topic\r")
        person.wait_for(r"-- greetings\n")
        person.type("/search HELL\r")
        person.wait_for(r"^ann: hello \(edited, 👋 1\)\n-- 1 found\n")
        person.type("/delete\r")
        person.wait_for(r'-- ann has deleted "hello"\n')
        person.type("/search hell\r")
        person.wait_for(r"-- 0 found\n")
        person.type("/who\r")
        person.wait_for(r"-- 2 in lobby: (ann, bob|bob, ann)")
        person.type("/join ops\r")
        person.wait_for(r"-- you are in ops\nops> ?$")
        person.type("first here\r//slash\r")
        person.wait_for(r"ann: first here\n\S+ ann: /slash\n")
        server.say("elsewhere")
        person.wait_for(r"\[lobby\] bob: elsewhere")
        person.type("/rooms\r")
        person.wait_for(r"^\* ops \(1 here, 2 messages\)")
        person.type("/join a b\r")
        person.wait_for(r"-- room: 1 to 64")
        person.type("/join lobby\r")
        person.wait_for(r"-- you are in lobby")
        person.type("/leave\r")
        person.wait_for(r"-- you have left lobby\nops> ?$")
        person.type("/leave nowhere\r")
        person.wait_for(r"-- you are not in nowhere")
        person.type("/leave\r")
        person.wait_for(r"-- you have left ops\n> ?$")
        person.type("x\r")
        person.wait_for(r"-- you are in no room; /join ROOM")
        person.type("/leave\r")
        person.wait_for(r"-- you are in no room\n")
        person.type("/dance\r")
        person.wait_for(r"-- there is no /dance; /help lists")
        person.type("\x0c")
        person.wait_for(r"\A> ?$")
        person.type("/quit\r")
        assert person.end() == (0, "")


def test_a_lost_connection_is_shown_and_nothing_is_lost(server: ServerThread) -> None:
    """The person sees that it broke and that it is back; what was typed meanwhile is sent."""
    with terminal(server.url, "--name", "ann") as person:
        person.wait_for(r"lobby> ")
        server.cut()
        person.wait_for(r"-- .*; reconnecting")
        person.type("typed meanwhile\r")
        person.wait_for(r"-- connected again")
        person.wait_for(r"ann: typed meanwhile")
        server.wait_until_heard("typed meanwhile")
        person.type("\x04")
        assert person.end()[0] == 0


def test_others_coming_and_going_are_told(server: ServerThread) -> None:
    """Presence is a line of its own."""
    with terminal(server.url, "--name", "ann") as person:
        person.wait_for(r"-- you are ann in lobby")
        with terminal(server.url, "--name", "eve") as other:
            person.wait_for(r"-- eve has come")
            other.wait_for("lobby> ")
            other.type("\x04")
            assert other.end()[0] == 0
        person.wait_for(r"-- eve has gone")


def test_a_narrow_window_shows_a_part(server: ServerThread) -> None:
    """A line longer than the window scrolls; a resized window is drawn anew."""
    with terminal(server.url, "--name", "ann", columns=20) as person:
        person.wait_for(r"lobby> ")
        person.type("abcdefghijklmnopqrstuvwxyz")
        person.wait_for(r"^lobby> opqrstuvwxyz$")
        person.type("\x01")
        person.wait_for(r"^lobby> abcdefghijkl$")
        fcntl.ioctl(person.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        person.process.send_signal(signal.SIGWINCH)
        person.wait_for(r"^lobby> abcdefghijklmnopqrstuvwxyz$")
        person.type("\x03\x03")
        assert person.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(server: ServerThread, number: int) -> None:
    """Killed politely, the client leaves the terminal as it was."""
    with terminal(server.url, "--name", "ann") as person:
        person.wait_for(r"lobby> ")
        assert termios.tcgetattr(person.theirs) != person.before
        person.process.send_signal(number)
        assert person.end() == (0, "")
        assert termios.tcgetattr(person.theirs) == person.before


def test_a_server_that_refuses_is_one_line(server: ServerThread) -> None:
    """When the first connection fails the terminal isn't touched."""
    with terminal("http://127.0.0.1:1", "--name", "ann") as person:
        assert person.end() == (1, "trio_chat: cannot connect to 127.0.0.1:1: Connection refused\n")
        assert person.screen.raw == b""


def test_a_file_is_sent_and_shown(tmp_path: Path) -> None:
    """With its name, its size and where it is; what can't be sent is said in a line."""
    (tmp_path / "notes.txt").write_text("hello" * 1000)
    with ServerThread() as server, terminal(server.url, "--name", "ann", columns=200) as person:
        person.wait_for(r"lobby> ?$")
        person.type("/upload\r")
        person.wait_for(r"-- /upload FILE")
        person.type(f"/upload {tmp_path}/nothing\r")
        person.wait_for(r"-- not sent, .*/nothing: No such file or directory")
        person.type(f"/upload {tmp_path}/notes.txt\r")
        digest = "[0-9a-f]{64}"
        person.wait_for(rf"ann: \[notes.txt, 5 KiB\] {re.escape(server.url)}/files/{digest}/notes.txt")
        person.type("/quit\r")
        assert person.end() == (0, "")
