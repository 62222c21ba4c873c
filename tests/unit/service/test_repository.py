"""Which models there are, which ones answer, and why one does not."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from service.errors import DeadlineError, ModelRefusedError, NoModelError, UnknownModelError
from service.loaded_model import LoadedModel
from service.metrics import Metrics
from service.model_folder import ModelFolder
from service.repository import Repository
from service.settings import Settings
from tests.pictures import grey, spotted
from tests.tiny_model import FAILING_PIXEL, build_model, metadata, save, write_tiny_model

Open = Callable[..., Awaitable[Repository]]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def repository_of(tmp_path: Path, metrics: Metrics) -> AsyncIterator[Open]:
    """Opens and starts a repository with these settings."""
    opened: list[Repository] = []

    async def open_repository(**settings: object) -> Repository:
        given = {"models": tmp_path, "providers": ("cpu",), "max_batch_size": 1, **settings}
        opened.append(Repository(Settings.model_validate(given), metrics))
        await opened[-1].start()
        return opened[-1]

    yield open_repository
    for repository in opened:
        await repository.close()


async def joint_score(model: LoadedModel) -> float:
    with model.batcher.admit(time.monotonic() + 60) as entry:
        return float((await model.batcher.compute(entry, spotted())).outputs["joint_score"])


async def states(repository: Repository) -> dict[str, str]:
    return {f"{model.name}/{v.version}": v.state for model in await repository.index() for v in model.versions}


async def answering(repository: Repository, name: str | None = None, version: str | None = None) -> str:
    async with repository.use(name, version) as model:
        assert await joint_score(model) > 1
        return f"{model.name}/{model.version}"


def ready_gauge(metrics: Metrics, name: str, version: str = "1") -> float | None:
    return metrics.registry.get_sample_value("duet_model_ready", {"model": name, "version": version})


def failures(metrics: Metrics, name: str, version: str = "1") -> float | None:
    return metrics.registry.get_sample_value("duet_model_load_failures_total", {"model": name, "version": version})


async def test_the_highest_version_of_every_model_answers_and_the_first_model_by_default(
    tmp_path: Path, repository_of: Open
) -> None:
    for name, version in (("b", 1), ("a", 2), ("a", 10)):
        write_tiny_model(tmp_path, name, version)
    (tmp_path / "README.md").write_text("not a model")
    repository = await repository_of()
    assert repository.ready
    assert await answering(repository) == await answering(repository, "a", "10") == "a/10"
    assert await answering(repository, "b") == "b/1"
    assert await states(repository) == {"a/2": "not_loaded", "a/10": "ready", "b/1": "ready"}


async def test_configured_default(tmp_path: Path, repository_of: Open) -> None:
    for name in ("a", "b"):
        write_tiny_model(tmp_path, name)
    assert await answering(await repository_of(default_model="b")) == "b/1"


@pytest.mark.parametrize(
    ("name", "version"), [("b", None), ("../tiny", None), ("tiny/1", None), (None, "2"), ("tiny", "01"), (None, "")]
)
async def test_what_is_not_served(tmp_path: Path, repository_of: Open, name: str | None, version: str | None) -> None:
    write_tiny_model(tmp_path)
    repository = await repository_of()
    with pytest.raises(UnknownModelError):
        async with repository.use(name, version):
            pass
    with pytest.raises(UnknownModelError):
        repository.ensure_room(name, version)


@pytest.mark.parametrize(("name", "version"), [("b", None), ("../tiny", None), ("..", None), ("tiny", "../1"), ("tiny", "2")])
async def test_only_what_is_in_the_folder_can_be_loaded(
    tmp_path: Path, repository_of: Open, name: str, version: str | None
) -> None:
    write_tiny_model(tmp_path / "models")
    write_tiny_model(tmp_path)
    repository = await repository_of(models=tmp_path / "models")
    with pytest.raises(UnknownModelError, match="is not in"):
        await repository.load(name, version)


async def test_a_folder_that_hangs_stops_nobody(tmp_path: Path, repository_of: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a network share does whose server is gone: only who asks what lies there has to wait, and not for ever."""
    write_tiny_model(tmp_path)
    repository = await repository_of(request_timeout_ms=1000)
    back = threading.Event()
    whole = ModelFolder.names
    monkeypatch.setattr(ModelFolder, "names", lambda folder: whole(folder) if back.wait(60) else [])
    asked = asyncio.create_task(repository.index())
    assert await answering(repository) == "tiny/1"
    with pytest.raises(DeadlineError, match="does not answer"):
        await asked
    assert repository.reading == 1
    back.set()
    assert await states(repository) == {"tiny/1": "ready"}
    assert repository.reading == 0


async def test_nothing_answers_before_the_start(tmp_path: Path, metrics: Metrics) -> None:
    repository = Repository(Settings(models=tmp_path), metrics)
    assert not repository.ready
    with pytest.raises(NoModelError):
        repository.ensure_room()


