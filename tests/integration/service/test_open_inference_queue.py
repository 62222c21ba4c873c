"""Inference requests of several pictures that share a real process's queue with others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.pictures import encode, grey, noise
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.traffic import connection_with_request, occupy, wait_until_queued

INFER = "/v2/models/tiny/infer"


@pytest.fixture
def service(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A fresh service, whose counters start at 0, with room for three images in the queue."""
    with running_service(models, tmp_path / "service.log", max_queue=3, **ONE_ENGINE) as service:
        yield service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def message(*files: bytes, timeout: int | None = None) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with these picture files."""
    tensor = triton.InferInput("encoded_image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object))
    body, length = triton.InferenceServerClient.generate_request_body([tensor], timeout=timeout)
    return body, {"Inference-Header-Content-Length": str(length)}


def infer(service: ServiceProcess, *files: bytes, timeout: int | None = None) -> httpx.Response:
    body, headers = message(*files, timeout=timeout)
    return service.client.post(INFER, content=body, headers=headers)


def test_full_queue_admits_all_pictures_of_a_request_or_none(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    waiting = [pool.submit(service.client.post, "/score", content=encode(noise(seed))) for seed in range(2)]
    service.wait_for_metric(2, "duet_queue_depth")
    refused = infer(service, encode(grey()), encode(grey()))
    assert refused.status_code == 503
    assert list(refused.json()) == ["error"]
    assert "DUET_MAX_QUEUE" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) > 0
    assert service.metric("duet_queue_depth") == 2
    assert service.metric("duet_rejected_total", reason="queue-full") == 1
    waiting.append(pool.submit(infer, service, encode(grey())))
    service.wait_for_metric(3, "duet_queue_depth")
    unread = service.client.post(INFER, content=b"nonsense")
    assert unread.status_code == 503  # a full queue does not even parse
    assert [request.result().status_code for request in (busy, *waiting)] == [200] * 4
    assert service.metric("duet_images_total") == 4
    assert infer(service, *[encode(grey())] * 3).status_code == 200  # as many as the queue holds


def test_deadline_of_the_message_is_in_microseconds(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        tensor = triton.InferInput("image", [2, 56, 56, 3], "UINT8")
        tensor.set_data_from_numpy(np.stack([grey(), grey()]))
        with pytest.raises(InferenceServerException, match="not done within 500 ms; it was at the stage 'queue'") as late:
            client.infer("tiny", [tensor], timeout=500_000)
    assert late.value.status() == "504"
    assert service.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert service.metric("duet_images_total") == 1  # the late ones were never computed
    assert service.metric("duet_rejected_total", reason="deadline-passed") == 1


def test_deadline_of_the_header(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    body, headers = message(encode(grey()), timeout=60_000_000)
    late = service.client.post(INFER, content=body, headers=headers | {"X-Request-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert "not done within 50 ms" in late.json()["error"]
    assert busy.result().status_code == 200


def test_client_that_leaves_takes_all_its_pictures_out_of_the_queue(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    body, headers = message(encode(grey()), encode(grey()))
    fields = {name.replace("-", "_"): value for name, value in headers.items()}
    with connection_with_request(service, body, INFER, **fields):
        service.wait_for_metric(2, "duet_queue_depth")
        wait_until_queued(service)
    service.wait_for_metric(1, "duet_cancelled_total", stage="queue")
    assert service.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert service.metric("duet_images_total") == 1


def test_one_bad_file_takes_the_others_out_of_the_queue(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    refused = infer(service, encode(grey()), b"nonsense", encode(grey()))
    assert refused.status_code == 400
    assert "element 1 of input 'encoded_image'" in refused.json()["error"]
    assert not busy.done()
    assert service.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert service.metric("duet_images_total") == 1


def test_sigterm_lets_accepted_pictures_finish(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    waiting = pool.submit(infer, service, encode(grey()), encode(noise(1)))
    service.wait_for_metric(2, "duet_queue_depth")
    service.terminate()
    assert busy.result().status_code == 200
    assert waiting.result().status_code == 200
    assert service.exit_code() == 0
