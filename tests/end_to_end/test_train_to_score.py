"""Rendered parts to served scores, by the commands that a user types and a server that really listens."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from tests.service_process import ServiceProcess, running_service

Row = dict[str, str]
Answer = dict[str, Any]

PATIENCE = 300.0  # seconds for one command, on a busy machine
SCORES = [(group, branch) for group in ("raw", "scores") for branch in ("local", "semantic", "joint")]


def duet_train(*arguments: object) -> str:
    """Run the console script; returns what it printed."""
    command = [str(Path(sys.executable).with_name("duet-train")), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end-to-end")


@pytest.fixture(scope="module")
def teacher(root: Path) -> Path:
    """A random teacher in hub format: what is tested is that everybody computes the same, not how well."""
    config = Dinov2WithRegistersConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=1, image_size=56, patch_size=14, num_register_tokens=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Dinov2WithRegistersModel(config).save_pretrained(root / "teacher")
    return root / "teacher"


@pytest.fixture(scope="module")
def data(root: Path) -> Path:
    duet_train("render", "--output", root / "parts", "--good", 8, "--defective", 5, "--size", "96x80", "--seed", 1)
    return root / "parts"


@pytest.fixture(scope="module")
def run(root: Path, data: Path, teacher: Path) -> Path:
    duet_train(
        "fit", "--data", data, "--layout", "mvtec", "--teacher", teacher, "--input-size", 56, "--steps", 30, "--batch-size", 8,
        "--encoder-depth", 4, "--held-out-share", 0.25, "--output", root / "run",
    )  # fmt: skip
    return root / "run"


@pytest.fixture(scope="module")
def models(root: Path, run: Path) -> Path:
    printed = duet_train("export", run, "--name", "parts", "--models", root / "models")
    assert "model.onnx" in printed.replace("\n", "")
    written = sorted(path.relative_to(root / "models").as_posix() for path in (root / "models").rglob("*") if path.is_file())
    assert written == ["parts/1/README.md", "parts/1/calibration.png", "parts/1/model.onnx", "parts/1/pictures.csv"]
    return root / "models"


def evaluated(model: Path, data: Path, report: Path) -> dict[str, Row]:
    """scores.csv by picture."""
    duet_train("evaluate", model, "--data", data, "--layout", "mvtec", "--report", report)
    with (report / "scores.csv").open(newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def by_onnx(root: Path, models: Path, data: Path) -> dict[str, Row]:
    return evaluated(models / "parts" / "1" / "model.onnx", data, root / "report-onnx")


@pytest.fixture(scope="module")
def by_torch(root: Path, run: Path, data: Path) -> dict[str, Row]:
    return evaluated(run, data, root / "report-torch")


@pytest.fixture(scope="module")
def pictures(data: Path) -> dict[str, Path]:
    """Every test picture by the name it has in scores.csv."""
    return {path.relative_to(data).as_posix(): path for path in sorted(data.glob("*/test/*/*.png"))}


@pytest.fixture(scope="module")
def service(root: Path, models: Path) -> Iterator[ServiceProcess]:
    with running_service(models, root / "service.log", intra_op_threads=1, max_batch_size=8) as service:
        yield service


def post(service: ServiceProcess, picture: Path) -> Answer:
    response = service.client.post("/score", content=picture.read_bytes(), headers={"Content-Type": "image/png"})
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


@pytest.fixture(scope="module")
def alone(service: ServiceProcess, pictures: dict[str, Path]) -> dict[str, Answer]:
    """Each picture sent by itself."""
    return {name: post(service, path) for name, path in pictures.items()}


@pytest.fixture(scope="module")
def together(service: ServiceProcess, pictures: dict[str, Path], alone: dict[str, Answer]) -> dict[str, Answer]:
    """All pictures sent at once, so that they share batches of every size."""
    batches = service.metric("duet_batches_total")
    assert batches == len(alone)
    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip(pictures, pool.map(lambda path: post(service, path), pictures.values()), strict=True))
    assert service.metric("duet_batches_total") - batches < len(pictures)  # some did share one
    return answers


def assert_same_scores(answers: dict[str, Answer], rows: dict[str, Row], relative: float) -> None:
    assert answers.keys() == rows.keys()
    for name, answer in answers.items():
        for group, branch in SCORES:
            expected = float(rows[name][f"{branch}_{'score' if group == 'raw' else 'probability'}"])
            assert answer[group][branch] == pytest.approx(expected, rel=relative, abs=0), f"{name}: {group} {branch}"
        assert answer["anomalous"] == bool(int(rows[name]["anomalous"])), name


def test_a_served_score_is_the_evaluated_one(alone: dict[str, Answer], by_onnx: dict[str, Row]) -> None:
    assert len(alone) == 4 * (2 + 5)
    assert_same_scores(alone, by_onnx, relative=1e-5)


def test_a_score_does_not_depend_on_what_shares_the_batch(together: dict[str, Answer], by_onnx: dict[str, Row]) -> None:
    assert_same_scores(together, by_onnx, relative=1e-5)


def test_a_served_score_is_torch_s(alone: dict[str, Answer], together: dict[str, Answer], by_torch: dict[str, Row]) -> None:
    for answers in (alone, together):
        assert_same_scores(answers, by_torch, relative=1e-4)


def test_scores_tell_pictures_apart(by_onnx: dict[str, Row]) -> None:
    """Else agreement would mean nothing."""
    for branch in ("local", "semantic", "joint"):
        assert len({row[f"{branch}_score"] for row in by_onnx.values()}) > 0.9 * len(by_onnx)


def test_the_heatmap_is_a_picture_and_numbers(alone: dict[str, Answer], together: dict[str, Answer]) -> None:
    for name, answer in alone.items():
        heatmap = answer["heatmap"]
        assert (heatmap["media_type"], heatmap["width"], heatmap["height"]) == ("image/png", 256, 256)
        with Image.open(BytesIO(base64.b64decode(heatmap["data"]))) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "P", (256, 256))
            indices = np.asarray(image).astype(int)
        assert len(np.unique(indices)) > 1, name
        with Image.open(BytesIO(base64.b64decode(together[name]["heatmap"]["data"]))) as image:
            assert np.abs(np.asarray(image).astype(int) - indices).max() <= 1


def test_the_heatmap_is_the_calibrated_map(models: Path, pictures: dict[str, Path], alone: dict[str, Answer]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(models / "parts" / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    pixel = json.loads(session.get_modelmeta().custom_metadata_map["duet"])["calibration"]["pixel"]
    for name, path in list(pictures.items())[:5]:
        with Image.open(path) as image:
            batch = np.asarray(image.convert("RGB").resize((56, 56), Image.Resampling.BICUBIC))[None]
        (anomaly_map,) = session.run(["anomaly_map"], {"image": batch})
        probability = 1 / (1 + np.exp(-(anomaly_map[0].astype(np.float64) - pixel["tau"]) / pixel["sigma"]))
        with Image.open(BytesIO(base64.b64decode(alone[name]["heatmap"]["data"]))) as image:
            assert np.abs(np.asarray(image).astype(float) - 255 * probability).max() <= 0.51


def test_the_answer_says_what_answered(alone: dict[str, Answer]) -> None:
    for answer in alone.values():
        assert answer["model"] == {"name": "parts", "version": "1"}
        assert answer["image"] == {"width": 96, "height": 80}


def test_reports_agree(root: Path, by_onnx: dict[str, Row], by_torch: dict[str, Row]) -> None:
    assert by_onnx.keys() == by_torch.keys()
    onnx, run = (json.loads((root / f"report-{kind}" / "metrics.json").read_text()) for kind in ("onnx", "torch"))
    assert run == pytest.approx(onnx, abs=0.02)
    assert {
        "image_auroc/joint",
        "image_auroc_mean/joint",
        "image_auroc/joint/gear",
        "pixel_auroc/local",
        "aupro/local",
    } <= onnx.keys()
    for kind in ("onnx", "torch"):
        with Image.open(root / f"report-{kind}" / "sheet.png") as sheet:
            sheet.load()


def test_the_metadata_reach_the_service(service: ServiceProcess, run: Path, by_onnx: dict[str, Row]) -> None:
    assert by_onnx
    (model,) = service.client.get("/models").json()["models"]
    metadata = model["versions"][-1]["loaded"]["metadata"]
    assert metadata["training_data"]["normal"] == ["connector", "gear", "label", "washer"]
    assert metadata["threshold"] == json.loads((run / "calibration.json").read_text())["threshold"]
    assert re.fullmatch(r"[0-9a-f]{64}", metadata["training_data"]["fingerprint"])
