"""A real service process on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port

PATIENCE = 60.0  # seconds, on a busy machine
# Settings under which one picture can keep all others waiting, which are then one batch.
ONE_ENGINE: dict[str, object] = {"intra_op_threads": os.cpu_count() or 1, "max_batch_size": 8}


class ServiceProcess:
    """`python -m service` with these settings; `log` is the file that its log lines go to."""

    def __init__(self, models: Path, log: Path, **settings: object) -> None:
        port = settings.get("port")
        self.port = port if isinstance(port, int) else free_port()
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DUET_")}
        given = {f"DUET_{name.upper()}": str(value) for name, value in settings.items()}
        environment = inherited | {"DUET_MODELS": str(models), "DUET_PORT": str(self.port)} | given
        with log.open("wb") as stderr:
            self.process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stderr=stderr)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def wait_until_ready(self) -> None:
        """Return once /health/ready answers 200."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the service did not become ready:\n{self.log.read_text()}")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that have these labels."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    def wait_for_metric(self, expected: float, name: str, **labels: str) -> None:
        """Return once a metric has this value."""
        deadline = time.monotonic() + PATIENCE
        while (value := self.metric(name, **labels)) != expected:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} {labels} is {value}, not {expected}")
            time.sleep(0.01)

    def wait_for_log(self, text: str) -> list[str]:
        """The log's lines, once one that holds `text` is complete: an answer may come before its line."""
        deadline = time.monotonic() + PATIENCE
        while True:
            *lines, _ = self.log.read_text().split("\n")
            if any(text in line for line in lines):
                return lines
            if time.monotonic() > deadline:
                raise RuntimeError(f"'{text}' is not in the log:\n" + "\n".join(lines))
            time.sleep(0.01)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End the process if it still runs."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_service(models: Path, log: Path, **settings: object) -> Iterator[ServiceProcess]:
    """A service process that is ready."""
    service = ServiceProcess(models, log, **settings)
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.close()
