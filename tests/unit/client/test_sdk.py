"""What needs no service: imports, pictures, waits."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import numpy as np
import pytest

from client import DuetClient, RateLimitedError, ServiceUnreachableError, UnavailableError
from client.calls import Call, Options
from client.errors import ServiceFailedError, error_of
from client.pictures import picture_bytes


def test_the_sdk_imports_neither_numpy_nor_pillow_nor_the_other_packages() -> None:
    code = (
        "import sys, client; "
        "print(*[m for m in ('numpy', 'PIL', 'torch', 'fastapi', 'service', 'training', 'cv2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_are_no_pictures(pixels: object) -> None:
    with pytest.raises(ValueError, match=r"is no picture: give uint8 \[H, W, 3\]"):
        picture_bytes(pixels)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a list is no picture"):
        picture_bytes([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port"])
def test_wrong_address(url: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        DuetClient(url)


def refusal(status: int, **headers: str) -> Exception:
    return error_of(httpx.Response(status, headers=headers))


def test_retry_after_is_the_shortest_wait() -> None:
    hook = Call(Options(), 60).backoff()
    waits = [hook(refusal(503, **{"Retry-After": "7"})) for _ in range(20)]
    assert all(7 <= wait <= 10.5 for wait in waits)
    assert len(set(waits)) > 1


def test_waits_double_up_to_a_limit_and_never_exceed_the_time_left() -> None:
    hook = Call(Options(), 60).backoff()
    waits = [hook(ServiceUnreachableError()) for _ in range(12)]
    for step, wait in enumerate(waits):
        shortest = min(0.1 * 2**step, 5.0)
        assert shortest <= wait <= 1.5 * shortest
    assert Call(Options(), 3).backoff()(refusal(429, **{"Retry-After": "7"})) is False


def test_what_is_not_tried_again() -> None:
    hook = Call(Options(), 60).backoff()
    assert isinstance(refusal(500), ServiceFailedError)
    for status in (400, 401, 404, 413, 415, 422, 500, 504):
        assert hook(refusal(status)) is False
    for status, kind in ((429, RateLimitedError), (502, UnavailableError), (503, UnavailableError)):
        assert isinstance(refusal(status), kind)
        assert hook(refusal(status)) is not False


def test_what_is_left_of_the_time_is_passed_on() -> None:
    call = Call(Options(request_id="a"), 5)
    time.sleep(0.01)
    with httpx.Client(base_url="http://127.0.0.1") as http:
        headers = call.request(http, b"").headers
    assert 0 < int(headers["X-Request-Timeout-Ms"]) < 5000
    assert headers["X-Request-ID"] == "a"
    with pytest.raises(ValueError, match="timeout 0"):
        Call(Options(), 0)
