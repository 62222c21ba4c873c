"""A process that decodes pictures one after the other, so that a crash, a hang or a greedy decoder is seen and survived."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import struct
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import numpy as np

PIXEL_LIMIT = 1_000_000
SECONDS = 20  # for one input, on a busy machine; a decoder that takes longer ends the process
ADDRESS_SPACE = 2**31  # bytes; only protects the machine, the tests look at resident memory


class DecodeWorker:
    """Sends pictures to a process and reads what became of them; a context manager."""

    def __enter__(self) -> DecodeWorker:
        self._stderr, self._read = TemporaryFile(), 0
        command = [sys.executable, "-m", "tests.decode_worker"]
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, cwd=root)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def decode(self, data: bytes) -> dict[str, Any]:
        """The outcome of decode_image: `error` and `detail`, or `shape` and `dtype`; by how much resident memory
        `grew_mb` meanwhile at most; what C libraries `printed` to standard error.

        Raises RuntimeError if the process ended, as it does when the picture takes longer than SECONDS.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(struct.pack("<I", len(data)) + data)
            stdin.flush()
        except BrokenPipeError:
            pass
        if not (line := stdout.readline()):
            raise RuntimeError(f"the process ended with {self._process.wait()}:\n{self._printed()}")
        answer: dict[str, Any] = json.loads(line)
        return answer | {"printed": self._printed()}

    def _printed(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        new = os.pread(self._stderr.fileno(), size - self._read, self._read)
        self._read = size
        return new.decode(errors="replace")


def _serve() -> None:
    from service.images import decode_image

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    while header := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(*struct.unpack("<I", header))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        before = _reset_peak()
        answer: dict[str, Any]
        try:
            pixels = decode_image(data, PIXEL_LIMIT)
        except Exception as error:
            answer = {"error": type(error).__name__, "detail": str(error)}
        else:
            answer = {"shape": pixels.shape, "dtype": str(pixels.dtype), "sum": int(np.sum(pixels, dtype=np.int64))}
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(answer | {"grew_mb": _peak() - before}), flush=True)


def _reset_peak() -> float:
    """Peak of resident memory from now on, in megabytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    """Megabytes; getrusage() would count the parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    _serve()
