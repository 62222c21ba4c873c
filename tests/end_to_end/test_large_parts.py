"""A large part with a small defect: trained and exported by the command line, posted to a server, found where it is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.service_process import ServiceProcess, running_service
from training.cli import app

Pixels = npt.NDArray[np.uint8]
HEIGHT, WIDTH, DEFECT = 600, 1000, 12  # pixels


def duet_train(*arguments: object) -> None:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, f"{result.output} {result.exception}"


def good_part(seed: int) -> Pixels:
    """A large plate with a grid of holes in it, under a light that varies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + rng.integers(0, 50, 2)[:, None, None]
    holes = np.hypot(y % 50 - 25, x % 50 - 25) < 10
    grey = np.where(holes, 60, 170) * rng.uniform(0.95, 1.05) + rng.normal(0, 4, (HEIGHT, WIDTH))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A model of 3 x 5 tiles of 112 pixels, served."""
    root = tmp_path_factory.mktemp("large-parts")
    (root / "good").mkdir()
    for seed in range(12):
        Image.fromarray(good_part(seed)).save(root / "good" / f"{seed}.png")
    duet_train(
        "fit", "--data", root / "good", "--layout", "folder", "--input-size", 112, "--tiles", "3x5", "--steps", 40,
        "--batch-size", 8, "--encoder-depth", 4, "--held-out-share", 0.4, "--alpha", 0.2, "--output", root / "run",
    )  # fmt: skip
    duet_train("export", root / "run", "--name", "plate", "--models", root / "models")
    with running_service(root / "models", root / "service.log", intra_op_threads=1, max_batch_size=30) as service:
        yield service


def test_the_service_says_what_it_makes_of_a_picture(service: ServiceProcess) -> None:
    (model,) = service.client.get("/models").json()["models"]
    assert model["versions"][-1]["loaded"]["input"] == {"width": 112 + 4 * 98, "height": 112 + 2 * 98}
    assert model["versions"][-1]["loaded"]["metadata"]["input_size"] == 112
    assert model["versions"][-1]["loaded"]["metadata"]["tiles"] == {"rows": 3, "columns": 5, "overlap": 14}


@pytest.mark.parametrize(("top", "left"), [(73, 90), (310, 505), (520, 870)])
def test_a_small_defect_of_a_large_part_is_found_where_it_is(service: ServiceProcess, top: int, left: int) -> None:
    picture = good_part(100)
    clean = post(service, picture)
    picture[top : top + DEFECT, left : left + DEFECT] = (255, 255, 255)
    found = post(service, picture)
    assert found["image"] == {"width": WIDTH, "height": HEIGHT}
    assert found["raw"]["local"] > 1.5 * clean["raw"]["local"]
    assert found["anomalous"]
    with Image.open(BytesIO(base64.b64decode(found["heatmap"]["data"]))) as image:
        assert image.size == (WIDTH, HEIGHT)
        heat = np.asarray(image)
    peak = np.argwhere(heat == heat.max()).mean(axis=0)
    centre = np.array((top, left)) + DEFECT / 2
    assert np.abs(peak - centre).max() < 40, f"the peak is at {peak}, the defect at {centre}"  # a patch is about 28 pixels


def post(service: ServiceProcess, picture: Pixels) -> dict[str, Any]:
    body = BytesIO()
    Image.fromarray(picture).save(body, "PNG")
    response = service.client.post("/score?heatmap_size=source", content=body.getvalue(), headers={"Content-Type": "image/png"})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
