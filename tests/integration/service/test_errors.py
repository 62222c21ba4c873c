"""Every refusal of the contract, as a problem with its stable type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.pictures import encode, failing, grey, noise

PICTURE = encode(grey())
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def form_of(picture: bytes) -> bytes:
    """A form's one field, without the last boundary."""
    return b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + picture + b"\r\n"


def check_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:duet:problem:{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("status", "slug", "request_"),
    [
        (400, "unreadable-image", {"content": b""}),
        (400, "unreadable-image", {"content": b"not an image"}),
        (400, "unreadable-image", {"content": encode(noise(1))[:-300]}),
        (400, "unreadable-image", {"content": encode(noise(1), "JPEG")[:-300]}),
        (400, "unreadable-image", {"files": {"image": b"not an image"}}),
        (400, "unreadable-image", {"files": {"image": b""}}),
        (400, "malformed-body", {"content": b"--x\r\nrubbish", "headers": FORM}),
        (400, "malformed-body", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        (400, "malformed-body", {"content": b"--x\r\n\r\nno name\r\n--x--\r\n", "headers": FORM}),
        (400, "malformed-body", {"content": form_of(PICTURE) + b"--x\r\nContent-Disp", "headers": FORM}),
        (404, "unknown-model", {"content": PICTURE, "params": {"model": "other"}}),
        (404, "unknown-model", {"content": PICTURE, "params": {"version": "4"}}),
        (406, "not-acceptable", {"content": PICTURE, "headers": {"Accept": "text/html"}}),
        (406, "not-acceptable", {"content": PICTURE, "headers": {"Accept": "image/png;q=0, application/json;q=0"}}),
        (406, "not-acceptable", {"content": PICTURE, "headers": {"Accept": "text/html"}, "params": {"heatmap": "none"}}),
        (413, "too-many-bytes", {"content": bytes(300_001)}),
        (413, "too-many-bytes", {"files": {"image": bytes(300_001)}}),
        (413, "too-many-pixels", {"content": encode(np.zeros((401, 500), dtype=np.uint8))}),
        (415, "unsupported-image", {"content": encode(noise(1), "GIF")}),
        (415, "unsupported-image", {"content": b"%PDF-1.7 and so on"}),
        (415, "unsupported-image", {"content": encode(np.zeros((8, 8), dtype=np.float32), "TIFF")}),
        (415, "unsupported-content-type", {"content": PICTURE, "headers": {"Content-Type": "application/json"}}),
        (415, "unsupported-content-type", {"data": {"image": "x"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"threshold": "high"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"threshold": "1.5"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"threshold": "nan"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"heatmap": "picture"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"heatmap_size": "huge"}}),
        (422, "bad-parameter", {"content": PICTURE, "params": {"treshold": "0.5"}}),
        (422, "bad-parameter", {"content": PICTURE, "headers": {"X-Request-Timeout-Ms": "0"}}),
        (422, "bad-parameter", {"content": PICTURE, "headers": {"X-Request-Timeout-Ms": "soon"}}),
        (422, "bad-parameter", {"content": PICTURE, "headers": {"Accept": "image/png"}, "params": {"heatmap": "none"}}),
        (422, "bad-parameter", {"files": {"picture": PICTURE}}),
        (422, "bad-parameter", {"content": b"--x--\r\n", "headers": FORM}),
        (422, "bad-parameter", {"files": [("image", PICTURE), ("image", PICTURE)]}),
        (422, "bad-parameter", {"files": {"image": PICTURE}, "data": {"threshold": "0.5"}}),
    ],
)
def test_refusal(client: httpx.Client, status: int, slug: str, request_: dict[str, Any]) -> None:
    check_problem(client.post("/score", **request_), status, slug)


def test_a_bad_parameter_is_told_in_a_client_s_words(client: httpx.Client) -> None:
    """Not in pydantic's, which names each alternative that it tried."""
    asked: list[dict[str, Any]] = [{"threshold": 7}, {"heatmap": "x"}]
    told = [client.post("/score", content=PICTURE, params=params).json()["detail"] for params in asked]
    assert told == [
        "threshold: Input should be less than or equal to 1",
        "heatmap: Input should be 'none', 'map' or 'overlay'",
    ]


def test_limit_holds_for_a_body_of_unknown_length(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    check_problem(client.post("/score", content=chunks()), 413, "too-many-bytes")


def test_picture_at_the_limit_is_accepted(client: httpx.Client) -> None:
    assert client.post("/score", content=encode(np.zeros((400, 500), dtype=np.uint8))).status_code == 200


def test_unknown_address_and_method(client: httpx.Client) -> None:
    check_problem(client.get("/nothing"), 404, "not-found")
    answer = client.get("/score")
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_failing_inference_is_a_problem_and_the_next_request_works(client: httpx.Client) -> None:
    check_problem(client.post("/score", content=encode(failing())), 500, "inference-failed")
    assert client.post("/score", content=PICTURE).status_code == 200
    assert client.get("/health/ready").status_code == 200
