"""Chat from a terminal: ``python -m trio_chat connect URL``.

Owns the terminal, the commands and what events look like; `trio_chat.terminal_editor` knows keys,
`trio_chat.client` the server. Three ways of working:

- Standard input and output are a terminal: a line editor, with what comes in printed above it.
- Standard input is a terminal, output isn't (or ``TERM`` is ``dumb``): the same without the editor.
- Standard input is no terminal: each line of it is said, as it is; when all are acknowledged it is over.

Rules: the terminal is given back as it was found, whatever happens; nothing that others wrote can drive it;
standard output carries the chat alone, failures are one line on standard error. Exit status 0, or 1 for a
server that can't be reached or that refuses; arguments that can't be meant raise `BadArgument`.
"""

import getpass
import os
import select
import signal
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import attrs
import trio

from .chat import schema
from .client import (
    ChatError,
    Client,
    ClientError,
    Event,
    Gap,
    Message,
    Refused,
    Reset,
    Room,
    open_client,
)
from .client_link import parse_url
from .terminal_editor import Editor, visible
from .terminal_messages import Shown, marks

HISTORY = 20
"""Past messages shown after joining a room."""
_MAX_UNSENT = 100
"""Lines that may wait for their acknowledgement before the next is refused."""
_TYPING_SECONDS = 3.0
_GOODBYE_SECONDS = 3.0
"""How long leaving may wait for lines that are on their way."""
_HELP = """\
/join ROOM     join a room, or turn to one that you are in
/leave [ROOM]  leave this room, or another one
/rooms         the rooms of this server
/who           who is here
/history [N]   N older messages (20)
/upload FILE   send a file
/edit TEXT     have your last message say TEXT
/delete        delete your last message
/react EMOJI   react to the last message
/topic [TEXT]  what the room is about
/search WORDS  messages with these words
/quit          leave (Ctrl-D too)
//TEXT         say a text that begins with a slash"""


class BadArgument(ValueError):
    """An argument can't be meant: one line that names it and says what it may be."""


async def run(url: str, *, room: str = "lobby", name: str | None = None) -> int:
    """Chat until the user has had enough; returns the exit status. Raises `BadArgument`."""
    try:
        parse_url(url)
        room = schema.room_name(room)
        name = schema.user_name(name) if name is not None else _login_name()
    except ValueError as error:
        raise BadArgument(str(error)) from None
    try:
        async with open_client(url, name) as client:
            if not sys.stdin.isatty():
                async with _in_background(_tell_trouble, client):
                    await _say_lines(client, room)
            else:
                await _converse(client, room)
    except ClientError as error:
        print(f"trio_chat: {visible(str(error))}", file=sys.stderr)
        return 1
    return 0


