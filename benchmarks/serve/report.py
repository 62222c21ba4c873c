"""Medians and spread of what was measured: a table, a JSON file and a chart."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pynvml
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from .limit import Limit
from .load import SHARE, Load
from .queueing import perfect_p99
from .servers import DUET, DUETS

GOALS = (
    "goals: Duet at least 0.95 of the limit, at least 1.3 times the best peer, p99 at most 0.8 of the best peer's; "
    "int8 (on the CPU) at least 3 times the best peer"
)
_ROUNDED = [server for server in DUETS if server != DUET]
_AT_RANDOM = 16  # requests a second at SHARE: of fewer, few connections bring them, which wait for their own answers


@dataclass(frozen=True)
class Visit:
    """One server on one picture in one round."""

    server: str
    picture: str
    saturated: Load
    shared: Load
    ready_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Result:
    """All rounds of one graph. `limits` holds the machine's own limit for each picture in each round, images a second."""

    graph: str
    batch: int | None  # limit; Duet's own, and 8 for its peers, if None
    cuda: bool
    limits: Sequence[Limit]
    visits: Sequence[Visit]
    files: dict[str, str]  # of each picture

    def middle(self, server: str, picture: str, value: Callable[[Visit], float]) -> tuple[float, float]:
        """Median of a value over the rounds, and half the distance between its extremes."""
        return spread([value(visit) for visit in self.visits if (visit.server, visit.picture) == (server, picture)])

    def limit(self, picture: str) -> tuple[float, float]:
        """Of the machine, as `middle`."""
        return spread([limit.rate(self.files[picture], self.cuda) for limit in self.limits])


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and half the distance between the extremes."""
    return median(values), (max(values) - min(values)) / 2


def print_tables(result: Result) -> None:
    """A table a picture, and a line on each goal."""
    console = Console(width=150)
    servers = list(dict.fromkeys(visit.server for visit in result.visits))
    alone = median(limit.best for limit in result.limits)
    console.print(f"\n{result.graph}: ONNX Runtime alone {alone:.1f} images/s at its best batch")
    for picture in result.files:
        limit, margin = result.limit(picture)
        title = f"{result.graph}, {picture}: limit {limit:.1f} ± {margin:.1f} images/s; ms at {SHARE:.0%} of its own load"
        table = Table("", "images/s", "of the limit", "p50", "p95", "p99", "p99 saturated", "MiB", "ready after", title=title)
        for server in servers:
            shown = [_cell(*result.middle(server, picture, value)) for value in _COLUMNS]
            rate = result.middle(server, picture, _rate)[0]
            share = f"{rate / limit:.2f}" if server not in _ROUNDED else ""  # the limit is float32's
            table.add_row(server, shown[0], share, *shown[1:-1], f"{shown[-1]} s")
        console.print(table)
        peers = [server for server in servers if server not in DUETS]
        if DUET in servers and peers:
            rates = {server: result.middle(server, picture, _rate)[0] for server in servers}
            late = {server: result.middle(server, picture, lambda visit: visit.shared.p99)[0] for server in servers}
            best, soonest = max(rates[peer] for peer in peers), min(late[peer] for peer in peers)
            console.print(
                f"Duet: {rates[DUET] / limit:.2f} of the limit, {rates[DUET] / best:.2f} of the best peer, "
                f"p99 {late[DUET] / soonest:.2f} of the best peer's"
            )
            for server in [name for name in _ROUNDED if name in servers]:
                console.print(f"{server}: {rates[server] / best:.2f} of the best peer, which computes in float32")
            console.print(f"The limit itself: {limit / best:.2f} of the best peer")
            if not result.cuda and SHARE * rates[DUET] >= _AT_RANDOM:
                perfect = perfect_p99(rates[DUET], result.limits[0].cores, SHARE)
                console.print(
                    f"A queue that loses nothing (M/D/c) at Duet's rate: p99 {perfect:.0f} ms, {perfect / soonest:.2f}"
                )
    console.print(GOALS)


def write_json(result: Result, file: Path) -> None:
    """Everything, round by round."""
    rates = [{name: limit.rate(file, result.cuda) for name, file in result.files.items()} for limit in result.limits]
    written: dict[str, Any] = {
        "graph": result.graph,
        "batch": result.batch,
        "cuda": result.cuda,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(result.cuda),
        "limits": [vars(limit) | {"rates": found} for limit, found in zip(result.limits, rates, strict=True)],
        "visits": [asdict(visit) for visit in result.visits],
    }
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def machine(cuda: bool = False) -> str:
    """The processor's own name, where Linux tells it, and the GPU's, where one computes."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(names)} x {names[0]}" if names else platform.machine()
    if not cuda:
        return processor
    pynvml.nvmlInit()
    return f"{processor}, {pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))}"


def draw(result: Result, file: Path) -> None:
    """Throughput against the limit, and p99, of each server on each picture."""
    servers = list(dict.fromkeys(visit.server for visit in result.visits))
    figure = Figure(figsize=(3.6 * len(result.files) + 1.5, 6.4), layout="constrained")
    axes = figure.subplots(2, len(result.files), squeeze=False)
    for column, picture in enumerate(result.files):
        for axis, value in ((axes[0][column], _rate), (axes[1][column], lambda visit: visit.shared.p99)):
            middles = [result.middle(server, picture, value) for server in servers]
            colours = ["#d95f0e" if server in DUETS else "#9aa5b1" for server in servers]
            lengths, halves = zip(*middles, strict=True)
            bars = axis.barh(servers, lengths, xerr=halves, color=colours, ecolor="#444444")
            axis.bar_label(bars, [f" {length:.0f}" for length in lengths], padding=2)
            axis.invert_yaxis()
            axis.margins(x=0.18)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(axis="y", length=0, labelleft=column == 0)
        limit = result.limit(picture)[0]
        axes[0][column].axvline(limit, color="black", linestyle="--", linewidth=1)
        axes[0][column].set_title(f"{picture}\nlimit {limit:.0f} images/s (dashed)", fontsize=10)
        axes[0][column].set_xlabel("images/s at saturation (more is better)")
        axes[1][column].set_xlabel(f"p99 in ms at {SHARE:.0%} of its own load (less is better)")
    figure.suptitle(f"{result.graph}, {machine(result.cuda)}", fontsize=11)
    figure.savefig(file, dpi=110)


def _rate(visit: Visit) -> float:
    return visit.saturated.rate


_COLUMNS: tuple[Callable[[Visit], float], ...] = (
    _rate,
    lambda visit: visit.shared.p50,
    lambda visit: visit.shared.p95,
    lambda visit: visit.shared.p99,
    lambda visit: visit.saturated.p99,
    lambda visit: visit.peak_bytes / 2**20,
    lambda visit: visit.ready_seconds,
)


def _cell(middle: float, half: float) -> str:
    digits = 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ± {half:.{digits}f}"
