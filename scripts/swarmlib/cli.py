"""Load a WebSocket server with many clients.

Exit status: 0 all is well, 1 something is wrong, 2 bad arguments.
"""

import argparse
import importlib.util
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from swarmlib.mix import KINDS, Mix, MixError, parse_mix
from swarmlib.scenario import Scenario, ScenarioError, load
from swarmlib.scenario import names as scenario_names
from swarmlib.settings import CONTENTS, PROTOCOLS, Settings, SettingsError, Target, guess_protocol, parse_url
from swarmlib.tls import context_trusting
from swarmlib.watch import listener

EXTRA = "pip install 'trio-chat[swarm]' (in a checkout: pip install -e '.[swarm]')"

_EPILOG = """\
open loop (the default): --rate messages per second over all senders, each timed from the moment it was due.
closed loop: --window messages of each sender under way; one that comes back is followed by the next.

examples:
  swarm.py http://127.0.0.1:8080 --clients 100 --rate 50
  swarm.py ws://127.0.0.1:8080/relay --clients 500 --senders 50 --window 1 --json result.json
  swarm.py http://127.0.0.1:8080 --clients 1000 --rooms 100 --rate 500 --verify --source-ips 20
  swarm.py http://127.0.0.1:8080 --scenario classroom --plot classroom.html
  swarm.py http://127.0.0.1:8080 --mix talker=5,lurker=20,flapping=5,slow=2 --rate 20
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"swarm: {message}", file=sys.stderr)
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="swarm.py",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "url",
        metavar="URL",
        help="ws, http, wss or https, as the server prints it; the path tells the protocol",
    )
    add(
        "--protocol",
        choices=PROTOCOLS,
        help="default: chat for / and /ws, relay for /relay..., else plain (broadcast)",
    )
    add(
        "--scenario",
        metavar="NAME",
        help=f"a ready load ({', '.join(scenario_names())}) or a .toml file; other options win over it",
    )
    add(
        "--mix",
        metavar="KIND=N,...",
        help=f"clients by persona, instead of --clients, --senders and --frozen: {', '.join(KINDS)};"
        " implies --verify",
    )
    add("--scale", type=float, default=1.0, metavar="F", help="so many times the clients, rooms and rate")
    add("--clients", type=int, default=100, metavar="N", help="connections (default 100)")
    add("--rooms", type=int, default=1, metavar="M", help="rooms that they are spread over (default 1)")
    add(
        "--room",
        metavar="NAME",
        help="rooms are called NAME-0, NAME-1, ... (default: a new name for each run)",
    )
    add("--senders", type=int, metavar="K", help="clients that send (default: all; 1 in a closed loop)")
    add(
        "--rate",
        type=float,
        metavar="R",
        help="open loop: messages per second over all senders (default 20; 0: none)",
    )
    add("--window", type=int, metavar="W", help="closed loop: messages under way per sender")
    add("--size", type=int, default=64, metavar="BYTES", help="bytes of text in a message (default 64)")
    add(
        "--content",
        choices=CONTENTS,
        default="filler",
        help="filler: one letter repeated; talk: like a chat, as JSON where the server makes none (and --size"
        " the JSON's)",
    )
    add("--deflate", action="store_true", help="offer permessage-deflate, as browsers do")
    add("--duration", type=float, default=10.0, metavar="S", help="seconds measured (default 10)")
    add("--warmup", type=float, default=1.0, metavar="S", help="seconds of load before that (default 1)")
    add(
        "--grace",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds at most for what is still under way (default 5)",
    )
    add(
        "--ramp",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds over which the connections are opened (default 0)",
    )
    add(
        "--frozen",
        type=int,
        default=0,
        metavar="N",
        help="of the clients, those that read nothing while the load runs, and everything after it",
    )
    add(
        "--thaw",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds at most for the frozen ones to get everything (default 60)",
    )
    add(
        "--slow-bytes", type=int, default=8192, metavar="B", help="bytes per second of a slow reader"
        " (default 8192)",
    )  # fmt: skip
    add(
        "--spam-rate", type=float, default=100.0, metavar="R",
        help="messages per second of each spammer (default 100)",
    )  # fmt: skip
    add(
        "--flap",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds that a flapping client stays (default 5)",
    )
    add("--storm", type=float, default=10.0, metavar="S", help="seconds between two storms (default 10)")
    add(
        "--verify",
        action="store_true",
        help="check every delivery to every client: gaps, duplicates, order, acks",
    )
    add(
        "--resume",
        action="store_true",
        help="clients whose connection ends come back when the server says, and resume; implies --verify",
    )
    add(
        "--sample",
        type=float,
        metavar="SHARE",
        help="share of the clients whose deliveries are timed (default: by load)",
    )
    add("--processes", type=int, metavar="P", help="worker processes (default: one for each core, at most 8)")
    add(
        "--spin",
        action="store_true",
        help="never sleep: a whole core, so that the server need not wake the receivers",
    )
    add(
        "--source-ips",
        type=int,
        default=0,
        metavar="N",
        help="connect from N addresses of the loopback network",
    )
    add(
        "--server-pid",
        type=int,
        metavar="PID",
        help="the server's process (default: the one that listens on the port, if it is on this machine;"
        " else its /metrics are asked)",
    )
    add("--ca", metavar="FILE", help="certificates (PEM) to trust over TLS (default: the system's)")
    add("--json", metavar="FILE", help="write everything measured to FILE (-: standard output)")
    add("--plot", metavar="FILE", help="draw it all over time to FILE (.png, .svg, .html or .pdf)")
    add("--quiet", action="store_true", help="no progress on standard error")
    return parser


def parse(argv: list[str]) -> tuple[argparse.Namespace, Scenario | None]:
    """The command line, on top of the scenario that it names."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.scenario is None:
        return arguments, None
    try:
        scenario = load(arguments.scenario, made)
    except ScenarioError as error:
        raise SettingsError(f"--scenario: {error}") from None
    made.set_defaults(**scenario.options)
    return made.parse_args(argv), scenario


