"""Peers to measure against that Debian has: mosquitto, nats-server, ejabberd, prosody, over WebSocket.

``daemon.py NAME DIRECTORY``: writes a configuration into the directory and becomes the server, so that its
process is this one. Each is set up for speed on one core, within what its documentation recommends: no file
is written for a message, no limit on rates, queues or room sizes, no history, no presence to all.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ports import free_port

START_S = 15.0
MAX_MEMBERS = 100_000
Started = tuple[list[str], dict[str, str]]
"""A command and its environment."""

MOSQUITTO = """\
listener 0 {directory}/mosquitto.sock
listener {port} 127.0.0.1
protocol websockets
user root
allow_anonymous true
set_tcp_nodelay true
persistence false
max_queued_messages 0
max_queued_bytes 0
max_connections -1
log_dest stderr
log_type error
"""

NATS = """\
listen: "127.0.0.1:-1"
ping_interval: "1h"
max_connections: 100000
max_pending: 256MB
write_deadline: "60s"
websocket {{
  listen: "127.0.0.1:{port}"
  no_tls: true
  compression: false
}}
"""

EJABBERD = """\
hosts: [localhost]
loglevel: error
auth_method: anonymous
anonymous_protocol: sasl_anon
allow_multiple_connections: true
registration_timeout: infinity
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_http
    backlog: 4096
    request_handlers:
      /xmpp-websocket: ejabberd_http_ws
websocket_ping_interval: 1 hour
websocket_timeout: 1 hour
modules:
  mod_muc:
    host: conference.localhost
    access: all
    access_create: all
    history_size: 0
    max_users: {members}
    max_users_admin_threshold: {members}
    max_user_conferences: 1000
    user_message_shaper: none
    user_presence_shaper: none
    room_shaper: none
    default_room_options:
      persistent: false
      logging: false
      mam: false
      max_users: {members}
      presence_broadcast: []
"""

PROSODY = """\
pidfile = "{directory}/prosody.pid"
data_path = "{directory}"
daemonize = false
run_as_root = true
network_backend = "epoll"
log = {{ error = "{directory}/prosody.log" }}
modules_enabled = {{ "websocket"; "saslauth"; "disco" }}
modules_disabled = {{ "s2s"; "limits" }}
c2s_ports = {{}}
s2s_ports = {{}}
https_ports = {{}}
http_ports = {{ {port} }}
http_interfaces = {{ "127.0.0.1" }}
consider_websocket_secure = true
cross_domain_websocket = true
storage = "memory"
gc = {{ mode = "generational" }}
VirtualHost "localhost"
  authentication = "anonymous"
Component "conference.localhost" "muc"
  muc_room_locking = false
  muc_room_default_history_length = 0
  max_history_messages = 0
  muc_room_default_presence_broadcast = {{ visitor = false; participant = false; moderator = false }}
"""


def mosquitto(port: int, directory: Path) -> Started:
    """MQTT."""
    file = directory / "mosquitto.conf"
    file.write_text(MOSQUITTO.format(port=port, directory=directory))
    return ["/usr/sbin/mosquitto", "-c", str(file)], {}


def nats(port: int, directory: Path) -> Started:
    """NATS."""
    file = directory / "nats.conf"
    file.write_text(NATS.format(port=port))
    return ["nats-server", "-c", str(file)], {}


def ejabberd(port: int, directory: Path) -> Started:
    """XMPP on Erlang: the virtual machine itself, as Debian's control script would start it."""
    file = directory / "ejabberd.yml"
    file.write_text(EJABBERD.format(port=port, members=MAX_MEMBERS))
    libraries = sorted(path.parent for path in Path("/usr/lib").glob("*/ejabberd*/ebin"))
    if not libraries:
        sys.exit("no ejabberd on this machine")
    one_core = ["+K", "true", "+P", "1000000", "+Q", "1000000", "+S", "1:1", "+sbwt", "none"]
    command = ["erl", *one_core, "-noinput", "-pa", str(libraries[0] / "ebin")]
    command += ["-mnesia", "dir", f'"{directory}"', "-s", "ejabberd"]
    return command, {
        "EJABBERD_CONFIG_PATH": str(file),
        "EJABBERD_LOG_PATH": str(directory / "ejabberd.log"),
        "HOME": str(directory),
    }


def prosody(port: int, directory: Path) -> Started:
    """XMPP on Lua."""
    file = directory / "prosody.cfg.lua"
    file.write_text(PROSODY.format(port=port, directory=directory))
    return ["prosody", "-F", "--config", str(file)], {}


DAEMONS: dict[str, Callable[[int, Path], Started]] = {
    "mosquitto": mosquitto,
    "nats": nats,
    "ejabberd": ejabberd,
    "prosody": prosody,
}


def tell_when_ready(port: int, server: int) -> None:
    """Say that ``server`` serves on ``port``, as soon as it does; or nothing, if it never does."""
    gives_up = time.monotonic() + START_S
    while time.monotonic() < gives_up and os.getppid() == server:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            print(f"peer serving on http://127.0.0.1:{port}", flush=True)
            return


def main(name: str, directory: Path) -> None:
    """Become the server; a child of it waits until it serves, and says so."""
    port, server = free_port(), os.getpid()
    command, environment = DAEMONS[name](port, directory)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        tell_when_ready(port, server)
        os._exit(0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.execvpe(command[0], command, os.environ | environment)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in DAEMONS:
        sys.exit(f"daemon.py NAME DIRECTORY: one of {', '.join(DAEMONS)}")
    main(sys.argv[1], Path(sys.argv[2]).absolute())
