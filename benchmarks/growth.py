"""How throughput and latency grow with batch limit, clients, picture size and models, and start-up with the model's size.

    python -m benchmarks.growth --output docs

A real server for each point, load from wrk as in benchmarks.serve. Writes growth.png and growth.json.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from benchmarks.serve.graphs import write_model, write_random
from benchmarks.serve.load import Load, saturate, warm_up
from benchmarks.serve.pictures import Posted, write_pictures, write_square
from benchmarks.serve.report import machine
from benchmarks.serve.servers import DUET, Setup, running

BATCHES = (1, 2, 4, 8, 16, 32)
CLIENTS = (1, 4, 16, 64, 256, 512)
SIDES = (112, 448, 1024, 2048, 4096)  # of a JPEG, pixels
MODELS = (1, 2, 4, 8)
WIDTHS = (64, 192, 384, 576)  # of the networks of a random graph; 384 is ViT-S
START_INPUT = 56  # pixels: little to compute, so that loading is what is seen
MANY = 64  # clients where the batch limit varies: enough to fill the largest
USUAL = 16


@dataclass(frozen=True)
class Point:
    """One server under one load. `value` is what varies; `mebibytes` what its processes held, or what the model file holds."""

    value: float
    rate: float
    p50: float
    p99: float
    mebibytes: float
    ready_seconds: float


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each load.")] = 4.0,
    output: Annotated[Path, typer.Option(help="Folder for growth.png and growth.json.")] = Path("docs"),
    quick: Annotated[bool, typer.Option("--quick", help="The first two points of each curve only.")] = False,
) -> None:
    """Measure and draw all curves."""
    few = 2 if quick else 99
    with tempfile.TemporaryDirectory(prefix="duet-growth-") as scratch:
        folder = Path(scratch)
        web = write_pictures(folder)["web"]
        model = write_model("demo", folder / "models")
        setup = Setup(model, None, cuda=False, peers=Path())
        curves = {
            "batch": [point(replace(setup, batch=n), folder, web, n, MANY, seconds) for n in BATCHES[:few]],
            "clients": [point(setup, folder, web, n, n, seconds) for n in CLIENTS[:few]],
            "side": [point(setup, folder, write_square(folder, side), side, USUAL, seconds) for side in SIDES[:few]],
            "models": [several(setup, folder, web, n, seconds) for n in MODELS[:few]],
            "start": [start(folder, web, width) for width in WIDTHS[:few]],
        }
    output.mkdir(parents=True, exist_ok=True)
    described = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "seconds": seconds}
    written = described | {name: [asdict(found) for found in points] for name, points in curves.items()}
    (output / "growth.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    draw(curves, output / "growth.png")


def point(
    setup: Setup, folder: Path, posted: Posted, value: float, clients: int, seconds: float, paths: Sequence[str] = ()
) -> Point:
    """Start Duet, load it with so many clients, and stop it."""
    with running(DUET, setup, folder, posted.file, posted.media_type) as server:
        for path in paths:
            server.wait_for(server.url.removesuffix("/score") + path, posted.file, posted.media_type)
        warm_up(server, posted.file, posted.media_type, clients)
        load = saturate(server, posted.file, posted.media_type, clients, seconds, paths)
        found = measured(value, load, server.peak_bytes, server.ready_seconds)
    print(f"{value:g}: {found.rate:.1f} images/s, p99 {found.p99:.0f} ms, {found.mebibytes:.0f} MiB", flush=True)
    return found


def measured(value: float, load: Load, size: int, ready_seconds: float) -> Point:
    """A point of a curve."""
    return Point(value, load.rate, load.p50, load.p99, size / 2**20, ready_seconds)


def several(setup: Setup, folder: Path, posted: Posted, count: int, seconds: float) -> Point:
    """So many models, copies of one file, asked in turns."""
    repository = folder / f"models-{count}"
    names = [f"model-{number}" for number in range(count)]
    for name in names:
        copy = repository / name / "1" / setup.model.name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(setup.model, copy)
    own = replace(setup, model=repository / names[0] / "1" / setup.model.name)
    return point(own, folder, posted, count, USUAL, seconds, [f"/score?model={name}" for name in names])


def start(folder: Path, posted: Posted, width: int) -> Point:
    """Start-up with a graph of networks of this width; no load."""
    model = folder / f"width-{width}" / "random" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    write_random("random", model, width, START_INPUT)
    setup = Setup(model, None, cuda=False, peers=Path())
    with running(DUET, setup, folder, posted.file, posted.media_type) as server:
        size, ready = model.stat().st_size, server.ready_seconds
    print(f"{size / 2**20:.0f} MiB: ready after {ready:.1f} s", flush=True)
    return Point(size / 2**20, 0.0, 0.0, 0.0, size / 2**20, ready)


def draw(curves: dict[str, list[Point]], file: Path) -> None:
    """A panel a curve: throughput in bars of blue, p99 in orange."""
    titles = {
        "batch": f"batch limit ({MANY} clients)",
        "clients": "clients",
        "side": f"side of the JPEG in pixels ({USUAL} clients)",
        "models": f"models asked in turns ({USUAL} clients)",
    }
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    panels = figure.subplots(1, len(titles) + 1)
    for panel, (name, title) in zip(panels, titles.items(), strict=False):
        points, places = curves[name], range(len(curves[name]))
        panel.plot(places, [found.rate for found in points], "o-", color="#2b6cb0")
        panel.set_ylim(0, 1.1 * max(found.rate for found in points))
        panel.tick_params(axis="y", colors="#2b6cb0")
        panel.set_xticks(places, [f"{found.value:g}" for found in points])
        panel.set_xlabel(title)
        late = panel.twinx()
        late.plot(places, [found.p99 for found in points], "s--", color="#d95f0e")
        late.set_ylim(0, 1.1 * max(found.p99 for found in points))
        late.tick_params(axis="y", colors="#d95f0e")
    panels[0].set_ylabel("images/s", color="#2b6cb0")
    figure.axes[-1].set_ylabel("p99 in ms", color="#d95f0e")
    last = panels[-1]
    last.plot(
        [found.mebibytes for found in curves["start"]], [found.ready_seconds for found in curves["start"]], "o-", color="black"
    )
    last.set(xlabel="model file in MiB", ylabel="seconds from start to first answer", ylim=(0, None), xlim=(0, None))
    figure.suptitle(f"Duet, the model that ships, 640x480 JPEG unless it says otherwise; {machine()}", fontsize=11)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    typer.run(main)
