"""The front door: request head, client address, upgrade handler, routes, static files."""
