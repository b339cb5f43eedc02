"""The command line: ``python -m trio_chat [serve] [OPTIONS]`` and ``python -m trio_chat connect URL``.

Owns arguments, signals, exit statuses and the one line on standard output. Knows no sockets and no
chat. The options are the fields of `trio_chat.config.Config`; cyclopts reads them, `config.load` decides.

Rules: exit status 0 after SIGTERM or SIGINT, 2 for bad arguments or a bad configuration, 1 for
everything else; a failure is one line on standard error, without a traceback. Neither command imports the
other's half of the package.
"""

import contextlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import attrs
import cyclopts

from trio_chat import config as configuration
from trio_chat import logs

logger = logging.getLogger("trio_chat.cli")

WORKER_VARIABLE = "_TRIO_CHAT_WORKER"
"""In the environment of each process that ``--workers`` has started: what it inherits."""
EXIT_FAILURE = 1
EXIT_USAGE = 2


class UsageError(Exception):
    """The command line can't be meant: one line, exit status 2."""


# --- options ------------------------------------------------------------------------------------------


def _as_text(_: object, tokens: Sequence[cyclopts.Token]) -> object:
    """Leave the value as it was typed: `config.load` knows better what it may be, and says so."""
    return tokens[0].value


def _as_texts(_: object, tokens: Sequence[cyclopts.Token]) -> object:
    return tuple(token.value for token in tokens)


def _default_text(name: str) -> str:
    default = getattr(configuration.Config(), name)
    return "" if default in (None, (), False) else str(default)


def _option(setting: "attrs.Attribute[Any]", text: str) -> inspect.Parameter:
    """One field of `Config` as an option that stays away from the call when it isn't given."""
    shown = _default_text(setting.name)
    how = cyclopts.Parameter(
        help=text,
        show_default=(lambda _: shown) if shown else False,
        negative_iterable=(),
        converter=None if setting.type is bool else _as_texts if setting.default == () else _as_text,
        allow_leading_hyphen=setting.type in (int, float),
    )
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[setting.type, how]
    )


def _signature(*, with_help: bool) -> inspect.Signature:
    texts: dict[str, str] = {}
    if with_help:  # reading the fields' docstrings takes 20 ms, which only --help is worth
        import docstring_parser

        parsed = docstring_parser.parse_from_object(configuration.Config)
        texts = {parameter.arg_name: parameter.description or "" for parameter in parsed.params}
    options = [_option(field, texts.get(field.name, "")) for field in attrs.fields(configuration.Config)]
    how = cyclopts.Parameter(
        help="Read settings from this TOML file, with the same names.", show_default=False
    )
    file = inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, how]
    )
    return inspect.Signature([*options, file])


def _version() -> str:
    import importlib.metadata

    try:
        return f"trio-chat {importlib.metadata.version('trio-chat')}"
    except importlib.metadata.PackageNotFoundError:
        return "trio-chat (not installed: run from its source)"


