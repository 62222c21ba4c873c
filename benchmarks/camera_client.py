"""The camera client beside the service on one machine: does it keep up with a camera, and does its memory stay flat?

    python -m benchmarks.camera_client --rate 30 --minutes 3

Rendered parts are written into a folder at a steady rate, each under another name first, as a camera's own software does;
`duet-camera folder` spools them, `duet-serve` scores them, and the verdicts go into a file of JSON lines. Prints a table. Exit
code 1 if the client fell behind by more than a second's frames in the last quarter, or if its memory grew by more than a
twentieth between the second and the last quarter. Reads /proc: Linux only.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from training.data.parts import DEFECTS, render_part

_START_SECONDS = 120.0
_PICTURES = 60  # different ones, which take turns
_MAX_GROWTH = 1.05


@dataclass(frozen=True)
class Sample:
    """One second: frames written and verdicts told so far, resident bytes and CPU seconds of client and service."""

    written: int
    told: int
    client_bytes: int
    service_bytes: int
    client_cpu: float
    service_cpu: float


def main(
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second.")] = 30,
    minutes: Annotated[float, typer.Option(min=0.2)] = 3,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures, in pixels.")] = 640,
    models: Annotated[Path, typer.Option(help="Model repository; its first model is used.")] = Path("models"),
) -> None:
    """Measure, print a table, and exit with 1 if the client fell behind or grew."""
    pictures = [_picture(number, size) for number in range(_PICTURES)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        samples = _run(folder, pictures, rate, 60 * minutes, models)
        seconds = sorted(_seconds(folder / "verdicts.jsonl"))
    quarter = len(samples) // 4
    behind = [sample.written - sample.told for sample in samples]
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    growth = np.mean([s.client_bytes for s in late]) / np.mean([s.client_bytes for s in early])
    table = Table("", "measured")
    first, last = samples[0], samples[-1]
    rows = {
        "frames written": f"{last.written} in {len(samples)} s, {np.mean([len(p) for p in pictures]) / 1000:.0f} kB each",
        "behind, at most; in the last quarter": f"{max(behind)}; {max(behind[-quarter:])} frames",
        "from file to verdict, p50 / p95 / p99": " / ".join(f"{1000 * np.quantile(seconds, q):.0f}" for q in (0.5, 0.95, 0.99))
        + " ms",
        "client's memory, 2nd quarter; last": " ; ".join(
            f"{np.mean([s.client_bytes for s in part]) / 2**20:.1f} MiB" for part in (early, late)
        ),
        "service's memory, 2nd quarter; last": " ; ".join(
            f"{np.mean([s.service_bytes for s in part]) / 2**20:.1f} MiB" for part in (early, late)
        ),
        "client's share of a core": f"{100 * (last.client_cpu - first.client_cpu) / len(samples):.0f} %",
        "service's share of a core": f"{100 * (last.service_cpu - first.service_cpu) / len(samples):.0f} %",
    }
    for label, value in rows.items():
        table.add_row(label, value)
    Console().print(table)
    if max(behind[-quarter:]) > rate or growth > _MAX_GROWTH:
        raise typer.Exit(1)


def _picture(number: int, size: int) -> bytes:
    kind = ("washer", "gear", "connector")[number % 3]
    defect = DEFECTS[kind][number % len(DEFECTS[kind])] if number % 10 == 9 else None
    buffer = BytesIO()
    Image.fromarray(render_part(kind, defect, size, number).pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _run(folder: Path, pictures: list[bytes], rate: float, seconds: float, models: Path) -> list[Sample]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DUET_")}
    environment |= {"DUET_PORT": str(port), "DUET_MODELS": str(models), "DUET_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "client.camera", "folder", str(folder / "in"), "--delete", "--quiet", "--url", url]
    command += ["--spool", str(folder / "spool"), "--jsonl", str(folder / "verdicts.jsonl"), "--rotate-mb", "10000"]
    service = subprocess.Popen([sys.executable, "-m", "service"], env=environment)
    try:
        _wait_until_ready(url)
        client = subprocess.Popen(command)
        try:
            return _measure(folder, pictures, rate, seconds, client.pid, service.pid)
        finally:
            client.terminate()
            client.wait()
    finally:
        service.terminate()
        service.wait()


def _measure(folder: Path, pictures: list[bytes], rate: float, seconds: float, client: int, service: int) -> list[Sample]:
    written, done = 0, threading.Event()

    def write() -> None:
        nonlocal written
        started = time.monotonic()
        while not done.wait(max(0.0, started + written / rate - time.monotonic())):
            unfinished = folder / "in" / ".unfinished"
            unfinished.write_bytes(pictures[written % len(pictures)])
            unfinished.rename(folder / "in" / f"{written:07d}.jpg")
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    samples: list[Sample] = []
    told = read = 0
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        time.sleep(max(0.0, len(samples) + 1 - passed))
        if (folder / "verdicts.jsonl").exists():
            with (folder / "verdicts.jsonl").open("rb") as file:
                file.seek(read)
                new = file.read()
            read, told = read + len(new), told + new.count(b"\n")
        samples.append(Sample(written, told, _bytes(client), _bytes(service), _cpu(client), _cpu(service)))
    done.set()
    writer.join()
    return samples


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url}: the service did not become ready; its own lines above say why")


def _seconds(path: Path) -> list[float]:
    """From each file's last change to its verdict."""
    verdicts = [json.loads(line) for line in path.read_text().splitlines()]
    return [(datetime.fromisoformat(v["decided"]) - datetime.fromisoformat(v["taken"])).total_seconds() for v in verdicts]


def _bytes(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines())
    return 1024 * int(fields["VmRSS"].split()[0])


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    typer.run(main)
