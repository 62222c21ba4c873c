"""Really trained, if tiny: what is learnt, what interruption changes (nothing), and what is refused."""

from __future__ import annotations

import multiprocessing
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from service.images import resize_square
from service.model_format import TrainingData
from training.batches import Batch, Batches
from training.data import Sample
from training.errors import TrainingError
from training.fit import Trainer, fit, prepare_run
from training.fit_settings import FitSettings, recipe
from training.run_folder import RunFolder

NewRun = Callable[..., RunFolder]

PATIENCE = 120.0  # seconds, on a busy machine


def batches_of(trainer: Trainer) -> Batches:
    return Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)


def test_training_lowers_both_losses(tmp_path: Path, new_run: NewRun) -> None:
    trainer = Trainer(new_run(tmp_path, steps=60, batch_size=8))
    batches = batches_of(trainer)
    losses = [trainer.train_on(batches[step]) for step in range(60)]
    for branch in ("local", "semantic"):
        values = [step[branch] for step in losses]
        assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5]), branch
    assert all(0 <= value <= 2 for step in losses for value in step.values())


def test_training_leaves_the_teacher_as_it_was(tmp_path: Path, new_run: NewRun) -> None:
    trainer = Trainer(new_run(tmp_path))
    before = [parameter.clone() for parameter in trainer.teacher.parameters()]
    trainer.train_on(batches_of(trainer)[0])
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.teacher.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in trainer.teacher.parameters())


def states(run: RunFolder) -> dict[str, object]:
    """Everything that a checkpoint holds, by its path in it; tensors as their bytes."""
    found: dict[str, object] = {}

    def visit(name: str, value: object) -> None:
        if isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                visit(f"{name}/{key}", item)
        else:
            found[name] = value.numpy().tobytes() if isinstance(value, Tensor) else value

    visit("", torch.load(run.checkpoint_file, weights_only=True))
    return found


@pytest.mark.parametrize("settings", [{}, recipe("paper")], ids=["duet", "paper"])
def test_an_interrupted_run_ends_as_an_unbroken_one_bit_for_bit(
    tmp_path: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    unbroken, broken = new_run(tmp_path / "unbroken", **settings), new_run(tmp_path / "broken", **settings)
    assert fit(unbroken)
    train_on = Trainer.train_on
    for stop_after, asked_by in ((5, signal.SIGINT), (9, signal.SIGTERM)):

        def stopped(self: Trainer, batch: Batch, stop_after: int = stop_after, asked_by: int = asked_by) -> dict[str, float]:
            losses = train_on(self, batch)
            if self.step == stop_after:
                signal.raise_signal(asked_by)
            return losses

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "train_on", stopped)
            assert not fit(broken)
        assert torch.load(broken.checkpoint_file, weights_only=True)["step"] == stop_after
        with pytest.raises(TrainingError, match=rf"stands at step {stop_after} of 12: go on with 'duet-train fit --resume'"):
            broken.raw_graph()
    assert fit(broken)
    expected, found = states(unbroken), states(broken)
    assert expected.keys() == found.keys()
    assert len(expected) > 100
    assert [name for name in expected if expected[name] != found[name]] == []
    assert loss_curves(unbroken) == loss_curves(broken)
    assert [step for step, _ in loss_curves(broken)["loss/local"]] == list(range(12))


