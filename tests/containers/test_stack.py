"""The Compose project as it runs: `make test-containers` brings it up, runs this, and takes it down."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.containers

ROOT = Path(__file__).parents[2]
DUET, PROMETHEUS, GRAFANA = "http://127.0.0.1:8000", "http://127.0.0.1:9090", "http://127.0.0.1:3000"
PATIENCE = 120.0  # seconds


def compose(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose`."""
    return subprocess.run(("docker", "compose", *words), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


def in_container(service: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a running container."""
    return compose("exec", "-T", service, *command)


def query(expression: str) -> list[dict[str, Any]]:
    """What Prometheus knows of an expression now."""
    answer = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": expression}).raise_for_status().json()
    return list(answer["data"]["result"])


def value(expression: str) -> float:
    """The one sample of an expression; 0 while there is none."""
    samples = query(expression)
    return float(samples[0]["value"][1]) if samples else 0.0


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    """Return once it has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(otherwise)
        time.sleep(1)


def wait_for(expression: str, expected: float) -> None:
    """Return once Prometheus has scraped this value."""
    wait_until(lambda: value(expression) == expected, f"{expression} is not {expected} in Prometheus")


def is_ready() -> bool:
    """Whether Duet answers requests."""
    try:
        return httpx.get(f"{DUET}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_the_demo_line_streams_into_the_dashboards() -> None:
    if "demo-camera" not in compose("ps", "--services").stdout.split():
        pytest.skip("the profile `demo` is not up")
    wait_until(lambda: value('sum(duet_score_count{branch="joint"})') >= 20, "the demo line's parts are not in Prometheus")
    assert compose("stop", "demo-camera").returncode == 0  # so that the next test can count


def test_posted_pictures_are_counted_in_prometheus() -> None:
    scored = 'sum(duet_requests_total{outcome="scored"})'
    anomalous = "sum(duet_anomalous_total)"
    wait_for('up{job="duet"}', 1)
    before = httpx.get(f"{DUET}/metrics").text.splitlines()  # not the last scrape: the test may have run before
    already = sum(float(line.split()[-1]) for line in before if line.startswith("duet_requests_total{") and "scored" in line)
    flagged = sum(float(line.split()[-1]) for line in before if line.startswith("duet_anomalous_total{"))
    pictures = sorted((ROOT / "models/demo/samples").glob("*.png"))
    answers = [
        httpx.post(f"{DUET}/score", content=file.read_bytes(), timeout=60).raise_for_status().json() for file in pictures
    ]
    wait_for(scored, already + len(pictures))
    wait_for(anomalous, flagged + sum(answer["anomalous"] for answer in answers))
    assert value("sum(duet_model_ready)") == 1


def test_rules_are_loaded_and_healthy() -> None:
    groups = httpx.get(f"{PROMETHEUS}/api/v1/rules").raise_for_status().json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert [rule for rule in rules if rule["health"] == "err"] == []


def test_grafana_answers() -> None:
    assert httpx.get(f"{GRAFANA}/api/health").raise_for_status().json()["database"] == "ok"


def test_the_service_has_no_rights() -> None:
    status = in_container("duet", "python", "-c", "print(open('/proc/1/status').read())").stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["10001"] * 4
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


@pytest.mark.parametrize("folder", ["/", "/opt/duet", "/models"])
def test_nothing_can_be_written(folder: str) -> None:
    written = in_container("duet", "python", "-c", f"open('{folder}/written', 'w')")
    assert written.returncode != 0
    assert "Read-only file system" in written.stderr


def test_health_check_says_why_not() -> None:
    healthy = in_container("duet", "python", "/opt/duet/healthcheck.py")
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
    failing = in_container("duet", "env", "DUET_PORT=1", "python", "/opt/duet/healthcheck.py")
    assert failing.returncode == 1
    assert "Connection refused" in failing.stderr


def test_stops_by_itself_and_comes_back() -> None:
    assert compose("stop", "duet").returncode == 0
    (stopped,) = compose("ps", "--all", "--format", "{{.ExitCode}}", "duet").stdout.split()
    assert stopped == "0"  # 137 is one that had to be killed
    assert compose("start", "duet").returncode == 0
    wait_until(is_ready, "not ready after a restart")
    assert "Traceback" not in compose("logs", "duet").stdout


def test_the_archive_can_be_written() -> None:
    written = in_container("duet", "python", "-c", "import tempfile; tempfile.TemporaryFile(dir='/archive').write(b'1')")
    assert written.returncode == 0, written.stderr