def _app(arguments: Sequence[str] = (), *, with_help: bool) -> cyclopts.App:
    app = cyclopts.App(
        name="trio_chat",
        help="A durable, ordered, resumable chat service.",
        help_epilogue="Every option of serve may also come from the environment (TRIO_CHAT_PORT=8081, "
        "TRIO_CHAT_ORIGIN=https://a.example,https://b.example) or from the file of --config (port = 8081). "
        "An option wins over the environment, the environment over the file.",
        help_format="plaintext",
        version=_version,
        version_format="plaintext",
    )

    def serve(**options: Any) -> int:
        return serve_command(options.pop("config", None), options, arguments)

    serve.__signature__ = _signature(with_help=with_help)  # type: ignore[attr-defined]
    serve.__doc__ = "Run the server (the default command)."
    app.command(serve)
    app.default(serve)

    @app.command
    def connect(url: str, /, *, room: str = "lobby", name: str | None = None) -> int:
        """Chat from a terminal, or say each line of standard input and leave.

        Parameters
        ----------
        url
            Where the server is: http://HOST:PORT, https://, ws:// or wss://.
        room
            The room to join.
        name
            Your name; without it, your login name.
        """
        return connect_command(url, room, name)

    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; ``arguments`` are `sys.argv`'s if None."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    app = _app(arguments, with_help=not {"--help", "-h"}.isdisjoint(arguments))
    try:
        # print_error and exit_on_error off: boxes are for --help, an error is one line.
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return status if isinstance(status, int) else 0
    except cyclopts.CycloptsError as error:
        return _fail(_plain(error), EXIT_USAGE)
    except (configuration.ConfigError, UsageError) as error:
        return _fail(str(error), EXIT_USAGE)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _plain(error: cyclopts.CycloptsError) -> str:
    if isinstance(error, cyclopts.UnusedCliTokensError):
        unused = ", ".join(repr(token) for token in error.unused_tokens or ())
        return f"no such command or argument: {unused}; the commands are serve and connect (see --help)"
    if isinstance(error, cyclopts.UnknownOptionError):
        return f"unknown option: {_unknown_option(error)} (see --help)"
    if isinstance(error, cyclopts.CoercionError) and error.token is not None and error.argument is not None:
        # Switches are what cyclopts reads itself; every other option's value goes to `config` as it is.
        return f"{error.argument.field_info.name}: true or false, not {error.token.value!r}"
    text = " ".join(str(error).split())
    return f"{text[:1].lower()}{text[1:].removesuffix('.')} (see --help)"


def _unknown_option(error: cyclopts.UnknownOptionError) -> str:
    """What was typed, and what was meant if anything is near."""
    typed = error.token.keyword or error.token.value
    known = {name.lstrip("-"): name for argument in error.argument_collection for name in argument.names}
    known |= {"help": "--help", "version": "--version"}
    # Without the hyphens, or everything that begins with "--no" would be near "--no-compress".
    near = configuration.nearest(typed.lstrip("-").partition("=")[0], known)
    return typed if near is None else f"{typed}. Did you mean {known[near]}?"


def _fail(text: str, status: int) -> int:
    with contextlib.suppress(OSError):
        print(f"trio_chat: {logs.escape(text)}", file=sys.stderr, flush=True)
    return status


# --- serve --------------------------------------------------------------------------------------------


def serve_command(file: str | None, options: dict[str, object], arguments: Sequence[str] = ()) -> int:
    """Serve until a signal; returns the exit status. Raises `ConfigError`.

    ``arguments`` are the whole command line: with several workers, each of them gets it.
    """
    config = configuration.load(options, file=file)
    logs.configure(config.log_format, verbose=config.verbose)
    _raise_descriptor_limit(config.max_connections)
    if config.workers > 1 and WORKER_VARIABLE not in os.environ:
        return _supervise(config, arguments)

    import gc

    import trio

    # Nearly everything here dies by reference count, or lives as long as its connection: the collector's
    # default of a look at every 700 objects made a handshake 30 % dearer (docs/performance.md). A look at
    # 20,000 holds the event loop for some 5 ms.
    gc.set_threshold(20_000, 100, 100)
    try:
        trio.run(_serve, config)
    except BaseException as raised:  # noqa: BLE001 - each is told in one line
        return _ended(raised, config)
    return 0


def _supervise(config: configuration.Config, arguments: Sequence[str]) -> int:
    """Run several processes that serve."""
    import trio

    from trio_chat import workers

    def announce(line: str) -> None:
        with contextlib.suppress(OSError):
            print(line, end="", flush=True)

    try:
        return trio.run(workers.supervise, config, arguments, WORKER_VARIABLE, announce)
    except BaseException as raised:  # noqa: BLE001 - each is told in one line
        failed = [error for error in _leaves(raised) if isinstance(error, workers.StartFailed)]
        return failed[0].status if failed else _ended(raised, config)