def loss_curves(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: step and loss of each branch."""
    events = EventAccumulator(str(run.curves_folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in ("loss/local", "loss/semantic")}


def test_signals_mean_what_they_meant_once_fit_is_over(tmp_path: Path, new_run: NewRun) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert fit(new_run(tmp_path, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_seeds_give_other_students(tmp_path: Path, new_run: NewRun) -> None:
    first, second = new_run(tmp_path / "first", steps=1), new_run(tmp_path / "second", steps=1, seed=1)
    assert fit(first)
    assert fit(second)
    name = "/decoder/bottleneck.1.weight"
    assert states(first)[name] != states(second)[name]


def test_ctrl_c_in_a_terminal_leaves_a_run_that_goes_on(
    tmp_path: Path, teacher_folder: Path, good_samples: Callable[[int, int], list[Sample]]
) -> None:
    (tmp_path / "stripes").mkdir()
    for index, sample in enumerate(good_samples(12, 3)):
        Image.fromarray(sample.pixels()).save(tmp_path / "stripes" / f"{index}.png")
    command = [
        str(Path(sys.executable).with_name("duet-train")), "fit", "--data", str(tmp_path / "stripes"), "--layout", "folder",
        "--teacher", str(teacher_folder), "--input-size", "56", "--encoder-depth", "4", "--batch-size", "2",
        "--steps", "1000000", "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    terminal, child_side = pty.openpty()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=child_side, env=environment, start_new_session=True
    ) as process:
        os.close(child_side)
        shown = b""
        os.set_blocking(terminal, False)
        deadline = time.monotonic() + PATIENCE
        while b"images/s" not in shown and time.monotonic() < deadline and process.poll() is None:
            shown += _read(terminal)
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the loader's process, too
        while process.poll() is None and time.monotonic() < deadline:
            shown += _read(terminal)
            time.sleep(0.02)
        shown += _read(terminal)
        process.kill()
    os.close(terminal)
    text = shown.decode()
    assert process.returncode == 2, text
    assert "Traceback" not in text
    assert re.search(r"duet-train: stopped.* go on with: duet-train fit --resume --output", text), text
    for figure in ("training", "local", "semantic", "images/s"):
        assert figure in text
    trainer = Trainer(RunFolder(tmp_path / "run"))
    step = trainer.step
    assert 0 < step < 1_000_000
    losses = trainer.train_on(batches_of(trainer)[step])
    assert trainer.step == step + 1
    assert all(np.isfinite(value) for value in losses.values())
    assert not list((tmp_path / "run").glob(".*.part"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except (BlockingIOError, OSError):  # nothing yet, or the other side is closed
        return b""


def test_an_existing_run_is_not_overwritten(tmp_path: Path, new_run: NewRun) -> None:
    run = new_run(tmp_path)
    before = run.description_file.read_bytes(), run.training_file.read_bytes()
    with pytest.raises(
        TrainingError, match="already holds a run: go on with 'duet-train fit --resume', or choose another --output"
    ):
        new_run(tmp_path, steps=99)
    assert (run.description_file.read_bytes(), run.training_file.read_bytes()) == before


@pytest.mark.parametrize(("training", "held_out"), [(0, 3), (3, 0)])
def test_both_kinds_of_pictures_are_needed(
    tmp_path: Path, good_samples: Callable[[int, int], list[Sample]], training: int, held_out: int
) -> None:
    facts = TrainingData(layout="folder", normal=("stripes",), images=1, fingerprint="0" * 64)
    with pytest.raises(TrainingError, match=rf"{training} pictures to train on and {held_out} held out"):
        prepare_run(tmp_path / "run", FitSettings(), good_samples(training, 0), good_samples(held_out, 0), facts)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_changes_nothing(tmp_path: Path, new_run: NewRun) -> None:
    trainer = Trainer(new_run(tmp_path))
    batches = batches_of(trainer)
    trainer.train_on(batches[0])
    with torch.no_grad():
        next(trainer.decoder.blocks.parameters()).fill_(torch.nan)
    before = [parameter.clone() for parameter in trainer.encoder.parameters()]
    with pytest.raises(TrainingError, match="the loss is nan at step 1: lower the learning rates in a new run"):
        trainer.train_on(batches[1])
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.encoder.parameters(), strict=True))
    assert trainer.step == 1
    trainer.save()
    checkpoint = trainer.run.checkpoint_file.read_bytes()
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        fit(trainer.run)
    assert trainer.run.checkpoint_file.read_bytes() == checkpoint


def test_pictures_lie_by_class_in_the_order_of_the_normal_classes(
    tmp_path: Path, teacher_folder: Path, good_samples: Callable[[int, int], list[Sample]]
) -> None:
    mixed = [Sample(s.name, s.source, s.label, "ba"[i % 3 > 0]) for i, s in enumerate(good_samples(9, 4))]
    settings = FitSettings(teacher=str(teacher_folder), input_size=56, encoder_depth=4)
    facts = TrainingData(layout="folder", normal=("b", "a"), images=9, fingerprint="0" * 64)
    run = prepare_run(tmp_path, settings, mixed, mixed[:1], facts)
    assert run.description().class_counts == (3, 6)
    stored = [run.training()[index].tobytes() for index in range(9)]
    expected = [sample for name in "ba" for sample in mixed if sample.category == name]
    assert stored == [resize_square(sample.pixels(), 56).tobytes() for sample in expected]


def test_two_processes_never_train_one_run(tmp_path: Path, new_run: NewRun) -> None:
    """They would write one checkpoint in turns. One that was killed keeps nobody out."""
    run = new_run(tmp_path, steps=1)
    holding = (
        "import sys, time; from pathlib import Path\n"
        "from training.fit import _alone; from training.run_folder import RunFolder\n"
        "with _alone(RunFolder(Path(sys.argv[1]))): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holding, run.path], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match="another process trains this run"):
                fit(run)
        finally:
            other.kill()
    assert fit(run)


def test_a_run_goes_on_with_its_own_teacher_alone(tmp_path: Path, new_run: NewRun) -> None:
    run = new_run(tmp_path, steps=1)
    described = run.description().model_copy(update={"teacher_sha256": "0" * 64})
    run.description_file.write_text(described.model_dump_json())
    with pytest.raises(TrainingError, match=r"teacher '.*' is no longer the one that"):
        fit(run)
    assert not run.checkpoint_file.exists()


# torch raises from its signal's handler, wherever the program is: in a callback of the garbage collector nobody can catch it,
# and the loader itself says so a little later
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_loader_is_told_of(tmp_path: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel kills one that finds no room in /dev/shm."""
    run, train_on = new_run(tmp_path, steps=200), Trainer.train_on

    def killing(self: Trainer, batch: Batch) -> dict[str, float]:
        for process in multiprocessing.active_children():
            process.kill()
        return train_on(self, batch)

    monkeypatch.setattr(Trainer, "train_on", killing)
    with pytest.raises(TrainingError, match=r"a process that prepares batches has been killed.*--shm-size"):
        fit(run)
