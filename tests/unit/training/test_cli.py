"""duet-train as it is typed."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from training.batches import Batch
from training.cli import app, main
from training.cli_options import Layout
from training.data import LAYOUTS, Sample
from training.errors import TrainingError
from training.fit import Trainer
from training.run_folder import RunFolder

runner = CliRunner()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, good_samples: Callable[[int, int], list[Sample]]) -> Path:
    """Two categories in MVTec layout: stripes, and squares, which are stripes turned."""
    root = tmp_path_factory.mktemp("data")
    for seed, (category, turns) in enumerate({"stripes": 0, "squares": 1}.items()):
        for folder, count in (("train/good", 12), ("test/good", 4), ("test/dark", 3)):
            (root / category / folder).mkdir(parents=True)
            for index, sample in enumerate(good_samples(count, 10 + seed)):
                pixels = np.rot90(sample.pixels(), turns) // (4 if folder == "test/dark" else 1)
                Image.fromarray(pixels).save(root / category / folder / f"{index:03d}.png")
    return root


def arguments(data: Path, teacher: Path, output: Path, *more: str) -> list[str]:
    return [
        "fit", "--data", str(data), "--layout", "mvtec", "--teacher", str(teacher), "--input-size", "56", "--steps", "6",
        "--batch-size", "4", "--encoder-depth", "4", "--output", str(output), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(data: Path, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the stripes alone."""
    output = tmp_path_factory.mktemp("cli") / "run"
    result = runner.invoke(app, arguments(data, teacher_folder, output, "--normal", "stripes", "--held-out-share", "0.25"))
    assert result.exit_code == 0, result.output
    assert f"duet-train export {output} --name NAME" in result.output.replace("\n", "")
    return output


def test_fit_records_what_it_was_told(run: Path) -> None:
    folder = RunFolder(run)
    description = folder.description()
    assert (description.settings.steps, description.settings.batch_size, description.settings.encoder_depth) == (6, 4, 4)
    assert (description.training_data.layout, description.training_data.normal) == ("mvtec", ("stripes",))
    assert (description.training_data.images, len(folder.training()), len(folder.held_out())) == (9, 9, 3)
    assert folder.calibration().calibration.images == 3
    assert folder.calibration().alpha == 0.01


@pytest.mark.parametrize(("alpha", "count"), [("0.2", 4), ("0.1", 2)])
def test_as_many_are_held_out_as_alpha_needs_unless_that_takes_a_fifth(
    data: Path, teacher_folder: Path, tmp_path: Path, alpha: str, count: int
) -> None:
    result = runner.invoke(app, arguments(data, teacher_folder, tmp_path / "run", "--alpha", alpha))
    assert result.exit_code == 0, result.output
    assert len(RunFolder(tmp_path / "run").held_out()) == count  # of 24; 9 would be needed for 0.1


def test_held_out_pictures_are_never_trained_on(run: Path) -> None:
    folder = RunFolder(run)
    seen = {picture.tobytes() for picture in folder.training()}
    assert not seen & {picture.tobytes() for picture in folder.held_out()}


def test_a_run_that_exists_is_refused_and_resume_says_nothing_is_left(data: Path, teacher_folder: Path, run: Path) -> None:
    result = runner.invoke(app, arguments(data, teacher_folder, run))
    assert isinstance(result.exception, TrainingError)
    assert "already holds a run" in str(result.exception)
    before = RunFolder(run).calibration()
    assert runner.invoke(app, ["fit", "--resume", "--output", str(run)]).exit_code == 0
    assert RunFolder(run).calibration() == before


