"""A service that has little memory left, and one that has had large pictures."""

from __future__ import annotations

import re
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile_pictures import save
from tests.pictures import encode, grey
from tests.service_process import PATIENCE, ServiceProcess, running_service

MEGABYTE = 2**20
ROOM = 96 * MEGABYTE  # enough for small pictures

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, and sets limits as Linux does")


def memory(service: ServiceProcess, field: str) -> int:
    """Bytes, from the kernel's status of the process."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024


def test_picture_without_room_is_refused_and_the_next_is_answered(models: Path, tmp_path: Path) -> None:
    large = save(Image.new("RGB", (7000, 7000)), "PNG")
    with running_service(models, tmp_path / "service.log") as service:
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        limit = memory(service, "VmSize") + ROOM
        resource.prlimit(service.process.pid, resource.RLIMIT_AS, (limit, limit))
        refused = service.client.post("/score", content=large)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:duet:problem:out-of-memory"
        assert int(refused.headers["retry-after"]) > 0
        assert service.metric("duet_rejected_total", reason="out-of-memory") == 1
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        assert "Traceback" not in service.log.read_text(encoding="utf-8")


def test_memory_of_large_pictures_is_given_back(models: Path, tmp_path: Path) -> None:
    large = encode(np.full((3000, 4000, 3), 128, dtype=np.uint8), "JPEG")
    with running_service(models, tmp_path / "service.log", decode_threads=4) as service, ThreadPoolExecutor(12) as pool:
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        before = memory(service, "VmRSS")
        pictures = [large, encode(grey())] * 12
        assert {a.status_code for a in pool.map(lambda p: service.client.post("/score", content=p), pictures)} == {200}
        deadline = time.monotonic() + PATIENCE
        while (after := memory(service, "VmRSS")) > before + 64 * MEGABYTE:
            assert time.monotonic() < deadline, f"{before / MEGABYTE:.0f} MB before, {after / MEGABYTE:.0f} MB after"
            time.sleep(0.1)