async def test_empty_repository(repository_of: Open) -> None:
    with pytest.raises(ModelRefusedError, match=r"holds no model at NAME/NUMBER/model\.onnx: export one"):
        await repository_of()


async def test_a_version_that_is_no_number_is_named(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path).parent.rename(tmp_path / "tiny" / "v1")
    with pytest.raises(ModelRefusedError, match=r"NAME/NUMBER/model\.onnx, but tiny/v1/model\.onnx: export one"):
        await repository_of()


async def test_missing_repository(tmp_path: Path, repository_of: Open) -> None:
    with pytest.raises(ModelRefusedError, match="DUET_MODELS"):
        await repository_of(models=tmp_path / "absent")


async def test_misspelt_default(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path)
    with pytest.raises(ModelRefusedError, match=r"'tini' \(DUET_DEFAULT_MODEL\), but tiny"):
        await repository_of(default_model="tini")


async def test_a_broken_default_ends_the_start_and_a_broken_other_does_not(
    tmp_path: Path, metrics: Metrics, repository_of: Open
) -> None:
    write_tiny_model(tmp_path, "broken").write_bytes(b"broken")
    with pytest.raises(ModelRefusedError, match="cannot be loaded"):
        await repository_of()
    assert failures(metrics, "broken") == 1
    write_tiny_model(tmp_path, "whole")
    repository = await repository_of(default_model="whole")
    assert repository.ready
    assert await states(repository) == {"broken/1": "failed", "whole/1": "ready"}
    assert "cannot be loaded" in ((await repository.index())[0].versions[0].reason or "")


async def test_a_new_version_takes_over_and_what_has_begun_ends_on_the_old_one(
    tmp_path: Path, metrics: Metrics, repository_of: Open
) -> None:
    write_tiny_model(tmp_path, version=1)
    repository = await repository_of()
    write_tiny_model(tmp_path, version=2)
    async with repository.use() as old:
        loading = asyncio.create_task(repository.load("tiny"))
        while await answering(repository) != "tiny/2":
            await asyncio.sleep(0.01)
        assert not loading.done()  # the old one is in use
        assert await joint_score(old) > 1
    await loading
    assert old.batcher.fault is not None
    assert await states(repository) == {"tiny/1": "not_loaded", "tiny/2": "ready"}
    assert (ready_gauge(metrics, "tiny", "1"), ready_gauge(metrics, "tiny", "2")) == (None, 1)


async def test_versions_side_by_side_and_back_again(tmp_path: Path, repository_of: Open) -> None:
    for version in (1, 2):
        write_tiny_model(tmp_path, version=version)
    repository = await repository_of()
    await repository.load("tiny", "1")
    assert await answering(repository, version="1") == "tiny/1"
    assert await answering(repository) == "tiny/2"
    await repository.unload("tiny", "2")
    assert await answering(repository) == "tiny/1"
    await repository.unload("tiny")
    assert not repository.ready
    with pytest.raises(UnknownModelError, match="nothing to unload"):
        await repository.unload("tiny")


def break_contract(path: Path) -> None:
    save(build_model(("local",)), metadata().model_dump_json(), path)


def strip_metadata(path: Path) -> None:
    save(build_model(), None, path)


def forget_calibration(path: Path) -> None:
    described = json.loads(metadata().model_dump_json())
    described["calibration"]["pixel"] = None
    save(build_model(), json.dumps(described), path)


def fail_on_black(path: Path) -> None:
    """The file loads, and its graph raises on the pictures of the warm-up."""
    model = build_model()
    for constant in model.graph.initializer:
        if numpy_helper.to_array(constant).tolist() == [list(FAILING_PIXEL)]:
            constant.CopyFrom(numpy_helper.from_array(np.zeros((1, 3), dtype=np.float32), constant.name))
    save(model, metadata().model_dump_json(), path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-200_000]),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        strip_metadata,
        break_contract,
        forget_calibration,
        fail_on_black,
    ],
    ids=["empty", "truncated", "no model", "foreign", "out of contract", "uncalibrated", "cannot compute"],
)
@pytest.mark.parametrize("version", [1, 2], ids=["same version", "next version"])
async def test_a_refused_file_leaves_the_old_one_serving(
    tmp_path: Path, metrics: Metrics, repository_of: Open, harm: Callable[[Path], object], version: int
) -> None:
    write_tiny_model(tmp_path, version=1)
    repository = await repository_of()
    harm(write_tiny_model(tmp_path, version=version))
    with pytest.raises(ModelRefusedError, match=r"model\.onnx"):
        await repository.load("tiny")
    assert await answering(repository) == "tiny/1"
    assert repository.ready
    assert failures(metrics, "tiny", str(version)) == 1
    assert (await repository.index())[0].versions[version - 1].reason


