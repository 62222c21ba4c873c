"""A models' folder that hangs, or holds what is no model; and a start that is stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from service import model_folder, repository
from service.errors import DeadlineError
from service.loaded_model import LoadedModel, open_model
from service.metrics import Metrics
from service.model_folder import ModelFolder
from service.repository import Repository
from service.settings import Settings
from tests.tiny_model import write_tiny_model


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds a thread up until it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


def unopened(models: Path) -> Repository:
    return Repository(Settings.model_validate({"models": models, "providers": ("cpu",), "max_batch_size": 1}), Metrics())


async def test_a_folder_that_hangs_holds_up_neither_a_change_nor_the_end(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path)
    models = unopened(tmp_path)
    await models.start()
    monkeypatch.setattr(ModelFolder, "names", lambda _: gate.wait(60) and [])
    monkeypatch.setattr(model_folder, "_SLOW_DISK", 0.1)
    with pytest.raises(DeadlineError, match="does not answer: look after the disk"):
        await models.load("tiny")
    await models.close()
    assert models.reading == 1  # which the process leaves behind


async def test_a_file_that_cannot_be_read_to_its_end_does_not_hold_up_the_end(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path)
    models, begun = unopened(tmp_path), threading.Event()
    monkeypatch.setattr(repository, "open_model", lambda *_: begun.set() or gate.wait(60))
    monkeypatch.setattr(repository, "_LAST_CHANGE", 0.1)
    starting = asyncio.create_task(models.start())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    await models.close()
    assert not starting.done()
    starting.cancel()


async def test_a_model_that_is_loaded_after_the_end_is_unloaded_again(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path)
    models, begun, opened = unopened(tmp_path), threading.Event(), list[LoadedModel]()
    await models.start()

    def held_up(*arguments: Any) -> LoadedModel:
        begun.set()
        assert gate.wait(60)
        opened.append(open_model(*arguments))
        return opened[0]

    monkeypatch.setattr(repository, "open_model", held_up)
    monkeypatch.setattr(repository, "_LAST_CHANGE", 0.1)
    loading = asyncio.create_task(models.load("tiny"))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    await models.close()
    gate.set()
    await loading
    assert not models.ready
    assert opened[0].batcher.fault == "the model's engine has stopped: see the service's log, then restart the service"


async def test_the_end_waits_for_the_model_that_is_being_loaded_and_for_no_other(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write_tiny_model(tmp_path, name)
    begun: list[str] = []

    def held_up(name: str, *rest: object) -> LoadedModel:
        begun.append(name)
        assert gate.wait(60)
        return open_model(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "open_model", held_up)
    monkeypatch.setattr(repository, "_LAST_CHANGE", 60.0)
    models = unopened(tmp_path)
    starting = asyncio.create_task(models.start())
    while not begun:
        await asyncio.sleep(0.001)
    ending = asyncio.create_task(models.close())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(starting, ending)
    assert begun == ["a"]
    assert not models.ready


async def test_what_is_no_model_is_passed_over_and_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' user may read everything, so a disk's lost+found refuses at this seam."""
    versions = model_folder.versions

    def refusing(models: Path, name: str) -> list[int]:
        if name == "lost+found":
            raise PermissionError(13, "Permission denied", str(models / name))
        return versions(models, name)

    monkeypatch.setattr(model_folder, "versions", refusing)
    (tmp_path / "lost+found").mkdir()
    for name in ("tiny", "Zahnräder"):
        write_tiny_model(tmp_path, name)
    models = unopened(tmp_path)
    with structlog.testing.capture_logs() as told:
        await models.start()
        assert [model.name for model in await models.index()] == ["tiny"]
    passed_over = {Path(line["folder"]).name: line["reason"] for line in told if line["event"] == "folder passed over"}
    assert len([line for line in told if line["event"] == "folder passed over"]) == 2
    assert "Permission denied" in passed_over["lost+found"]
    assert passed_over["Zahnräder"].startswith("no name of a model, which is [A-Za-z0-9]")
    await models.close()
