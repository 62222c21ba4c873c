"""Both CIFARs in the official python version, as Python 2 pickled them."""

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data import DataError, load_samples
from training.data.cifar10 import CLASSES
from training.data.cifar_batches import read_batches


def write_batch(file: Path, numbers: list[int], labels: str) -> np.ndarray[Any, Any]:
    """The official layout: bytes as keys, a picture a row, its planes one after the other."""
    pictures = np.random.default_rng(len(file.name)).integers(0, 256, (len(numbers), 32, 32, 3), dtype=np.uint8)
    batch = {
        b"data": pictures.transpose(0, 3, 1, 2).reshape(len(numbers), 3072),
        labels.encode(): numbers,
        b"filenames": [f"{file.name}_{index:04d}.png".encode() for index in range(len(numbers))],
    }
    file.write_bytes(pickle.dumps(batch, protocol=2))
    return pictures


def test_cifar10_joins_its_training_batches(tmp_path: Path) -> None:
    for number in range(1, 6):
        first = write_batch(tmp_path / f"data_batch_{number}", [0, 3, number], "labels")
    write_batch(tmp_path / "test_batch", list(range(10)), "labels")
    cats = load_samples("cifar10", tmp_path, "train", ["cat"])
    assert [s.name for s in cats] == [
        "train/cat/data_batch_1_0001.png", "train/cat/data_batch_2_0001.png", "train/cat/data_batch_3_0001.png",
        "train/cat/data_batch_3_0002.png", "train/cat/data_batch_4_0001.png", "train/cat/data_batch_5_0001.png",
    ]  # fmt: skip
    assert np.array_equal(cats[-1].pixels(), first[1])
    assert Counter(s.label for s in load_samples("cifar10", tmp_path, "test", ["cat", "dog"])) == {0: 2, 1: 8}


def test_cifar100_reads_superclasses(tmp_path: Path) -> None:
    pictures = write_batch(tmp_path / "train", [1, 19, 1], "coarse_labels")
    fish = load_samples("cifar100", tmp_path, "train", ["fish"])
    assert [s.name for s in fish] == ["train/fish/train_0000.png", "train/fish/train_0002.png"]
    assert np.array_equal(fish[1].pixels(), pictures[2])


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code in a data set",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Malicious(), protocol=2), "asks for __builtin__.print, which no CIFAR file needs"),
        (b"no pickle", "cannot be read as a CIFAR batch"),
        (pickle.dumps({b"data": [1]}, protocol=2), "is no CIFAR batch: .* 'python version'"),
    ],
)
def test_other_files_are_refused_and_never_run(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_samples("cifar100", tmp_path, "train")
    assert "code" not in capsys.readouterr().out


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_batch(tmp_path / "data_batch_1", [0], "labels")
    with pytest.raises(DataError, match="data_batch_2 cannot be read"):
        load_samples("cifar10", tmp_path, "train")


def test_a_label_of_another_data_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data_batch_1"
    write_batch(file, [0, 12], "labels")
    with pytest.raises(DataError, match=r"data_batch_1 has the label 12, and there are 10 classes: it is of another data set"):
        read_batches([file], "labels", CLASSES)
