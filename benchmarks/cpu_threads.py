"""How to share a CPU's cores between batches: all of them on one batch, or a batch on each.

    python -m benchmarks.cpu_threads
    python -m benchmarks.cpu_threads --graph vit-s --batch 1 --batch 4 --seconds 4

ONNX Runtime alone, in one process, on noise. The arrangements take turns.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import numpy as np
import onnxruntime as ort
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.serve.graphs import write_model
from service.cores import usable_cores
from service.model_format import INPUT

BATCHES: list[int] = [1, 2, 4, 8]


class Arrangement(NamedTuple):
    """So many batches at the same time, each with so many threads, which spin while they wait for others or sleep."""

    batches: int
    threads: int
    spinning: bool


class Found(NamedTuple):
    """Images a second, milliseconds from a batch's start to its end, milliseconds of core time of an image."""

    rate: float
    latency: float
    core: float


def main(
    graph: Annotated[str, typer.Option(help="`demo` ships with Duet; `vit-s` has random weights, at 224 pixels.")] = "demo",
    batch: Annotated[list[int], typer.Option(min=1, help="May be repeated.")] = BATCHES,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each measurement.")] = 2.0,
) -> None:
    """Measure and print medians."""
    cores = usable_cores()
    arrangements = {
        "one batch on all cores, spinning (ONNX Runtime's default)": Arrangement(1, cores, True),
        "one batch on all cores, sleeping": Arrangement(1, cores, False),
        "one batch on one core": Arrangement(1, 1, False),
        "a batch on each core": Arrangement(cores, 1, False),
    }
    with tempfile.TemporaryDirectory(prefix="duet-threads-") as scratch:
        model = write_model(graph, Path(scratch))
        sessions = {name: _session(model, arrangement) for name, arrangement in arrangements.items()}
    found: dict[tuple[str, int], list[Found]] = {}
    for _ in range(rounds):
        for size in batch:
            for name, arrangement in arrangements.items():
                found.setdefault((name, size), []).append(_measure(sessions[name], arrangement.batches, size, seconds))
    table = Table("", "batch", "images/s", "ms a batch", "ms of core time an image", title=f"{graph}, {cores} cores")
    for (name, size), values in sorted(found.items(), key=lambda item: item[0][1]):
        rate, latency, core = (median(column) for column in zip(*values, strict=True))
        spread = (max(value.rate for value in values) - min(value.rate for value in values)) / 2
        table.add_row(name, str(size), f"{rate:.1f} ± {spread:.1f}", f"{latency:.0f}", f"{core:.1f}")
    Console(width=120).print(table)


def _session(model: Path, arrangement: Arrangement) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = arrangement.threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(arrangement.spinning)))
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _measure(session: Any, callers: int, size: int, seconds: float) -> Found:
    height, width = session.get_inputs()[0].shape[1:3]
    images = np.random.default_rng(0).integers(0, 256, (size, height, width, 3), dtype=np.uint8)
    session.run(None, {INPUT: images})
    times: list[float] = []
    ended = time.perf_counter() + seconds

    def compute() -> None:
        while (started := time.perf_counter()) < ended:
            session.run(None, {INPUT: images})
            times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=compute) for _ in range(callers)]
    started, core = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, core = time.perf_counter() - started, time.process_time() - core
    count = size * len(times)
    return Found(count / elapsed, 1000 * median(times), 1000 * core / count)


if __name__ == "__main__":
    typer.run(main)
