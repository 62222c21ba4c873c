"""The lamp has aged: a real model sees good parts, then good parts in less light."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.drift import LEAST_IMAGES
from tests.camera_process import CameraProcess
from tests.pictures import encode
from tests.service_process import ServiceProcess, running_service
from training.data import Sample
from training.data.parts import render_part
from training.recalibrate import recalibrate

DEMO = Path(__file__).parents[2] / "models/demo/1/model.onnx"
ALERT = 0.25
BRANCHES = {"local", "semantic", "joint"}


def parts(start: int, count: int, light: float = 1.0) -> list[npt.NDArray[np.uint8]]:
    """Good gears uint8 [112, 112, 3]."""
    return [(render_part("gear", None, 112, seed).pixels * light).astype(np.uint8) for seed in range(start, start + count)]


def drift(service: ServiceProcess, version: str = "2") -> dict[str, float]:
    """The stability index of each branch that is told."""
    text = service.client.get("/metrics").text
    found = re.findall(rf'^duet_drift_psi\{{branch="(\w+)",model="demo",version="{version}"\}} (\S+)$', text, re.MULTILINE)
    return {branch: float(value) for branch, value in found}


def post(service: ServiceProcess, pictures: Sequence[npt.NDArray[np.uint8]]) -> None:
    def send(pixels: npt.NDArray[np.uint8]) -> int:
        return service.client.post("/score", content=encode(pixels), params={"heatmap": "none"}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, pictures)) == {200}


def test_the_demo_line_is_no_drift_to_the_demo_model(tmp_path: Path) -> None:
    """As Compose shows it, defects and all, only faster: nobody's first alert may be a false one."""
    count = 2 * LEAST_IMAGES
    with running_service(DEMO.parents[2], tmp_path / "service.log") as service:
        url = str(service.client.base_url)
        with CameraProcess(tmp_path, "simulate", "--rate", 20, "--count", count, url=url) as line:
            line.wait_for(lambda verdicts: len(verdicts) == count)
        found = drift(service, version="1")
        assert found.keys() == BRANCHES
        assert max(found.values()) < ALERT / 2


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The demo model calibrated on 200 good gears, which leaves their distribution in the new version."""
    shutil.copytree(DEMO.parent, tmp_path / "models/demo/1")
    samples = [Sample(str(index), pixels, 0, "gear") for index, pixels in enumerate(parts(0, 200))]
    recalibrate(tmp_path / "models/demo/1/model.onnx", samples, alpha=0.01)
    return tmp_path / "models"


def test_drift_rises_when_the_light_goes_down(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log") as service:
        post(service, parts(1000, LEAST_IMAGES - 1))
        assert drift(service) == {}
        post(service, parts(2000, 1))
        good = drift(service)
        assert good.keys() == BRANCHES
        assert max(good.values()) < ALERT
        assert service.metric("duet_drift_anomalous_ratio", model="demo", version="2") < 0.1
        post(service, parts(3000, LEAST_IMAGES, light=0.6))
        dim = drift(service)
        assert dim["joint"] > ALERT
        assert all(dim[branch] > good[branch] for branch in BRANCHES)
        assert service.metric("duet_drift_window_images", model="demo", version="2") == 2 * LEAST_IMAGES
