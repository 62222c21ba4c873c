"""API keys and the rate limit of a real process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_keys import ADMIN_KEY, KEY, LINE_ALONE, SETTING, bearer, digest
from tests.pictures import encode, failing, grey
from tests.service_process import ServiceProcess, running_service
from tests.sockets import connect, first_line, head, until_closed

OPEN = {"/", "/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready"}
PICTURE = encode(grey())


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with a key for a line and one for an administrator, that logs all it can."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with running_service(models, log, api_keys=SETTING, log_level="debug") as service:
        yield service


def check_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:duet:problem:{slug}"


def log_lines(service: ServiceProcess, until: str) -> list[dict[str, Any]]:
    """The service's own lines, once one holds `until`; ONNX Runtime's are no JSON."""
    return [json.loads(line) for line in service.wait_for_log(until) if line.startswith("{")]


def test_every_address_but_the_open_ones_wants_a_key_before_it_reads_a_body(service: ServiceProcess) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    assert len(paths) >= 5
    for path, methods in paths.items():
        for method in methods:
            # The body never comes: an answer that waited for it would be 504.
            request = head(f"{method.upper()} {path.replace('{', '').replace('}', '')}", Content_Length=1000)
            with connect(service, request) as connection:
                assert (" 401 " in first_line(connection)) == (path not in OPEN), (method, path)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"])
def test_open_addresses(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("headers", [bearer(KEY), {"Authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}, bearer(ADMIN_KEY)])
def test_known_key(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/score", content=PICTURE, headers=headers).status_code == 200
    assert client.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(KEY.upper()),
        bearer(KEY[:-1]),
        bearer(digest(KEY)),
        {"Authorization": "Bearer"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "schlüssel".encode()},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
)
def test_missing_or_unknown_key(client: httpx.Client, headers: dict[str, str | bytes]) -> None:
    for answer in (
        client.post("/score", content=PICTURE, headers=headers, params={"model": "no-such-model"}),
        client.post("/score", content=b"", headers=headers, params={"threshold": "no number"}),
        client.get("/models", headers=headers),
        client.get("/models", headers=headers, params={"X-API-Key": KEY}),
    ):
        check_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_refused_scoring_requests_are_counted_without_a_model(service: ServiceProcess) -> None:
    counted = {"reason": "unauthorized", "model": "", "version": ""}
    before = service.metric("duet_rejected_total", **counted)
    service.client.post("/score", content=PICTURE, params={"model": "tiny"})
    service.client.get("/models")
    assert service.metric("duet_rejected_total", **counted) == before + 1


def test_log_names_the_client_and_never_shows_a_key(service: ServiceProcess) -> None:
    headers = bearer(KEY) | {"X-Request-ID": "the-line"}
    service.client.post("/score", content=encode(failing()), headers=headers)  # with a traceback, which has seen the request
    service.client.get("/models", headers={"X-API-Key": "mistyped-secret", "X-Request-ID": "the-stranger"})
    lines = log_lines(service, "the-stranger")
    of_line = [line for line in lines if line.get("request_id") == "the-line"]
    assert {line["event"] for line in of_line} >= {"request failed", "request"}
    assert {line["client"] for line in of_line} == {"line-4"}
    assert "client" not in lines[-1]
    assert "secret" not in service.log.read_text()


def test_console_log_never_shows_a_key(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "log", api_keys=SETTING, log_format="console", log_level="debug") as service:
        service.client.post("/score", content=encode(failing()), headers=bearer(KEY) | {"X-Request-ID": "the-line"})
        log = "\n".join(service.wait_for_log("path=/score"))
    assert "Traceback" in log
    assert "client=line-4" in log
    assert "secret" not in log


def test_pipelined_request_is_not_logged_under_the_name_of_the_one_before(service: ServiceProcess) -> None:
    first = head("GET /models", X_Request_ID="pipe-1", X_API_Key=KEY)
    second = head("GET /models", X_Request_ID="pipe-2", Connection="close")
    with connect(service, first + second) as connection:
        received = until_closed(connection)
    assert received.index("200 OK") < received.index("401 Unauthorized")
    lines = log_lines(service, "pipe-2")
    assert {line["request_id"]: line.get("client") for line in lines if "pipe-" in line.get("request_id", "")} == {
        "pipe-1": "line-4",
        "pipe-2": None,
    }


def test_description_declares_both_ways_to_send_a_key(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    schemes = description["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("name")) for scheme in schemes.values()} == {("http", None), ("apiKey", "X-API-Key")}
    score = description["paths"]["/score"]["post"]
    assert score["security"] == [{name: []} for name in schemes]  # either of them
    assert {"401", "429"} <= set(score["responses"])
    assert "security" not in description["paths"]["/metrics"]["get"]


@pytest.fixture
def slow_service(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service that lets each client score once in 1000 s."""
    with running_service(models, tmp_path / "service.log", rate_limit=0.001) as service:
        yield service


def test_rate_limit_of_an_address(slow_service: ServiceProcess) -> None:
    client = slow_service.client
    assert client.post("/score", content=PICTURE).status_code == 200
    refused = client.post("/score", content=PICTURE, params={"model": "tiny"})
    check_problem(refused, 429, "rate-limited")
    assert 900 < int(refused.headers["retry-after"]) <= 1000
    assert slow_service.metric("duet_rejected_total", reason="rate-limited", model="", version="") == 1
    for path in ("/health/live", "/health/ready", "/metrics", "/models"):
        assert client.get(path).status_code == 200
    behind_proxy = {"X-Forwarded-For": "192.0.2.1"}  # uvicorn believes it from this machine
    assert client.post("/score", content=PICTURE, headers=behind_proxy).status_code == 200


def test_rate_limit_of_a_key(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "log", api_keys=SETTING, rate_limit=0.001) as service:
        for key in (KEY, ADMIN_KEY):
            assert service.client.post("/score", content=PICTURE, headers=bearer(key)).status_code == 200
            check_problem(service.client.post("/score", content=PICTURE, headers=bearer(key)), 429, "rate-limited")
        check_problem(service.client.post("/score", content=PICTURE), 401, "unauthorized")  # costs nobody a request


def test_keys_without_an_administrator_still_score(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "log", api_keys=LINE_ALONE) as service:
        assert service.client.post("/score", content=PICTURE, headers=bearer(KEY)).status_code == 200
