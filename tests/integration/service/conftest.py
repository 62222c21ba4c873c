"""A service process that the tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 3 of the model 'tiny'."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, version=3)
    return folder


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A ready service with low limits."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with running_service(models, log, max_bytes=300_000, max_pixels=200_000) as service:
        yield service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def client(service: ServiceProcess) -> httpx.Client:
    return service.client


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def keeping(models: Path, tmp_path: Path, archive: Path) -> Iterator[ServiceProcess]:
    """A service that keeps pictures."""
    with running_service(models, tmp_path / "service.log", archive=archive) as service:
        yield service
