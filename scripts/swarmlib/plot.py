"""Draws a result: the latency curve, and throughput over time. Needs matplotlib."""

import html
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_QUANTILES = ("p50", "p90", "p99", "p99.9", "max")


def draw(document: dict[str, Any], file: str) -> None:
    """Draw ``document``, as ``--json`` writes it, to ``file``; its ending tells the format."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    throughput, latency, quantiles = figure.subplots(3, 1)
    settings, timeline = document["settings"], document["timeline"]
    figure.suptitle(
        f"{settings['protocol']}: {settings['clients']} clients, {settings['rooms']} rooms,"
        f" {settings['loop']} loop"
    )
    times = [point["at_s"] for point in timeline]
    throughput.plot(times, [point["deliveries_per_s"] for point in timeline], label="deliveries/s")
    throughput.plot(times, [point["sends_per_s"] for point in timeline], label="sends/s")
    throughput.set_ylim(bottom=0)
    throughput.set_xlabel("seconds")
    throughput.legend()
    timed = [point for point in timeline if point["latency_ms"]]
    for name in ("p50", "p99", "max"):
        latency.plot(
            [point["at_s"] for point in timed], [point["latency_ms"][name] for point in timed], label=name
        )
    latency.set_xlabel("seconds")
    latency.set_ylabel("latency, ms")
    latency.set_yscale("log")
    latency.legend()
    for key, label in (("latency_ms", "delivery"), ("ack_latency_ms", "ack")):
        if document[key]:
            quantiles.plot(_QUANTILES, [document[key][name] for name in _QUANTILES], marker="o", label=label)
    quantiles.set_ylabel("ms")
    quantiles.set_yscale("log")
    quantiles.legend()
    save(figure, file, "Swarm", "")


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
        "<style>body{font:15px system-ui;margin:2em auto;max-width:60em}svg{width:100%;height:auto}</style>",
        f"<h1>{html.escape(title)}</h1>{tag}{svg}<pre>{html.escape(text)}</pre></html>",
    ]
    Path(file).write_text("\n".join(page))
