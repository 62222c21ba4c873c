"""Train and measure every task of a benchmark, one after the other; what is done is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..calibrate import calibrate_run
from ..data import Sample, class_names, load_samples
from ..data.readable import naming_all_unreadable, readable
from ..errors import TrainingError
from ..evaluate import evaluate, score_all
from ..files import write_text
from ..fit import fit
from ..fit_settings import FitSettings
from ..measures import measure
from ..processes import processes
from ..report import write_report
from ..run_folder import RunFolder
from ..scorers import RunScorer
from ..screen import say
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
    data: str = Field(default="", description="folder of the data; empty in a folder of an earlier version")

    @property
    def headline(self) -> str:
        """What was measured, and of what model, in one line."""
        ordinal = {1: "", 2: "2nd", 3: "3rd"}.get(self.every, f"{self.every}th")
        fit, part = self.fit, f", every {ordinal} picture only" if ordinal else ""
        how = f"teacher {fit.teacher} at {fit.input_size} pixels, {fit.steps:,} steps of {fit.batch_size}, {fit.optimizer}"
        return f"{self.benchmark}, {self.setting}: {how}{part}"


def run_benchmark(
    settings: BenchmarkSettings,
    root: Path,
    output: Path,
    seeds: Sequence[int],
    group: str | None = None,
    *,
    skip_unreadable: bool = False,
) -> list[TaskResult]:
    """Results of every task and seed, in order, of one group if given; the summary in `output` is renewed after each task.

    Processes that torchrun started train together; the first of them does everything else.

    Raises TrainingError for an unknown group, where `output` holds a benchmark with other settings, and when it is stopped
    (nothing is lost).
    """
    todo = tasks(settings.setting, class_names(settings.benchmark, root), semantic=settings.semantic)
    groups = dict.fromkeys(task.group for task in todo)
    if group is not None and group not in groups:
        raise TrainingError(f"no group '{group}' in {settings.benchmark}, {settings.setting}: it has {', '.join(groups)}")
    todo = [task for task in todo if group in (None, task.group)]
    first = processes().is_main_process
    if first:
        _claim(output / "benchmark.json", settings.model_copy(update={"data": str(root.resolve())}))
    results: list[TaskResult] = []
    for seed in seeds:
        for number, task in enumerate(todo, start=1):
            folder = output / f"seed-{seed}" / task.group / task.name.replace("/", "-").replace(" ", "-")
            file = folder / "result.json"
            missing = not file.exists()
            processes().wait_for_everyone()  # so that all of them agree on it
            if missing and not first:
                _train(RunFolder(folder))
            elif missing:
                say(f"seed {seed}, {task.group} {number}/{len(todo)}: {task.name}", style="bold", errors=True)
                result = _run_task(settings, task, root, folder, seed, skip_unreadable=skip_unreadable)
                write_text(file, result.model_dump_json(indent=2))
            if first:
                RunFolder(folder).training_file.unlink(missing_ok=True)  # gigabytes, in the sum of all tasks
                results.append(TaskResult.read(file))
                write_summary(output, settings.headline, results)
    return results


def _claim(file: Path, settings: BenchmarkSettings) -> None:
    settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"seed": 0})})
    if not file.exists():
        write_text(file, settings.model_dump_json(indent=2))
        return
    try:
        found = BenchmarkSettings.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise TrainingError(f"{file} is damaged or from another version: choose another --output") from error
    before, now = ({**one.model_dump(exclude={"fit"}), **one.fit.model_dump()} for one in (found, settings))
    if not found.data:
        now["data"] = ""
    if other := [f"{name} {before[name]}" for name in now if before[name] != now[name]]:
        raise TrainingError(f"{file} was written with other settings ({', '.join(other)}): choose another --output")


def _run_task(
    settings: BenchmarkSettings, task: Task, root: Path, folder: Path, seed: int, *, skip_unreadable: bool
) -> TaskResult:
    run = RunFolder(folder)
    # the test split first, so that what is wrong with it is found before the work
    samples = load_samples(settings.benchmark, root, "test", task.normal)[:: settings.every]
    if skip_unreadable:
        samples = readable(samples, skip=True)
    if not run.description_file.exists():
        training = load_samples(settings.benchmark, root, "train", task.normal)[:: settings.every]
        own = settings.fit.model_copy(update={"seed": seed})
        start_run(folder, own, training, settings.benchmark, skip_unreadable=skip_unreadable)
    _train(run)
    calibrate_run(run, settings.fit.alpha)
    scorer = RunScorer(run)
    with naming_all_unreadable(samples):
        evaluation = evaluate(scorer, samples)
    write_report(folder, evaluation, scorer)
    neighbours = _neighbours(run, samples, len(task.normal), seed)
    return TaskResult(
        group=task.group, name=task.name, seed=seed, folder=str(folder.relative_to(folder.parents[2])),
        students=evaluation.metrics, neighbours=neighbours,
    )  # fmt: skip


def _train(run: RunFolder) -> None:
    processes().wait_for_everyone()  # until the first has prepared the run
    if not fit(run):
        raise TrainingError("stopped, nothing is lost; go on with the same command")


def _neighbours(run: RunFolder, samples: Sequence[Sample], classes: int, seed: int) -> dict[str, float]:
    settings = run.description().settings
    teacher = load_teacher(settings.teacher, settings.input_size)
    scorer = NeighbourScorer(teacher, run.training(), classes, seed, settings.smoothing_reach)
    outputs, maps = score_all(scorer, samples)
    return measure(samples, outputs, maps)
