"""Which models there are, which one is loaded, and why one is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import NoModelError, UnknownModelError
from service.metrics import Metrics
from service.model_format import ModelFormatError
from service.repository import Repository
from service.settings import Settings
from tests.tiny_model import write_tiny_model

Open = Callable[..., Repository]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def repository_of(tmp_path: Path, metrics: Metrics) -> Iterator[Open]:
    opened: list[Repository] = []

    def open_repository(**settings: str) -> Repository:
        opened.append(Repository(Settings.model_validate({"models": tmp_path, "providers": ("cpu",), **settings}), metrics))
        return opened[-1]

    yield open_repository
    for repository in opened:
        repository.close()


def test_highest_version_of_the_first_model_is_the_default(tmp_path: Path, repository_of: Open) -> None:
    for name, version in (("b", 1), ("a", 2), ("a", 10)):
        write_tiny_model(tmp_path, name, version)
    (tmp_path / "README.md").write_text("not a model")
    repository = repository_of()
    assert not repository.ready
    repository.load_default()
    assert repository.ready
    assert (repository.get().name, repository.get().version) == ("a", "10")
    assert [(stored.name, stored.versions, stored.loaded is not None) for stored in repository.index()] == [
        ("a", ("2", "10"), True),
        ("b", ("1",), False),
    ]


def test_configured_default(tmp_path: Path, repository_of: Open) -> None:
    for name in ("a", "b"):
        write_tiny_model(tmp_path, name)
    repository = repository_of(default_model="b")
    repository.load_default()
    assert repository.get().name == repository.get("b", "1").name == "b"


@pytest.mark.parametrize(("name", "version"), [("b", None), ("../tiny", None), (None, "2"), ("tiny", "01"), (None, "")])
def test_what_is_not_served(tmp_path: Path, repository_of: Open, name: str | None, version: str | None) -> None:
    write_tiny_model(tmp_path)
    repository = repository_of()
    repository.load_default()
    with pytest.raises(UnknownModelError):
        repository.get(name, version)


def test_nothing_loaded_yet(repository_of: Open) -> None:
    with pytest.raises(NoModelError):
        repository_of().get()


def test_empty_repository(repository_of: Open) -> None:
    with pytest.raises(ModelFormatError, match="holds no model"):
        repository_of().load_default()


def test_missing_repository(tmp_path: Path, repository_of: Open) -> None:
    with pytest.raises(ModelFormatError, match="DUET_MODELS"):
        repository_of(models=str(tmp_path / "absent")).load_default()


def test_misspelt_default(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path)
    with pytest.raises(ModelFormatError, match=r"'tini' \(DUET_DEFAULT_MODEL\), but tiny"):
        repository_of(default_model="tini").load_default()


def test_broken_model_is_counted(tmp_path: Path, metrics: Metrics, repository_of: Open) -> None:
    write_tiny_model(tmp_path).write_bytes(b"broken")
    repository = repository_of()
    with pytest.raises(ModelFormatError):
        repository.load_default()
    labels = {"model": "tiny", "version": "1"}
    assert metrics.registry.get_sample_value("duet_model_load_failures_total", labels) == 1
    assert not repository.ready
