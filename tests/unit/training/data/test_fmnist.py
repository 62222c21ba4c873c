import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.data import DataError, load_samples
from training.data.fmnist import CLASSES

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures a class to train on, gzipped; one a class to test on, plain."""
    for prefix, repeats in (("train", 2), ("t10k", 1)):
        labels = np.tile(np.arange(10, dtype=np.uint8), repeats)
        images = np.random.default_rng(repeats).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        images[:, 0, 0] = labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            if prefix == "train":
                (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (tmp_path / f"{prefix}-{kind}-ubyte").write_bytes(idx(array))
    return tmp_path


def test_train_holds_the_normal_classes_alone(root: Path) -> None:
    samples = load_samples("fmnist", root, "train", ["sandal", "Ankle-Boot"])
    assert Counter(sample.category for sample in samples) == {"sandal": 2, "ankle boot": 2}
    assert all(sample.label == 0 for sample in samples)


def test_test_holds_all_ten_classes(root: Path) -> None:
    samples = load_samples("fmnist", root, "test", ["5", "sneaker", "9"])
    assert {sample.category: sample.label for sample in samples} == {
        name: int(name not in {"sandal", "sneaker", "ankle boot"}) for name in CLASSES
    }
    assert all(sample.defect == (sample.category if sample.label else None) for sample in samples)


def test_pictures_belong_to_their_labels(root: Path) -> None:
    for sample in load_samples("fmnist", root, "train") + load_samples("fmnist", root, "test"):
        pixels = sample.pixels()
        assert pixels.shape == (28, 28, 3)
        assert CLASSES[pixels[0, 0, 1]] == sample.category


def test_unknown_classes_are_answered_with_the_known_ones(root: Path) -> None:
    with pytest.raises(DataError, match=r"unknown class 'boot', '10'; known classes: t-shirt/top, trouser, .*, ankle boot"):
        load_samples("fmnist", root, "train", ["sandal", "boot", "10"])


def test_missing_and_damaged_files_are_named(root: Path) -> None:
    images, labels = root / "train-images-idx3-ubyte.gz", root / "train-labels-idx1-ubyte.gz"
    whole = images.read_bytes()

    images.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        load_samples("fmnist", root, "train")

    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    with pytest.raises(DataError, match=r"is truncated or damaged: 15679 values for shape \(20, 28, 28\)"):
        load_samples("fmnist", root, "train")

    images.write_bytes(labels.read_bytes())
    with pytest.raises(DataError, match="no IDX file of unsigned bytes in 3 dimensions"):
        load_samples("fmnist", root, "train")

    images.write_bytes(gzip.compress(idx(np.zeros((3, 28, 28), dtype=np.uint8))))
    with pytest.raises(DataError, match="the 3 pictures and 20 labels of train do not belong together"):
        load_samples("fmnist", root, "train")

    images.unlink()
    with pytest.raises(DataError, match=r"looked for train-images-idx3-ubyte\[\.gz\] in .*; found: t10k-images"):
        load_samples("fmnist", root, "train")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_debians_package_reads_whole() -> None:
    train = load_samples("fmnist", DEBIAN, "train", ["sandal"])
    test = load_samples("fmnist", DEBIAN, "test", ["sandal"])
    assert len(train) == 6000
    assert Counter(sample.label for sample in test) == {0: 1000, 1: 9000}
    assert train[0].pixels().std() > 10
