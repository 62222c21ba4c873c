"""A random, tiny teacher; pictures that have something to learn in them; one trained, calibrated and exported run."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from service.model_format import TrainingData
from training.batches import Batch
from training.calibrate import calibrate_run
from training.data import Sample, fingerprint
from training.evaluate import Evaluation, evaluate
from training.export import export_run
from training.fit import Trainer, fit, prepare_run
from training.fit_settings import FitSettings
from training.run_folder import RunFolder
from training.scorers import OnnxScorer, RunScorer

Pixels = npt.NDArray[np.uint8]
MakePictures = Callable[[int, int], Pixels]

INPUT_SIZE = 56
MEASURED = {
    "image_auroc/joint": 0.9, "good_images": 20.0, "anomalous_images": 12.0, "false_alarm_rate": 0.05, "detection_rate": 0.75,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module, int], None]:
    """Weights that make every part of a network matter: initial ones would leave blocks near the identity."""

    def randomise(network: nn.Module, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "norm" in name or "layer_scale" in name:
                    parameter.copy_(1.0 + 0.2 * torch.randn(parameter.shape, generator=generator))
                else:
                    spread = 0.08 if parameter.ndim > 1 else 0.3
                    parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))

    return randomise


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory, randomise: Callable[[nn.Module, int], None]) -> Path:
    """A teacher with registers in hub format: width 64, 4 blocks, trained (as it were) at 84 pixels."""
    config = Dinov2WithRegistersConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=1, image_size=84, patch_size=14, num_register_tokens=3
    )
    vit = Dinov2WithRegistersModel(config)
    randomise(vit, 1)
    folder = tmp_path_factory.mktemp("teachers") / "tiny-registers"
    vit.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def good_pictures() -> MakePictures:
    """(count, seed) to pictures uint8 [count, 48, 48, 3] of one kind: smooth stripes of varying phase, light and noise."""

    def good_pictures(count: int, seed: int) -> Pixels:
        rng = np.random.default_rng(seed)
        x = np.linspace(0, 4 * np.pi, 48)
        phase, light = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(0.8, 1.2, (count, 1, 1))
        grey = light * (128 + 60 * np.sin(x[None, :, None] + 0.3 * x[None, None, :] + phase))
        colour = grey[..., None] * np.array([1.0, 0.9, 0.7]) + rng.normal(0, 4, (count, 48, 48, 3))
        pictures: Pixels = np.clip(colour, 0, 255).astype(np.uint8)
        return pictures

    return good_pictures


@pytest.fixture(scope="session")
def good_samples(good_pictures: MakePictures) -> Callable[[int, int], list[Sample]]:
    """(count, seed) to good samples of the class "stripes"."""
    return lambda count, seed: [
        Sample(f"{seed}/{i}", picture, 0, "stripes") for i, picture in enumerate(good_pictures(count, seed))
    ]


@pytest.fixture(scope="session")
def new_run(teacher_folder: Path, good_samples: Callable[[int, int], list[Sample]]) -> Callable[..., RunFolder]:
    """Prepare a run of 24 training and 12 held-out pictures in a folder; keyword arguments are settings."""

    def new_run(path: Path, **settings: object) -> RunFolder:
        training, held_out = good_samples(24, 1), good_samples(12, 2)
        facts = TrainingData(layout="folder", normal=("stripes",), images=len(training), fingerprint=fingerprint(training))
        tiny: dict[str, object] = {
            "teacher": str(teacher_folder), "input_size": INPUT_SIZE, "steps": 12, "batch_size": 4, "warmup_steps": 2,
            "hard_steps": 6, "encoder_depth": 3, "taught_blocks": 2,
        }  # fmt: skip
        return prepare_run(path, FitSettings.model_validate(tiny | settings), training, held_out, facts)

    return new_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, new_run: Callable[..., RunFolder]) -> RunFolder:
    """A trained and calibrated run. Tests read it only."""
    run = new_run(tmp_path_factory.mktemp("runs") / "finished", steps=40)
    assert fit(run)
    calibrate_run(run, alpha=0.1)
    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, finished_run: RunFolder) -> Path:
    """The finished run as models/stripes/1/model.onnx. Tests read it only."""
    report = tmp_path_factory.mktemp("report")
    (report / "metrics.json").write_text(json.dumps(MEASURED | {"threshold": finished_run.calibration().threshold}))
    (report / "sheet.png").write_bytes(b"a sheet")
    return export_run(finished_run, "stripes", tmp_path_factory.mktemp("models"), report=report)


@pytest.fixture(scope="session")
def labelled_samples(
    tmp_path_factory: pytest.TempPathFactory, good_pictures: MakePictures, good_samples: Callable[[int, int], list[Sample]]
) -> list[Sample]:
    """Twenty good stripes, six with a blot and its mask, six pictures of noise without masks."""
    folder = tmp_path_factory.mktemp("masks")
    samples = good_samples(20, 7)
    for index, picture in enumerate(good_pictures(6, 8)):
        top, left = 4 * index, 30 - 4 * index
        blotted, mask = picture.copy(), np.zeros((48, 48), dtype=np.uint8)
        blotted[top : top + 16, left : left + 16] = (20, 200, 30)
        mask[top : top + 16, left : left + 16] = 255
        Image.fromarray(mask).save(folder / f"{index}.png")
        samples.append(Sample(f"blot/{index}", blotted, 1, "stripes", "blot", (folder / f"{index}.png",)))
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)
    return samples + [Sample(f"noise/{index}", picture, 1, "stripes", "noise") for index, picture in enumerate(noise)]


@pytest.fixture(scope="session")
def run_evaluation(finished_run: RunFolder, labelled_samples: list[Sample]) -> Evaluation:
    """The finished run on the labelled samples, through torch."""
    return evaluate(RunScorer(finished_run), labelled_samples)


@pytest.fixture(scope="session")
def onnx_evaluation(exported: Path, labelled_samples: list[Sample]) -> Evaluation:
    """The exported run on the labelled samples, through ONNX Runtime."""
    return evaluate(OnnxScorer(exported), labelled_samples)


@pytest.fixture
def copy_run(tmp_path: Path) -> Callable[[RunFolder], RunFolder]:
    """A copy of a run that a test may change."""

    def copy_run(run: RunFolder) -> RunFolder:
        return RunFolder(Path(shutil.copytree(run.path, tmp_path / "copied-run")))

    return copy_run


@pytest.fixture
def stopping_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let training be stopped by Ctrl-C once it reaches a step."""

    def stopping_after(last: int) -> None:
        train_on = Trainer.train_on

        def stopped(self: Trainer, batch: Batch) -> dict[str, float]:
            losses = train_on(self, batch)
            if self.step == last:
                signal.raise_signal(signal.SIGINT)
            return losses

        monkeypatch.setattr(Trainer, "train_on", stopped)

    return stopping_after
