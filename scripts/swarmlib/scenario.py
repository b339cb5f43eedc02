"""Scenario files: a load with a name, as TOML. Keys are the swarm's options, ``[mix]`` has the personas.

    about = "A lesson: one teacher, thirty pupils."
    server = "--rate 0"
    rate = 5.0
    duration = 60
    [mix]
    talker = 5
    lurker = 25

`ScenarioError` names the file, the key and what is allowed. The command line wins over the file.
"""

import argparse
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmlib.mix import Mix, MixError, mix_from

FOLDER = Path(__file__).resolve().parent.parent / "scenarios"
ALLOWED = (
    "rooms", "rate", "window", "size", "content", "deflate", "duration", "warmup", "grace", "ramp", "thaw",
    "slow_bytes", "spam_rate", "flap", "storm", "source_ips", "processes",
)  # fmt: skip


class ScenarioError(ValueError):
    """No such scenario, or a mistake in it: one line."""


@dataclass(frozen=True)
class Scenario:
    """What a file says. ``server``: options that the server should be started with."""

    name: str
    about: str
    server: str
    mix: Mix
    options: dict[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """The ready ones."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(given: str, parser: argparse.ArgumentParser) -> Scenario:
    """The scenario called ``given``: a ready one's name, or a file."""
    path = Path(given) if given.endswith(".toml") else FOLDER / f"{given}.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ScenarioError(f"no such scenario as {given!r}: {', '.join(names())}, or a .toml file") from None
    except OSError as error:
        raise ScenarioError(f"{given}: {error.strerror}") from None
    except ValueError as error:  # also what is no UTF-8
        raise ScenarioError(f"{given}: {error}") from None
    about, server, mix = (
        content.pop(key, default) for key, default in (("about", ""), ("server", ""), ("mix", None))
    )
    if not isinstance(about, str) or not isinstance(server, str):
        raise ScenarioError(f"{given}: about and server: text")
    if not isinstance(mix, dict):
        raise ScenarioError(f"{given}: a table [mix] with the number of each persona")
    try:
        found = mix_from(mix)
    except MixError as error:
        raise ScenarioError(f"{given}: [mix] {error}") from None
    options = {key.replace("-", "_"): value for key, value in content.items()}
    actions = {action.dest: action for action in parser._actions}
    for key, value in options.items():
        if key not in ALLOWED:
            raise ScenarioError(
                f"{given}: no such key as {key!r}: about, server, [mix], {', '.join(ALLOWED)}"
            )
        options[key] = _checked(f"{given}: {key}", value, actions[key])
    return Scenario(path.stem, about, server, found, options)


def _checked(where: str, value: object, action: argparse.Action) -> object:
    """``value`` as the option would have it."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ScenarioError(f"{where}: true or false, not {value!r}")
    elif action.choices:
        if value not in action.choices:
            raise ScenarioError(f"{where}: one of {', '.join(action.choices)}, not {value!r}")
    elif action.type is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ScenarioError(f"{where}: a whole number, not {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ScenarioError(f"{where}: a number, not {value!r}")
    return value