def test_resume_finishes_what_was_stopped(
    data: Path, teacher_folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_on = Trainer.train_on

    def stopped(self: Trainer, batch: Batch) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return train_on(self, batch)

    typed = arguments(data, teacher_folder, tmp_path / "run", "--normal", "stripes", "--held-out-share", "0.25")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_on", stopped)
        result = runner.invoke(app, typed)
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception).startswith("stopped")
    assert str(result.exception).endswith(f"go on with: duet-train fit --resume --output {tmp_path / 'run'}")
    result = runner.invoke(app, ["fit", "--resume", "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    unbroken, resumed = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (run, tmp_path / "run"))
    assert resumed["step"] == 6
    for student in ("decoder", "encoder"):
        assert all(torch.equal(tensor, resumed[student][name]) for name, tensor in unbroken[student].items())
    assert RunFolder(tmp_path / "run").calibration() == RunFolder(run).calibration()


def test_resume_without_a_run_and_a_run_without_data_are_refused(tmp_path: Path) -> None:
    result = runner.invoke(app, ["fit", "--output", str(tmp_path / "nothing"), "--resume"])
    assert "start one with 'duet-train fit'" in str(result.exception)
    result = runner.invoke(app, ["fit", "--output", str(tmp_path / "nothing")])
    assert "name the good pictures with --data and --layout" in str(result.exception)
    assert not (tmp_path / "nothing").exists()


def test_evaluate_takes_the_classes_of_training_for_normal(data: Path, run: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(run), "--data", str(data), "--layout", "mvtec"]
    result = runner.invoke(app, [*command, "--report", str(tmp_path / "stripes")])
    assert result.exit_code == 0, result.output
    assert "image_auroc" in result.output
    assert "4 good, 3 anomalous" in result.output
    result = runner.invoke(app, [*command, "--normal", "squares", "--normal", "stripes", "--report", str(tmp_path / "both")])
    assert result.exit_code == 0, result.output
    assert "8 good, 6 anomalous" in result.output
    categories = {}
    for name in ("stripes", "both"):
        with (tmp_path / name / "scores.csv").open(newline="") as stream:
            categories[name] = {row["category"] for row in csv.DictReader(stream)}
        assert "image_auroc/joint" in json.loads((tmp_path / name / "metrics.json").read_text())
    assert categories == {"stripes": {"stripes"}, "both": {"squares", "stripes"}}


def test_calibrate_moves_the_threshold(run: Path) -> None:
    folder = RunFolder(run)
    strict = folder.calibration()
    result = runner.invoke(app, ["calibrate", str(run), "--alpha", "0.5"])
    assert result.exit_code == 0, result.output
    assert "for alpha 0.5, from 3 good pictures: expect 9.4 to 91 % false alarms" in result.output
    assert folder.calibration() != strict
    assert runner.invoke(app, ["calibrate", str(run), "--alpha", str(strict.alpha)]).exit_code == 0
    assert folder.calibration() == strict


@pytest.mark.parametrize("size", ["40", "40x36", "40X36"])
def test_render_takes_a_side_or_both(tmp_path: Path, size: str) -> None:
    result = runner.invoke(
        app, ["render", "--output", str(tmp_path / "parts"), "--good", "1", "--defective", "1", "--size", size]
    )
    assert result.exit_code == 0, result.output
    for path in (tmp_path / "parts").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == ((40, 40) if size == "40" else (40, 36))


@pytest.mark.parametrize("size", ["", "big", "40x", "40x40x40"])
def test_render_refuses_other_sizes(tmp_path: Path, size: str) -> None:
    result = runner.invoke(app, ["render", "--output", str(tmp_path / "parts"), "--size", size])
    assert f"--size is '{size}': give a number of pixels, or WIDTHxHEIGHT" in str(result.exception)
    assert not (tmp_path / "parts").exists()


def test_every_data_needs_its_layout(data: Path, tmp_path: Path, teacher_folder: Path) -> None:
    result = runner.invoke(app, arguments(data, teacher_folder, tmp_path / "run", "--data", str(data)))
    assert "2 times --data but 1 times --layout" in str(result.exception)


FIT = ["fit", "--data", "{data}", "--layout", "mvtec", "--output", "{new}/run"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["export", "{new}", "--name", "x"], "{new}/run.json does not exist: start one with 'duet-train fit'"),
        ([*FIT, "--input-size", "100"], "input_size is 100: Input should be a multiple of 14"),
        ([*FIT, "--tiles", "4y5"], "--tiles is '4y5': give ROWSxCOLUMNS, for example 3x4"),
        ([*FIT, "--tiles", "1x1"], "--tiles is '1x1': give ROWSxCOLUMNS, for example 3x4"),
        ([*FIT, "--tiles", "2x40"], "2x40 tiles make a grid of 52 x 964 patches, and the map has 256 x 256 pixels"),
        ([*FIT, "--steps", "0"], "steps is 0: Input should be greater than 0"),
        ([*FIT, "--seed", "-1"], "seed is -1: Input should be greater than or equal to 0"),
        ([*FIT, "--held-out-share", "1"], "held_out_share is 1.0: Input should be less than 1"),
        ([*FIT, "--normal", "nuts"], "unknown class 'nuts'; known classes: squares, stripes"),
        ([*FIT, "--teacher", "nobody/nothing"], "no teacher at 'nobody/nothing': give 'compact', a folder in hub format"),
        (["calibrate", "{run}", "--alpha", "1"], "alpha is 1.0; it is a share of good pictures, between 0 and 1"),
    ],
)
def test_faults_end_with_one_line_and_status_2(
    typed: list[str],
    message: str,
    data: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"data": data, "run": run, "new": tmp_path}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "argv", ["duet-train", *(word.format(**places) for word in typed)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "".join(f"duet-train: {message.format(**places)}".split()) in "".join(error.split())  # however it was wrapped
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch() -> None:
    probe = "import sys; from training.cli import app; print({'torch', 'transformers', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"
    result = runner.invoke(app, ["--help"])
    for command in ("fit", "calibrate", "export", "evaluate", "render", "pretrain"):
        assert command in result.output


def test_every_layout_can_be_chosen() -> None:
    assert list(Layout) == list(LAYOUTS)


def test_the_papers_recipe_can_be_had(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, arguments(data, teacher_folder, tmp_path / "run", "--recipe", "paper"))
    assert result.exit_code == 0, result.output
    settings = RunFolder(tmp_path / "run").description().settings
    assert (settings.spoilt_share, settings.dropout, settings.hard_share) == (0.0, 0.2, 0.9)


def test_any_setting_can_be_had(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    more = ["--set", "clip_norm=0.5", "--set", "whitened=false", "--set", "encoder_learning_rate=1e-3"]
    result = runner.invoke(app, arguments(data, teacher_folder, tmp_path / "run", *more))
    assert result.exit_code == 0, result.output
    settings = RunFolder(tmp_path / "run").description().settings
    assert (settings.clip_norm, settings.whitened, settings.encoder_learning_rate) == (0.5, False, 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_norm", r"--set is 'clip_norm': give NAME=VALUE, for example clip_norm=0\.2"),
        ("steps=3", "--set steps=3: steps has an option of its own, --steps"),
    ],
)
def test_settings_that_are_none_are_refused(data: Path, teacher_folder: Path, tmp_path: Path, text: str, message: str) -> None:
    result = runner.invoke(app, arguments(data, teacher_folder, tmp_path / "run", "--set", text))
    assert isinstance(result.exception, TrainingError)
    assert re.fullmatch(message, str(result.exception))


def test_what_a_resumed_run_would_ignore_is_refused(run: Path) -> None:
    result = runner.invoke(app, ["fit", "--resume", "--output", str(run), "--steps", "9", "--set", "clip_norm=1"])
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception) == f"--resume goes on with what {run / 'run.json'} records: leave out --steps, --set"


def test_a_run_is_calibrated_by_its_last_alpha(run: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    for more in (["--alpha", "0.3"], []):
        result = runner.invoke(app, ["calibrate", str(copied), *more])
        assert result.exit_code == 0, result.output
        assert RunFolder(copied).calibration().alpha == 0.3
