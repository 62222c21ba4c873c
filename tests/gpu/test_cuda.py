"""The engine on a real CUDA device: `make test-gpu`. Skipped where ONNX Runtime or the machine has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from service.engine import Engine, load_engines
from service.gpu import GpuCollector
from service.images import decode_image, model_input
from service.onnx_session import pinned_memory
from service.providers import EngineOptions
from tests.pictures import grey, noise, reddish, spotted
from tests.tiny_model import expected_scores, write_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="no CUDA in ONNX Runtime"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

MODELS = Path(__file__).parents[2] / "models"
DEMO = MODELS / "demo/1/model.onnx"
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


def test_the_gpu_is_watched() -> None:
    used, total, busy = GpuCollector().collect()
    assert used.samples
    assert all(0 < mine.value < whole.value for mine, whole in zip(used.samples, total.samples, strict=True))
    assert all(0 <= sample.value <= 1 for sample in busy.samples)


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


def test_cuda_graphs_compute_what_the_same_kernels_compute_one_by_one() -> None:
    """On the model that ships: the tiny one has a loop, which cannot be captured. Twice each, captured and then replayed."""
    files = sorted((MODELS / "demo/samples").glob("*.png"))[:4]
    pictures = [model_input(decode_image(file.read_bytes(), 10**6), (112, 112)) for file in files]
    plain = Engine(DEMO, CUDA)
    options = EngineOptions(providers=("cuda", "cpu"), require_cuda=True, cuda_graphs=True, max_batch_size=4)
    (captured,) = load_engines(DEMO, options)
    for count in (1, 4, 2, 1, 4, 3):
        expected = plain.run(pictures[-count:])
        for name, value in captured.run(pictures[-count:]).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif("TensorrtExecutionProvider" not in onnxruntime.get_available_providers(), reason="no TensorRT")
def test_tensorrt_keeps_its_engines(tmp_path: Path) -> None:
    options = EngineOptions(providers=("tensorrt", "cuda"), require_cuda=True, tensorrt_cache=tmp_path, max_batch_size=2)
    (engine,) = load_engines(DEMO, options)
    if engine.provider != "tensorrt":
        pytest.skip("TensorRT's libraries are not installed")
    assert list(tmp_path.glob("*.engine"))
    picture = model_input(decode_image((MODELS / "demo/samples/wrong_label.png").read_bytes(), 10**6), (112, 112))
    expected = Engine(DEMO, EngineOptions(max_batch_size=2)).run([picture])
    for name, value in engine.run([picture]).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-2, atol=1e-2)