def _size(size: int) -> str:
    """A file's size for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size = round(size / 1024)
    return f"{size} GiB"


def _login_name() -> str | None:
    with suppress(OSError, KeyError, ImportError, ValueError):
        return schema.user_name(getpass.getuser())
    return None


# --- standard input -----------------------------------------------------------------------------------


async def _read(descriptor: int) -> bytes:
    """What is there to read, at least a byte; empty at the end. Cancelling loses nothing but on Windows."""
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except (OSError, AttributeError, TypeError):
        # A regular file is always readable, which epoll refuses to say; Windows can wait for sockets only.
        return await trio.to_thread.run_sync(os.read, descriptor, 65536, abandon_on_cancel=True)
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the terminal has been hung up
        return b""


class _Lines:
    """Iterate standard input by lines, without their ends."""

    def __init__(self) -> None:
        self._rest = b""
        self._whole: list[bytes] = []
        self._over = False

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        while not self._whole:
            if self._over:
                raise StopAsyncIteration
            data = await _read(sys.stdin.fileno())
            self._over = not data
            *self._whole, self._rest = (self._rest + data).split(b"\n")
            if self._over and self._rest:
                self._whole, self._rest = [self._rest], b""
        return self._whole.pop(0).removesuffix(b"\r").decode("utf-8", "replace")


async def _say_lines(client: Client, name: str) -> None:
    """Say each line, the next one after the acknowledgement of the last; empty lines are left out."""
    async with client.join(name) as room:
        async for line in _Lines():
            if line.strip():
                await room.say(line)


async def _tell_trouble(client: Client) -> None:
    async for state in client.states():
        if state == "reconnecting":
            trouble = visible(client.trouble or "connection lost")
            print(f"trio_chat: {trouble}; reconnecting", file=sys.stderr)


# --- the terminal -------------------------------------------------------------------------------------


class Screen:
    """Where lines are printed, above the editor if there is one. A thread writes: a terminal may be slow."""

    def __init__(self, editor: Editor | None) -> None:
        self.editor = editor
        self.gone = trio.Event()
        """Nobody can see what is printed any more."""
        self.colours = editor is not None and not os.environ.get("NO_COLOR")
        self._lock = trio.Lock()

    async def print(self, text: str) -> None:
        """Print lines, and the editor's row below them."""
        await self._write(text.replace("\n", "\r\n") + "\r\n" if self.editor is not None else text + "\n")

    async def redraw(self, *, clear: bool = False) -> None:
        """Show the editor's row as it is now."""
        await self._write("\x1b[H\x1b[2J" if clear else "")

    async def erase(self) -> None:
        """Take the editor's row away."""
        editor, self.editor = self.editor, None
        if editor is not None:
            await self._write("\r\x1b[K")

    def dim(self, text: str) -> str:
        """``text`` in the background."""
        return f"\x1b[2m{text}\x1b[0m" if self.colours else text

    def tinted(self, user: schema.User) -> str:
        """A user's name, in the user's colour."""
        if not self.colours:
            return visible(user.name)
        return f"\x1b[1;3{1 + sum(user.id.encode()) % 6}m{visible(user.name)}\x1b[0m"

    async def _write(self, text: str) -> None:
        async with self._lock:
            if self.editor is not None:
                picture = self.editor.picture(_columns())
                right = f"\x1b[{picture.cursor}C" if picture.cursor else ""
                text = f"\r\x1b[K{text}\r\x1b[K{picture.row}\r{right}"
            try:
                await trio.to_thread.run_sync(_write_all, text.encode("utf-8", "backslashreplace"))
            except OSError:
                self.gone.set()


def _write_all(data: bytes) -> None:
    # Not through sys.stdout: what is stuck in its buffer would fail once more at exit.
    descriptor = sys.stdout.fileno()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody else has made the terminal non-blocking
            select.select([], [descriptor], [])


