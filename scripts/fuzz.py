#!/usr/bin/env python3
"""Throw random and mutated bytes at the codec, or hostile sessions at a live server.

    scripts/fuzz.py codec  --seconds 60 --seed 1
    scripts/fuzz.py server --seconds 60 --seed 1 --half-open 10000
    scripts/fuzz.py server http://127.0.0.1:8080 --seconds 60

``codec`` compares our reading of the same bytes whole, cut, and with two other libraries. ``server`` starts a
server (with ``--tls`` one that speaks TLS), or takes the one at the URL, and has many attackers at once do
what `fuzzlib.attacks` has; well-behaved clients measure meanwhile what the others feel. At the end it says
what was thrown, the latencies before, during and after, the memory, and what was wrong: an error in the
server's log, a good client that was harmed, memory or descriptors that don't come back.

Exit status 1 if anything was wrong. Every failure names the seed that makes it again.
"""

import argparse
import json
import os
import sys
import time

import attrs
from fuzzlib.attackers import Plan, attack
from fuzzlib.attacks import ATTACKS


def codec(options: argparse.Namespace) -> int:
    """Fuzz the codec."""
    from fuzzlib.codec import fuzz_codec

    began = time.monotonic()
    report = fuzz_codec(options.seed, options.seconds, options.count)
    for failure in report.failures:
        print(f"WRONG: {failure}")
    print(
        f"{report.rounds} rounds from seed {options.seed}, {report.bytes} bytes, {report.refused} refused, "
        f"{time.monotonic() - began:.0f} s; {len(report.failures)} failures"
    )
    return int(bool(report.failures))


def server(options: argparse.Namespace) -> int:
    """Fuzz a server."""
    import trio
    from fuzzlib.battle import fight

    plan = Plan(
        url=options.url or "", seed=options.seed, seconds=options.seconds, count=options.count,
        parallel=options.parallel, half_open=options.half_open, only=options.only,
    )  # fmt: skip

    async def run() -> list[str]:
        battle = await fight(plan, own_server=options.url is None, tls=options.tls)
        print("\n".join(battle.lines()))
        return battle.failures

    return int(bool(trio.run(run)))


def attackers(options: argparse.Namespace) -> int:
    """The attackers' process."""
    import trio

    os.nice(5)  # what they feel is not what is measured; the server comes first
    thrown = trio.run(attack, Plan(**json.loads(options.plan)))
    print(json.dumps(attrs.asdict(thrown)))
    return 0


def bounded(parser: argparse.ArgumentParser, seconds: float) -> None:
    """The options of both modes."""
    parser.add_argument("--seconds", type=float, default=seconds, help="0: no bound in time")
    parser.add_argument("--count", type=int, default=0, help="rounds or sessions; 0: no bound in number")
    parser.add_argument("--seed", type=int, default=1)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(required=True, metavar="codec | server")
    mode = modes.add_parser("codec", help="random and mutated bytes against two other libraries")
    bounded(mode, 10)
    mode.set_defaults(run=codec)
    mode = modes.add_parser("server", help="hostile sessions against a live server")
    mode.add_argument("url", nargs="?", help="default: a server of its own")
    bounded(mode, 30)
    mode.add_argument("--parallel", type=int, default=30, help="attackers at a time")
    mode.add_argument("--half-open", type=int, default=0, help="handshakes that are begun only, at once")
    mode.add_argument("--only", choices=sorted(ATTACKS), help="one kind of attack")
    mode.add_argument("--tls", action="store_true", help="have the server that is started speak TLS")
    mode.set_defaults(run=server)
    mode = modes.add_parser("attack")
    mode.add_argument("plan")
    mode.set_defaults(run=attackers)
    options = parser.parse_args()
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
