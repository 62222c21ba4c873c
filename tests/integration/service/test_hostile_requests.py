"""Requests that mean harm, at a real process."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.pictures import encode, grey
from tests.service_process import ServiceProcess, running_service
from tests.sockets import connect, first_line, head, until_closed
from tests.tiny_model import write_tiny_model

PICTURE = encode(grey())


def check_alive(service: ServiceProcess) -> None:
    assert service.client.post("/score", content=PICTURE).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 5x",
        "Content-Length: 0x5",
        "Content-Length: 1e3",
        "Content-Length: ",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "No colon",
        " Folded: x",
        "Null: \0",
        "Control\x01: x",
    ],
)
def test_header_that_can_be_read_in_two_ways_is_refused(service: ServiceProcess, fields: str) -> None:
    with connect(service, f"POST /score HTTP/1.1\r\nHost: duet\r\n{fields}\r\n\r\nhello".encode()) as connection:
        assert until_closed(connection).startswith("HTTP/1.1 400 ")
    check_alive(service)


def test_what_follows_a_body_is_another_request(service: ServiceProcess) -> None:
    request = head("POST /score", Content_Length=len(PICTURE)) + PICTURE + b"the rest\r\n\r\n"
    with connect(service, request) as connection:
        assert "HTTP/1.1 400 " in until_closed(connection)
    check_alive(service)


def test_body_shorter_than_it_says_is_a_client_that_left(service: ServiceProcess) -> None:
    left = service.metric("duet_cancelled_total", stage="upload")
    connect(service, head("POST /score", Content_Length=len(PICTURE) + 1) + PICTURE).close()
    service.wait_for_metric(left + 1, "duet_cancelled_total", stage="upload")


@pytest.mark.parametrize("declared", [300_001, 10**15])
def test_declared_length_over_the_limit_is_refused_before_the_body(service: ServiceProcess, declared: int) -> None:
    with connect(service, head("POST /score", Content_Length=declared)) as connection:
        assert first_line(connection).startswith("HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"", b"\r\n"),
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\nX-Long: ", b"x"),
        (b"GET / HTTP/1.1\r\n", b"X-Many: x\r\n"),
        (head("POST /score", Transfer_Encoding="chunked") + b"1;", b"x"),
        (head("POST /score", Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\nX-Long: ", b"x"),
        (head("POST /score", Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n", b"X-Many: x\r\n"),
    ],
    ids=["lines", "address", "field", "fields", "extension", "trailer", "trailers"],
)
def test_header_without_end_is_refused(service: ServiceProcess, start: bytes, endless: bytes) -> None:
    with connect(service, start) as connection, pytest.raises(ConnectionError):
        connection.sendall(endless * (64 * 2**20 // len(endless)))
    check_alive(service)


def test_headers_of_one_connection_are_not_added_up(client: httpx.Client) -> None:
    for _ in range(100):
        assert client.get("/health/live", headers={"X-Long": "x" * 2000}).status_code == 200


DISPOSITION = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
TEXT = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
END = b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("status", "slug", "parameters", "body"),
    [
        (422, "bad-parameter", "", (DISPOSITION + b"\r\n\r\n") * 4000 + b"--x--\r\n"),
        (422, "bad-parameter", "", (TEXT + b"\r\n") * 4000 + b"--x--\r\n"),
        (400, "malformed-body", "", DISPOSITION + b"X-Many: x\r\n" * 20_000 + b"\r\n" + PICTURE + END),
        (400, "malformed-body", "", DISPOSITION + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n" + PICTURE + END),
        (400, "malformed-body", "", b"--x\r\n" * 40_000),
        (400, "malformed-body", "", b'--x\r\nContent-Disposition: form-data; name="' + b"x" * 200_000 + b'"\r\n\r\n' + END),
        (400, "malformed-body", "x" * 10_000, DISPOSITION + b"\r\n" + PICTURE + END),
        # Python would decode this one in quadratic time, and that one never: a picture is no text.
        (400, "unreadable-image", "; charset=punycode", TEXT + b"a" * 200_000 + END),
        (400, "unreadable-image", "; charset=undefined", TEXT + b"a" + END),
        (422, "bad-parameter", "", b'--x\r\nContent-Disposition: form-data; name="' + b"x" * 4000 + b'"\r\n\r\n' + END),
        (400, "unreadable-image", "; charset=UTF-8", TEXT + b"\xff" * 200_000 + END),
    ],
)
def test_hostile_form(service: ServiceProcess, status: int, slug: str, parameters: str, body: bytes) -> None:
    assert len(body) < 300_000  # else refused for its size alone
    headers = {"Content-Type": f"multipart/form-data; boundary=x{parameters}"}
    answer = service.client.post("/score", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:duet:problem:{slug}"
    assert len(answer.content) < 1000
    check_alive(service)


def test_form_in_utf_8_is_read(client: httpx.Client) -> None:
    headers = {"Content-Type": "multipart/form-data; charset=utf-8; boundary=x"}
    assert client.post("/score", content=DISPOSITION + b"\r\n" + PICTURE + END, headers=headers).status_code == 200


TRAVERSALS = ["../outside", "..%2foutside", "%2e%2e%2foutside", "..%5coutside", "tiny/../../outside", "tiny%00", "tiny/", "."]


@pytest.mark.parametrize("model", TRAVERSALS)
def test_model_outside_the_repository_is_unknown(models: Path, client: httpx.Client, model: str) -> None:
    write_tiny_model(models.parent, "outside")  # what the name would lead to
    for target in (f"/score?model={model}", f"/score?model={models.parent}/outside", f"/score?version=../{model}/1"):
        answer = client.post(target, content=PICTURE)
        assert answer.status_code == 404, target
        assert answer.json()["type"] == "urn:duet:problem:unknown-model"


@pytest.mark.parametrize("version", ["0", "-3", "03", "+3", "3.0", "3/", "%33/../3", "latest", "3\n"])
def test_version_is_what_the_folder_is_called_and_nothing_else(client: httpx.Client, version: str) -> None:
    assert client.post("/score", content=PICTURE, params={"version": version}).status_code == 404


def test_address_cannot_write_to_the_console(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", log_format="console") as service:
        service.client.get("/%1b[31mred%00%0aforged%c2%9b")
        log = "\n".join(service.wait_for_log("forged"))
    assert all(character.isprintable() or character == "\n" for character in log)
    assert not any(line.startswith("forged") for line in log.split("\n"))


@pytest.mark.parametrize("path", ["/docs", "/models", "/nothing", "/metrics", "/health/live"])
def test_no_answer_lets_the_browser_guess_or_names_the_server(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_answers_that_the_server_makes_itself_have_the_headers_too(service: ServiceProcess) -> None:
    with connect(service, b"nonsense\r\n\r\n") as connection:
        received = until_closed(connection)
    assert "400 Bad Request" in received
    assert "x-content-type-options: nosniff" in received


def test_pages_can_load_nothing_from_elsewhere_and_cannot_be_framed(client: httpx.Client) -> None:
    headers = client.get("/docs").headers
    assert "https:" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in client.get("/models").headers


def test_description_can_be_turned_off(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", docs="false") as service:
        for path in ("/docs", "/docs/static/swagger-ui.css", "/openapi.json", "/redoc"):
            assert service.client.get(path).json()["type"] == "urn:duet:problem:not-found"


def test_no_second_description(client: httpx.Client) -> None:
    assert client.get("/redoc").status_code == 404
