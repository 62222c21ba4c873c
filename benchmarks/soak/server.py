"""The server under test: a process of its own on a temporary repository, and what the kernel says of it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

MAX_BYTES = 16 * 2**20
MAX_PIXELS = 20_000_000
DEADLINE, GRACE = 10.0, 5.0  # seconds that a request has, and that its answer may be late: the machine may be busy
START_SECONDS = 120.0
MODEL, SWAPPED = "demo", "second"


class SoakError(RuntimeError):
    """The soak cannot be run; the message says why."""


class Server:
    """`python -m service` with modest limits. `key` is an admin's, empty where models are not swapped."""

    def __init__(self, folder: Path, models: Path, swaps: bool) -> None:
        """Copy the newest model of the repository `models` into one below `folder`, three times, and start."""
        repository = folder / "models"
        for name, version in ((MODEL, "1"), (MODEL, "2"), (SWAPPED, "1")):
            copy = repository / name / version
            copy.mkdir(parents=True)
            shutil.copy(_newest(models), copy)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.key = secrets.token_hex(16) if swaps else ""
        settings = {"MODELS": repository, "DEFAULT_MODEL": MODEL, "PORT": self.port, "MAX_BYTES": MAX_BYTES,
                    "MAX_PIXELS": MAX_PIXELS, "REQUEST_TIMEOUT_MS": round(1000 * DEADLINE)}  # fmt: skip
        if swaps:
            settings["API_KEYS"] = f"soak:{hashlib.sha256(self.key.encode()).hexdigest()}:admin"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DUET_")}
        environment |= {f"DUET_{name}": str(value) for name, value in settings.items()}
        self._log = folder / "service.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stderr=log)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Raises SoakError if it ends before, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.address}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise SoakError(f"the server did not become ready:\n{self._log.read_text(encoding='utf-8')}")

    def resources(self) -> tuple[int, int, int]:
        """Resident bytes, open file descriptors and threads, from /proc."""
        process = Path(f"/proc/{self._process.pid}")
        lines = process.joinpath("status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return 1024 * int(fields["VmRSS"].split()[0]), len(list(process.joinpath("fd").iterdir())), int(fields["Threads"])

    def stop(self) -> int:
        """Ask it to stop as an orchestrator does; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(3 * DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def read_log(self) -> tuple[list[str], float]:
        """Lines of level error or worse, or that are no log lines; and the seconds that its slowest scoring request took."""
        errors, slowest = [], 0.0
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _parse(line)
            if entry.get("level", "error") in ("error", "critical"):
                errors.append(line)
            if entry.get("path") == "/score":
                slowest = max(slowest, entry.get("milliseconds", 0.0) / 1000)
        return errors, slowest


def _parse(line: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return entry


def _newest(models: Path) -> Path:
    """The file of the highest version of the first model by name."""
    files = sorted(models.glob("*/*/model.onnx"))
    if not files:
        raise SoakError(f"{models}: holds no model NAME/VERSION/model.onnx: give a repository with --models")
    return max((file for file in files if file.parent.parent == files[0].parent.parent), key=lambda file: int(file.parent.name))