def settings_from(arguments: argparse.Namespace, scenario: Scenario | None = None) -> Settings:
    """The settings that the command line means; `SettingsError` if they contradict each other."""
    target = parse_url(arguments.url)
    if arguments.rate is not None and arguments.window is not None:
        raise SettingsError("--rate and --window: an open loop or a closed one, not both")
    is_closed = arguments.window is not None
    rate = None if is_closed else 20.0 if arguments.rate is None else arguments.rate
    mix = _mix(arguments, scenario)
    counts = _counts(arguments, mix, is_closed=is_closed)
    if rate is not None:
        rate *= arguments.scale
    if mix.members and not mix.senders and arguments.rate is None:
        rate = 0.0
    processes = arguments.processes or max(1, min(os.cpu_count() or 1, 8, counts["clients"]))
    given = {"room": arguments.room} if arguments.room else {}
    return Settings(
        target=target,
        protocol=arguments.protocol or guess_protocol(target.path),
        rate=rate,
        window=arguments.window if is_closed else 1,
        processes=processes,
        mix=mix,
        server_pid=_server_pid(arguments.server_pid, target),
        asks_metrics=arguments.server_pid is None,
        verify=arguments.verify or arguments.resume or mix.members > 0,
        **counts,
        **given,
        **{
            name: getattr(arguments, name)
            for name in (
                "size", "duration", "warmup", "grace", "ramp", "sample", "spin", "source_ips", "ca",
                "content", "deflate", "thaw", "resume", "slow_bytes", "spam_rate", "flap", "storm",
            )
        },
    )  # fmt: skip


def _server_pid(given: int | None, target: Target) -> int | None:
    return listener(target.port) if given is None and target.is_loopback else given


def _mix(arguments: argparse.Namespace, scenario: Scenario | None) -> Mix:
    if not 0 < arguments.scale <= 1000:
        raise SettingsError(f"--scale: above 0, at most 1000, not {arguments.scale:g}")
    if arguments.mix is None:
        mix = Mix() if scenario is None else scenario.mix
    else:
        try:
            mix = parse_mix(arguments.mix)
        except MixError as error:
            raise SettingsError(f"--mix: {error}") from None
    return mix.scaled(arguments.scale)


