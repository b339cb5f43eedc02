"""The load tool behind ``scripts/swarm.py``: many WebSocket clients in few processes.

The way of the data: `cli` makes `settings`; `coordinator` starts one `worker` per process and merges what
they measure; a worker opens connections (`handshake`, `opener`), sends by a schedule (`sending`), counts what
comes back (`frames`), and looks closely at a sample, or at everything (`protocol`, `verify`); `report` and
`plot` show it.

Imports nothing of the server: a tool that shares code with what it measures shares its mistakes.
"""