def _ended(raised: BaseException, config: configuration.Config) -> int:
    """The exit status of a server that ended like that, which is said. Raises `ConfigError`."""
    from trio_chat.log.base import LogError

    errors = list(_leaves(raised))
    if all(isinstance(error, KeyboardInterrupt) for error in errors):
        return 0  # SIGINT before or after the time when our own receiver takes it
    expected = next((error for error in errors if isinstance(error, configuration.ConfigError)), None)
    if expected is not None:
        raise expected from None
    if not all(isinstance(error, OSError | LogError | ImportError) for error in errors):
        logger.debug("the server crashed", exc_info=raised)
    return _fail("; ".join(_describe(error, config) for error in errors), EXIT_FAILURE)


async def _serve(config: configuration.Config) -> None:
    """Serve; the first SIGTERM or SIGINT drains, the second one leaves at once."""
    import trio

    from trio_chat import siblings
    from trio_chat.server import serve

    worker = siblings.inherited(WORKER_VARIABLE)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            started: list[Any] = []

            async def follow_signals() -> None:
                asked = False
                async for number in signals:
                    if asked or not started:
                        nursery.cancel_scope.cancel()
                        return
                    asked = True
                    logger.info("stopping", extra={"signal": signal.Signals(number).name})
                    started[0].stop()

            async def serve_until_stopped(
                task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
            ) -> None:
                if worker is None:
                    await serve(config, task_status=task_status)
                else:
                    await serve(
                        config,
                        listeners=worker.listeners,
                        gather_metrics=worker.metrics,
                        task_status=task_status,
                    )
                nursery.cancel_scope.cancel()

            nursery.start_soon(follow_signals)
            started.append(await nursery.start(serve_until_stopped))
            _announce(f"unix:{config.unix}" if config.unix is not None else started[0].url)
            if worker is not None:
                await worker.orphaned()
                started[0].stop()


def _announce(where: str) -> None:
    # Whoever started us may have closed our standard output: no reason not to serve.
    with contextlib.suppress(OSError):
        print(f"trio_chat serving on {where}", flush=True)


def _raise_descriptor_limit(max_connections: int) -> None:
    """Allow as many open files as the system lets us: each connection is one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports an unlimited hard limit and refuses it as a soft one: the soft limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < max_connections:
        logger.warning(
            "the system allows %d open files, fewer than max_connections",
            soft,
            extra={"max": max_connections},
        )


# --- errors -------------------------------------------------------------------------------------------


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _describe(error: BaseException, config: configuration.Config) -> str:
    """One line for people: what couldn't be done, and what the system said."""
    import errno
    import socket
    import ssl

    from trio_chat.log.base import LogError

    where = config.unix if config.unix is not None else f"{config.host}:{config.port}"
    text = " ".join((str(error) or type(error).__name__).split())
    if isinstance(error, LogError | ImportError):
        return text
    if isinstance(error, ssl.SSLError):
        return f"tls_cert, tls_key: a PEM certificate chain and its private key; {text}"
    if isinstance(error, socket.gaierror):
        return f"host: an address or a name that can be resolved, not {config.host!r}: {error.strerror}"
    if isinstance(error, OSError):
        if error.errno == errno.EADDRINUSE:
            return f"cannot listen on {where}: another program does already"
        if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        if unreadable := _unreadable(config.tls_cert, config.tls_key):
            return unreadable
        if error.errno in (errno.EADDRNOTAVAIL, errno.EACCES) or config.unix is not None:
            return f"cannot listen on {where}: {error.strerror}"
        return error.strerror or text
    return f"{type(error).__name__}: {text} (a bug; --verbose logs where)"


def _unreadable(*files: str | None) -> str | None:
    """The first of the TLS files that can't be read, and why: the ssl module doesn't say which."""
    for file in files:
        if file is not None:
            try:
                with open(file, "rb"):
                    pass
            except OSError as error:
                return f"{file}: {error.strerror}"
    return None


# --- connect ------------------------------------------------------------------------------------------


def connect_command(url: str, room: str, name: str | None) -> int:
    """Chat from this terminal; returns the exit status. Raises `UsageError`."""
    import trio

    from trio_chat import terminal

    try:
        status: int = trio.run(partial(terminal.run, url, room=room, name=name))
    except OSError as error:
        return _fail(error.strerror or str(error), EXIT_FAILURE)
    except terminal.BadArgument as error:
        raise UsageError(str(error)) from None
    return status
