"""BentoML with its adaptive batching, which hands over lists; started as `bentoml serve` does it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml

from benchmarks.serve.work import batch_size, port, work


@bentoml.service(traffic={"timeout": 120}, workers=1, logging={"access": {"enabled": False}})
class Scores:
    """Decodes and answers a batch on threads."""

    def __init__(self) -> None:
        self.work = work()
        self.pool = ThreadPoolExecutor(os.cpu_count())

    @bentoml.api(route="/score", batchable=True, max_batch_size=batch_size(), max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    def score(self, pictures: list[Path]) -> list[str]:
        """JSON of each picture."""
        inputs = list(self.pool.map(lambda path: self.work.decode(path.read_bytes()), pictures))
        return [answer.decode() for answer in self.pool.map(self.work.answer, self.work.infer(inputs))]


if __name__ == "__main__":
    serve = ["-m", "bentoml", "serve", "benchmarks.serve.peers.with_bentoml:Scores", "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, *serve, "--port", str(port())])
