"""Draws a result: throughput, latency, connections, the server's memory and processor. Needs matplotlib."""

import html
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Points = list[tuple[float, float]]


def draw(document: dict[str, Any], file: str, table: str = "") -> None:
    """Draw ``document``, as ``--json`` writes it, to ``file``; its ending tells the format.

    A page (``.html``) has the final ``table`` below the picture.
    """
    settings, timeline = document["settings"], document["timeline"]
    figure = Figure(figsize=(12, 13), layout="constrained")
    axes = figure.subplots(4, 2)
    title = (
        f"{settings['protocol']}: {settings['clients']:,} clients, {settings['rooms']:,} rooms,"
        f" {settings['loop']} loop"
    )
    figure.suptitle(title)
    _throughput(axes[0][0], timeline)
    _connections(axes[0][1], timeline)
    _latency(axes[1][0], timeline)
    _percentiles(axes[1][1], document)
    _memory(axes[2][0], timeline)
    _processor(axes[2][1], timeline)
    _told(axes[3][0], timeline, ("descriptors", "tasks"), "server's descriptors and tasks")
    _told(axes[3][1], timeline, ("waiting_bytes",), "bytes that wait for clients, in the server")
    for ax in axes.flat:
        if ax is not axes[1][1]:
            ax.set_xlabel("seconds")
    save(figure, file, title, table)


def _line(ax: Axes, points: Points, label: str) -> None:
    if points:
        ax.plot([at for at, _ in points], [value for _, value in points], label=label)


def _finish(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=10)
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend()
    elif not ax.lines:
        ax.text(0.5, 0.5, "not known", ha="center", va="center", transform=ax.transAxes, color="0.5")


def _throughput(ax: Axes, timeline: list[dict[str, Any]]) -> None:
    for key, label in (("deliveries_per_s", "deliveries/s"), ("sends_per_s", "sends/s")):
        _line(ax, [(point["at_s"], point[key]) for point in timeline], label)
    ax.set_ylim(bottom=0)
    _finish(ax, "throughput")


def _connections(ax: Axes, timeline: list[dict[str, Any]]) -> None:
    _line(ax, [(point["at_s"], point["clients"]) for point in timeline], "members")
    told = [
        (point["at_s"], point["server"]["connections"])
        for point in timeline
        if "connections" in (point.get("server") or {})
    ]
    _line(ax, told, "connections, as the server counts")
    ax.set_ylim(bottom=0)
    _finish(ax, "connections")


def _latency(ax: Axes, timeline: list[dict[str, Any]]) -> None:
    for name in ("p50", "p99", "max"):
        points = [(point["at_s"], point["latency_ms"][name]) for point in timeline if point["latency_ms"]]
        _line(ax, points, name)
    if ax.lines:
        ax.set_yscale("log")
    _finish(ax, "latency over time, ms")


def _percentiles(ax: Axes, document: dict[str, Any]) -> None:
    """As far right as there are nines: where a server's tail is seen."""
    for key, label in (("latency_curve", "delivery"), ("ack_latency_curve", "ack")):
        points = [(1 / (1 - share / 100), value) for share, value in document.get(key) or [] if share < 100]
        _line(ax, points, label)
    if ax.lines:
        ax.set_xscale("log")
        ax.set_yscale("log")
        ticks = {1: "0", 2: "50", 10: "90", 100: "99", 1e3: "99.9", 1e4: "99.99", 1e5: "99.999"}
        ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_xlabel("percentile")
    _finish(ax, "latency by percentile, ms")


def _memory(ax: Axes, timeline: list[dict[str, Any]]) -> None:
    known = [point for point in timeline if point.get("server")]
    _line(ax, [(point["at_s"], point["server"]["rss_bytes"] / 2**20) for point in known], "resident")
    if known:
        ax.set_ylim(bottom=0)
    _finish(ax, "server's memory, MiB")


def _processor(ax: Axes, timeline: list[dict[str, Any]]) -> None:
    known = [point for point in timeline if "cpu_s" in (point.get("server") or {})]
    shares = [
        (later["at_s"], 100 * (later["server"]["cpu_s"] - point["server"]["cpu_s"]) / passed)
        for point, later in pairwise(known)
        if (passed := later["at_s"] - point["at_s"]) > 0
    ]
    _line(ax, shares, "of one core")
    if shares:
        ax.set_ylim(bottom=0)
    _finish(ax, "server's processor time, %")


def _told(ax: Axes, timeline: list[dict[str, Any]], keys: tuple[str, ...], title: str) -> None:
    """What the server tells of itself."""
    for key in keys:
        known = [point for point in timeline if key in (point.get("server") or {})]
        _line(ax, [(point["at_s"], point["server"][key]) for point in known], key.replace("_", " "))
    if ax.lines:
        ax.set_ylim(bottom=0)
    _finish(ax, title)


def save(figure: Figure, file: str, title: str, text: str) -> None:
    """Write ``figure``; to a page with ``text`` below it, all in one file, if the ending is ``.html``."""
    if not file.endswith(".html"):
        figure.savefig(file, dpi=120)
        return
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    _, tag, svg = drawn.getvalue().partition("<svg")
    page = [
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
        "<style>body{font:15px system-ui;margin:2em auto;max-width:70em}svg{width:100%;height:auto}</style>",
        f"<h1>{html.escape(title)}</h1>{tag}{svg}<pre>{html.escape(text)}</pre></html>",
    ]
    Path(file).write_text("\n".join(page), "utf-8")
