"""Two steps of the pre-training: what it makes is a teacher, and interruption changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from training.files import write_beside
from training.pretrain import PretrainBatches, PretrainSettings, load_photos, pretrain
from training.pretrain import loop as module
from training.teacher import load_teacher

pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'pretrain' is not installed")

Pixels = npt.NDArray[np.uint8]
SETTINGS = PretrainSettings(steps=2, batch_size=4, warmup_steps=1, checkpoint_every=1)


@pytest.fixture(scope="module")
def photos() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), rng.integers(0, 128, (256, 256, 3), dtype=np.uint8)]


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return list(np.random.default_rng(1).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, photos: list[Pixels], pictures: list[Pixels]) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    pretrain(photos, pictures, folder, SETTINGS)
    return folder


def test_it_makes_a_teacher_that_is_called_a_stand_in(pretrained: Path) -> None:
    teacher = load_teacher(pretrained, 112)
    assert teacher.info.stand_in
    assert (teacher.depth, teacher.dim, teacher.registers) == (12, 192, 4)
    assert all(tokens.isfinite().all() for tokens in teacher(torch.zeros(1, 112, 112, 3, dtype=torch.uint8)))
    assert (pretrained / "model.safetensors").stat().st_size < 15e6


def test_it_has_learnt_something(pretrained: Path, photos: list[Pixels], pictures: list[Pixels], tmp_path: Path) -> None:
    state = torch.load(pretrained / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    assert state["model"]["standardisers.pooled.std"].unique().numel() > 100  # measured on the targets
    other = PretrainSettings(steps=1, batch_size=4, warmup_steps=1, seed=1)
    pretrain(photos, pictures, tmp_path, other)
    assert load_teacher(tmp_path, 112).info.sha256 != load_teacher(pretrained, 112).info.sha256


def test_an_interrupted_pre_training_ends_as_an_unbroken_one_bit_for_bit(
    tmp_path: Path, pretrained: Path, photos: list[Pixels], pictures: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, write: Callable[[Path], object]) -> None:
        write_beside(path, write)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_beside", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain(photos, pictures, tmp_path, SETTINGS)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 1
    pretrain(photos, pictures, tmp_path, SETTINGS, resume=True)
    expected, found = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (pretrained, tmp_path))
    assert found["step"] == 2
    assert [name for name, tensor in expected["model"].items() if not torch.equal(tensor, found["model"][name])] == []
    assert load_teacher(tmp_path, 112).info.sha256 == load_teacher(pretrained, 112).info.sha256


def test_a_checkpoint_of_other_settings_is_refused(pretrained: Path, photos: list[Pixels], pictures: list[Pixels]) -> None:
    with pytest.raises(ValueError, match="was made with"):
        pretrain(photos, pictures, pretrained, PretrainSettings(steps=3, batch_size=4), resume=True)


def test_batches_alternate_between_two_sizes_and_depend_on_the_step_alone(photos: list[Pixels], pictures: list[Pixels]) -> None:
    batches = PretrainBatches(photos, pictures, PretrainSettings(steps=4, batch_size=8))
    assert [tuple(batches[step].shape) for step in range(3)] == [(8, 112, 112, 3), (2, 224, 224, 3), (8, 112, 112, 3)]
    again = PretrainBatches(photos, pictures, PretrainSettings(steps=4, batch_size=8))
    assert torch.equal(batches[2], again[2])
    assert not torch.equal(batches[2], batches[0])
    assert PretrainBatches(photos, [], PretrainSettings(batch_size=4))[0].shape == (4, 112, 112, 3)


def test_photographs_are_found_in_depth_and_read_once(tmp_path: Path, photos: list[Pixels]) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.fromarray(photos[0]).save(tmp_path / "deep" / "er" / "a.png")
    Image.fromarray(photos[0]).save(tmp_path / "copy.PNG")
    Image.fromarray(photos[1]).save(tmp_path / "b.jpg")
    Image.new("RGB", (300, 300)).save(tmp_path / "flat.png")
    Image.fromarray(photos[0][:100]).save(tmp_path / "small.png")
    (tmp_path / "notes.txt").write_text("")
    assert sorted(photo.shape for photo in load_photos([tmp_path])) == [(256, 256, 3), (300, 400, 3)]
    with pytest.raises(ValueError, match="no photograph of at least 256 pixels a side under"):
        load_photos([tmp_path / "deep" / "nothing"])
