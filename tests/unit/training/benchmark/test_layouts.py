"""Every benchmark, whole: `duet-train benchmark NAME` on a tiny tree in its own layout."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from training.benchmark import PRESETS
from training.cli import app
from training.data import Sample
from training.data.cifar10 import CLASSES as TEN
from training.data.cifar100 import SUPERCLASSES

Pixels = npt.NDArray[np.uint8]
MASK = np.zeros((48, 48), dtype=np.uint8)
MASK[10:26, 20:36] = 200


@pytest.fixture
def pictures(good_samples: Callable[[int, int], list[Sample]]) -> Iterator[Pixels]:
    """Good pictures, each another one."""
    return (sample.pixels() for seed in range(100, 200) for sample in good_samples(50, seed))


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def spoilt(picture: Pixels) -> Pixels:
    copy = picture.copy()
    copy[MASK > 0] = (20, 200, 30)
    return copy


def mvtec(root: Path, pictures: Iterator[Pixels], kinds: tuple[str, ...] = ("blot",), part: str = "") -> None:
    for category in ("nut", "pin"):
        for index in range(6):
            save(root / category / f"train/good/{index:03d}.png", next(pictures))
            save(root / category / f"test/good/{index:03d}.png", next(pictures))
        for kind in kinds:
            for index in range(2):
                save(root / category / f"test/{kind}/{index:03d}.png", spoilt(next(pictures)))
                save(root / category / f"ground_truth/{kind}/{index:03d}{part or '_mask'}.png", MASK)


def mvtec_loco(root: Path, pictures: Iterator[Pixels]) -> None:
    mvtec(root, pictures, ("logical_anomalies", "structural_anomalies"), "/000")
    for category in ("nut", "pin"):
        save(root / category / "validation/good/000.png", next(pictures))
        config = [{"pixel_value": 200, "saturation_threshold": 0.5, "relative_saturation": True}]
        (root / category / "defects_config.json").write_text(json.dumps(config))


def visa(root: Path, pictures: Iterator[Pixels]) -> None:
    rows = ["object,split,label,image,mask"]
    for category in ("candle", "pcb1"):
        for index in range(10):
            name = f"{category}/Data/Images/Normal/{index:04d}.JPG"
            save(root / name, next(pictures))
            rows.append(f"{category},{'train' if index < 6 else 'test'},normal,{name},")
        name, mask = (f"{category}/Data/{kind}" for kind in ("Images/Anomaly/000.JPG", "Masks/Anomaly/000.png"))
        save(root / name, spoilt(next(pictures)))
        save(root / mask, np.minimum(MASK, 3))
        rows.append(f"{category},test,anomaly,{name},{mask}")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")


def real_iad(root: Path, pictures: Iterator[Pixels]) -> None:
    for category in ("audiojack", "zipper"):
        parts: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
        for index in range(11):
            kind = "AK" if index == 10 else "OK"
            name = f"{kind}/S{index:04d}/{category}_C1.jpg"
            picture = next(pictures)
            save(root / "realiad_256" / category / name, picture if kind == "OK" else spoilt(picture))
            mask = None if kind == "OK" else name.replace(".jpg", ".png")
            if mask:
                save(root / "realiad_256" / category / mask, MASK)
            entry = {"category": category, "anomaly_class": kind, "image_path": name, "mask_path": mask}
            parts["train" if index < 6 else "test"].append(entry)
        for folder in ("realiad_jsons", "realiad_jsons_sv"):
            file = root / "realiad_jsons" / folder / f"{category}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"meta": {"prefix": f"{category}/", "normal_class": "OK"}, **parts}))


def cifar10(root: Path, pictures: Iterator[Pixels]) -> None:
    """The official python version."""
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        found = [np.asarray(Image.fromarray(next(pictures)).resize((32, 32))).transpose(2, 0, 1) for _ in TEN]
        batch = {b"data": np.stack(found).reshape(10, 3072), b"labels": list(range(10)),
                 b"filenames": [f"{name}_{index}.png".encode() for index in range(10)]}  # fmt: skip
        (root / name).write_bytes(pickle.dumps(batch, protocol=2))


def cifar100(root: Path, pictures: Iterator[Pixels]) -> None:
    """Picture files, a folder a class."""
    for split in ("train", "test"):
        for name in (fine for some in SUPERCLASSES.values() for fine in some):
            save(root / split / name / "0.png", next(pictures)[:32, :32])


def fmnist(root: Path, pictures: Iterator[Pixels]) -> None:
    for prefix, count in (("train", 50), ("t10k", 20)):
        grey = np.stack([next(pictures)[:28, :28, 0] for _ in range(count)])
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in ((f"{prefix}-images-idx3-ubyte", grey), (f"{prefix}-labels-idx1-ubyte", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (root / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))


def view(root: Path, pictures: Iterator[Pixels]) -> None:
    for name in ("buildings", "forest", "glacier", "mountain", "sea", "street"):
        for index in range(4):
            save(root / f"train/{name}/{index}.jpg", next(pictures))
            save(root / f"test/{name}/{index}.jpg", next(pictures))


TREES: dict[str, Callable[[Path, Iterator[Pixels]], None]] = {
    "mvtec": mvtec, "mvtec-loco": mvtec_loco, "visa": visa, "real-iad": real_iad, "real-iad-single-view": real_iad,
    "cifar10": cifar10, "cifar100": cifar100, "fmnist": fmnist, "view": view,
}  # fmt: skip
SEMANTIC = {"cifar10", "cifar100", "fmnist", "view"}


def test_every_benchmark_is_here() -> None:
    assert set(TREES) == set(PRESETS)


@pytest.mark.parametrize("name", TREES)
def test_a_whole_benchmark_on_a_tree_of_its_own_layout(
    name: str, pictures: Iterator[Pixels], teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in SEMANTIC:  # four models, whose pages are drawn as any other's: that would take most of the time
        monkeypatch.setattr("training.benchmark.run.write_report", lambda *_: None)
    data = tmp_path / "data"
    data.mkdir()
    TREES[name](data, pictures)
    result = CliRunner().invoke(app, [
        "benchmark", name, "--setting", "multi", "--data", str(data), "--output", str(tmp_path / "out"),
        "--teacher", str(teacher_folder), "--input-size", "56", "--steps", "2", "--batch-size", "4", "--encoder-depth", "4",
        *(["--group", "halves"] if name in SEMANTIC else []),
    ])  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    with (tmp_path / "out/table.csv").open() as stream:
        rows = {row["normal"]: row for row in csv.DictReader(stream)}
    assert all(0 <= float(row[column]) <= 1 for row in rows.values() for column in ("local", "semantic", "joint"))
    if name in SEMANTIC:
        assert {"first", "last", "even", "odd", "mean of 4"} <= set(rows)
        return
    assert set(rows) == {"all", "all: mean over categories"}
    assert all(0 <= float(rows["all"][column]) <= 1 for column in ("pixel AUROC", "AUPRO", "nearest: pixel AUROC"))
    assert [bool(rows["all"][column]) for column in ("sPRO 0.05", "joint, logical")] == [name == "mvtec-loco"] * 2
