"""Where the time of a request goes: core time of each stage, as it is and as it was done before, and what is left around them.

    python -m benchmarks.request_budget

Each stage is timed alone on one core, the new way and the old one in turns, on the pictures of benchmarks.serve. Then a real
server answers one request at a time: what its client waits for beyond the stages is HTTP, routing and handing over between
threads.
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import httpx
import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.serve.graphs import write_model
from benchmarks.serve.pictures import Posted, write_pictures
from benchmarks.serve.servers import DUET, Setup, running
from benchmarks.serve.work import MAX_PIXELS, Work
from service.engine import load_engines
from service.heatmap import Map, encode_map, pixel_probability
from service.images import Pixels, decode_image, read_picture
from service.model_format import Shape, Sigmoid
from service.providers import EngineOptions
from service.schemas import Heatmap

PIXEL = Sigmoid(tau=0.3, sigma=0.05)
BATCH = 8
INFERENCES = 7


def main(
    rounds: Annotated[int, typer.Option(help="Of every stage, and requests to the server.")] = 41,
    graph: Annotated[str, typer.Option(help="demo or vit-s")] = "demo",
) -> None:
    """Print microseconds a picture by stage."""
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="duet-budget-") as scratch:
        folder = Path(scratch)
        pictures = write_pictures(folder)
        setup = Setup(write_model(graph, folder / "models"), BATCH, cuda=False, peers=Path())
        work = Work(setup.model, cuda=False)
        for posted in pictures.values():
            with one_server(setup, folder, posted) as (client, url):
                rest, whole = around(client, url, posted, rounds)
            table = Table("stage", "before", "now", "before / now", title=f"{posted.name}, {graph}: µs, medians of {rounds}")
            for stage, (before, now) in stages(setup, work, posted, rounds).items():
                table.add_row(stage, f"{before:.0f}", f"{now:.0f}", f"{before / now:.1f}")
            table.add_row("HTTP, routing, threads", "", f"{rest:.0f}", "")
            table.add_row("whole request, one at a time", "", f"{whole:.0f}", "")
            console.print(table)


@contextmanager
def one_server(setup: Setup, folder: Path, posted: Posted) -> Iterator[tuple[httpx.Client, str]]:
    """Duet, and a client that keeps its connection."""
    with running(DUET, setup, folder, posted.file, posted.media_type) as server, httpx.Client(timeout=60) as client:
        yield client, server.url


def around(client: httpx.Client, url: str, posted: Posted, rounds: int) -> tuple[float, float]:
    """Microseconds that an answer takes beyond its stages, and in all."""
    body, headers = posted.file.read_bytes(), {"Content-Type": posted.media_type}
    beyond, whole = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        answer = client.post(url, content=body, headers=headers)
        taken = 1000 * (time.perf_counter() - started)
        timing = answer.json()["timing_ms"]
        beyond.append(taken - sum(timing[stage] for stage in ("decode", "queue", "inference", "heatmap")))
        whole.append(taken)
    return 1000 * median(beyond), 1000 * median(whole)


def stages(setup: Setup, work: Work, posted: Posted, rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds of core time of each stage, before and now; of inference a picture's share, over all cores."""
    body = posted.file.read_bytes()
    inputs = work.decode(body)
    (row,) = work.infer([inputs])
    probability = pixel_probability(row["anomaly_map"], PIXEL)
    png = encode_map(probability)
    buffer = np.zeros((BATCH, *inputs.shape), np.uint8)
    batch = [inputs] * BATCH
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "decode and resize": (lambda: decode_before(body, work.shape), lambda: work.decode(body)),
        "of which decode": (lambda: decode_image(body, MAX_PIXELS), lambda: read_picture(body, MAX_PIXELS, work.shape)),
        "copy into the batch": (lambda: np.copyto(buffer[0], inputs), lambda: np.copyto(buffer[0], inputs)),
        "heatmap: probabilities": (
            lambda: probability_before(row["anomaly_map"], PIXEL),
            lambda: pixel_probability(row["anomaly_map"], PIXEL),
        ),
        "heatmap: palette PNG": (lambda: encode_map(probability), lambda: encode_map(probability)),
        "heatmap: base64 and JSON": (lambda: json_of(png), lambda: json_of(png)),
    }
    found = {stage: in_turns(*pair, rounds) for stage, pair in pairs.items()}
    (engine,) = load_engines(setup.model, EngineOptions(max_batch_size=BATCH))
    engine.run(batch)
    inference = 1e6 * median(timed(lambda: engine.run(batch), time.process_time) for _ in range(INFERENCES)) / BATCH
    return found | {f"inference in batches of {BATCH}": (inference, inference)}


def in_turns(before: Callable[[], object], now: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median microseconds of one core of either."""
    pairs = [(timed(before, time.thread_time), timed(now, time.thread_time)) for _ in range(rounds)]
    first, second = zip(*pairs, strict=True)
    return 1e6 * median(first), 1e6 * median(second)


def timed(function: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a call."""
    started = clock()
    function()
    return clock() - started


def decode_before(data: bytes, shape: Shape) -> Pixels:
    """All pixels decoded, copied out of Pillow and in again, and one bicubic filter over them."""
    pixels = decode_image(data, MAX_PIXELS)
    return np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BICUBIC))


def probability_before(anomaly_map: Map, sigmoid: Sigmoid) -> Map:
    """In double precision."""
    logit = (anomaly_map.astype(np.float64) - sigmoid.tau) / sigmoid.sigma
    return (0.5 * (1 + np.tanh(0.5 * logit))).astype(np.float32)


def json_of(png: bytes) -> bytes:
    """As the service answers: the text is built once, and sent as it is."""
    return Heatmap(width=256, height=256, data=base64.b64encode(png).decode()).model_dump_json().encode()


if __name__ == "__main__":
    typer.run(main)
