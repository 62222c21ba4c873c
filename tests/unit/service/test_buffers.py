"""Memory that every batch of one size shares: what one batch leaves behind must not show in the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from service.engine import Engine
from service.onnx_session import OnnxSession
from service.providers import EngineError, EngineOptions
from tests.pictures import failing, grey, noise, spotted
from tests.tiny_model import expected_scores, write_tiny_model

_from_numpy = onnxruntime.OrtValue.ortvalue_from_numpy


def _copy(images: npt.NDArray[np.uint8], *device: object) -> onnxruntime.OrtValue:
    """A device's memory: what is written to the host's afterwards does not show in it."""
    return _from_numpy(images.copy(), *device)


def refuse_to_bind(*_: object) -> None:
    raise AssertionError("memory is bound anew")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that binds memory as on a GPU; the device is faked: there is none here."""
    monkeypatch.setattr(OnnxSession, "bind", OnnxSession._bind)
    return Engine(write_tiny_model(tmp_path), EngineOptions(max_batch_size=4))


def test_an_answer_does_not_change_with_the_next_batch(engine: Engine) -> None:
    first = engine.run([spotted()])
    kept = {name: value.copy() for name, value in first.items()}
    engine.run([noise(1)])
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_the_last_batch_does_not_pad_the_next(engine: Engine) -> None:
    """The fourth picture made the engine raise: it must be gone when three pictures are padded to four."""
    with pytest.raises(Exception, match="out of data bounds"):
        engine.run([grey(), grey(), grey(), failing()])
    assert len(engine.run([grey(), grey(), grey()])["joint_score"]) == 3


def test_memory_is_bound_once_and_every_batch_is_seen(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.warm_up()
    monkeypatch.setattr(OnnxSession, "bind", refuse_to_bind)
    for picture in (grey(), spotted(), noise(1), grey()):
        (score,) = engine.run([picture])["joint_score"]
        assert score == pytest.approx(expected_scores(picture)[2], rel=1e-4)


def test_an_engine_that_sees_only_its_first_batch_does_not_start(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA did with host memory that was bound once: every picture had the score of a black one."""
    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", lambda _value, _images: None)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", _copy)
    with pytest.raises(EngineError, match="computes another local_score in memory that is bound"):
        engine.warm_up()


def test_what_is_bound_is_copied_for_every_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device does not see what is written to host memory: on CUDA every batch was once scored as the first."""
    copied: list[object] = []
    original = onnxruntime.OrtValue.update_inplace

    def update(value: onnxruntime.OrtValue, images: object) -> None:
        copied.append(images)
        original(value, images)

    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", update)
    for picture in (grey(), spotted()):
        engine.run([picture])
    assert len(copied) == 2
