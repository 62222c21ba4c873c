"""A whole benchmark on a tiny tree, as it is typed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from training.benchmark import run
from training.benchmark.results import TaskResult
from training.cli import app
from training.data import Sample
from training.errors import TrainingError

runner = CliRunner()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, good_samples: Callable[[int, int], list[Sample]]) -> Path:
    """Two categories in MVTec's layout with a masked defect."""
    root = tmp_path_factory.mktemp("data")
    for seed, (category, turns) in enumerate({"stripes": 0, "squares": 1}.items()):
        for folder, count in (("train/good", 12), ("test/good", 4), ("test/blot", 3)):
            (root / category / folder).mkdir(parents=True)
            for index, sample in enumerate(good_samples(count, 10 + seed)):
                pixels = np.rot90(sample.pixels(), turns).copy()
                if folder == "test/blot":
                    pixels[10:26, 20:36] = (20, 200, 30)
                    mask = np.zeros((48, 48), dtype=np.uint8)
                    mask[10:26, 20:36] = 255
                    (root / category / "ground_truth/blot").mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(root / category / f"ground_truth/blot/{index:03d}_mask.png")
                Image.fromarray(pixels).save(root / category / folder / f"{index:03d}.png")
    return root


def command(data: Path, teacher: Path, output: Path, setting: str, *more: str) -> list[str]:
    return [
        "benchmark", "mvtec", "--setting", setting, "--data", str(data), "--output", str(output), "--teacher", str(teacher),
        "--input-size", "56", "--steps", "4", "--batch-size", "4", "--encoder-depth", "4", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(data: Path, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("benchmark") / "single"
    result = runner.invoke(app, command(data, teacher_folder, output, "single", "--seed", "0", "--seed", "1"))
    assert result.exit_code == 0, result.output
    assert "mean of 2" in result.output
    assert "±" in result.output
    return output


def test_every_task_and_seed_is_measured_beside_the_baseline(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert [(r["seed"], r["name"]) for r in results] == [(s, n) for s in (0, 1) for n in ("squares", "stripes")]
    for result in results:
        assert {"image_auroc/joint", "pixel_auroc/local", "aupro/local", "false_alarm_rate"} <= result["students"].keys()
        assert {"image_auroc/local", "image_auroc/semantic", "pixel_auroc/local"} <= result["neighbours"].keys()


def test_the_table_has_means_over_tasks_and_seeds(finished: Path) -> None:
    with (finished / "table.csv").open() as stream:
        rows = {row["normal"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["squares", "stripes", "mean of 2"]
    results = json.loads((finished / "results.json").read_text())
    of_squares = [r["students"]["image_auroc/joint"] for r in results if r["name"] == "squares"]
    assert float(rows["squares"]["joint"]) == pytest.approx(np.mean(of_squares))
    everything = [r["students"]["image_auroc/joint"] for r in results]
    assert float(rows["mean of 2"]["joint"]) == pytest.approx(np.mean(everything))


def test_the_page_shows_pictures_that_are_there(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    pictures = [part.split("'")[0] for part in page.split("src='")[1:]]
    assert len(pictures) == 8
    for picture in pictures:
        with Image.open(finished / picture) as image:
            assert image.size[0] > 300


def test_decoded_pictures_do_not_pile_up(finished: Path) -> None:
    assert not list(finished.rglob("training.npy"))
    assert len(list(finished.rglob("checkpoint.pt"))) == 4


def test_each_model_of_a_table_can_be_exported(finished: Path, tmp_path: Path) -> None:
    result = runner.invoke(
        app, ["export", str(finished / "seed-1/single/squares"), "--name", "squares", "--models", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "squares/1/model.onnx").is_file()


def test_what_is_done_is_not_done_again(
    finished: Path, data: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "again"))
    (output / "seed-1/single/stripes/result.json").unlink()
    shutil.rmtree(output / "seed-1/single/stripes")
    trained = []
    really = run._run_task

    def counted(*arguments: Any, **options: Any) -> TaskResult:
        trained.append(arguments[1])
        return really(*arguments, **options)

    monkeypatch.setattr(run, "_run_task", counted)
    result = runner.invoke(app, command(data, teacher_folder, output, "single", "--seed", "0", "--seed", "1"))
    assert result.exit_code == 0, result.output
    assert [task.name for task in trained] == ["stripes"]
    assert json.loads((output / "results.json").read_text()) == json.loads((finished / "results.json").read_text())


def test_other_settings_need_another_folder(finished: Path, data: Path, teacher_folder: Path) -> None:
    result = runner.invoke(app, command(data, teacher_folder, finished, "single", "--every", "2"))
    assert isinstance(result.exception, TrainingError)
    assert "was written with other settings (every 1): choose another --output" in str(result.exception)


def test_other_data_need_another_folder(finished: Path, data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    """Their tasks may be called the same."""
    other = Path(shutil.copytree(data, tmp_path / "other"))
    result = runner.invoke(app, command(other, teacher_folder, finished, "single"))
    assert isinstance(result.exception, TrainingError)
    assert f"was written with other settings (data {data}): choose another --output" in str(result.exception)


def test_multi_has_the_mean_over_categories_beside_the_pooled_figure(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, command(data, teacher_folder, tmp_path / "multi", "multi"))
    assert result.exit_code == 0, result.output
    with (tmp_path / "multi/table.csv").open() as stream:
        rows = {row["normal"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["all", "all: mean over categories"]
    (found,) = json.loads((tmp_path / "multi/results.json").read_text())
    assert float(rows["all"]["joint"]) == found["students"]["image_auroc/joint"]
    assert float(rows["all: mean over categories"]["joint"]) == found["students"]["image_auroc_mean/joint"]
    assert float(rows["all"]["false alarms"]) == found["students"]["false_alarm_rate"]
    assert rows["all: mean over categories"]["false alarms"] == ""  # one threshold for all: there is no mean of it


def test_one_group_of_tasks_and_every_other_picture_are_enough(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    arguments = command(data, teacher_folder, tmp_path / "some", "multi", "--every", "2", "--group", "multi")
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    described = json.loads((tmp_path / "some/seed-0/multi/all/run.json").read_text())
    held_out = json.loads((tmp_path / "some/seed-0/multi/all/calibration.json").read_text())["calibration"]["images"]
    assert described["training_data"]["images"] + held_out == 12  # of 24
    result = runner.invoke(app, command(data, teacher_folder, tmp_path / "none", "multi", "--group", "halves"))
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception) == "no group 'halves' in mvtec, multi: it has multi"
    assert not (tmp_path / "none").exists()


def test_the_table_says_what_it_was_measured_with(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    more = ["--recipe", "paper", "--set", "clip_norm=0.3", "--every", "2"]
    result = runner.invoke(app, command(data, teacher_folder, tmp_path / "paper", "multi", *more))
    assert result.exit_code == 0, result.output
    told = f"mvtec, multi: teacher {teacher_folder} at 56 pixels, 4 steps of 4, stable-adamw, every 2nd picture only"
    assert told in (tmp_path / "paper/report.html").read_text()
    settings = json.loads((tmp_path / "paper/benchmark.json").read_text())["fit"]
    assert (settings["clip_norm"], settings["hard_share"], settings["encoder_depth"]) == (0.3, 0.9, 4)


def test_unreadable_pictures_stop_it_unless_they_may_be_skipped(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(data, tmp_path / "damaged"))
    for folder in ("train/good", "test/good"):
        (damaged / "stripes" / folder / "000.png").write_bytes(b"")
    arguments = command(damaged, teacher_folder, tmp_path / "run", "multi")
    assert "1 of 24 pictures cannot be read" in str(runner.invoke(app, arguments).exception)
    result = runner.invoke(app, [*arguments, "--skip-unreadable"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "run/results.json").read_text())
    assert found["students"]["good_images"] == 7


def test_a_model_of_the_table_can_be_calibrated_anew(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    """Though its training pictures are gone; what needs them says so."""
    result = runner.invoke(app, command(data, teacher_folder, tmp_path / "run", "multi"))
    assert result.exit_code == 0, result.output
    model = tmp_path / "run/seed-0/multi/all"
    before = json.loads((model / "calibration.json").read_text())
    result = runner.invoke(app, ["calibrate", str(model), "--alpha", "0.3"])
    assert result.exit_code == 0, result.output
    after = json.loads((model / "calibration.json").read_text())
    assert (after["alpha"], after["levels"]) == (0.3, before["levels"])
    result = runner.invoke(app, ["export", str(model), "--name", "all", "--precision", "int8", "--models", str(tmp_path)])
    assert "training.npy is missing: 'duet-train benchmark' removes it" in str(result.exception)


def test_a_folder_of_an_earlier_version_is_gone_on_with(
    finished: Path, data: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    """It lacks the settings that there were not yet: they are as they were by default."""
    output = Path(shutil.copytree(finished, tmp_path / "earlier"))
    described = json.loads((output / "benchmark.json").read_text())
    del described["fit"]["whitened"]
    del described["data"]
    (output / "benchmark.json").write_text(json.dumps(described))
    result = runner.invoke(app, command(data, teacher_folder, output, "single", "--seed", "0"))
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, command(data, teacher_folder, output, "single", "--set", "clip_norm=0.3"))
    assert "was written with other settings (clip_norm 0.1): choose another --output" in str(result.exception)


def test_two_processes_train_each_model_together(data: Path, teacher_folder: Path, tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    launched = [str(scripts / "torchrun"), "--standalone", "--nproc_per_node", "2", str(scripts / "duet-train")]
    done = subprocess.run(
        [*launched, *command(data, teacher_folder, tmp_path / "two", "single")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("2 processes train together on cpu") == 2  # one a model
    assert done.stdout.count("report in") == 1
    assert [r["name"] for r in json.loads((tmp_path / "two/results.json").read_text())] == ["squares", "stripes"]
