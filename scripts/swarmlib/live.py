"""What people see while the swarm runs in a terminal: the numbers, and how they came to be. Needs rich."""

from collections import deque
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from swarmlib.settings import Settings

WIDTH = 44
"""Points of a curve: half a second each."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


def curve(values: "deque[float]") -> str:
    """``values`` as a row of bars, the highest of them full."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BLOCKS[min(8, round(value / top * 8))] for value in values)


def bar(share: float, width: int = 24) -> str:
    """How much of something is done."""
    full = round(max(0.0, min(1.0, share)) * width)
    return "█" * full + "░" * (width - full)


class Screen:
    """A picture that is drawn anew at each point; a context manager around the run."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self.settings = settings
        self.histories: dict[str, deque[float]] = {}
        self._cpu: tuple[float, float] | None = None
        self._live = Live(console=console or Console(stderr=True), refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, point: dict[str, Any]) -> None:
        """Draw the latest point."""
        self._live.update(self.opening(point) if point["phase"] == "opening" else self.running(point))

    def opening(self, point: dict[str, Any]) -> Text:
        """While the connections are opened."""
        clients = self.settings.clients
        return Text(
            f"opening  {bar(point['ready'] / clients)}  {point['ready']:,} of {clients:,} have joined"
        )

    def running(self, point: dict[str, Any]) -> Group:
        """While the load runs."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", width=14, no_wrap=True)
        table.add_column(justify="right", width=14)
        table.add_column(style="cyan", width=WIDTH)
        self._row(table, "deliveries/s", point["deliveries_per_s"], "{:,.0f}")
        self._row(table, "sends/s", point["sends_per_s"], "{:,.0f}")
        self._row(table, "members", point["clients"], "{:,.0f}")
        latency = point["latency_ms"] or {}
        for name in ("p50", "p99", "max"):
            if name in latency:
                self._row(table, f"latency {name}", latency[name], "{:,.2f} ms")
        self._server_rows(table, point)
        settings = self.settings
        total = settings.warmup + settings.duration
        at = max(0.0, point["at_s"])
        head = Text(f"{settings.protocol}  {bar(at / total)}  {min(at, total):,.0f} of {total:,.0f} s")
        return Group(head, table)

    def _server_rows(self, table: Table, point: dict[str, Any]) -> None:
        server = point.get("server")
        if not server:
            return
        self._row(table, "server memory", server["rss_bytes"] / 2**20, "{:,.1f} MiB")
        now = (point["at_s"], server.get("cpu_s", 0.0))
        if self._cpu is not None and now[0] > self._cpu[0]:
            share = (now[1] - self._cpu[1]) / (now[0] - self._cpu[0])
            self._row(table, "server CPU", 100 * share, "{:,.0f} %")
        self._cpu = now

    def _row(self, table: Table, name: str, value: float, form: str) -> None:
        history = self.histories.setdefault(name, deque(maxlen=WIDTH))
        history.append(value)
        table.add_row(name, form.format(value), curve(history))
