"""Host buffers that every batch of one size shares: what one batch leaves behind must not show in the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.engine import Engine
from service.onnx_session import NAMES, OnnxSession, pinned_memory
from service.providers import EngineOptions
from tests.pictures import failing, grey, noise, spotted
from tests.tiny_model import SIZE, write_tiny_model


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


def test_memory_is_bound_once(tmp_path: Path) -> None:
    session = OnnxSession(write_tiny_model(tmp_path), [(NAMES["cpu"], {})])
    buffers = session._bind(2, (SIZE, SIZE), {"joint_score": (), "anomaly_map": (256, 256)})
    addresses = {name: value.ctypes.data for name, value in buffers._outputs.items()}
    scores = [buffers.run([picture])["joint_score"][0] for picture in (grey(), spotted(), grey())]
    assert scores[0] == scores[2] < scores[1]
    assert {name: value.ctypes.data for name, value in buffers._outputs.items()} == addresses


def test_without_a_device_nothing_is_pinned() -> None:
    assert pinned_memory("cpu", 0) is None