def _columns() -> int:
    try:
        return max(10, os.get_terminal_size(sys.stdout.fileno()).columns)
    except OSError:
        return 80


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Have each key as it is pressed, unechoed, and pasted text marked; afterwards all is as before."""
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    raw: list[Any] = termios.tcgetattr(descriptor)
    raw[0] &= ~(termios.IXON | termios.ICRNL | termios.INLCR)
    raw[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, raw)
        _write_all(b"\x1b[?2004h")
        yield
    finally:
        # TCSADRAIN, not TCSAFLUSH: what was typed ahead belongs to the shell.
        with suppress(OSError):
            _write_all(b"\x1b[?2004l")
        with suppress(OSError, termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _can_edit() -> bool:
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        import termios
    except ImportError:
        return False
    del termios
    return True


async def _converse(client: Client, room: str) -> None:
    """Chat with the person at the terminal until they leave. Raises `ClientError`."""
    if not _can_edit():
        await Conversation(client, Screen(None)).run(room)
        return
    screen = Screen(Editor())
    with _raw_terminal():
        try:
            await Conversation(client, screen).run(room)
        finally:
            with trio.CancelScope(shield=True):
                await screen.erase()


# --- the conversation ---------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Stay:
    """Being in a room. ``oldest``: the first message shown."""

    room: Room
    scope: trio.CancelScope
    left: trio.Event = attrs.field(factory=trio.Event)
    oldest: int | None = None
    shown: Shown = attrs.field(factory=Shown)


class Conversation:
    """One person in some rooms: commands and texts in, lines out."""

    def __init__(self, client: Client, screen: Screen) -> None:
        self._client = client
        self._screen = screen
        self._stays: dict[str, _Stay] = {}
        self._current: str | None = None
        self._failure: ClientError | None = None
        self._unsent, self._to_send = trio.open_memory_channel[tuple[Room, str]](_MAX_UNSENT)
        self._sending = 0
        self._all_sent = trio.Event()
        self._typed_at = 0.0
        self._nursery: trio.Nursery | None = None

    async def run(self, first: str) -> None:
        """Join ``first`` and converse; raises the `ClientError` that ended it, if one did."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._follow_signals)
            nursery.start_soon(self._follow_state)
            nursery.start_soon(self._follow_screen)
            nursery.start_soon(self._send)
            await nursery.start(self._stay, first)
            if self._stays:
                await self._note(f"you are {visible(self._client.user.name)} in {first}; /help helps")
                nursery.start_soon(self._follow_input)
                await trio.sleep_forever()
        if self._failure is not None:
            raise self._failure

    # --- tasks -----------------------------------------------------------------------------------------

    async def _follow_signals(self) -> None:
        """SIGTERM, SIGHUP and SIGINT end the conversation; a resized window is drawn anew."""
        ending = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
        resized = getattr(signal, "SIGWINCH", None)
        with trio.open_signal_receiver(*ending, *([resized] if resized else [])) as signals:
            async for number in signals:
                if number != resized:
                    self._end()
                elif self._screen.editor is not None:
                    await self._screen.redraw()

    async def _follow_input(self) -> None:
        editor = self._screen.editor
        if editor is None:
            async for line in _Lines():
                await self._take(line)
            await self._quit()
            return
        await self._screen.redraw()
        while data := await _read(sys.stdin.fileno()):
            for action in editor.feed(data):
                match action.kind:
                    case "line":
                        await self._take(action.text)
                    case "clear":
                        await self._screen.redraw(clear=True)
                    case _:
                        await self._quit()
            self._tell_typing(editor.text)
            await self._screen.redraw()
        await self._quit()

    async def _follow_screen(self) -> None:
        await self._screen.gone.wait()
        self._end()

    async def _follow_state(self) -> None:
        told = "open"
        async for state in self._client.states():
            if state == "reconnecting":
                await self._note(f"{visible(self._client.trouble or 'connection lost')}; reconnecting ...")
            elif state == "open" and told != "open":
                await self._note("connected again")
            told = state

    async def _send(self) -> None:
        """Say the lines one after the other, so that they keep their order."""
        async for room, text in self._to_send:
            try:
                await room.say(text)
            except ChatError as error:
                await self._note(f"not sent: {visible(error.message)}")
            except trio.ClosedResourceError:
                await self._note(f"not sent, you have left {room.name}")
            except Refused as error:
                self._fail(error)
            self._sending -= 1
            if not self._sending:
                self._all_sent.set()
                self._all_sent = trio.Event()

    async def _stay(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be in a room and show what happens there, until it is left. Started when it has been answered."""
        first = self._current is None
        stay: _Stay | None = None
        with trio.CancelScope() as scope:
            try:
                async with self._client.join(name, last=HISTORY) as room:
                    stay = self._stays[name] = _Stay(room, scope)
                    self._turn_to(name)
                    task_status.started()
                    async with _in_background(self._show_signals, room):
                        async for event in room:
                            await self._show(stay, event)
            except ChatError as error:
                if first and stay is None:
                    self._fail(error)
                else:
                    await self._note(f"{name}: {visible(error.message)}")
            except ClientError as error:
                self._fail(error)
        if stay is None:
            task_status.started()
            return
        del self._stays[name]
        if self._current == name:
            self._turn_to(next(iter(self._stays), ""))
        stay.left.set()

    async def _show_signals(self, room: Room) -> None:
        async for signal_ in room.signals:
            if isinstance(signal_, schema.Presence) and signal_.user.id != self._client.user.id:
                did = "has come" if signal_.online else "has gone"
                await self._note(f"{self._where(room)}{visible(signal_.user.name)} {did}")

    def _fail(self, error: ClientError) -> None:
        self._failure = self._failure or error
        self._end()

    def _end(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    async def _quit(self) -> None:
        """Leave, after a little time for what is on its way."""
        with trio.move_on_after(_GOODBYE_SECONDS):
            if self._sending:
                await self._all_sent.wait()
        if self._sending:
            lines = "line has" if self._sending == 1 else "lines have"
            await self._note(f"{self._sending} {lines} not been acknowledged")
        self._end()
        await trio.lowlevel.checkpoint()

    # --- what is shown -----------------------------------------------------------------------------------

    async def _note(self, text: str) -> None:
        await self._screen.print(self._screen.dim(f"-- {text}"))

    def _where(self, room: Room) -> str:
        return "" if room.name == self._current else f"[{room.name}] "

    async def _show(self, stay: _Stay, event: Event) -> None:
        room = stay.room
        match event:
            case Message():
                stay.oldest = stay.oldest or event.seq
                stay.shown.add(event)
                await self._screen.print(self._line(room, event))
            case schema.Edited() | schema.Deleted() | schema.Reacted() | schema.Unreacted():
                await self._note(f"{self._where(room)}{stay.shown.told(event)}")
            case schema.TopicChanged():
                did = f"says what this is about: {visible(event.text)}" if event.text else "has no topic now"
                await self._note(f"{self._where(room)}{visible(event.user.name)} {did}")
            case Gap():
                count = event.to - event.from_ + 1
                await self._note(f"{self._where(room)}{count} events are no longer kept")
            case Reset():
                stay.oldest = None
                await self._note(
                    f"{self._where(room)}the server has begun anew; something may be missing here"
                )

    def _line(self, room: Room, message: Message) -> str:
        try:
            at = time.strftime("%H:%M", time.localtime(message.at))
        except (OverflowError, ValueError, OSError):
            at = "--:--"
        # Each line of a text is marked as one: nobody can write a line that looks like another's.
        lines = message.text.split("\n") if message.text or not message.files else []
        lines += [
            f"[{file.name}, {_size(file.size)}] {self._client.url_of(file)}" for file in message.files or ()
        ]
        text = "\n    | ".join(visible(line.removesuffix("\r")) for line in lines)
        who = self._screen.tinted(message.user)
        return f"{self._screen.dim(at)} {self._where(room)}{who}: {text}{self._screen.dim(marks(message))}"

    def _turn_to(self, name: str) -> None:
        self._current = name
        if self._screen.editor is not None:
            self._screen.editor.prompt = f"{name}> "

    # --- what is typed -----------------------------------------------------------------------------------

    @property
    def _room(self) -> Room | None:
        stay = self._stays.get(self._current or "")
        return None if stay is None else stay.room

    def _tell_typing(self, text: str) -> None:
        now = trio.current_time()
        if self._room is not None and text and text[0] != "/" and now - self._typed_at >= _TYPING_SECONDS:
            self._typed_at = now
            self._room.typing()

    async def _take(self, line: str) -> None:
        """A line that was typed: a command or a text."""
        if not line.strip():
            return
        if not line.startswith("/") or line.startswith("//"):
            await self._say(line.removeprefix("/") if line.startswith("//") else line)
            return
        command, _, rest = line[1:].partition(" ")
        known = {
            "help": self._help, "join": self._join, "leave": self._leave, "rooms": self._list_rooms,
            "who": self._who, "history": self._history, "upload": self._upload, "edit": self._edit,
            "delete": self._delete, "react": self._react, "topic": self._topic, "search": self._search,
            "quit": self._quit_command,
        }  # fmt: skip
        if command not in known:
            await self._note(f"there is no /{visible(command)}; /help lists what there is")
            return
        try:
            await known[command](rest.strip())
        except ChatError as error:
            await self._note(visible(error.message))
        except trio.ClosedResourceError:
            await self._note("you have left that room")
        except Refused as error:
            self._fail(error)

    async def _say(self, text: str) -> None:
        if self._room is None:
            await self._note("you are in no room; /join ROOM")
            return
        try:
            self._unsent.send_nowait((self._room, text))
            self._sending += 1
        except trio.WouldBlock:
            await self._note(f"not sent: {_MAX_UNSENT} lines wait for the server already")

    async def _upload(self, argument: str) -> None:
        if self._room is None or not argument:
            await self._note("/upload FILE" if self._room is not None else "you are in no room; /join ROOM")
            return
        assert self._nursery is not None
        self._nursery.start_soon(self._send_file, self._room, argument)

    async def _send_file(self, room: Room, path: str) -> None:
        """Send a file and show it in ``room``, while the conversation goes on."""
        try:
            file = await self._client.upload(await trio.Path(path).expanduser())
            await room.say("", files=[file])
        except ChatError as error:
            await self._note(f"not sent: {visible(error.message)}")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            await self._note(f"not sent, {visible(path)}: {visible(reason or str(error))}")
        except trio.ClosedResourceError:
            await self._note(f"not sent, you have left {room.name}")
        except Refused as error:
            self._fail(error)

    async def _edit(self, text: str) -> None:
        if (stay := await self._with_message(own=True)) is not None:
            room, seq = stay
            if text:
                await room.edit(seq, text)
            else:
                await self._note("/edit TEXT")

    async def _delete(self, _: str) -> None:
        if (stay := await self._with_message(own=True)) is not None:
            room, seq = stay
            await room.delete(seq)

    async def _react(self, emoji: str) -> None:
        if (stay := await self._with_message(own=False)) is not None:
            room, seq = stay
            if emoji:
                await room.react(seq, emoji)
            else:
                await self._note("/react EMOJI")

    async def _with_message(self, *, own: bool) -> tuple[Room, int] | None:
        """The room, and the last message in it, or the last of one's own."""
        stay = self._stays.get(self._current or "")
        if stay is None:
            await self._note("you are in no room; /join ROOM")
            return None
        seq = stay.shown.last(self._client.user.id if own else None)
        if seq is None:
            await self._note("you have said nothing here yet" if own else "there is no message here yet")
            return None
        return stay.room, seq

    async def _topic(self, text: str) -> None:
        if self._room is None:
            await self._note("you are in no room; /join ROOM")
        elif text:
            await self._room.set_topic(text)
        else:
            await self._note(visible(self._room.topic) or "this room has no topic")

    async def _search(self, words: str) -> None:
        if not words:
            await self._note("/search WORDS")
            return
        found = await self._client.search(words)
        for message in reversed(found.messages):
            where = "" if message.room == self._current else f"[{visible(message.room)}] "
            who = self._screen.tinted(message.user)
            text = " ".join(message.text.split())
            await self._screen.print(f"{where}{who}: {visible(text)}{self._screen.dim(marks(message))}")
        more = ", and there are older ones" if found.next is not None else ""
        await self._note(f"{len(found.messages)} found{more}")

    async def _help(self, _: str) -> None:
        await self._screen.print(_HELP)

    async def _quit_command(self, _: str) -> None:
        await self._quit()

    async def _join(self, argument: str) -> None:
        try:
            name = schema.room_name(argument)
        except ValueError as error:
            await self._note(str(error))
            return
        if name not in self._stays:
            assert self._nursery is not None
            await self._nursery.start(self._stay, name)
        if name in self._stays:
            self._turn_to(name)
            await self._note(f"you are in {name}")

    async def _leave(self, argument: str) -> None:
        name = unicodedata.normalize("NFC", argument) or self._current or ""
        stay = self._stays.get(name)
        if stay is None:
            await self._note(f"you are not in {visible(name)}" if name else "you are in no room")
            return
        stay.scope.cancel()
        await stay.left.wait()
        await self._note(f"you have left {name}")

    async def _list_rooms(self, _: str) -> None:
        for found in await self._client.rooms():
            mark = "*" if found.room in self._stays else " "
            await self._screen.print(
                f"{mark} {visible(found.room)} ({found.count} here, {found.head} messages)"
            )

    async def _who(self, _: str) -> None:
        if self._room is not None:
            names = [visible(user.name) for user in await self._room.who()]
            await self._note(f"{len(names)} in {self._current}: {', '.join(names)}")

    async def _history(self, argument: str) -> None:
        stay = self._stays.get(self._current or "")
        if stay is None:
            return
        if argument and (not argument.isdecimal() or not 1 <= int(argument) <= schema.MAX_HISTORY):
            await self._note(f"/history N: 1 to {schema.MAX_HISTORY}")
            return
        page = await stay.room.history(before=stay.oldest, limit=int(argument or HISTORY))
        if page.messages:
            stay.oldest = page.messages[0].seq
        for message in page.messages:
            await self._screen.print(self._line(stay.room, message))
        await self._note("there are more before these" if page.more else "that is the beginning")


@asynccontextmanager
async def _in_background(function: Any, *arguments: Any) -> AsyncIterator[None]:
    """Run a function beside the block, until the block ends; what that raises comes out as it is."""
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function, *arguments)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - carried over the nursery, which would wrap it
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
