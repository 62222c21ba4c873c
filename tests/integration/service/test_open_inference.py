"""Open Inference Protocol v2 against a real process, mostly by Triton's own clients, unchanged."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from service.images import model_input
from tests.pictures import Pixels, encode, failing, grey, noise, reddish, spotted
from tests.service_process import ServiceProcess
from tests.tiny_model import SIZE, expected_scores

OUTPUTS = {
    "local_score": [],
    "local_probability": [],
    "anomaly_map": [256, 256],
    "semantic_score": [],
    "semantic_probability": [],
    "joint_probability": [],
    "joint_score": [],
}
PICTURES = [grey(), spotted(), reddish(), noise(1, height=70, width=90)]
INFER = "/v2/models/tiny/infer"


@pytest.fixture
def sync(service: ServiceProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


@pytest.fixture
async def aio(service: ServiceProcess) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def pixels_input(*pictures: Pixels, binary: bool = True) -> triton.InferInput:
    batch = np.stack([model_input(picture, (SIZE, SIZE)) for picture in pictures])
    tensor = triton.InferInput("image", list(batch.shape), "UINT8")
    return tensor.set_data_from_numpy(batch, binary_data=binary)


def files_input(*files: bytes, column: bool = False) -> triton.InferInput:
    batch = np.array(files, dtype=object).reshape((-1, 1) if column else -1)
    tensor = triton.InferInput("encoded_image", list(batch.shape), "BYTES")
    return tensor.set_data_from_numpy(batch)


def check_scores(result: triton.InferResult, pictures: list[Pixels]) -> None:
    expected = [expected_scores(model_input(picture, (SIZE, SIZE))) for picture in pictures]
    for name, column in zip(("local_score", "semantic_score", "joint_score"), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(result.as_numpy(name), column, rtol=1e-4, atol=1e-5)
    for name, shape in OUTPUTS.items():
        assert result.as_numpy(name).shape == (len(pictures), *shape)
        assert result.as_numpy(name).dtype == np.float32


def check_refusal(answer: httpx.Response, status: int, reason: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"]


def test_sync_client_asks_after_server_and_models(sync: triton.InferenceServerClient) -> None:
    assert sync.is_server_live()
    assert sync.is_server_ready()
    assert sync.is_model_ready("tiny")
    assert sync.is_model_ready("tiny", "3")
    assert not sync.is_model_ready("tiny", "4")
    assert not sync.is_model_ready("other")
    server = sync.get_server_metadata()
    assert server["name"] == "duet"
    assert "binary_tensor_data" in server["extensions"]
    metadata = sync.get_model_metadata("tiny")
    assert metadata == sync.get_model_metadata("tiny", "3")
    assert (metadata["name"], metadata["versions"]) == ("tiny", ["3"])
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]}]
    assert {output["name"]: output["shape"][1:] for output in metadata["outputs"]} == OUTPUTS
    assert metadata["parameters"]["alternative_input"] == "encoded_image"
    config = sync.get_model_config("tiny")
    assert config == sync.get_model_config("tiny", "3")
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [SIZE, SIZE, 3]}]
    assert config["max_batch_size"] == 64


def test_index(sync: triton.InferenceServerClient, client: httpx.Client) -> None:
    entry = {"name": "tiny", "version": "3", "state": "READY", "reason": ""}
    assert sync.get_model_repository_index() == [entry]
    assert client.post("/v2/repository/index", json={"ready": True}).json() == [entry]
    check_refusal(client.post("/v2/repository/index", json={"redy": True}), 400, "redy")
    check_refusal(client.post("/v2/repository/index", content=b"{"), 400, "JSON")


async def test_async_client_asks_after_server_and_models(aio: triton_aio.InferenceServerClient) -> None:
    assert await aio.is_server_live()
    assert await aio.is_server_ready()
    assert await aio.is_model_ready("tiny", "3")
    assert not await aio.is_model_ready("other")
    assert (await aio.get_server_metadata())["name"] == "duet"
    assert (await aio.get_model_metadata("tiny"))["name"] == "tiny"
    assert (await aio.get_model_config("tiny"))["name"] == "tiny"
    assert len(await aio.get_model_repository_index()) == 1


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
def test_sync_client_infers(sync: triton.InferenceServerClient, binary_input: bool, binary_output: bool | None) -> None:
    outputs = None
    if binary_output is not None:
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in OUTPUTS]
    result = sync.infer("tiny", [pixels_input(*PICTURES, binary=binary_input)], outputs=outputs, request_id="part-17")
    check_scores(result, PICTURES)
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("part-17", "tiny", "3")
    assert [output["name"] for output in answer["outputs"]] == list(OUTPUTS)
    assert {"data" in output for output in answer["outputs"]} == {binary_output is False}


@pytest.mark.parametrize("column", [False, True])
async def test_async_client_infers_from_files(aio: triton_aio.InferenceServerClient, column: bool) -> None:
    result = await aio.infer("tiny", [files_input(*map(encode, PICTURES), column=column)], model_version="3")
    check_scores(result, PICTURES)
    assert "id" not in result.get_response()


def test_numbers_are_those_of_the_score_route(sync: triton.InferenceServerClient, client: httpx.Client) -> None:
    data = encode(noise(2, height=90, width=70), "JPEG")
    scored = client.post("/score", content=data).json()
    result = sync.infer("tiny", [files_input(data)])
    for branch in ("local", "semantic", "joint"):
        assert result.as_numpy(f"{branch}_score")[0] == np.float32(scored["raw"][branch])
        assert result.as_numpy(f"{branch}_probability")[0] == np.float32(scored["scores"][branch])


async def test_async_client_gets_the_outputs_it_asks_for(aio: triton_aio.InferenceServerClient) -> None:
    outputs = [
        triton_aio.InferRequestedOutput("joint_score", binary_data=False),
        triton_aio.InferRequestedOutput("anomaly_map"),
    ]
    result = await aio.infer("tiny", [pixels_input(spotted())], outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["joint_score", "anomaly_map"]
    assert result.as_numpy("anomaly_map")[0, 255, 255] == pytest.approx(0.5)
    assert result.as_numpy("joint_score")[0] == pytest.approx(expected_scores(spotted())[2], rel=1e-5)


@pytest.mark.parametrize("request_coding", ["gzip", "deflate", None])
@pytest.mark.parametrize("response_coding", ["gzip", "deflate", None])
async def test_compressed_bodies(
    sync: triton.InferenceServerClient,
    aio: triton_aio.InferenceServerClient,
    request_coding: str | None,
    response_coding: str | None,
) -> None:
    codings = {"request_compression_algorithm": request_coding, "response_compression_algorithm": response_coding}
    check_scores(sync.infer("tiny", [pixels_input(*PICTURES)], **codings), PICTURES)
    check_scores(await aio.infer("tiny", [files_input(*map(encode, PICTURES))], **codings), PICTURES)


def test_answer_is_compressed_only_for_a_client_that_means_it(client: httpx.Client) -> None:
    request = {"inputs": [{"name": "image", "shape": [1, SIZE, SIZE, 3], "datatype": "UINT8", "data": grey().tolist()}]}
    request["inputs"][0]["data"] = [request["inputs"][0]["data"]]
    for accepted, coding in (("gzip", "gzip"), ("gzip, deflate, br", None)):
        answer = client.post(INFER, json=request, headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["content-type"] == "application/json"
        assert "inference-header-content-length" not in answer.headers
        assert [output["name"] for output in answer.json()["outputs"]] == list(OUTPUTS)


def test_pictures_of_one_request_share_batches(service: ServiceProcess, sync: triton.InferenceServerClient) -> None:
    before = {name: service.metric(name) for name in ("duet_images_total", "duet_batches_total")}
    sync.infer("tiny", [pixels_input(*PICTURES * 4)])
    assert service.metric("duet_images_total") == before["duet_images_total"] + 16
    assert service.metric("duet_batches_total") < before["duet_batches_total"] + 16


def test_metrics_count_requests_and_each_picture(service: ServiceProcess, sync: triton.InferenceServerClient) -> None:
    def figures() -> dict[str, float]:
        return {
            "scored": service.metric("duet_requests_total", model="tiny", version="3", outcome="scored"),
            "bad": service.metric("duet_rejected_total", model="tiny", reason="bad-tensor"),
            "unknown": service.metric("duet_rejected_total", model="", reason="unknown-model"),
            "failed": service.metric("duet_requests_total", model="tiny", outcome="failed"),
            "durations": service.metric("duet_request_duration_seconds_count"),
            "anomalous": service.metric("duet_anomalous_total"),
            "decodes": service.metric("duet_stage_duration_seconds_count", stage="decode"),
            "queued": service.metric("duet_stage_duration_seconds_count", stage="queue"),
            "inferences": service.metric("duet_stage_duration_seconds_count", stage="inference"),
            "joint": service.metric("duet_score_count", branch="joint"),
        }

    before = figures()
    sync.infer("tiny", [pixels_input(spotted(), grey(), reddish())])
    sync.infer("tiny", [files_input(encode(grey()), encode(grey()))])
    for name, tensor in (("tiny", triton.InferInput("picture", [1], "BYTES")), ("other", files_input(b"x"))):
        with pytest.raises(InferenceServerException):
            sync.infer(name, [tensor.set_data_from_numpy(np.array([b"x"], dtype=object))])
    with pytest.raises(InferenceServerException):
        sync.infer("tiny", [pixels_input(grey(), failing())])
    growth = {name: value - before[name] for name, value in figures().items()}
    assert growth == {
        "scored": 2,
        "bad": 1,
        "unknown": 1,
        "failed": 1,
        "durations": 0,  # of requests of one picture alone
        "anomalous": 2,
        "decodes": 2,
        "queued": 5,
        "inferences": 5,
        "joint": 5,
    }
    assert service.metric("duet_inflight_requests") == service.metric("duet_queue_depth") == 0


@pytest.mark.parametrize(
    ("status", "reason", "call"),
    [
        ("404", "model 'other' is not served", lambda sync: sync.infer("other", [pixels_input(grey())])),
        ("404", "version '4'", lambda sync: sync.infer("tiny", [pixels_input(grey())], model_version="4")),
        ("404", "model 'other' is not served", lambda sync: sync.get_model_metadata("other")),
        ("404", "No such address", lambda sync: sync.get_log_settings()),
        ("400", "must have [N, 56, 56, 3]", lambda sync: sync.infer("tiny", [triton.InferInput("image", [1, 2], "UINT8")
            .set_data_from_numpy(np.zeros((1, 2), np.uint8))])),
        ("400", "exactly one of", lambda sync: sync.infer("tiny", [pixels_input(grey()), files_input(b"x")])),
        ("400", "exactly one of", lambda sync: sync.infer("tiny", [pixels_input(grey()), pixels_input(grey())])),
        ("400", "no output ['logits']", lambda sync: sync.infer(
            "tiny", [pixels_input(grey())], outputs=[triton.InferRequestedOutput("logits")])),
        ("400", "classification", lambda sync: sync.infer(
            "tiny", [pixels_input(grey())], outputs=[triton.InferRequestedOutput("joint_score", class_count=2)])),
        ("400", "sequences", lambda sync: sync.infer("tiny", [pixels_input(grey())], sequence_id=5)),
        ("400", "65 pictures never fit", lambda sync: sync.infer("tiny", [files_input(*[b"x"] * 65)])),
        ("400", "element 1 of input 'encoded_image': not a readable picture",
            lambda sync: sync.infer("tiny", [files_input(encode(grey()), b"nonsense")])),
        ("413", "250000 pixels", lambda sync: sync.infer("tiny", [files_input(encode(np.zeros((500, 500), np.uint8)))])),
        ("413", "DUET_MAX_BYTES", lambda sync: sync.infer("tiny", [pixels_input(*[grey()] * 40)])),
        ("413", "inflates to more than", lambda sync: sync.infer(
            "tiny", [pixels_input(*[grey()] * 40)], request_compression_algorithm="gzip")),
        ("415", "GIF is not accepted", lambda sync: sync.infer("tiny", [files_input(encode(noise(1), "GIF"))])),
        ("422", "greater than or equal to 1", lambda sync: sync.infer(
            "tiny", [pixels_input(grey())], headers={"X-Request-Timeout-Ms": "0"})),
        ("500", "could not compute", lambda sync: sync.infer("tiny", [pixels_input(grey(), failing())])),
    ],
)  # fmt: skip
def test_refusals_reach_the_sync_client(
    sync: triton.InferenceServerClient, status: str, reason: str, call: Callable[[triton.InferenceServerClient], Any]
) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        call(sync)
    assert refusal.value.status() == status
    assert reason in refusal.value.message()
    check_scores(sync.infer("tiny", [pixels_input(*PICTURES)]), PICTURES)


async def test_refusals_reach_the_async_client(aio: triton_aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="model 'other' is not served") as refusal:
        await aio.infer("other", [pixels_input(grey())], response_compression_algorithm="gzip")
    assert refusal.value.status() == "404"


@pytest.mark.parametrize(
    ("status", "reason", "request_"),
    [
        (400, "JSON", {"content": b""}),
        (400, "JSON", {"content": b"\x00" * 100}),
        (400, "JSON", {"content": b'{"inputs":' + b"[" * 100_000}),
        (400, "10001 errors", {"json": {f"{index}": 0 for index in range(10_000)}}),
        (400, "not the length", {"content": b"{}", "headers": {"Inference-Header-Content-Length": "-2"}}),
        (400, "not the length", {"content": b"{}", "headers": {"Inference-Header-Content-Length": "3"}}),
        (400, "truncated", {"content": gzip.compress(b"{}")[:-3], "headers": {"Content-Encoding": "gzip"}}),
        (400, "is not gzip", {"content": b"{}", "headers": {"Content-Encoding": "gzip"}}),
        (413, "DUET_MAX_BYTES", {"content": bytes(300_001)}),
        (413, "inflates to more", {"content": gzip.compress(bytes(10**8)), "headers": {"Content-Encoding": "gzip"}}),
        (415, "'br'", {"content": b"{}", "headers": {"Content-Encoding": "br"}}),
    ],
)  # fmt: skip
def test_hostile_bodies(client: httpx.Client, status: int, reason: str, request_: dict[str, Any]) -> None:
    check_refusal(client.post(INFER, **request_), status, reason)


def test_limit_holds_for_a_body_of_unknown_length(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    check_refusal(client.post(INFER, content=chunks()), 413, "DUET_MAX_BYTES")


def test_errors_of_the_framework_are_the_protocols(client: httpx.Client) -> None:
    check_refusal(client.get("/v2/nothing"), 404, "No such address")
    check_refusal(client.post("/v2"), 405, "Method not allowed")
    answer = client.get(INFER)
    check_refusal(answer, 405, "Method not allowed")
    assert answer.headers["allow"] == "POST"
    assert client.get("/v2nothing").headers["content-type"] == "application/problem+json"
    spoofed = client.get("/nothing", headers={"Host": "duet/v2/?"})
    assert spoofed.headers["content-type"] == "application/problem+json"
