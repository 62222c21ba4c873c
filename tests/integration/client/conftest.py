"""A service process for the clients' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 3 of the model 'tiny'."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, version=3)
    return folder


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A ready service with low limits."""
    with running_service(models, tmp_path_factory.mktemp("log") / "service.log", max_pixels=200_000) as service:
        yield service


@pytest.fixture(scope="module")
def url(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}"
