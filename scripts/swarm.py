#!/usr/bin/env python3
"""Load a WebSocket chat, relay or broadcast server with many clients, and check what they get."""

import sys

from swarmlib.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
