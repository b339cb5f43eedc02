"""The build hook: completes the web client before it goes into a wheel or an editable install.

All the work is in ``scripts/build_web.py``; this only gives it to hatchling, and asks for a package that
carries Node where there is no npm. If the page can't be completed the build fails with one line.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _build_web(root: str) -> ModuleType:
    path = Path(root) / "scripts" / "build_web.py"
    spec = importlib.util.spec_from_file_location("build_web", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class WebBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``scripts/build_web.py``."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling: Node, unless it is here or nothing is to be done."""
        web = _build_web(self.root)
        return [] if web.in_place() or web.npm_command() else [web.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        web = _build_web(self.root)
        try:
            web.build()
        except web.BuildError as error:
            sys.exit(str(error))
