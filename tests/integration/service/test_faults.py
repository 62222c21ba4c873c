"""Faults, brought about by real means in a real process."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.api_keys import ADMIN_KEY, SETTING, bearer
from tests.hostile_pictures import many_scans
from tests.pictures import encode, failing, grey, slow, spotted
from tests.service_process import ONE_ENGINE, PATIENCE, ServiceProcess, running_service
from tests.tiny_model import write_tiny_model

SERVICE = Path(__file__).parents[3] / "service"


@pytest.fixture
def own_models(tmp_path: Path) -> Path:
    """A repository that a test may harm."""
    write_tiny_model(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def slow_to_decode() -> bytes:
    """A JPEG of 150 kB with almost as many scans as are allowed: seconds of work for a thread."""
    return many_scans(85, 6_000)


def post(service: ServiceProcess, picture: bytes) -> httpx.Response:
    return service.client.post("/score", content=picture)


def wait_until_answered(service: ServiceProcess) -> None:
    """Return once a plain picture is answered, where a busy machine may not do so within the deadline at first."""
    deadline = time.monotonic() + PATIENCE
    while (answer := post(service, encode(grey()))).status_code != 200:
        assert answer.json()["type"] == "urn:duet:problem:deadline-passed"
        assert time.monotonic() < deadline


def post_until_late(service: ServiceProcess, picture: bytes, stage: str) -> None:
    """Post a picture to a service whose deadline passes in 100 ms, until it passes at this stage: on a busy machine, it may
    do so before."""
    deadline = time.monotonic() + PATIENCE
    detail = ""
    while f"'{stage}'" not in detail:
        assert time.monotonic() < deadline
        answer = post(service, picture)
        assert answer.status_code == 504, answer.text
        detail = answer.json()["detail"]


def stick_the_engine(service: ServiceProcess) -> None:
    """Return once the engine computes a picture for seconds of which nobody waits for the answer any more."""
    post_until_late(service, encode(slow(250)), "inference")


def stick_the_decode_thread(service: ServiceProcess) -> None:
    """The same of a thread for pictures."""
    post_until_late(service, slow_to_decode(), "decode")


def test_engine_that_raises_in_the_middle_of_a_batch(models: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with running_service(models, tmp_path / "service.log", **ONE_ENGINE) as service:
        busy = pool.submit(post, service, encode(slow()))
        service.wait_for_metric(1, "duet_images_total")
        batch = [pool.submit(post, service, encode(picture)) for picture in (grey(), failing(), spotted())]
        service.wait_for_metric(3, "duet_queue_depth")
        for answer in (request.result() for request in batch):
            assert answer.status_code == 500
            assert answer.json()["type"] == "urn:duet:problem:inference-failed"
        assert busy.result().status_code == 200
        assert post(service, encode(grey())).status_code == 200
        assert service.metric("duet_requests_total", outcome="failed") == 3
        assert service.client.get("/health/ready").status_code == 200
        service.wait_for_log("inference failed")


@pytest.mark.parametrize("rewrite", [b"", b"broken"], ids=["emptied", "overwritten"])
def test_model_file_that_is_written_over_while_it_serves(own_models: Path, tmp_path: Path, rewrite: bytes) -> None:
    with running_service(own_models, tmp_path / "service.log") as service:
        before = post(service, encode(spotted())).json()
        (own_models / "tiny/1/model.onnx").write_bytes(rewrite)
        after = post(service, encode(spotted())).json()
        assert (after["raw"], after["heatmap"]) == (before["raw"], before["heatmap"])


def test_models_folder_that_disappears_while_it_serves(own_models: Path, tmp_path: Path) -> None:
    with running_service(own_models, tmp_path / "service.log") as service:
        own_models.rename(tmp_path / "away")
        assert post(service, encode(grey())).status_code == 200
        assert service.client.get("/models").json() == {"models": []}
        assert service.client.get("/health/ready").status_code == 200


def test_decode_thread_that_is_stuck(models: Path, tmp_path: Path) -> None:
    """Its request gets 504; with no thread left the service is not ready, until the thread comes back."""
    settings = {"decode_threads": 1, "request_timeout_ms": 100, "max_pixels": 10**9}
    with running_service(models, tmp_path / "service.log", **settings) as service:
        stick_the_decode_thread(service)
        assert service.metric("duet_queue_depth") == 0
        service.wait_for_metric(0, "duet_ready")  # the thread may have begun a while after its request
        for path in ("/health/ready", "/health/live"):
            stuck = service.client.get(path)
            assert stuck.status_code == 503
            assert "DUET_DECODE_THREADS" in stuck.json()["detail"]
        service.wait_until_ready()
        wait_until_answered(service)


def test_sigterm_does_not_wait_for_a_stuck_decode_thread(models: Path, tmp_path: Path) -> None:
    settings = {"decode_threads": 1, "request_timeout_ms": 100, "max_pixels": 10**9}
    with running_service(models, tmp_path / "service.log", **settings) as service:
        stick_the_decode_thread(service)
        service.terminate()
        assert service.exit_code() == 0
        service.wait_for_log("leaving threads behind")


def test_engine_that_is_stuck(models: Path, tmp_path: Path) -> None:
    """It computes for longer than any request may take: no answer comes from it, until it comes back."""
    with running_service(models, tmp_path / "service.log", request_timeout_ms=100, **ONE_ENGINE) as service:
        stick_the_engine(service)
        service.wait_for_metric(0, "duet_model_ready")
        assert service.metric("duet_model_engines_lost") == 1
        for path in ("/health/ready", "/health/live", "/v2/health/live"):
            assert service.client.get(path).status_code == 503
        refused = post(service, encode(grey()))
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:duet:problem:no-model")
        assert "restart the service" in refused.json()["detail"]
        assert service.client.get("/models").json()["models"][0]["versions"][0]["state"] == "failed"
        service.wait_until_ready()
        assert service.client.get("/health/live").status_code == 200
        wait_until_answered(service)
        assert service.metric("duet_model_engines_lost") == 0


def test_new_version_does_not_wait_for_a_stuck_engine(own_models: Path, tmp_path: Path) -> None:
    with running_service(
        own_models, tmp_path / "service.log", request_timeout_ms=100, api_keys=SETTING, **ONE_ENGINE
    ) as service:
        service.client.headers.update(bearer(ADMIN_KEY))
        stick_the_engine(service)
        assert service.client.post("/v2/repository/models/tiny/load").status_code == 200
        service.wait_for_log("leaving an engine behind that is stuck")
        wait_until_answered(service)


def test_sigterm_does_not_wait_for_a_stuck_engine(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", request_timeout_ms=100, **ONE_ENGINE) as service:
        stick_the_engine(service)
        service.terminate()
        assert service.exit_code() == 0
        service.wait_for_log("leaving threads behind")


def test_log_on_a_full_disk(models: Path) -> None:
    """/dev/full refuses every byte: answers must not depend on log lines."""
    with running_service(models, Path("/dev/full")) as service:
        assert post(service, encode(spotted())).status_code == 200
        assert post(service, b"not a picture").status_code == 400
        assert service.client.get("/health/ready").status_code == 200


def test_sigterm_under_load_loses_no_accepted_request(models: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Eight clients post without pause. What was accepted is answered whole; then connections are refused."""
    picture = encode(spotted())
    started = threading.Barrier(9)

    def client(url: str) -> list[int]:
        statuses: list[int] = []
        with httpx.Client(base_url=url, timeout=60) as connection:
            statuses.append(connection.post("/score", content=picture).status_code)
            started.wait()
            while True:
                try:
                    answer = connection.post("/score", content=picture)
                except httpx.TransportError:  # refused, or closed before it was accepted: the log is compared below
                    return statuses
                statuses.append(answer.status_code)
                if answer.status_code != 200:
                    assert answer.json()["type"] == "urn:duet:problem:draining"
                    return statuses

    with running_service(models, tmp_path / "service.log") as service:
        clients = [pool.submit(client, f"http://127.0.0.1:{service.port}") for _ in range(8)]
        started.wait()
        service.terminate()
        answers = [status for statuses in (request.result() for request in clients) for status in statuses]
        assert service.exit_code() == 0
        assert set(answers) <= {200, 503}
        lines = service.wait_for_log('"event": "request"')
        accepted = sum('"path": "/score"' in line and '"status": 200' in line for line in lines)
        assert answers.count(200) == accepted


def test_sigkill_and_restart(own_models: Path, tmp_path: Path) -> None:
    write_tiny_model(own_models, "other", version=4)
    with running_service(own_models, tmp_path / "first.log") as service:
        before = service.client.get("/models").json()
        service.process.send_signal(signal.SIGKILL)
        service.exit_code()
    with running_service(own_models, tmp_path / "second.log") as again:
        assert again.client.get("/models").json() == before
        assert post(again, encode(grey())).status_code == 200


def test_a_clock_that_jumps_cannot_matter() -> None:
    """Deadlines, ages and durations are of the monotonic clock. Another one is read only to say when something was."""
    found = {
        (path.relative_to(SERVICE).as_posix(), match.group())
        for path in SERVICE.rglob("*.py")
        for match in re.finditer(r"\btime\.time(_ns)?\(|datetime\.\w*now\(|perf_counter", path.read_text())
    }
    assert found == {
        ("reporting.py", "datetime.now("),  # when a picture was scored, which is its day in the archive
        ("archive.py", "datetime.now("),  # which days are too old
        ("routes/feedback.py", "datetime.now("),  # when it was labelled
        ("tracing.py", "time.time_ns("),  # a collector wants spans since 1970
    }
