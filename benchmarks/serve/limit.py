"""What the machine could do at best: ONNX Runtime alone in a loop, and each other stage alone on one core.

    python -m benchmarks.serve.limit MODEL PICTURE...

A process of its own, as every server is. Prints JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from service.cores import usable_cores

from .work import Work

BATCHES = (1, 2, 4, 8, 16)
LEAST = 5  # runs of anything that is timed


@dataclass(frozen=True)
class Limit:
    """Images a second of ONNX Runtime alone by batch size; seconds of one core that each picture takes besides, by its file.

    On the CPU the better of one batch on all cores, which is ONNX Runtime's default, and a batch on each core.
    """

    cores: int
    inference: dict[int, float]
    decode: dict[str, float] = field(default_factory=dict)
    answer: float = 0.0

    @property
    def best(self) -> float:
        """Images a second at the best batch size."""
        return max(self.inference.values())

    def rate(self, picture: str, cuda: bool) -> float:
        """Images a second with every core busy with nothing but inference, decoding and heatmaps. CUDA computes beside them."""
        around = self.decode[picture] + self.answer
        return min(self.best, self.cores / around) if cuda else self.cores / (self.cores / self.best + around)


def main(
    model: Annotated[Path, typer.Argument()],
    pictures: Annotated[list[Path], typer.Argument()],
    seconds: Annotated[float, typer.Option(help="For each stage and batch size.")] = 1.0,
    cuda: Annotated[bool, typer.Option("--cuda")] = False,
) -> None:
    """Measure and print."""
    work = Work(model, cuda)
    files = {picture.name: picture.read_bytes() for picture in pictures}
    inputs = work.decode(next(iter(files.values())))
    rates = {size: size / _typical(partial(work.infer, [inputs] * size), seconds, time.perf_counter) for size in BATCHES}
    if not cuda:
        single = Work(model, cuda, threads=1)
        rates = {
            size: max(rate, _on_each_core(partial(single.infer, [inputs] * size), size, seconds))
            for size, rate in rates.items()
        }
    (row,) = work.infer([inputs])
    decode = {name: _typical(partial(work.decode, data), seconds, time.thread_time) for name, data in files.items()}
    answer = _typical(partial(work.answer, row), seconds, time.thread_time)
    print(json.dumps(asdict(Limit(usable_cores(), rates, decode, answer))))


def _typical(function: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Median time of a call in seconds of `clock`, after one call to warm up."""
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < LEAST:
        started = clock()
        function()
        times.append(clock() - started)
    return median(times)


def _on_each_core(infer: Callable[[], object], size: int, seconds: float) -> float:
    """Images a second of a thread for each core, all of which run `infer`, a batch of `size`."""
    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        times = pool.map(lambda _: _typical(infer, seconds, time.perf_counter), range(cores))
    return sum(size / each for each in times)


if __name__ == "__main__":
    typer.run(main)
