"""A service whose address space is used up."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
from PIL import Image

from tests.hostile_pictures import save
from tests.pictures import encode, grey
from tests.service_process import running_service

ROOM = 96 * 2**20  # bytes: enough for small pictures


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
def test_picture_without_room_is_refused_and_the_next_is_answered(models: Path, tmp_path: Path) -> None:
    large = save(Image.new("RGB", (7000, 7000)), "PNG")
    with running_service(models, tmp_path / "service.log") as service:
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="utf-8")
        used = int(re.findall(r"VmSize:\s+(\d+) kB", status)[0]) * 1024
        resource.prlimit(service.process.pid, resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        refused = service.client.post("/score", content=large)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:duet:problem:out-of-memory"
        assert int(refused.headers["retry-after"]) > 0
        assert service.metric("duet_rejected_total", reason="out-of-memory") == 1
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        assert "Traceback" not in service.log.read_text(encoding="utf-8")
