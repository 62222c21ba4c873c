"""mosec: stages in processes of their own, batches in the middle one."""

from __future__ import annotations

import os
import sys
from typing import Any

import mosec

from benchmarks.serve.work import Row, batch_size, port, work
from service.images import Pixels

MAX_WAIT = 5  # milliseconds


class Decode(mosec.Worker):  # type: ignore[misc]  # it is not installed where types are checked
    """Bytes to model input."""

    def __init__(self) -> None:
        super().__init__()
        self.work = work(computes=False)

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture."""
        return data

    def forward(self, data: bytes) -> Pixels:
        """One picture."""
        return self.work.decode(data)


class Infer(mosec.Worker):  # type: ignore[misc]
    """A batch."""

    def __init__(self) -> None:
        super().__init__()
        self.work = work()

    def forward(self, data: Any) -> list[Row]:
        """Of whatever has come together."""
        return self.work.infer(data)


class Answer(mosec.Worker):  # type: ignore[misc]
    """Heatmap and JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.work = work(computes=False)

    def forward(self, data: Row) -> bytes:
        """One picture's."""
        return self.work.answer(data)

    def serialize(self, data: bytes) -> bytes:
        """It is the body already."""
        return data


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(port()), "--timeout", "120000", "--log-level", "error"]
    cores = os.cpu_count() or 1
    server = mosec.Server()
    runtimes = [
        mosec.Runtime(Decode, num=cores),
        mosec.Runtime(Infer, max_batch_size=batch_size(), max_wait_time=MAX_WAIT),
        mosec.Runtime(Answer, num=cores),
    ]
    server.register_runtime({"/score": runtimes})
    server.run()
