"""The queue between requests and a real engine: nobody ever hangs."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from service.batcher import Batcher, Inference
from service.buffers import Outputs
from service.engine import Engine
from service.errors import DeadlineError, DrainingError, InferenceError, NoModelError, QueueFullError
from service.images import Pixels
from service.loaded_model import open_model
from service.metrics import Metrics
from service.providers import EngineOptions
from service.settings import Settings
from tests.pictures import failing, grey, noise, slow, spotted
from tests.tiny_model import expected_scores, write_tiny_model

PATIENCE = 60.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(write_tiny_model(tmp_path), EngineOptions(max_batch_size=4))


@pytest.fixture
def batcher(engine: Engine, metrics: Metrics) -> Iterator[Batcher]:
    batcher = Batcher([engine], capacity=4, max_delay=0.0, patience=PATIENCE, metrics=metrics.of_model("tiny", "1"))
    yield batcher
    batcher.close()


def sample(metrics: Metrics, name: str) -> float:
    value = metrics.registry.get_sample_value(name, {"model": "tiny", "version": "1"})
    assert value is not None
    return value


async def score(batcher: Batcher, pixels: Pixels, seconds: float = PATIENCE) -> Inference:
    with batcher.admit(time.monotonic() + seconds) as entry:
        return await batcher.compute(entry, pixels)


async def occupy(batcher: Batcher, metrics: Metrics, steps: int = 60) -> asyncio.Task[Inference]:
    """Give the engine a slow batch, and return once it computes."""
    task = asyncio.create_task(score(batcher, slow(steps)))
    await asyncio.sleep(0)
    while sample(metrics, "duet_queue_depth"):
        await asyncio.sleep(0.001)
    return task


async def test_one_image(batcher: Batcher) -> None:
    inference = await score(batcher, spotted())
    assert float(inference.outputs["joint_score"]) == pytest.approx(expected_scores(spotted())[2], rel=1e-5)
    assert inference.outputs["anomaly_map"].shape == (256, 256)


async def test_what_waits_is_computed_together_and_answered_one_by_one(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    pictures = [noise(1), spotted(), grey()]
    inferences = await asyncio.gather(*[score(batcher, picture) for picture in pictures])
    await busy
    for picture, inference in zip(pictures, inferences, strict=True):
        assert float(inference.outputs["joint_score"]) == pytest.approx(expected_scores(picture)[2], rel=1e-5)
    assert sample(metrics, "duet_batches_total") == 2
    assert sample(metrics, "duet_batch_size_sum") == sample(metrics, "duet_images_total") == 4


async def test_delay_fills_a_batch(engine: Engine, metrics: Metrics) -> None:
    """Four images make a full batch, which ends the delay: the fifth would wait for an hour, did closing not end it too."""
    batcher = Batcher([engine], capacity=8, max_delay=3600.0, patience=PATIENCE, metrics=metrics.of_model("tiny", "1"))
    await asyncio.gather(*[score(batcher, noise(seed)) for seed in range(4)])
    assert sample(metrics, "duet_batches_total") == 1
    last = asyncio.create_task(score(batcher, grey()))
    await asyncio.sleep(0)
    await asyncio.to_thread(batcher.close)
    await last


async def test_full_queue_refuses(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    waiting = [asyncio.create_task(score(batcher, noise(seed))) for seed in range(4)]
    await asyncio.sleep(0)
    assert sample(metrics, "duet_queue_depth") == sample(metrics, "duet_queue_capacity") == 4
    with pytest.raises(QueueFullError, match="DUET_MAX_QUEUE"):
        await score(batcher, grey())
    await asyncio.gather(busy, *waiting)
    await score(batcher, grey())


async def test_places_are_held_while_decoding_and_given_back_on_failure(batcher: Batcher, metrics: Metrics) -> None:
    async def decode() -> None:
        with batcher.admit(time.monotonic() + PATIENCE):
            assert sample(metrics, "duet_queue_depth") == 1
            raise ValueError("bad picture")

    with pytest.raises(ValueError, match="bad picture"):
        await decode()
    assert sample(metrics, "duet_queue_depth") == 0


async def test_expired_entry_is_never_computed(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    with pytest.raises(DeadlineError):
        await score(batcher, grey(), seconds=0.0)
    await busy
    assert sample(metrics, "duet_images_total") == 1


async def test_cancelled_entry_leaves_the_queue_at_once(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    leaving = asyncio.create_task(score(batcher, grey()))
    await asyncio.sleep(0)
    assert sample(metrics, "duet_queue_depth") == 1
    assert sample(metrics, "duet_oldest_request_age_seconds") > 0
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert sample(metrics, "duet_queue_depth") == 0
    await busy
    assert sample(metrics, "duet_images_total") == 1


async def test_cancelling_what_is_being_computed_harms_nobody(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    busy.cancel()
    await score(batcher, grey())
    assert sample(metrics, "duet_images_total") == 2


async def test_exception_is_answered_to_the_whole_batch_and_kills_nothing(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    answers = await asyncio.gather(*[score(batcher, p) for p in (grey(), failing(), noise(1))], return_exceptions=True)
    assert [type(answer) for answer in answers] == [InferenceError] * 3
    await busy
    assert batcher.fault is None
    await score(batcher, grey())


async def test_closing_computes_what_was_admitted(batcher: Batcher, metrics: Metrics) -> None:
    busy = await occupy(batcher, metrics)
    waiting = [asyncio.create_task(score(batcher, noise(seed))) for seed in range(3)]
    with batcher.admit(time.monotonic() + PATIENCE) as decoding:
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.gather(busy, *waiting)
        with pytest.raises(DrainingError), batcher.admit(time.monotonic() + PATIENCE):
            pass
        await batcher.compute(decoding, grey())
    await closing
    assert sample(metrics, "duet_images_total") == 5
    with pytest.raises(NoModelError):
        await score(batcher, grey())


class LostDevice(Engine):
    """An engine whose device is lost after the first batch, as CUDA's is after a sticky error."""

    lost = False

    def run(self, images: Sequence[Pixels]) -> Outputs:
        if self.lost:
            raise RuntimeError("CUDA error 719: unspecified launch failure")
        self.lost = True
        return super().run(images)


