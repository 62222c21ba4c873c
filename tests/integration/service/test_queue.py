"""Requests that share a real process: batches, a full queue, deadlines, clients that leave."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.cores import usable_cores
from tests.pictures import encode, grey, noise, slow, spotted
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.traffic import connection_with_request, occupy, wait_until_queued


@pytest.fixture
def service(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A fresh service, whose counters start at 0, with room for three images in the queue."""
    with running_service(models, tmp_path / "service.log", max_queue=3, **ONE_ENGINE) as service:
        yield service


def test_scores_do_not_depend_on_what_shares_the_batch(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    pictures = [encode(noise(seed, height=70, width=90) // np.array((1, 1, 2), dtype=np.uint8)) for seed in range(3)]
    alone = [service.client.post("/score", content=picture).json() for picture in pictures]
    busy = occupy(service, pool)
    together = list(pool.map(lambda picture: service.client.post("/score", content=picture).json(), pictures))
    busy.result()
    assert service.metric("duet_images_total") == 7
    assert service.metric("duet_batches_total") == 5
    for one, other in zip(alone, together, strict=True):
        assert other["raw"] == pytest.approx(one["raw"], rel=1e-5)
        assert other["heatmap"] == one["heatmap"]


@pytest.mark.skipif(usable_cores() < 2, reason="a single core has a single engine")
def test_a_second_engine_answers_while_the_first_computes(models: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_service(models, tmp_path / "service.log") as service:
        busy = occupy(service, pool)
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        assert not busy.done()
        assert busy.result().status_code == 200


def test_full_queue(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    waiting = [pool.submit(service.client.post, "/score", content=encode(grey())) for _ in range(3)]
    service.wait_for_metric(3, "duet_queue_depth")
    refused = service.client.post("/score", content=encode(grey()))
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:duet:problem:queue-full"
    assert int(refused.headers["retry-after"]) > 0
    assert service.metric("duet_rejected_total", reason="queue-full") == 1
    assert [request.result().status_code for request in (busy, *waiting)] == [200] * 4


def test_deadline(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    late = service.client.post("/score", content=encode(spotted()), headers={"X-Request-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert late.json()["type"] == "urn:duet:problem:deadline-passed"
    assert busy.result().status_code == 200
    assert service.metric("duet_images_total") == 1  # the late one was never computed


def test_client_that_leaves_is_taken_out_of_the_queue(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    with connection_with_request(service, encode(grey())):
        wait_until_queued(service)
    service.wait_for_metric(1, "duet_cancelled_total", stage="queue")
    assert service.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert service.metric("duet_images_total") == 1


def test_client_that_leaves_during_its_inference_is_counted_there(service: ServiceProcess) -> None:
    with connection_with_request(service, encode(slow())):
        service.wait_for_metric(1, "duet_images_total")
    service.wait_for_metric(1, "duet_cancelled_total", stage="inference")
    assert service.client.post("/score", content=encode(grey())).status_code == 200


def test_sigterm_lets_accepted_requests_finish(service: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(service, pool)
    waiting = [pool.submit(service.client.post, "/score", content=encode(noise(seed))) for seed in range(2)]
    service.wait_for_metric(2, "duet_queue_depth")
    service.terminate()
    assert [request.result().status_code for request in (busy, *waiting)] == [200] * 3
    assert service.exit_code() == 0
    with pytest.raises(httpx.TransportError):
        service.client.get("/health/live")
