"""One step: alone, in several passes, and in step with another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from training.batches import Batch, Batches, part
from training.calibrate import calibrate_run
from training.errors import TrainingError
from training.fit import fit
from training.run_folder import RunFolder
from training.students import local_loss
from training.trainer import Trainer

NewRun = Callable[..., RunFolder]

PATIENCE = 300.0  # seconds, on a busy machine


def first_gradients(run: RunFolder) -> Tensor:
    """Of both students' loss at step 0, up to a factor: what the optimisers' momentum is after one step.

    Weights would not do: AdamW's first steps are the gradient's signs, rounding's too where it should be zero.
    """
    assert run.description().settings.steps == 1
    state = torch.load(run.checkpoint_file, weights_only=True)
    moments = [moment for optimizer in state["optimizers"] for moment in optimizer["state"].values()]
    return torch.cat([moment.get("exp_avg", moment.get("momentum_buffer")).flatten() for moment in moments])


def deviation(a: Tensor, b: Tensor) -> float:
    """Length of the difference, in units of b's."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_the_parts_of_a_batch_are_the_batch(parts: int) -> None:
    numbers = torch.arange(11).reshape(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    for unspoilt in range(12):
        batch = Batch(numbers, 100 + numbers[unspoilt:], numbers[:3], torch.arange(3.0)[:, None])
        found = [part(batch, number, parts) for number in range(parts)]
        assert sorted(int(n) for p in found for n in p.pictures[:, 0, 0, 0]) == list(range(11))
        assert sorted(float(n) for p in found for n in p.marked) == [0, 1, 2]
        for pictures, spoilt, defects, marked in found:
            assert torch.equal(defects[:, 0, 0, 0], marked[:, 0])
            own = pictures[len(pictures) - len(spoilt) :]
            assert torch.equal(spoilt, own + 100)
        assert sum(len(p.spoilt) for p in found) == 11 - unspoilt
        assert max(len(p.pictures) for p in found) - min(len(p.pictures) for p in found) <= 1


# nothing is clipped, or a gradient of the wrong length would look right
ONE_STEP = {"steps": 1, "batch_size": 6, "dropout": 0.0, "precision": "fp32", "clip_norm": 1e9}


def trained(run: RunFolder) -> RunFolder:
    assert fit(run)
    return run


def test_passes_take_the_same_step_as_a_whole_batch(tmp_path: Path, new_run: NewRun) -> None:
    whole = first_gradients(trained(new_run(tmp_path / "whole", **ONE_STEP)))
    passes = first_gradients(trained(new_run(tmp_path / "passes", **ONE_STEP, accumulate=4)))  # of 2, 2, 1 and 1 pictures
    other = first_gradients(trained(new_run(tmp_path / "other", **ONE_STEP, seed=1)))
    assert deviation(passes, whole) < 1e-4
    assert deviation(other, whole) > 0.1


def test_more_passes_than_pictures_are_refused(tmp_path: Path, new_run: NewRun) -> None:
    with pytest.raises(TrainingError, match=r"4 pictures a step are too few for 5 passes: raise --batch-size"):
        fit(new_run(tmp_path, accumulate=5))


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_every_precision_learns(tmp_path: Path, new_run: NewRun, precision: str) -> None:
    trainer = Trainer(new_run(tmp_path, steps=40, batch_size=8, precision=precision))
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    losses = [trainer.train_on(batches[step]) for step in range(40)]
    for branch in ("local", "semantic"):
        assert np.mean([loss[branch] for loss in losses[-5:]]) < 0.6 * np.mean([loss[branch] for loss in losses[:5]]), branch


def test_half_precision_goes_on_bit_for_bit(tmp_path: Path, new_run: NewRun) -> None:
    """Its gradients' scale is a part of the checkpoint."""
    unbroken = trained(new_run(tmp_path / "unbroken", precision="fp16"))
    trainer = Trainer(new_run(tmp_path / "broken", precision="fp16"))
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    for step in range(5):
        trainer.train_on(batches[step])
    trainer.save()
    states = [torch.load(run.checkpoint_file, weights_only=True) for run in (unbroken, trained(trainer.run))]
    assert states[0]["scaler"] == states[1]["scaler"]
    for student in ("decoder", "encoder"):
        assert all(torch.equal(states[0][student][name], states[1][student][name]) for name in states[0][student])


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def launched(*arguments: str) -> list[str]:
    """Command line of duet-train in two processes."""
    scripts = Path(sys.executable).parent
    return [str(scripts / "torchrun"), "--standalone", "--nproc_per_node", "2", str(scripts / "duet-train"), *arguments]


def test_two_processes_train_as_one_on_the_same_batches(tmp_path: Path, new_run: NewRun) -> None:
    one, two = trained(new_run(tmp_path / "one", **ONE_STEP)), new_run(tmp_path / "two", **ONE_STEP)
    command = launched("fit", "--resume", "--output", str(two.path))
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "2 processes train together on cpu" in result.stderr
    assert result.stdout.count("trained; threshold") == 1
    assert deviation(first_gradients(two), first_gradients(one)) < 1e-4
    calibrate_run(one, two.description().settings.alpha)
    assert two.calibration().threshold == pytest.approx(one.calibration().threshold, abs=1e-3)


def steps_are_noted(run: RunFolder) -> bool:
    """Whether the loss curves hold more than their head: both processes are in the loop then, and a signal stops it."""
    return any(file.stat().st_size > 500 for file in run.curves_folder.glob("events*"))


def test_two_processes_start_and_stop_a_run_together(
    tmp_path: Path, teacher_folder: Path, good_pictures: Callable[[int, int], npt.NDArray[np.uint8]]
) -> None:
    (tmp_path / "stripes").mkdir()
    for index, picture in enumerate(good_pictures(12, 3)):
        Image.fromarray(picture).save(tmp_path / "stripes" / f"{index}.png")
    run = RunFolder(tmp_path / "run")
    command = launched(
        "fit", "--data", str(tmp_path / "stripes"), "--layout", "folder", "--teacher", str(teacher_folder),
        "--input-size", "56", "--encoder-depth", "4", "--batch-size", "4", "--steps", "1000000", "--output", str(run.path),
    )  # fmt: skip
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        deadline = time.monotonic() + PATIENCE
        while not steps_are_noted(run) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
        assert process.wait(PATIENCE) != 0
    assert torch.load(run.checkpoint_file, weights_only=True)["step"] > 0, (tmp_path / "log").read_text()
    assert "2 processes train together" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count("stopped, nothing is lost; go on with") == 1


def gradient_norm(network: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm())


def test_each_students_gradient_is_clipped_by_itself(tmp_path: Path, new_run: NewRun) -> None:
    trainer = Trainer(new_run(tmp_path, clip_norm=1e-3, optimizer="stable-adamw"))
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    trainer.train_on(batches[0])
    assert [gradient_norm(student) for student in (trainer.decoder, trainer.encoder)] == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_hard_mining_comes_in_step_by_step(tmp_path: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(new_run(tmp_path, hard_share=0.9, hard_steps=3))
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    shares = []

    def noted(target: Tensor, rebuilt: Tensor, hard_share: float) -> Tensor:
        shares.append(hard_share)
        return local_loss(target, rebuilt, hard_share)

    monkeypatch.setattr("training.trainer.local_loss", noted)
    for step in range(5):
        trainer.train_on(batches[step])
    assert shares == pytest.approx([0, 0.3, 0.6, 0.9, 0.9])


def test_a_device_without_room_is_told_of_with_the_remedy(
    tmp_path: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "train_on", full)
    with pytest.raises(TrainingError, match=r"too little memory for 4 pictures at once; raise --accumulate"):
        fit(new_run(tmp_path))
