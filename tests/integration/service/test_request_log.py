"""One line a request: what it asked, what came out, how long it took, and nothing that is not the log's business."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_keys import digest
from tests.pictures import encode, failing, grey, noise, spotted
from tests.service_process import PATIENCE, ServiceProcess, running_service


def line_of(service: ServiceProcess, request_id: str) -> dict[str, Any]:
    """The one line of this request, which may come after its answer."""
    deadline = time.monotonic() + PATIENCE
    while True:
        *complete, _ = service.log.read_text().split("\n")
        lines = [json.loads(line) for line in complete if f'"{request_id}"' in line]
        found = [line for line in lines if line["event"] == "request"]
        if found or time.monotonic() > deadline:
            assert len(found) == 1
            return dict(found[0])
        time.sleep(0.01)


def post(client: httpx.Client, request_id: str, path: str = "/score", **request: Any) -> httpx.Response:
    headers = {"X-Request-ID": request_id, **request.pop("headers", {})}
    return client.post(path, **request, headers=headers)


def test_a_scored_picture(service: ServiceProcess) -> None:
    answer = post(service.client, "scored-1", content=encode(spotted())).json()
    line = line_of(service, "scored-1")
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "POST", "/score", 200)
    assert (line["outcome"], line["model"], line["version"]) == ("scored", "tiny", "3")
    assert (line["images"], line["anomalous"]) == (1, 1)
    assert line["scores"] == pytest.approx(answer["scores"], abs=1e-6)
    assert line["stages"] == {stage: time for stage, time in answer["timing_ms"].items() if stage != "total"}
    assert line["milliseconds"] >= answer["timing_ms"]["total"]
    assert line["timestamp"].endswith("Z")
    assert line["level"] == "info"


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_many_pictures_are_one_line_with_the_worst_scores(service: ServiceProcess, accept: str) -> None:
    files = [("image", encode(pixels)) for pixels in (grey(), spotted(), grey(level=130))] + [("image", b"nonsense")]
    name = accept.replace("/", "-")
    post(service.client, name, "/score/batch", files=files, headers={"Accept": accept})
    line = line_of(service, name)
    assert (line["outcome"], line["images"], line["anomalous"]) == ("scored", 3, 1)
    assert line["scores"]["local"] > 0.99
    assert "stages" not in line


def test_tensors_are_a_line_too(service: ServiceProcess) -> None:
    message = {"inputs": [{"name": "image", "shape": [1, 56, 56, 3], "datatype": "UINT8", "data": spotted().ravel().tolist()}]}
    post(service.client, "tensors", "/v2/models/tiny/infer", json=message)
    line = line_of(service, "tensors")
    assert (line["outcome"], line["model"], line["images"], line["anomalous"]) == ("scored", "tiny", 1, 1)


@pytest.mark.parametrize(
    ("request_id", "request_", "outcome", "problem"),
    [
        ("bad-picture", {"content": b"nonsense"}, "rejected", "unreadable-image"),
        ("bad-parameter", {"content": b"", "params": {"threshold": 7}}, "rejected", "bad-parameter"),
        ("bad-engine", {"content": encode(failing())}, "failed", "inference-failed"),
    ],
)
def test_a_refused_request_says_why(
    service: ServiceProcess, request_id: str, request_: dict[str, Any], outcome: str, problem: str
) -> None:
    post(service.client, request_id, **request_)
    line = line_of(service, request_id)
    assert (line["outcome"], line["problem"]) == (outcome, problem)
    assert "scores" not in line


def test_what_asks_for_no_scores_has_no_outcome(service: ServiceProcess) -> None:
    service.client.get("/models", headers={"X-Request-ID": "no-scores"})
    assert line_of(service, "no-scores").keys().isdisjoint({"outcome", "scores", "images"})


def test_neither_pictures_nor_secrets_get_into_the_log(models: Path, tmp_path: Path) -> None:
    secret = "5ecret-5ecret-5ecret"
    with running_service(models, tmp_path / "service.log", api_keys=f"line:{digest(secret)}", log_level="debug") as service:
        picture = encode(noise(1), "BMP")
        for number, sent in enumerate((picture, picture[:-999], b"\x00" * 5000)):
            headers = {"Authorization": f"Bearer {secret}", "X-API-Key": secret, "Cookie": secret}
            post(service.client, f"secret-{number}", content=sent, params={"key": secret}, headers=headers)
            line_of(service, f"secret-{number}")
        log = service.log.read_text()
    assert "5ecret" not in log
    assert max(map(len, log.splitlines())) < 2000
    assert repr(picture[1000:1020])[2:-1] not in log


def test_a_failed_request_tells_what_failed_inside(service: ServiceProcess) -> None:
    """Its own line names the error of the batch that it was computed in, which has no request's id."""
    post(service.client, "inside", content=encode(failing()))
    line_of(service, "inside")
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    (failed,) = (line for line in lines if line["event"] == "request failed" and line["request_id"] == "inside")
    (computed, *_) = (line for line in lines if line["event"] == "inference failed")
    assert failed["exception"][-1]["exc_value"] == computed["exception"][-1]["exc_value"]
    assert failed["exception"][0]["exc_type"] == "InferenceError"


def test_every_line_of_a_life_is_json_uvicorns_and_onnx_runtimes_too(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log") as service:
        post(service.client, "fails", content=encode(failing()))
        post(service.client, "last", content=encode(grey()))
        line_of(service, "last")
        service.terminate()
        assert service.exit_code() == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {"uvicorn.error", "service.middleware", "service.repository"} <= {line["logger"] for line in lines}
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
