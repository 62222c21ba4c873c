"""Labelled defects: what of them is shown, and that training learns from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from service.model_format import Tiles, TrainingData
from training.calibrate import calibrate_run
from training.cli import app
from training.data import DataError, Sample
from training.errors import TrainingError
from training.evaluate import evaluate
from training.fit import fit, prepare_run
from training.fit_settings import FitSettings
from training.labelled_defects import LabelledDefects, marked_patches
from training.noisy_or import probability, surprise_of_defect
from training.run_folder import RunFolder
from training.scorers import RunScorer
from training.students import defect_loss

Pixels = npt.NDArray[np.uint8]
runner = CliRunner()


def test_the_surprise_of_a_defect_is_minus_the_logarithm_of_its_probability() -> None:
    hazard = torch.tensor([1e-4, 0.1, 1.0, 5.0, 20.0], dtype=torch.float64)
    torch.testing.assert_close(surprise_of_defect(hazard), -probability(hazard).log())
    nothing = torch.zeros(1, requires_grad=True)
    surprise_of_defect(nothing).sum().backward()
    assert torch.isfinite(nothing.grad).all()


def test_a_mask_marks_the_patches_that_it_covers_or_else_the_nearest() -> None:
    masks = np.zeros((3, 28, 28), dtype=np.uint8)
    masks[0, :14, :20] = 1  # the first patch, and 6 columns of the second
    masks[1, 27, 27] = 1  # a single pixel of the last
    assert marked_patches(masks).tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_the_loss_is_of_the_marked_patches_or_else_of_the_worst() -> None:
    target = torch.zeros(2, 2, 4, 3)
    target[..., 0] = 1
    rebuilt = target.clone()
    rebuilt[:, :, 1] = torch.tensor([0.0, 1.0, 0.0])  # distance 1
    rebuilt[:, :, 2] = torch.tensor([-1.0, 0.0, 0.0])  # distance 2
    marked = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(defect_loss(target, rebuilt, marked), torch.tensor([0.5, 2.0]))


def test_few_are_turned_over_with_their_masks() -> None:
    pictures, masks = np.zeros((1, 28, 28, 3), dtype=np.uint8), np.zeros((1, 28, 28), dtype=np.uint8)
    pictures[0, :14, :14], masks[0, :14, :14] = 200, 1
    labelled = LabelledDefects(pictures, masks, FitSettings(input_size=28, batch_size=16))
    seen = set()
    for seed in range(20):
        shown, marked = labelled.draw(np.random.default_rng(seed))
        assert shown.shape == (4, 28, 28, 3)
        corners = shown[:, ::14, ::14, 0].reshape(4, 4) > 0
        assert np.array_equal(corners, marked > 0)
        seen |= {int(corner.argmax()) for corner in corners}
    assert seen == {0, 1, 2, 3}
    assert pictures[0, 0, 0, 0] == 200  # what is stored stays


def test_of_a_large_picture_only_tiles_that_show_the_defect_are_drawn() -> None:
    pictures, masks = np.zeros((2, 42, 70, 3), dtype=np.uint8), np.zeros((2, 42, 70), dtype=np.uint8)
    pictures[1, 2, 65], masks[1, 2, 65] = 255, 1
    tiles = Tiles(rows=1, columns=2, overlap=14)
    labelled = LabelledDefects(pictures, masks, FitSettings(input_size=42, batch_size=4, tiles=tiles))
    assert labelled.numbers.tolist() == [3]
    shown, marked = labelled.draw(np.random.default_rng(0))
    assert shown.max() == 255
    assert marked.sum() == 1


def blotted(pictures: Pixels, folder: Path, marked: bool) -> list[Sample]:
    """A faint blot on each picture, at a place of its own."""
    folder.mkdir(exist_ok=True)
    samples = []
    for index, picture in enumerate(pictures):
        top, left = (11 * index) % 34, (17 * index) % 34
        changed, mask = picture.copy(), np.zeros((48, 48), dtype=np.uint8)
        changed[top : top + 14, left : left + 14] = changed[top : top + 14, left : left + 14] // 4 * 3
        mask[top : top + 14, left : left + 14] = 255
        Image.fromarray(mask).save(folder / f"{index}.png")
        samples.append(Sample(f"blot/{index}", changed, 1, "stripes", "blot", (folder / f"{index}.png",) if marked else ()))
    return samples


@pytest.mark.parametrize("marked", [True, False], ids=["masks", "no masks"])
def test_they_help_to_find_others_of_their_kind(
    tmp_path: Path,
    teacher_folder: Path,
    good_pictures: Callable[[int, int], Pixels],
    good_samples: Callable[[int, int], list[Sample]],
    marked: bool,
) -> None:
    contrast = []
    for defects in ([], blotted(good_pictures(12, 5), tmp_path / "masks", marked)):
        settings = FitSettings(
            teacher=str(teacher_folder), input_size=56, steps=120, batch_size=8, encoder_depth=3, taught_blocks=2
        )
        facts = TrainingData(
            layout="folder", normal=("stripes",), images=24, defects=len(defects), fingerprint="0" * 64
        )  # fmt: skip
        run = prepare_run(tmp_path / str(len(defects)), settings, good_samples(24, 1), good_samples(20, 2), facts, defects)
        assert fit(run)
        calibrate_run(run)
        unseen = good_samples(30, 7) + blotted(good_pictures(30, 8), tmp_path / "others", True)
        scores = evaluate(RunScorer(run), unseen).outputs["local_score"]
        contrast.append(np.median(scores[30:]) / np.median(scores[:30]))
    assert contrast[1] > 1.2 * contrast[0] > 1.2


@pytest.fixture
def folder(tmp_path: Path, good_pictures: Callable[[int, int], Pixels]) -> Path:
    for name, count, seed in (("good", 12, 3), ("bad", 3, 4)):
        (tmp_path / "parts" / name).mkdir(parents=True)
        for index, picture in enumerate(good_pictures(count, seed)):
            Image.fromarray(picture).save(tmp_path / "parts" / name / f"{index}.png")
    return tmp_path / "parts"


def command(folder: Path, teacher: Path, *more: str) -> list[str]:
    return [
        "fit", "--data", str(folder), "--layout", "folder", "--teacher", str(teacher), "--input-size", "56",
        "--encoder-depth", "4", "--batch-size", "4", "--steps", "3", "--with-defects", *more,
    ]  # fmt: skip


def test_a_folder_of_bad_pictures_joins_the_training_and_its_folds(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, command(folder, teacher_folder, "--folds", "2", "--output", str(tmp_path / "run")))
    assert result.exit_code == 0, result.output
    run = RunFolder(tmp_path / "run")
    for part in (run, RunFolder(tmp_path / "run/folds/1")):
        assert part.description().training_data.defects == 3
        defects = part.defects()
        assert defects is not None
        assert defects[0].shape == (3, 56, 56, 3)
        assert not defects[1].any()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tiles", "1x2"), "with --tiles every labelled defect needs a mask"),
        (("--layout", "mvtec"), "other layouts keep their defects for the test"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    folder: Path, teacher_folder: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    arguments = command(folder, teacher_folder, *more, "--output", str(tmp_path / "run"))
    if more[0] == "--layout":
        (tmp_path / "part/train/good").mkdir(parents=True)
        Image.new("RGB", (48, 48)).save(tmp_path / "part/train/good/0.png")
        arguments[1:5] = ["--data", str(tmp_path)]
    result = runner.invoke(app, arguments)
    assert isinstance(result.exception, TrainingError)
    assert message in str(result.exception)
    assert not (tmp_path / "run/run.json").exists()


def test_a_folder_without_bad_pictures_is_refused(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    for picture in (folder / "bad").iterdir():
        picture.unlink()
    result = runner.invoke(app, command(folder, teacher_folder, "--output", str(tmp_path / "run")))
    assert isinstance(result.exception, TrainingError)
    assert "no labelled defect in" in str(result.exception)


def test_a_data_set_with_defects_may_be_joined_to_one_without(
    folder: Path, teacher_folder: Path, tmp_path: Path, good_pictures: Callable[[int, int], Pixels]
) -> None:
    (tmp_path / "more").mkdir()
    for index, picture in enumerate(good_pictures(12, 6)):
        Image.fromarray(picture).save(tmp_path / "more" / f"{index}.png")
    more = ("--data", str(tmp_path / "more"), "--layout", "folder", "--output", str(tmp_path / "run"))
    result = runner.invoke(app, command(folder, teacher_folder, *more))
    assert result.exit_code == 0, result.output
    assert RunFolder(tmp_path / "run").description().training_data.defects == 3


def test_a_mask_that_marks_nothing_is_refused(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    (folder / "masks").mkdir()
    for index in range(3):
        Image.new("L", (48, 48)).save(folder / "masks" / f"{index}.png")
    result = runner.invoke(app, command(folder, teacher_folder, "--output", str(tmp_path / "run")))
    assert isinstance(result.exception, DataError)
    assert "marks nothing" in str(result.exception)
