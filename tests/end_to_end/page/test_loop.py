"""The loop closed: a lamp grows dim, good parts are called defective, people say so, and a model is fitted to the new light.

Camera client → service → page → feedback → archive → data set → calibration and training → new versions, all of them real.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect

from service.archive_format import ArchiveRecord
from tests.api_keys import ADMIN_KEY, KEY, SETTING, bearer
from tests.service_process import ServiceProcess, running_service
from training.data.parts.dataset import write_parts

from .conftest import ROOT

DIM = 0.5  # of the light that the model was trained in
STREAMED, CHECKED = 40, 10
PATIENCE = 300.0  # seconds, on a busy machine
# A thread of torch that waits for another, which something else has kept from its core, makes a training minutes longer.
QUIET = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def command(name: str, *arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]


def dim(source: Path, target: Path) -> None:
    pixels = np.asarray(Image.open(source).convert("RGB")) * DIM
    Image.fromarray(pixels.astype(np.uint8)).save(target)


def scores(service: ServiceProcess, pictures: list[Path]) -> list[dict[str, Any]]:
    query = {"heatmap": "none"}
    return [service.client.post("/score", content=p.read_bytes(), params=query, headers=bearer(KEY)).json() for p in pictures]


def duet_train(*arguments: object) -> None:
    subprocess.run(command("duet-train", *arguments), check=True, env=QUIET, timeout=PATIENCE)


def swap_in(service: ServiceProcess, version: str) -> None:
    """Load the newest version, which must be this one."""
    loaded = service.client.post("/v2/repository/models/demo/load", headers=bearer(ADMIN_KEY))
    assert loaded.status_code == 200, loaded.text
    picture = (ROOT / "models/demo/samples/good_gear.png").read_bytes()
    assert service.client.post("/score", content=picture, headers=bearer(KEY)).json()["model"]["version"] == version


def level(answers: list[dict[str, Any]]) -> float:
    return median(answer["raw"]["joint"] for answer in answers)


def test_false_alarms_become_a_better_model(browser: Browser, tmp_path: Path) -> None:
    write_parts(tmp_path / "parts", STREAMED, 8, 112, seed=99, kinds=["washer"])
    folders = {"line": "train/good", "good": "test/good", "bad": "test/scratch"}
    parts: dict[str, list[Path]] = {}
    for name, folder in folders.items():
        (tmp_path / name).mkdir()
        for source in sorted((tmp_path / "parts/washer" / folder).glob("*.png"))[: None if name == "line" else CHECKED]:
            dim(source, tmp_path / name / source.name)
        parts[name] = sorted((tmp_path / name).glob("*.png"))
    shutil.copytree(ROOT / "models", tmp_path / "models")
    (tmp_path / "key").write_text(KEY)
    archive = tmp_path / "archive"

    with (
        running_service(tmp_path / "models", tmp_path / "service.log", archive=archive, api_keys=SETTING) as service,
        browser.new_context(locale="en-GB") as context,
    ):
        page = context.new_page()
        page.goto(str(service.client.base_url))
        page.fill("#key", KEY)
        page.click("#key-dialog button[value=save]")
        expect(page.locator("#connection")).to_contain_text("Live")

        camera = subprocess.Popen(
            [
                *command("duet-camera", "folder", tmp_path / "line", "--url", service.client.base_url, "--line", 4),
                *("--api-key-file", str(tmp_path / "key"), "--spool", str(tmp_path / "spool"), "--quiet"),
            ]
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while service.metric("duet_images_total") < STREAMED:
                assert camera.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            expect(page.locator("#facts")).to_contain_text("Line4")
            expect(page.locator("#verdict-word")).to_have_text("Defect")
        finally:
            camera.send_signal(signal.SIGTERM)
            camera.wait(PATIENCE)

        before = scores(service, parts["good"])
        assert sum(answer["anomalous"] for answer in before) > CHECKED / 2

        page.click("#wall li:first-child button")
        page.keyboard.press("g")
        expect(page.locator("#feedback-note")).to_have_text("Kept for the next training.")
        records = [ArchiveRecord.model_validate_json(path.read_text()) for path in archive.glob("*/*.json")]
        alarms = [record for record in records if record.line == "4"]
        assert len(alarms) > STREAMED / 2
        for record in alarms:
            body = {"id": record.id, "label": "good"}
            assert service.client.post("/feedback", json=body, headers=bearer(KEY)).status_code == 200

        duet_train("archive", archive, "--output", tmp_path / "labelled", "--line", 4)
        labelled = ("--data", tmp_path / "labelled", "--layout", "folder", "--alpha", 0.1)
        duet_train("calibrate", tmp_path / "models/demo/1/model.onnx", *labelled)
        swap_in(service, "2")
        calibrated = scores(service, parts["good"])
        assert sum(answer["anomalous"] for answer in calibrated) <= CHECKED / 4
        assert all(new["scores"]["joint"] < old["scores"]["joint"] for old, new in zip(before, calibrated, strict=True))
        assert level(scores(service, parts["bad"])) > level(calibrated)

        duet_train(
            *("fit", *labelled, "--input-size", 112, "--steps", 60, "--batch-size", 8, "--encoder-depth", 4),
            *("--held-out-share", 0.3, "--output", tmp_path / "run"),
        )
        duet_train("export", tmp_path / "run", "--name", "demo", "--models", tmp_path / "models")
        swap_in(service, "3")
        retrained = scores(service, parts["good"])
        assert sum(answer["anomalous"] for answer in retrained) < sum(answer["anomalous"] for answer in before)
        assert level(scores(service, parts["bad"])) > level(retrained)
