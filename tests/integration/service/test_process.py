"""The process: health, description, start and refusal to start."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import onnxruntime
import pytest

from tests.api_keys import digest
from tests.pictures import encode, spotted
from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model


def failed_start(models: Path, log: Path, **settings: object) -> tuple[int, str]:
    """Exit code and log of a service that cannot start."""
    service = ServiceProcess(models, log, **settings)
    try:
        code = service.exit_code()
    finally:
        service.close()
    return code, log.read_text()


def test_health(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_models(client: httpx.Client) -> None:
    (model,) = client.get("/models").json()["models"]
    (version,) = model["versions"]
    assert (model["name"], model["default"]) == ("tiny", True)
    assert (version["version"], version["state"], version["reason"]) == ("3", "ready", None)
    assert version["loaded"]["provider"] == "cpu"
    assert version["loaded"]["metadata"]["threshold"] == 0.5


def test_description_covers_every_answer(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 200
    description = client.get("/openapi.json").json()
    score = description["paths"]["/score"]["post"]
    assert set(score["responses"]) == {"200", "400", "401", "404", "406", "413", "415", "422", "429", "500", "503", "504"}
    assert set(score["responses"]["200"]["content"]) == {"application/json", "image/png"}
    assert set(score["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data"}
    for status, response in score["responses"].items():
        if status != "200":
            (problem,) = response["content"].items()
            assert problem[0] == "application/problem+json"
            assert problem[1]["examples"]
    parameters = {parameter["name"] for parameter in score["parameters"]}
    assert {"model", "version", "threshold", "heatmap", "heatmap_size", "x-request-timeout-ms"} <= parameters


def test_log_lines_are_json_and_carry_the_request_id(service: ServiceProcess) -> None:
    service.client.get("/models", headers={"X-Request-ID": "find-me"})
    lines = [json.loads(line) for line in service.wait_for_log("find-me")]
    (line,) = [line for line in lines if line.get("request_id") == "find-me"]
    assert (line["event"], line["path"], line["status"]) == ("request", "/models", 200)


def test_console_log(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", log_format="console") as service:
        service.client.get("/models")
        service.wait_for_log("path=/models")


@pytest.mark.parametrize(("setting", "value"), [("max_queu", "3"), ("port", "eighty")])
def test_wrong_setting_stops_the_start_with_one_line(models: Path, tmp_path: Path, setting: str, value: str) -> None:
    code, log = failed_start(models, tmp_path / "service.log", **{setting: value})
    assert code == 2
    assert log.count("\n") == 1
    assert f"DUET_{setting.upper()}" in log


def test_malformed_key_stops_the_start_with_one_line_that_does_not_show_it(models: Path, tmp_path: Path) -> None:
    code, log = failed_start(models, tmp_path / "service.log", api_keys=f"line:{digest('a')}:root")
    assert code == 2
    assert log.count("\n") == 1
    assert "DUET_API_KEYS: " in log
    assert digest("a")[:8] not in log


def test_a_port_that_is_taken_stops_the_start_with_one_line(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = failed_start(models, tmp_path / "service.log", port=port)
    assert code == 2
    assert log.count("\n") == 1
    assert f"DUET_PORT={port}: Address already in use" in log


def test_missing_model_stops_the_start(tmp_path: Path) -> None:
    code, log = failed_start(tmp_path, tmp_path / "service.log")
    assert code == 1
    assert "holds no model" in log
    assert "Traceback" not in log


def test_broken_model_stops_the_start(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "models").write_bytes(b"broken")
    code, log = failed_start(tmp_path / "models", tmp_path / "service.log")
    assert code == 1
    assert "model.onnx: cannot be loaded" in log
    assert "Traceback" not in log


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_required_cuda_stops_the_start(models: Path, tmp_path: Path) -> None:
    code, log = failed_start(models, tmp_path / "service.log", require_cuda="true")
    assert code == 1
    assert "DUET_REQUIRE_CUDA" in log


def test_a_model_without_reference_has_no_drift_and_says_so(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    with running_service(tmp_path, tmp_path / "service.log") as service:
        service.client.post("/score", content=encode(spotted()))
        assert service.metric("duet_drift_window_images", model="tiny", version="1") == 1
        assert service.metric("duet_drift_anomalous_ratio", model="tiny", version="1") == 1
        assert "\nduet_drift_psi" not in service.client.get("/metrics").text
        service.wait_for_log("no drift is measured: the model holds no reference")
        described = service.client.get("/models").json()["models"][0]["versions"][0]["loaded"]["metadata"]
        assert described["calibration"]["reference"] == {}
