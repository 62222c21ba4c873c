"""Servers under test: how each is started, asked and stopped, and the memory that its processes take."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from .work import BATCH, CUDA, MODEL, PORT

START_SECONDS, STOP_SECONDS = 180.0, 15.0
ROOT = Path(__file__).parents[2]
DUET, DUET_INT8, DUET_FP16 = "Duet", "Duet int8", "Duet fp16"
DUETS = (DUET, DUET_INT8, DUET_FP16)
PEERS_BATCH = 8
MODULES = {"plain FastAPI": "fastapi", "LitServe": "litserve", "mosec": "mosec", "BentoML": "bentoml"}
_BOUNDARY = "duet-benchmark"


class ServerError(RuntimeError):
    """A server that does not start; the message holds what it printed."""


@dataclass(frozen=True)
class Setup:
    """What every server is told: the model file in its repository, the batch limit, and whether to compute on CUDA.

    Without a batch limit Duet has its own, and the peers have 8.
    """

    model: Path
    batch: int | None
    cuda: bool
    peers: Path  # Python of the environment that the peers are installed in
    settings: Mapping[str, str] = field(default_factory=dict)  # more of Duet's own

    def environment(self, port: int) -> dict[str, str]:
        """Of Duet and of the peers."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DUET_")}
        models = self.model.parents[2]
        kept |= {"DUET_MODELS": str(models), "DUET_DEFAULT_MODEL": self.model.parents[1].name, "DUET_PORT": str(port)}
        kept |= {"DUET_MAX_QUEUE": "1024", "DUET_REQUEST_TIMEOUT_MS": "120000"}
        kept |= {"DUET_MAX_BATCH_SIZE": str(self.batch)} if self.batch else {}
        kept |= {"DUET_PROVIDERS": "cuda,cpu" if self.cuda else "cpu", "DUET_REQUIRE_CUDA": str(self.cuda).lower()}
        kept |= {MODEL: str(self.model), PORT: str(port), BATCH: str(self.batch or PEERS_BATCH), CUDA: str(int(self.cuda))}
        return kept | {"PYTHONPATH": str(ROOT)} | dict(self.settings)


class Server:
    """A running server: `ready_seconds` from its start to its first answer, the most `peak_bytes` that it was seen to hold."""

    def __init__(self, name: str, setup: Setup, scratch: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.name, self.url = name, f"http://127.0.0.1:{port}/score"
        self._scratch, self._log = scratch, scratch / f"{name}.log"
        self.ready_seconds, self.peak_bytes = 0.0, 0
        command = [sys.executable, "-m", "service"]
        if name in MODULES:
            command = [str(setup.peers), "-m", f"benchmarks.serve.peers.with_{MODULES[name]}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=setup.environment(port), cwd=scratch, stdout=log, stderr=log, start_new_session=True
            )
        self._started = time.monotonic()

    def encoded(self, body: Path, media_type: str) -> tuple[Path, str]:
        """File and Content-Type of a request for this picture: the picture itself, or the form that BentoML takes."""
        if self.name != "BentoML":
            return body, media_type
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="{body.name}"\r\n'
        form = self._scratch / f"{body.name}.form"
        tail = f"\r\n--{_BOUNDARY}--\r\n"
        form.write_bytes(f"{head}Content-Type: {media_type}\r\n\r\n".encode() + body.read_bytes() + tail.encode())
        return form, f"multipart/form-data; boundary={_BOUNDARY}"

    def wait_until_ready(self, body: Path, media_type: str) -> None:
        """Return with the first picture answered; raises ServerError."""
        self.wait_for(self.url, body, media_type)
        self.ready_seconds = time.monotonic() - self._started

    def wait_for(self, url: str, body: Path, media_type: str) -> None:
        """Return once `url` answers the picture: models beside the default one come later. Raises ServerError."""
        file, content_type = self.encoded(body, media_type)
        data, headers = file.read_bytes(), {"Content-Type": content_type}
        with httpx.Client(timeout=START_SECONDS) as client:
            while time.monotonic() < self._started + START_SECONDS and self._process.poll() is None:
                with suppress(httpx.TransportError):
                    if client.post(url, content=data, headers=headers).status_code == 200:
                        return
                time.sleep(0.02)
        raise ServerError(f"{self.name} did not become ready:\n{self.log()}")

    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def watch_memory(self) -> None:
        """Look at how much its processes hold now; what they share counts once."""
        total = 0
        for process in self._members():
            with suppress(OSError):  # it has ended meanwhile
                rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
                total += 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        """Ask it to end, and end what remains."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while (self._process.poll() is None or self._members()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._members():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _members(self) -> list[int]:
        """Processes of its session, those that have ended left out."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self._process.pid and state != "Z":
                        found.append(int(entry.name))
        return found


@contextmanager
def running(name: str, setup: Setup, scratch: Path, body: Path, media_type: str) -> Iterator[Server]:
    """A server that has answered its first picture."""
    server = Server(name, setup, scratch)
    try:
        server.wait_until_ready(body, media_type)
        yield server
    finally:
        server.stop()
