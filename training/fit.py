"""Distillation of both students from good images: a run prepared, trained, stopped and gone on with."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader
from torch.utils.tensorboard.writer import SummaryWriter

from service.model_format import TrainingData

from .batches import Batch, Batches
from .data.sample import Sample
from .errors import TrainingError
from .files import write_beside, write_text
from .fit_settings import FitSettings
from .folds import fold_runs
from .labelled_defects import mask_pixels
from .processes import processes
from .progress import Progress
from .run_folder import RunDescription, RunFolder, decode_pictures, new_networks, store_pictures
from .seen_pictures import DEFECTS, HELD_OUT, TRAINING, write_seen
from .tiling import StoredTiles, stitched_grid
from .trainer import Trainer
from .whitening import fit_whitening, unwhitened

CHECKPOINT_SECONDS = 60.0
MOST_WORKERS = 8


def prepare_run(
    path: Path,
    settings: FitSettings,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    data: TrainingData,
    defects: Sequence[Sample] = (),
) -> RunFolder:
    """Make a run's folder: pictures decoded at the input size, settings recorded. Refuses a folder that already holds a run."""
    run = RunFolder(path)
    if run.description_file.exists():
        raise TrainingError(f"{path} already holds a run: go on with 'duet-train fit --resume', or choose another --output")
    if not training or not held_out:
        raise TrainingError(f"{len(training)} pictures to train on and {len(held_out)} held out: both need at least one")
    teacher, _, _ = new_networks(settings)
    if settings.tiles is not None:
        stitched_grid(teacher.grid, settings.tiles)  # refused before the work, not after it
        if not all(sample.masks for sample in defects):
            raise TrainingError("with --tiles every labelled defect needs a mask, or nobody knows which tile shows it")
    training = sorted(training, key=lambda sample: data.normal.index(sample.category))
    counts = Counter(sample.category for sample in training)
    decode_pictures(training, settings.input_shape, run.training_file, "decoding training pictures")
    decode_pictures(held_out, settings.input_shape, run.held_out_file, "decoding held-out pictures")
    if defects:
        decode_pictures(defects, settings.input_shape, run.defects_file, "decoding labelled defects")
        masks = (mask_pixels(sample, settings.input_shape) for sample in defects)
        store_pictures(masks, (len(defects), *settings.input_shape), run.masks_file)
    description = RunDescription(
        settings=settings,
        teacher_sha256=teacher.info.sha256,
        training_data=data,
        class_counts=tuple(counts[name] for name in data.normal),
    )
    write_seen(run.seen_file, {TRAINING: training, HELD_OUT: held_out, DEFECTS: defects})
    write_text(run.description_file, description.model_dump_json(indent=2))
    return run


def fit(run: RunFolder) -> bool:
    """Train both students to the run's last step, from its checkpoint if there is one; True when the last step is reached.

    Then those of its folds, if it has any. Ctrl-C or SIGTERM ends it after the step in progress, with a checkpoint. On the CPU
    a resumed run equals an unbroken one. Processes that torchrun started train together.

    Raises TrainingError where another process trains the run.
    """
    with _alone(run) if processes().is_main_process else nullcontext():
        with processes().main_process_first():
            folds = fold_runs(run)
        for part in (run, *folds):
            with _saying_who_was_killed(part):
                if not _train(part):
                    return False
            _whiten(part)
        return True


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """Keep others out, who would write the same checkpoint; the system lets go for a process that is killed."""
    try:
        with FileLock(run.path / ".lock", timeout=0):
            yield
    except Timeout:
        raise TrainingError(f"{run.path}: another process trains this run; wait for it, or stop it") from None


@contextmanager
def _saying_who_was_killed(run: RunFolder) -> Iterator[None]:
    """Batches go through shared memory, of which a container has 64 MB by itself: who writes beyond it is killed."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"{run.path}: a process that prepares batches has been killed, for want of shared or other memory: give the "
            "container more (docker run --shm-size 2g), then go on with --resume"
        ) from error


def _whiten(run: RunFolder) -> None:
    """Measure how the finished encoder student's errors vary."""
    if processes().is_main_process and not run.whitening_file.exists():
        settings, (teacher, _, encoder) = run.description().settings, run.trained()
        if settings.whitened:
            whitening = fit_whitening(teacher, encoder, StoredTiles(run.training(), settings.input_size, settings.tiles))
        else:
            whitening = unwhitened(encoder, teacher)
        write_beside(run.whitening_file, lambda path: torch.save(whitening.state_dict(), path))
    processes().wait_for_everyone()


def _train(run: RunFolder) -> bool:
    trainer = Trainer(run)
    steps, first = trainer.settings.steps, trainer.accelerator.is_main_process
    batches = Batches(run.training(), run.description().class_counts, trainer.settings, run.defects())
    saved_at = time.monotonic()
    # what a killed run drew beyond its checkpoint is purged: it is drawn again
    curves = SummaryWriter(run.curves_folder, purge_step=trainer.step) if first else None
    with Progress("training", steps, trainer.step, shown=first) as bar, _stop_on_signal() as stop, curves or nullcontext():
        for batch in step_loader(batches, range(trainer.step, steps)):
            try:
                losses = trainer.train_on(batch)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"{run.path}: the device has too little memory for {len(batch.pictures) // trainer.parts} pictures at "
                    "once; raise --accumulate, which changes nothing else, in a new run"
                ) from error
            bar.advance(losses, images=len(batch.pictures))
            if curves:
                for branch, loss in losses.items():
                    curves.add_scalar(f"loss/{branch}", loss, trainer.step - 1)
            if trainer.agreed(bool(stop)):
                break
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                trainer.save()
                saved_at = time.monotonic()
    trainer.save()
    return trainer.step >= steps


def step_loader(batches: Batches, steps: range) -> DataLoader[Batch]:
    """The batches of these steps, made ahead: by one process beside a CPU's own work, by several for a GPU."""
    state = processes()
    spare = (os.cpu_count() or 1) // state.num_processes - 1
    workers = 1 if state.device.type == "cpu" else min(MOST_WORKERS, max(1, spare))
    return DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4)


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """A list that becomes non-empty when the process is asked to stop; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
