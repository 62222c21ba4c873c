"""Twenty minutes of everything at once against a real server process: nothing may leak, hang or answer wrongly.

    python -m benchmarks.soak --minutes 20 --output runs/soak

Good pictures, bad files, floods, pictures of 12 megapixels, slow and stalled senders, clients that vanish, models that are
swapped, probes, and every 45 seconds a burst of ten times the sustainable load. Prints a table and writes `soak.json` and
`soak.png`. Exit code 1 if anything was unexpected. Reads /proc: Linux only. Other work on the machine makes latency and
the bursts' answers worse.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .clients import Client
from .pictures import bad_files, camera_picture, good_pictures
from .plot import plot
from .records import Recording
from .server import MAX_PIXELS, Server
from .traffic import Bodies, measure_capacity, run_traffic
from .verdict import Check, judge, unexpected_answers

_SHOWN = 20  # unexpected answers and log lines in the report
_SAMPLES = Path("models/demo/samples")


def main(
    minutes: Annotated[float, typer.Option(min=1, help="Length; the first tenth is warm-up.")] = 20,
    output: Annotated[Path, typer.Option(help="Folder of soak.json and soak.png.")] = Path("runs/soak"),
    models: Annotated[Path, typer.Option(help="Model repository; its first model is used.")] = Path("models"),
    pictures: Annotated[Path, typer.Option(help="Folder of good pictures, PNG.")] = _SAMPLES,
    swaps: Annotated[bool, typer.Option(help="Load and unload models meanwhile.")] = True,
) -> None:
    """Soak, judge, report."""
    bodies = Bodies(good_pictures(pictures), camera_picture(), bad_files(MAX_PIXELS))
    with TemporaryDirectory() as folder:
        server = Server(Path(folder), models, swaps)
        try:
            server.wait_until_ready()
            recording = asyncio.run(_soak(server, bodies, 60 * minutes, swaps))
        finally:
            exit_code = server.stop()
        recording.exit_code = exit_code
        recording.log_errors, recording.slowest = server.read_log()
    checks = judge(recording)
    output.mkdir(parents=True, exist_ok=True)
    _print(recording, checks)
    (output / "soak.json").write_text(json.dumps(_report(recording, checks), indent=1), encoding="utf-8")
    plot(recording, len(unexpected_answers(recording)), output / "soak.png")
    raise typer.Exit(not all(check.passed for check in checks))


async def _soak(server: Server, bodies: Bodies, length: float, swaps: bool) -> Recording:
    recording = Recording(length)
    measuring = Client(server, recording)
    recording.capacity = await measure_capacity(measuring, bodies.good)
    await measuring.close()
    recording.answers.clear()
    client = Client(server, recording)
    await run_traffic(client, server, bodies, recording, swaps)
    await client.close()
    return recording


def _print(recording: Recording, checks: list[Check]) -> None:
    unexpected = set(unexpected_answers(recording))
    counts = Counter((a.kind, a.outcome, a in unexpected) for a in recording.answers)
    answers = Table("request", "answer", "number", title=f"sustainable: {recording.capacity:.0f} pictures a second")
    for (kind, outcome, wrong), number in sorted(counts.items()):
        answers.add_row(kind, outcome, str(number), style="bold red" if wrong else None)
    verdict = Table("", "check", "found")
    for check in checks:
        verdict.add_row("[green]yes" if check.passed else "[bold red]NO", check.name, check.detail)
    console = Console(width=160)
    console.print(answers, verdict)
    for line in recording.log_errors[:_SHOWN]:
        console.print(line, style="red", markup=False)


def _report(recording: Recording, checks: list[Check]) -> dict[str, object]:
    counts = Counter(f"{answer.kind} → {answer.outcome}" for answer in recording.answers)
    return {
        "minutes": recording.length / 60,
        "capacity_pictures_per_second": recording.capacity,
        "checks": [asdict(check) for check in checks],
        "answers": dict(sorted(counts.items())),
        "unexpected": [asdict(answer) for answer in unexpected_answers(recording)[:_SHOWN]],
        "log_errors": recording.log_errors[:_SHOWN],
        "bursts": [asdict(burst) for burst in recording.bursts],
        "samples": [asdict(sample) for sample in recording.samples],
    }


if __name__ == "__main__":
    typer.run(main)