def _counts(arguments: argparse.Namespace, mix: Mix, *, is_closed: bool) -> dict[str, int]:
    """``clients``, ``senders``, ``frozen`` and ``rooms``."""
    rooms = max(1, round(arguments.rooms * arguments.scale))
    if mix.members:
        return {"clients": mix.members, "senders": mix.senders, "frozen": mix.frozen, "rooms": rooms}
    clients = round(arguments.clients * arguments.scale)
    senders = arguments.senders if arguments.senders is not None else 1 if is_closed else clients
    return {"clients": clients, "senders": senders, "frozen": arguments.frozen, "rooms": rooms}


def main(argv: list[str]) -> int:
    """Run the swarm as ``argv`` says; the exit status."""
    try:
        arguments, scenario = parse(argv)
        settings = settings_from(arguments, scenario)
        for option in ("json", "plot"):
            _check_writable(option, getattr(arguments, option))
        _check_certificates(settings.ca)
    except SettingsError as error:
        return _fail(str(error), 2)
    needed = ["hdrh"] + (["matplotlib"] if arguments.plot else [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(f"{' and '.join(missing)} not installed: {EXTRA}", 2)
    # Imported here because they need what was just looked for.
    from swarmlib.coordinator import Coordinator, SwarmError
    from swarmlib.report import make_progress, print_result, result_lines

    if scenario is not None and not arguments.quiet:
        advice = f" (a server for it: {scenario.server})" if scenario.server else ""
        print(f"{scenario.name}: {scenario.about}{advice}", file=sys.stderr)
    progress = make_progress(settings, quiet=arguments.quiet)
    try:
        with progress:
            result = Coordinator(settings, progress.show).run()
    except SwarmError as error:
        return _fail(str(error), 1)
    document = {"settings": describe(settings), **result}
    print_result(settings, result, sys.stderr if arguments.json == "-" else sys.stdout)
    _write(arguments, document, "\n".join(result_lines(settings, result)))
    return 1 if is_bad(result) else 0


def is_bad(result: dict[str, Any]) -> bool:
    """Whether anything was found that must not happen."""
    return any(result["findings"].values()) or any(result["errors"].values())


def describe(settings: Settings) -> dict[str, Any]:
    """The settings as plain data."""
    names = [name for name in Settings.__dataclass_fields__ if name not in ("target", "mix")]
    return {
        "url": f"{'wss' if settings.target.tls else 'ws'}://{settings.target.authority}{settings.target.path}",
        "loop": "closed" if settings.rate is None else "open",
        "mix": asdict(settings.mix) if settings.is_mixed else None,
    } | {name: getattr(settings, name) for name in names}


def _write(arguments: argparse.Namespace, document: dict[str, Any], table: str) -> None:
    if arguments.json == "-":
        print(json.dumps(document, indent=2))
    elif arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=2) + "\n")
    if arguments.plot:
        from swarmlib.plot import draw

        draw(document, arguments.plot, table)


def _check_writable(option: str, name: str | None) -> None:
    if name is None or (name == "-" and option == "json"):
        return
    if option == "plot" and Path(name).suffix not in (".png", ".svg", ".html", ".pdf"):
        raise SettingsError(f"--plot: a file that ends in .png, .svg, .html or .pdf, not {name!r}")
    parent = Path(name).absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK) or Path(name).is_dir():
        raise SettingsError(f"--{option}: cannot write {name!r}")


def _check_certificates(name: str | None) -> None:
    try:
        context_trusting(name)
    except OSError as error:  # also ssl.SSLError
        told = error.strerror or error
        raise SettingsError(f"--ca: a file of certificates (PEM); {name}: {told}") from None


def _fail(line: str, status: int) -> int:
    print(f"swarm: {line}", file=sys.stderr)
    return status
