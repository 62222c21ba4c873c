"""The model that ships, served as a stranger would: `make serve`, then the README's example."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from service.images import decode_image, resize_square
from service.model_format import INPUT, parse_metadata
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/demo/1/model.onnx"
SAMPLES = sorted((ROOT / "models/demo/samples").glob("*.png"))
PATIENCE = 120.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a service started by `make serve` in the project's folder."""
    if Path(sys.prefix) != ROOT / ".venv" or shutil.which("make") is None:
        pytest.skip("runs under make test, which makes the .venv that make serve uses")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DUET_", "MAKE", "MFLAGS"))}
    process = subprocess.Popen(["make", "serve"], cwd=ROOT, env=environment | {"DUET_PORT": str(port)}, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def test_what_is_no_trained_kind_is_anomalous_and_good_parts_are_not(url: str) -> None:
    samples = [sample for sample in SAMPLES if sample.stem.startswith(("good_", "wrong_"))]
    with ThreadPoolExecutor(len(samples)) as pool:
        answers = dict(zip(samples, pool.map(lambda sample: _score(url, sample), samples), strict=True))
    verdicts = {sample.stem: answer["anomalous"] for sample, answer in answers.items()}
    assert len(verdicts) == 8
    assert verdicts == {name: name.startswith("wrong_") for name in verdicts}


@pytest.mark.parametrize(("name", "row", "column"), [("bad_washer_scratch", 170, 152), ("bad_gear_missing_tooth", 140, 33)])
def test_a_defect_is_hottest_where_it_is(url: str, name: str, row: int, column: int) -> None:
    answer = _score(url, next(sample for sample in SAMPLES if sample.stem == name))
    assert answer["scores"]["local"] > 5 * answer["scores"]["semantic"]
    # row and column: the middle of the mask
    hottest = np.unravel_index(_heat(answer).argmax(), (256, 256))
    assert np.hypot(hottest[0] - row, hottest[1] - column) < 40


def test_a_scratch_is_anomalous(url: str) -> None:
    answer = _score(url, next(sample for sample in SAMPLES if sample.stem == "bad_washer_scratch"))
    assert answer["anomalous"]
    assert answer["scores"]["local"] > 0.5  # more than all but one good picture in a hundred


def test_served_scores_are_those_of_the_file_alone_and_in_company(url: str) -> None:
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    for sample in SAMPLES[:4]:
        pixels = resize_square(decode_image(sample.read_bytes(), 10**6), session.get_inputs()[0].shape[1])
        (expected,) = session.run(["joint_score"], {INPUT: pixels[None]})
        alone = _score(url, sample)["raw"]["joint"]
        with ThreadPoolExecutor(16) as pool:
            together = [answer["raw"]["joint"] for answer in pool.map(lambda _, s=sample: _score(url, s), range(16))]
        np.testing.assert_allclose([alone, *together], expected[0], rtol=1e-5)


def test_map_of_a_wrong_kind_is_hot_and_that_of_a_good_part_is_not(url: str) -> None:
    good, wrong = (_heat(_score(url, next(s for s in SAMPLES if s.stem == name))) for name in ("good_gear", "wrong_label"))
    assert good.shape == wrong.shape == (256, 256)
    assert good.max() < 127 < wrong.max()


def test_file_says_that_its_teacher_is_a_stand_in() -> None:
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    metadata = parse_metadata(session.get_modelmeta().custom_metadata_map, MODEL)
    assert metadata.name == "demo"
    assert metadata.teacher.stand_in
    assert metadata.parity.max_abs_difference <= 1e-4
    assert MODEL.stat().st_size < 50e6


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"make serve did not become ready (exit status {process.poll()})")


def _score(url: str, sample: Path) -> dict[str, Any]:
    headers = {"Content-Type": "image/png"}
    response = httpx.post(f"{url}/score", content=sample.read_bytes(), headers=headers, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _heat(answer: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(answer["heatmap"]["data"]))))
