"""Many clients that upload at once: memory for their bodies has an end, and whoever comes too late is told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pictures import encode, grey
from tests.service_process import ServiceProcess, running_service
from tests.sockets import connect, first_line, head

LIMIT = 300_000


@pytest.fixture
def service(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    with running_service(models, tmp_path / "service.log", max_bytes=LIMIT) as service:
        yield service


def test_bodies_that_arrive_together_have_a_limit(service: ServiceProcess) -> None:
    """Eight bodies but for their last byte fit; the ninth does not. When the eight have gone there is room again."""
    almost = head("POST /score", content_length=LIMIT) + bytes(LIMIT - 1)
    with contextlib.ExitStack() as connections:
        for _ in range(8):
            connections.enter_context(connect(service, almost))
        service.wait_for_metric(0, "duet_queue_depth")
        late = connections.enter_context(connect(service, almost))
        assert "503" in first_line(late)
        assert service.metric("duet_rejected_total", reason="uploads-full") == 1
    service.wait_for_metric(8, "duet_cancelled_total", stage="upload")
    assert service.client.post("/score", content=encode(grey())).status_code == 200
