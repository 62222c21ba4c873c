"""POST /score: what a real process answers to good requests."""

from __future__ import annotations

import base64
import math
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from service.heatmap import PALETTE
from service.images import model_input
from tests.pictures import encode, grey, noise, reddish, spotted
from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import LOCAL, PIXEL, SEMANTIC, SIZE, expected_scores, write_tiny_model


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def png_of(answer: httpx.Response) -> Image.Image:
    heatmap = answer.json()["heatmap"]
    assert heatmap["media_type"] == "image/png"
    image = Image.open(BytesIO(base64.b64decode(heatmap["data"])))
    assert image.size == (heatmap["width"], heatmap["height"])
    return image


@pytest.mark.parametrize("pixels", [grey(), spotted(), reddish(), noise(1, height=200, width=300)])
def test_answer_is_that_of_the_graph(client: httpx.Client, pixels: np.ndarray) -> None:
    answer = client.post("/score", content=encode(pixels), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["id", "model", "scores", "raw", "threshold", "anomalous", "image", "heatmap", "timing_ms"]
    local, semantic, joint = expected_scores(model_input(pixels, (SIZE, SIZE)))
    assert body["raw"] == pytest.approx({"local": local, "semantic": semantic, "joint": joint}, rel=1e-4, abs=1e-5)
    assert body["scores"] == pytest.approx(
        {
            "local": sigmoid((local - LOCAL.tau) / LOCAL.sigma),
            "semantic": sigmoid((semantic - SEMANTIC.tau) / SEMANTIC.sigma),
            "joint": 1 - math.exp(-joint),
        },
        rel=1e-3,
        abs=1e-5,
    )
    assert body["model"] == {"name": "tiny", "version": "3"}
    assert body["image"] == {"width": pixels.shape[1], "height": pixels.shape[0]}
    assert body["threshold"] == 0.5
    assert body["anomalous"] == (1 - math.exp(-joint) >= 0.5)
    assert body["id"] == answer.headers["x-request-id"]
    assert list(body["timing_ms"]) == ["decode", "queue", "inference", "heatmap", "total"]
    assert min(body["timing_ms"].values()) > 0
    assert body["timing_ms"]["inference"] <= body["timing_ms"]["total"]


def test_multipart_equals_raw_body(client: httpx.Client) -> None:
    data = encode(noise(2, height=100, width=80), "JPEG")
    raw = client.post("/score", content=data).json()
    form = client.post("/score", files={"image": ("part.jpg", data, "image/jpeg")}).json()
    for key in ("scores", "raw", "image", "heatmap"):
        assert raw[key] == form[key]


@pytest.mark.parametrize("content_type", ["application/octet-stream", "image/jpeg", "IMAGE/PNG; q=1", None])
def test_content_types_of_a_raw_body(client: httpx.Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert client.post("/score", content=encode(grey()), headers=headers).status_code == 200


@pytest.mark.parametrize(("threshold", "anomalous"), [(0.0, True), (0.99, True), (0.999, False), (1.0, False)])
def test_threshold_of_the_request(client: httpx.Client, threshold: float, anomalous: bool) -> None:
    body = client.post("/score", content=encode(spotted()), params={"threshold": threshold}).json()
    assert body["scores"]["joint"] == pytest.approx(0.9976, abs=1e-4)
    assert body["threshold"] == threshold
    assert body["anomalous"] is anomalous


def test_map_index_is_the_probability_of_each_pixel(client: httpx.Client) -> None:
    image = png_of(client.post("/score", content=encode(spotted())))
    assert image.mode == "P"
    assert image.size == (256, 256)
    index = np.asarray(image)
    assert index[255, 255] == round(255 * sigmoid((0.5 - PIXEL.tau) / PIXEL.sigma))
    assert index[0, 0] == round(255 * sigmoid((0.5 / 255 - PIXEL.tau) / PIXEL.sigma))
    assert (index[192:, 192:] == index[255, 255]).all()
    assert (index[:192] == index[0, 0]).all()


def test_map_of_the_source_size(client: httpx.Client) -> None:
    data = encode(np.asarray(Image.fromarray(spotted()).resize((300, 200))))
    index = np.asarray(png_of(client.post("/score", content=data, params={"heatmap_size": "source"})))
    assert index.shape == (200, 300)
    assert index[199, 299] > 200
    assert index[199, 0] < 50


@pytest.mark.parametrize(("size", "shape"), [("model", (256, 256, 3)), ("source", (56, 56, 3))])
def test_overlay_is_the_picture_under_heat(client: httpx.Client, size: str, shape: tuple[int, ...]) -> None:
    params = {"heatmap": "overlay", "heatmap_size": size}
    overlay = np.asarray(png_of(client.post("/score", content=encode(spotted()), params=params)))
    assert overlay.shape == shape
    np.testing.assert_allclose(overlay[0, 0], 128, atol=2)
    np.testing.assert_allclose(overlay[-1, -1], 0.4 * 255 + 0.6 * PALETTE[253].astype(float), atol=4)


def test_no_heatmap(client: httpx.Client) -> None:
    assert client.post("/score", content=encode(spotted()), params={"heatmap": "none"}).json()["heatmap"] is None


def test_accept_png_answers_the_heatmap_itself(client: httpx.Client) -> None:
    body = client.post("/score", content=encode(spotted())).json()
    answer = client.post("/score", content=encode(spotted()), headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(body["heatmap"]["data"])
    assert answer.headers["x-duet-model"] == "tiny"
    assert answer.headers["x-duet-version"] == "3"
    assert answer.headers["x-duet-anomalous"] == "true"
    assert float(answer.headers["x-duet-threshold"]) == body["threshold"]
    for branch in ("local", "semantic", "joint"):
        assert float(answer.headers[f"x-duet-{branch}-probability"]) == body["scores"][branch]
        assert float(answer.headers[f"x-duet-{branch}-score"]) == body["raw"][branch]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "image/png, application/json", "image/png;q=0.5, */*;q=0.6"])
def test_other_clients_get_json(client: httpx.Client, accept: str) -> None:
    answer = client.post("/score", content=encode(grey()), headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "accept", ["image/png", "IMAGE/PNG", "image/*", "text/html, image/png, */*;q=0.1", "application/json;q=0.5, image/png"]
)
def test_clients_that_prefer_a_picture_get_it(client: httpx.Client, accept: str) -> None:
    answer = client.post("/score", content=encode(grey()), headers={"Accept": accept})
    assert answer.headers["content-type"] == "image/png"


def test_client_that_takes_json_too_gets_it_where_there_is_no_heatmap(client: httpx.Client) -> None:
    headers = {"Accept": "image/png, application/json;q=0.1"}
    answer = client.post("/score", content=encode(grey()), headers=headers, params={"heatmap": "none"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("filename", [None, "part.jpg", '../Прокладка "3".png'])
def test_filename_of_the_form_does_not_matter(client: httpx.Client, filename: str | None) -> None:
    assert client.post("/score", files={"image": (filename, encode(grey()))}).status_code == 200


def test_request_id_is_echoed_or_made(client: httpx.Client) -> None:
    echoed = client.post("/score", content=encode(grey()), headers={"X-Request-ID": "line-4/part-17"})
    assert echoed.headers["x-request-id"] == echoed.json()["id"] == "line-4/part-17"
    made = {client.get("/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    replaced = client.get("/health/live", headers={"X-Request-ID": "x" * 200})
    assert replaced.headers["x-request-id"] != "x" * 200


def test_named_model_and_version(client: httpx.Client) -> None:
    answer = client.post("/score", content=encode(grey()), params={"model": "tiny", "version": "3"})
    assert answer.status_code == 200


def test_model_of_one_branch(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("one_branch")
    write_tiny_model(folder, branches=("semantic",))
    with running_service(folder, folder / "service.log") as service:
        body = service.client.post("/score", content=encode(reddish())).json()
        assert body["scores"]["local"] is None
        assert body["raw"]["local"] is None
        assert body["raw"]["semantic"] == pytest.approx(200 / 255, rel=1e-4)
        assert body["heatmap"] is None
        refused = service.client.post("/score", content=encode(reddish()), headers={"Accept": "image/png"})
        assert refused.status_code == 422


def test_metrics_count_what_was_answered(service: ServiceProcess) -> None:
    def figures() -> dict[str, float]:
        return {
            "scored": service.metric("duet_requests_total", model="tiny", version="3", outcome="scored"),
            "rejected": service.metric("duet_rejected_total", model="tiny", reason="unreadable-image"),
            "anomalous": service.metric("duet_anomalous_total"),
            "images": service.metric("duet_images_total"),
            "durations": service.metric("duet_request_duration_seconds_count"),
            "decodes": service.metric("duet_stage_duration_seconds_count", stage="decode"),
            "heatmaps": service.metric("duet_stage_duration_seconds_count", stage="heatmap"),
            "joint": service.metric("duet_score_count", branch="joint"),
        }

    before = figures()
    service.client.post("/score", content=encode(spotted()))
    service.client.post("/score", content=encode(grey()), params={"heatmap": "none"})
    service.client.post("/score", content=b"nonsense")
    growth = {name: value - before[name] for name, value in figures().items()}
    assert growth == {
        "scored": 2,
        "rejected": 1,
        "anomalous": 1,
        "images": 2,
        "durations": 2,
        "decodes": 2,
        "heatmaps": 1,
        "joint": 2,
    }
    assert service.metric("duet_inflight_requests") == service.metric("duet_queue_depth") == 0
    assert service.metric("duet_model_ready", model="tiny", version="3") == 1
    assert service.metric("duet_model_info", model="tiny", provider="cpu", teacher="tiny") == 1