class ShortEngine(Engine):
    """An engine that answers a batch with a row too few."""

    def run(self, images: Sequence[Pixels]) -> Outputs:
        return {name: value[: max(1, len(images) - 1)] for name, value in super().run(images).items()}


async def test_a_row_too_few_fails_its_batch_alone(tmp_path: Path, metrics: Metrics) -> None:
    engine = ShortEngine(write_tiny_model(tmp_path), EngineOptions(max_batch_size=4))
    batcher = Batcher([engine], capacity=4, max_delay=0.0, patience=PATIENCE, metrics=metrics.of_model("tiny", "1"))
    busy = await occupy(batcher, metrics)
    answers = await asyncio.gather(*[score(batcher, grey()) for _ in range(2)], return_exceptions=True)
    assert [type(answer) for answer in answers] == [InferenceError] * 2
    await busy
    await score(batcher, grey())
    await asyncio.to_thread(batcher.close)


async def test_engines_share_evenly_what_waits(engine: Engine, metrics: Metrics) -> None:
    engines = [engine, engine.beside()]
    batcher = Batcher(engines, capacity=4, max_delay=0.0, patience=PATIENCE, metrics=metrics.of_model("tiny", "1"))
    busy = [await occupy(batcher, metrics, steps=120) for _ in engines]
    await asyncio.gather(*[score(batcher, noise(seed)) for seed in range(4)])
    await asyncio.gather(*busy)
    assert metrics.registry.get_sample_value(
        "duet_batch_size_bucket", {"model": "tiny", "version": "1", "le": "2.0"}
    ) == sample(metrics, "duet_batches_total")
    await asyncio.to_thread(batcher.close)


async def test_two_engines_empty_one_queue(tmp_path: Path, metrics: Metrics) -> None:
    """While one of them is busy the other answers; and it answers on when the first has died."""
    options = EngineOptions(max_batch_size=1)
    path = write_tiny_model(tmp_path)
    engines = [Engine(path, options), LostDevice(path, options)]
    batcher = Batcher(engines, capacity=4, max_delay=0.0, patience=PATIENCE, metrics=metrics.of_model("tiny", "1"))
    busy = await occupy(batcher, metrics, steps=250)
    await score(batcher, grey())
    assert not busy.done()
    await busy
    async with asyncio.timeout(PATIENCE):
        while not batcher.lost:  # all four may go to the other engine, whose thread was the quicker one
            answers = await asyncio.gather(*[score(batcher, noise(seed)) for seed in range(4)], return_exceptions=True)
            for answer in answers:
                assert isinstance(answer, Inference | InferenceError)
    assert batcher.fault is None
    await score(batcher, grey())
    await asyncio.to_thread(batcher.close)
    assert batcher.fault is not None


async def test_dead_engine_refuses_everybody(tmp_path: Path, metrics: Metrics) -> None:
    batcher = Batcher(
        [LostDevice(write_tiny_model(tmp_path), EngineOptions())],
        capacity=4,
        max_delay=0.0,
        patience=PATIENCE,
        metrics=metrics.of_model("tiny", "1"),
    )
    busy = await occupy(batcher, metrics)
    with pytest.raises(InferenceError):
        await score(batcher, grey())
    await busy
    while batcher.fault is None:
        await asyncio.sleep(0.01)
    assert batcher.lost == 1
    with pytest.raises(NoModelError):
        await score(batcher, grey())
    await asyncio.to_thread(batcher.close)


async def test_stuck_engine_refuses_until_it_comes_back(engine: Engine, metrics: Metrics) -> None:
    batcher = Batcher([engine], capacity=4, max_delay=0.0, patience=0.5, metrics=metrics.of_model("tiny", "1"))
    busy = await occupy(batcher, metrics, steps=250)
    assert batcher.fault is None
    while batcher.fault is None:
        assert not busy.done()
        await asyncio.sleep(0.001)
    with pytest.raises(NoModelError, match="restart the service"):
        await score(batcher, grey())
    await busy
    assert batcher.fault is None
    assert isinstance(await score(batcher, grey()), Inference)
    batcher.close()


async def test_closing_leaves_a_stuck_engine_behind(engine: Engine, metrics: Metrics) -> None:
    batcher = Batcher([engine], capacity=4, max_delay=0.0, patience=0.05, metrics=metrics.of_model("tiny", "1"))
    busy = await occupy(batcher, metrics, steps=250)
    await asyncio.to_thread(batcher.close)
    assert batcher.stuck == 1
    assert not busy.done()
    assert isinstance(await busy, Inference)  # it was slow only


async def test_what_a_closed_model_held_is_free_at_once(tmp_path: Path, metrics: Metrics) -> None:
    """The loader counts on it; Python's collector may come minutes later."""
    model = open_model("tiny", "1", write_tiny_model(tmp_path), 1, Settings(), metrics)
    session = weakref.ref(next(iter(model.batcher._threads))._session)
    await score(model.batcher, spotted())
    gc.disable()
    try:
        await model.close()
        assert session() is None
    finally:
        gc.enable()
