"""Many times what the service can do, for a while. How long answers take under it is the soak's business: benchmarks/soak."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.pictures import encode, slow
from tests.service_process import running_service

CLIENTS, SECONDS = 60, 4.0
DEADLINE_MS = 1000
PICTURE = encode(slow(steps=4))


async def post_without_pause(url: str, until: float) -> list[httpx.Response]:
    answers = []
    headers = {"X-Request-Timeout-Ms": str(DEADLINE_MS)}
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=headers) as client:
        while time.monotonic() < until:
            answers.append(await client.post("/score?heatmap=none", content=PICTURE))
    return answers


async def test_whoever_is_accepted_is_answered_or_told_that_it_is_late_and_the_rest_are_refused(
    models: Path, tmp_path: Path
) -> None:
    with running_service(models, tmp_path / "service.log", max_queue=6, max_batch_size=2) as service:
        until = time.monotonic() + SECONDS
        clients = [post_without_pause(f"http://127.0.0.1:{service.port}", until) for _ in range(CLIENTS)]
        answers = [answer for client in await asyncio.gather(*clients) for answer in client]
        kinds = Counter(answer.status_code for answer in answers)
        assert set(kinds) <= {200, 503, 504}
        assert min(kinds[200], kinds[503]) > 0  # else it was no overload
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["type"] == "urn:duet:problem:queue-full"
                assert int(answer.headers["Retry-After"]) >= 1
        assert service.metric("duet_requests_total", outcome="scored") == kinds[200]
        assert service.metric("duet_requests_total", outcome="rejected") == kinds[503] + kinds[504]
        assert service.metric("duet_rejected_total", reason="queue-full") == kinds[503]
        assert service.metric("duet_queue_depth") == service.metric("duet_inflight_requests") == 0
        assert service.client.post("/score", content=PICTURE).status_code == 200
        assert service.client.get("/health/ready").status_code == 200
