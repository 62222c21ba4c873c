"""Train and measure every task of a benchmark, one after the other; what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from ..calibrate import calibrate_run
from ..data import Sample, class_names, load_samples
from ..errors import TrainingError
from ..evaluate import evaluate, score_all
from ..files import write_text
from ..fit import fit
from ..measures import measure
from ..report import write_report
from ..run_folder import FitSettings, RunFolder
from ..scorers import RunScorer
from ..start import start_run
from ..teacher import load_teacher
from .neighbours import NeighbourScorer
from .results import TaskResult
from .summary import write_summary
from .tasks import Setting, Task, tasks


class BenchmarkSettings(BaseModel):
    """benchmark.json: what the figures in a folder were measured with. Seeds may be added later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    setting: Setting
    semantic: bool
    every: int
    fit: FitSettings


def run_benchmark(
    settings: BenchmarkSettings, root: Path, output: Path, seeds: Sequence[int], group: str | None = None
) -> list[TaskResult]:
    """Results of every task and seed, in order, of one group if given; the summary in `output` is renewed after each task.

    Raises TrainingError for an unknown group, where `output` holds a benchmark with other settings, and when it is stopped
    (nothing is lost).
    """
    todo = tasks(settings.setting, class_names(settings.benchmark, root), semantic=settings.semantic)
    groups = dict.fromkeys(task.group for task in todo)
    if group is not None and group not in groups:
        raise TrainingError(f"no group '{group}' in {settings.benchmark}, {settings.setting}: it has {', '.join(groups)}")
    todo = [task for task in todo if group in (None, task.group)]
    _claim(output / "benchmark.json", settings)
    results: list[TaskResult] = []
    for seed in seeds:
        for number, task in enumerate(todo, start=1):
            folder = output / f"seed-{seed}" / task.group / task.name.replace("/", "-").replace(" ", "-")
            file = folder / "result.json"
            if not file.exists():
                Console(stderr=True).print(f"seed {seed}, {task.group} {number}/{len(todo)}: {task.name}", style="bold")
                write_text(file, _run_task(settings, task, root, folder, seed).model_dump_json(indent=2))
            RunFolder(folder).training_file.unlink(missing_ok=True)  # gigabytes, in the sum of all tasks
            results.append(TaskResult.read(file))
            write_summary(output, f"{settings.benchmark}, {settings.setting}", results)
    return results


def _claim(file: Path, settings: BenchmarkSettings) -> None:
    described = settings.model_copy(update={"fit": settings.fit.model_copy(update={"seed": 0})}).model_dump(mode="json")
    if not file.exists():
        write_text(file, json.dumps(described, indent=2))
        return
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if found != described:
        other = [name for name in described if found.get(name) != described[name]]
        raise TrainingError(f"{file} was written with other settings ({', '.join(other)}): choose another --output")


def _run_task(settings: BenchmarkSettings, task: Task, root: Path, folder: Path, seed: int) -> TaskResult:
    run = RunFolder(folder)
    # the test split first, so that what is wrong with it is found before the work
    samples = load_samples(settings.benchmark, root, "test", task.normal)[:: settings.every]
    if not run.description_file.exists():
        training = load_samples(settings.benchmark, root, "train", task.normal)[:: settings.every]
        start_run(folder, settings.fit.model_copy(update={"seed": seed}), training, settings.benchmark)
    if not fit(run):
        raise TrainingError("stopped, nothing is lost; go on with the same command")
    calibrate_run(run, settings.fit.alpha)
    scorer = RunScorer(run)
    evaluation = evaluate(scorer, samples)
    write_report(folder, evaluation, scorer)
    neighbours = _neighbours(run, samples, len(task.normal), seed)
    return TaskResult(
        group=task.group, name=task.name, seed=seed, folder=str(folder.relative_to(folder.parents[2])),
        students=evaluation.metrics, neighbours=neighbours,
    )  # fmt: skip


def _neighbours(run: RunFolder, samples: Sequence[Sample], classes: int, seed: int) -> dict[str, float]:
    settings = run.description().settings
    scorer = NeighbourScorer(load_teacher(settings.teacher, settings.input_size), run.training(), classes, seed)
    outputs, maps = score_all(scorer, samples)
    return measure(samples, outputs, maps)
