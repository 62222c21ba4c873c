"""Clients that are slow on purpose, at a real process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.api_keys import ADMIN_KEY, SETTING
from tests.pictures import encode, grey
from tests.service_process import ServiceProcess, running_service
from tests.sockets import connect, head, until_closed

FOREVER = b"x" * 1000  # more than any test waits for, at a byte a second


def test_every_slow_sender_is_cut_off_and_keeps_nobody_waiting(service: ServiceProcess) -> None:
    late = {"Content_Length": 1000, "X_Request_Timeout_Ms": 300}
    chunked = {"Transfer_Encoding": "chunked", "X_Request_Timeout_Ms": 300}
    senders = {
        "nothing": (b"", b"", ""),
        "header": (b"GET /health/live HTTP/1.1\r\nX-Slow: ", FOREVER, ""),
        "empty lines": (b"", b"\r\n" * 1000, ""),
        "header after an answer": (head("GET /health/live"), b"GET /" + FOREVER, "200 OK"),
        "no body": (head("POST /score", **late), b"", "504 Gateway Timeout"),
        "body": (head("POST /score", **late), FOREVER, "504 Gateway Timeout"),
        "chunk": (head("POST /score", **chunked) + b"3e8\r\n", FOREVER, "504 Gateway Timeout"),
        "chunk's header": (head("POST /score", **chunked), b"0" * 1000, "504 Gateway Timeout"),
        "body that nobody reads": (head("POST /nothing", Content_Length=1000), FOREVER, "404 Not Found"),
        "body of a wrong type": (head("POST /score", Content_Length=1000, Content_Type="text/plain"), FOREVER, "415 "),
    }
    with ThreadPoolExecutor(len(senders)) as pool:
        connections = {name: connect(service, first) for name, (first, _, _) in senders.items()}
        received = {name: pool.submit(until_closed, connections[name], drip=drip) for name, (_, drip, _) in senders.items()}
        assert service.client.post("/score", content=encode(grey())).status_code == 200
        answers = {name: future.result().partition("\r\n")[0] for name, future in received.items()}
    for connection in connections.values():
        connection.close()
    for name, (_, _, expected) in senders.items():
        assert answers[name].startswith(f"HTTP/1.1 {expected}" if expected else ""), name
        assert bool(answers[name]) == bool(expected), name
    assert any('"event": "slow connection closed"' in line for line in service.wait_for_log("slow connection closed"))
    assert service.metric("duet_rejected_total", reason="deadline-passed") == 4
    assert service.metric("duet_inflight_requests") == 0


def test_a_body_that_never_comes_is_waited_for_until_the_deadline_on_every_route(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", request_timeout_ms=300, api_keys=SETTING) as service:
        for path in ("/v2/repository/index", "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload"):
            with connect(service, head(f"POST {path}", Content_Length=1000, Authorization=f"Bearer {ADMIN_KEY}")) as connection:
                assert "504 Gateway Timeout" in until_closed(connection), path
