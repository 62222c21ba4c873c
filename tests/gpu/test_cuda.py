"""The engine on a real CUDA device: `make test-gpu`. Skipped where ONNX Runtime or the machine has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.buffers import pinned_memory
from service.engine import Engine, load_engines
from service.providers import EngineOptions
from tests.pictures import grey, noise, reddish, spotted
from tests.tiny_model import expected_scores, write_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="no CUDA in ONNX Runtime"),
]

CUDA = EngineOptions(providers=("cuda", "cpu"), require_cuda=True, max_batch_size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


def test_scores_are_those_of_the_cpu(path: Path) -> None:
    pictures = [grey(), spotted(), reddish(), noise(1)]
    (engine,) = load_engines(path, CUDA)
    assert engine.provider == "cuda"
    found = engine.run(pictures)
    for name, value in Engine(path, EngineOptions(max_batch_size=4)).run(pictures).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["joint_score"], [expected_scores(p)[2] for p in pictures], rtol=1e-3, atol=1e-4)


def test_host_memory_is_pinned(path: Path) -> None:
    assert pinned_memory("cuda", 0) is not None
    engine = Engine(path, CUDA)
    first = engine.run([spotted()])["joint_score"].copy()
    for seed in range(20):
        engine.run([noise(seed)] * (1 + seed % 4))
    np.testing.assert_allclose(engine.run([spotted()])["joint_score"], first, rtol=1e-5)


def test_a_memory_limit_that_is_too_small_is_an_error_and_no_crash(path: Path) -> None:
    tight = EngineOptions(providers=("cuda", "cpu"), require_cuda=True, cuda_memory_mb=1, max_batch_size=1024)
    with pytest.raises(Exception, match=r"(?i)memory|alloc"):
        load_engines(path, tight)