async def test_loading_the_same_version_reads_its_file_anew(tmp_path: Path, metrics: Metrics, repository_of: Open) -> None:
    write_tiny_model(tmp_path)
    repository = await repository_of()
    async with repository.use() as old:
        before = old.sha256
    write_tiny_model(tmp_path, threshold=0.9)
    await repository.load("tiny")
    async with repository.use() as new:
        assert new.metadata.threshold == 0.9
    info = [s for metric in metrics.registry.collect() if metric.name == "duet_model_info" for s in metric.samples]
    assert [sample.labels["sha256"] for sample in info] == [new.sha256] != [before]
    assert ready_gauge(metrics, "tiny") == 1


async def test_the_least_recently_used_is_put_out_of_memory_and_comes_back_on_demand(
    tmp_path: Path, metrics: Metrics, repository_of: Open
) -> None:
    for name in ("a", "b", "c"):
        write_tiny_model(tmp_path, name)
    repository = await repository_of(max_models_mb=1)  # one of them fits
    assert await states(repository) == {"a/1": "ready", "b/1": "on_demand", "c/1": "on_demand"}
    assert await answering(repository, "b") == "b/1"
    assert await states(repository) == {"a/1": "on_demand", "b/1": "ready", "c/1": "on_demand"}
    assert (ready_gauge(metrics, "a"), ready_gauge(metrics, "b")) == (None, 1)
    assert repository.ready
    assert await asyncio.gather(*[answering(repository, name) for name in "abcabcc"]) == [f"{n}/1" for n in "abcabcc"]
    assert sum(state == "ready" for state in (await states(repository)).values()) == 1


async def test_least_recently_used_not_first_loaded(tmp_path: Path, repository_of: Open) -> None:
    for name in ("a", "b", "c"):
        write_tiny_model(tmp_path, name)
    size = (tmp_path / "a/1/model.onnx").stat().st_size
    with (tmp_path / "c/1/model.onnx.data").open("wb") as data:  # external data counts, and makes room for two of three
        data.truncate(2 * 2**20 - 2 * size - 1000)
    repository = await repository_of(max_models_mb=2)
    for name in ("a", "b", "a"):
        await answering(repository, name)
    await answering(repository, "c")
    assert await states(repository) == {"a/1": "ready", "b/1": "on_demand", "c/1": "ready"}


async def test_a_model_in_use_is_waited_for_before_another_takes_its_room(tmp_path: Path, repository_of: Open) -> None:
    for name in ("a", "b"):
        write_tiny_model(tmp_path, name)
    repository = await repository_of(max_models_mb=1)
    async with repository.use("a") as model:
        other = asyncio.create_task(answering(repository, "b"))
        await asyncio.sleep(0)
        assert await joint_score(model) > 1
        assert not other.done()
    assert await other == "b/1"


async def test_a_model_over_the_whole_budget_is_refused(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path)
    with (tmp_path / "tiny/1/model.onnx.data").open("wb") as data:
        data.truncate(3 * 2**20)
    with pytest.raises(ModelRefusedError, match="'tiny' has 4 MB: raise DUET_MAX_MODELS_MB"):
        await repository_of(max_models_mb=3)


async def test_what_cannot_be_loaded_again_is_not_tried_until_its_file_changes(
    tmp_path: Path, metrics: Metrics, repository_of: Open
) -> None:
    for name in ("a", "b"):
        path = write_tiny_model(tmp_path, name)
    repository = await repository_of(max_models_mb=1)
    path.write_bytes(b"broken")
    for _ in range(3):
        with pytest.raises(NoModelError, match="'b' cannot be loaded again"):
            await answering(repository, "b")
    assert failures(metrics, "b") == 1
    assert (await states(repository))["b/1"] == "failed"
    write_tiny_model(tmp_path, "b")
    assert await answering(repository, "b") == "b/1"


async def test_a_change_is_made_whole_though_its_caller_leaves(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path, version=1)
    repository = await repository_of()
    write_tiny_model(tmp_path, version=2)
    loading = asyncio.create_task(repository.load("tiny"))
    await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await repository.load("tiny", "2")  # waits for its turn
    assert await states(repository) == {"tiny/1": "not_loaded", "tiny/2": "ready"}


async def test_a_file_that_is_written_while_it_is_read_is_refused(
    tmp_path: Path, repository_of: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_model(tmp_path)

    def touch(*_: object) -> object:
        os.utime(path, ns=(1, 1))
        return original(*_)  # type: ignore[arg-type]

    from service import engine

    original = engine.open_session
    monkeypatch.setattr(engine, "open_session", touch)
    with pytest.raises(ModelRefusedError, match="was written to while it was read"):
        await repository_of()


async def test_grey_scores_low_whatever_was_loaded(tmp_path: Path, repository_of: Open) -> None:
    write_tiny_model(tmp_path)
    repository = await repository_of()
    async with repository.use() as model:
        with model.batcher.admit(time.monotonic() + 60) as entry:
            assert float((await model.batcher.compute(entry, grey())).outputs["joint_score"]) < 0.2
