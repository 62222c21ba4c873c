"""What a running process shows only for a moment, or never: loading, draining, an unforeseen exception."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.pictures import encode, grey


@pytest.fixture
def app() -> FastAPI:
    """The application before its start: no model is loaded."""
    return create_app(Settings())


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://duet") as client:
        yield client


@pytest.mark.parametrize(("draining", "slug"), [(False, "no-model"), (True, "draining")])
async def test_loading_and_draining_refuse_with_retry_after(
    app: FastAPI, client: httpx.AsyncClient, draining: bool, slug: str
) -> None:
    app.state.runtime.draining = draining
    for answer in (await client.post("/score", content=encode(grey())), await client.get("/health/ready")):
        assert answer.status_code == 503
        assert answer.json()["type"] == f"urn:duet:problem:{slug}"
        assert int(answer.headers["retry-after"]) > 0
    assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize(("draining", "reason"), [(False, "loading"), (True, "shutting down")])
async def test_the_protocol_refuses_in_its_own_words_meanwhile(
    app: FastAPI, client: httpx.AsyncClient, draining: bool, reason: str
) -> None:
    app.state.runtime.draining = draining
    for answer in (await client.post("/v2/models/tiny/infer", content=b"{}"), await client.get("/v2/health/ready")):
        assert answer.status_code == 503
        assert list(answer.json()) == ["error"]
        assert reason in answer.json()["error"]
        assert int(answer.headers["retry-after"]) > 0
    assert (await client.get("/v2/health/live")).json() == {"live": True}


async def test_unforeseen_exception_under_the_protocol(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/v2/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a secret")

    answer = await client.get("/v2/broken")
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert "secret" not in answer.text


async def test_unforeseen_exception_is_a_problem_without_its_cause(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a secret")

    answer = await client.get("/broken", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json()["type"] == "urn:duet:problem:internal-error"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_the_service_needs_neither_torch_nor_training() -> None:
    program = "import sys, service.__main__; print([name for name in ('torch', 'training') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_training_does_not_get_the_web_framework_from_what_is_shared() -> None:
    program = "import sys, service.images, service.model_format; print('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
