"""Draws what was compared: for each workload a bar for each server, with the spread. Needs matplotlib."""

from statistics import median
from typing import Any

from swarmlib.plot import save

from comparelib.servers import SERVERS
from comparelib.workloads import WORKLOADS, Workload

OURS, PEER, FLOOR = "#2563eb", "#94a3b8", "#d4d4d8"
_UNITS = {
    "rate": "deliveries per second",
    "latency": "99th percentile, ms",
    "memory": "KiB per connection",
    "opening": "server's processor time per connection, us",
}


def draw(document: dict[str, Any], file: str, tables: str) -> None:
    """Draw ``document``, as ``--json`` writes it; HTML has the ``tables`` too."""
    from matplotlib.figure import Figure

    chosen = [
        (workload, bars)
        for workload in WORKLOADS
        if (found := document["workloads"].get(workload.name)) and (bars := bars_of(found["runs"]))
    ]
    heights = [1.0 + 0.3 * len(bars) for _, bars in chosen] or [1.0]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (workload, bars), (ax,) in zip(chosen, axes, strict=True):
        _draw_one(ax, workload, bars)
    save(figure, file, "Side by side", tables)


def bars_of(runs: dict[str, list[dict[str, Any] | None]]) -> list[tuple[str, float, float, float]]:
    """(server, median, least, most) of each that was measured."""
    bars = []
    for name, rounds in runs.items():
        values = [run["value"] for run in rounds if run]
        if values:
            bars.append((name, median(values), min(values), max(values)))
    return bars


def _draw_one(ax: Any, workload: Workload, bars: list[tuple[str, float, float, float]]) -> None:
    labels, colors = [], []
    for name, *_ in bars:
        server = next(server for server in SERVERS if server.name == name)
        labels.append(server.label.replace("**", "").replace("`", ""))
        colors.append(OURS if server.is_ours else FLOOR if name == "floor" else PEER)
    middles = [middle for _, middle, _, _ in bars]
    spread = [[middle - low for _, middle, low, _ in bars], [high - middle for _, middle, _, high in bars]]
    places = range(len(bars))
    ax.barh(places, middles, xerr=spread, color=colors, error_kw={"elinewidth": 1, "capsize": 2})
    ax.set_yticks(places, labels)
    ax.invert_yaxis()
    if middles and max(middles) > 50 * max(min(middles), 1e-9):
        ax.set_xscale("log")
    ax.set_title(workload.title, loc="left", fontsize=10)
    ax.set_xlabel(_UNITS[workload.kind])
