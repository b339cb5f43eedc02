"""What people see: progress on standard error while it runs, a table at the end."""

import sys
from typing import Any, Protocol, Self, TextIO

from swarmlib.settings import Settings


class Progress(Protocol):
    """Shows how the run goes; a context manager around it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, point: dict[str, Any]) -> None:
        """Show the latest point."""
        ...


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, point: dict[str, Any]) -> None:
        pass


class _Lines(_Silent):
    """One line for each point: for a file or a pipe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def show(self, point: dict[str, Any]) -> None:
        print(self.text(point), file=sys.stderr, flush=True)

    def text(self, point: dict[str, Any]) -> str:
        """One point as one line."""
        if point["phase"] == "opening":
            return f"opening: {point['ready']} of {self.settings.clients} clients have joined"
        latency = point["latency_ms"]
        timed = f"  p50 {latency['p50']:.2f} ms  p99 {latency['p99']:.2f} ms" if latency else ""
        return (
            f"{point['at_s']:7.1f} s  {point['clients']} clients  {point['sends_per_s']:,.0f} sends/s"
            f"  {point['deliveries_per_s']:,.0f} deliveries/s{timed}"
        )


def make_progress(settings: Settings, *, quiet: bool) -> Progress:
    """The right one for where standard error goes."""
    if quiet:
        return _Silent()
    if sys.stderr.isatty():
        try:
            from swarmlib.live import Screen
        except ImportError:  # rich is only for looks
            return _Lines(settings)
        return Screen(settings)
    return _Lines(settings)


def print_result(settings: Settings, result: dict[str, Any], out: TextIO) -> None:
    """The final table."""
    print("\n".join(result_lines(settings, result)), file=out, flush=True)


def result_lines(settings: Settings, result: dict[str, Any]) -> list[str]:
    """The final table, line by line."""
    loop = f"window {settings.window}" if settings.rate is None else f"{settings.rate:g} messages/s"
    lines = [
        f"{settings.protocol}: {settings.clients} clients in {settings.rooms} rooms,"
        f" {settings.senders} senders, {loop}, {settings.size} bytes, {result['seconds']:g} s"
        + (" (interrupted)" if result["interrupted"] else ""),
        _row("deliveries", f"{result['deliveries']:,}", f"{result['deliveries_per_s']:,.0f}/s"),
        _row("sends", f"{result['sends']:,}", f"{result['sends_per_s']:,.0f}/s"),
    ]
    if settings.protocol == "chat":
        lines.append(_row("acks", f"{result['acks']:,}", f"{result['acks_per_s']:,.0f}/s"))
    for name, label in (
        ("latency_ms", "latency"),
        ("ack_latency_ms", "ack latency"),
        ("lateness_ms", "sent late by"),
    ):
        if found := result[name]:
            quantiles = "  ".join(f"{key} {value:.3f}" for key, value in found.items() if key != "count")
            lines.append(_row(label, f"{found['count']:,}", f"{quantiles} ms"))
    if (found := result.get("returns")) and found["returned"]:
        away, peak = found["away_s"], found["peak_attempts_per_s"]
        detail = f"away {away['p50']:.1f} s, at most {away['most']:.1f} s; {peak} tries in the fullest second"
        lines.append(_row("came back", f"{found['returned']:,}", detail))
    lines += _persona_lines(result.get("personas") or {})
    if found := result.get("frozen"):
        within = "" if found["seconds"] is None else f" within {found['seconds']:g} s"
        lines.append(_row("frozen", f"{found['count']:,}", f"{found['whole']:,} got everything{within}"))
    if found := result.get("deflate"):
        plain = found["plain_bytes_per_delivery"]
        saved = f", {1 - found['bytes_per_delivery'] / plain:.0%} less than {plain:g} plain" if plain else ""
        lines.append(_row("deflate", f"{found['agreed']:,}", f"{found['bytes_per_delivery']:g} bytes{saved}"))
    if (found := result.get("server")) and found["held"]:
        grown = (
            ""
            if not found["joined"]
            else f", {found['joined']['rss_bytes'] / 2**20:,.1f} when all had joined"
        )
        share = "" if found["cpu_share"] is None else f"; {found['cpu_share']:.0%} of a core"
        memory = f"{found['held']['rss_bytes'] / 2**20:,.1f} MiB"
        lines.append(_row("server", memory, f"at the end of the load{grown}{share}"))
    shakes = result["handshakes"]
    lines.append(_row("handshakes", f"{shakes['count']:,}", f"{shakes['per_s']:,.0f}/s"))
    for kind, count in result["findings"].items():
        lines.append(_row(kind, f"{count:,}", ""))
    lines.append(_row("errors", f"{sum(result['errors'].values()):,}", ""))
    lines += [f"  {count:,} x {reason}" for reason, count in result["errors"].items()]
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    if not settings.verify:
        lines.append("counted, not verified: --verify checks each delivery")
    return lines


def _persona_lines(personas: dict[str, Any]) -> list[str]:
    lines = []
    for kind, found in personas.items():
        detail = ""
        if "dropped" in found:
            detail = f"lost {found['dropped']:,} connections by their own doing"
        elif "sent" in found:
            detail = f"sent {found['sent']:,} beyond the rate, told off {found['told_off']:,} times"
        elif "let_go_s" in found:
            times = found["let_go_s"]
            detail = f"the server let {len(times)} of them go" + (
                f", after {min(times):g} to {max(times):g} s" if times else ""
            )
        elif "ends" in found:
            times = [seconds for seconds, _ in found["ends"]]
            how = ", ".join(sorted({how for _, how in found["ends"]}))
            detail = f"ended {len(times)} times" + (
                f", after {min(times):g} to {max(times):g} s: {how}" if times else ""
            )
        lines.append(_row(kind.replace("_", " "), f"{found['count']:,}", detail))
    return lines


def _row(label: str, total: str, detail: str) -> str:
    return f"  {label:<14} {total:>14}  {detail}".rstrip()
