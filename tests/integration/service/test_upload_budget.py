"""Many clients that upload at once: memory for their bodies has an end, and whoever comes too late is told so."""

from __future__ import annotations

import contextlib
import gzip
import json
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pictures import encode, grey
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.sockets import connect, first_line, head
from tests.traffic import occupy

LIMIT = 300_000


@pytest.fixture
def service(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    with running_service(models, tmp_path / "service.log", max_bytes=LIMIT, **ONE_ENGINE) as service:
        yield service


def test_bodies_that_arrive_together_have_a_limit(service: ServiceProcess) -> None:
    """Eight bodies but for their last byte fit; one of nine does not. When the others have gone there is room again."""
    almost = head("POST /score", content_length=LIMIT) + bytes(LIMIT - 1)
    with contextlib.ExitStack() as connections:
        sockets = [connections.enter_context(connect(service, almost)) for _ in range(9)]
        service.wait_for_metric(1, "duet_rejected_total", reason="uploads-full")
        answered, _, _ = select.select(sockets, [], [], 10)
        (refused,) = answered
        assert "503" in first_line(refused)
    service.wait_for_metric(8, "duet_cancelled_total", stage="upload")
    assert service.client.post("/score", content=encode(grey())).status_code == 200


def test_what_bodies_inflate_to_counts(service: ServiceProcess) -> None:
    """A few kilobytes of gzip each; inflated and waiting for the engine, they fill the budget as plain ones do."""
    size = LIMIT - 1000
    picture = encode(grey()).ljust(size - 4, b"\0")
    inputs = [{"name": "encoded_image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}]
    request = json.dumps({"inputs": inputs}).encode()
    body = gzip.compress(request + len(picture).to_bytes(4, "little") + picture)
    headers = {"Inference-Header-Content-Length": str(len(request)), "Content-Encoding": "gzip"}

    def infer(_: int) -> int:
        return service.client.post("/v2/models/tiny/infer", content=body, headers=headers).status_code

    assert infer(0) == 200
    with ThreadPoolExecutor(12) as pool:
        busy = occupy(service, pool)
        statuses = sorted(pool.map(infer, range(11)))
        busy.result()
    assert statuses == [200] * 8 + [503] * 3
    assert service.metric("duet_rejected_total", reason="uploads-full") == 3
    assert infer(0) == 200
