"""The engine on a real CUDA device: `make test-gpu`. Skipped where ONNX Runtime or the machine has none."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import torch

from service.engine import Engine, load_engines
from service.gpu import GpuCollector
from service.images import decode_image, model_input
from service.providers import EngineOptions
from tests.pictures import grey, noise, reddish, spotted
from tests.service_process import running_service
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


def test_every_batch_is_seen(path: Path) -> None:
    """Batches of all sizes, each other than the one before: what is bound keeps nothing of an earlier one."""
    (engine,) = load_engines(path, CUDA)
    for seed in range(20):
        pictures = [noise(seed + n) for n in range(1 + seed % 4)]
        found = engine.run(pictures)["joint_score"]
        np.testing.assert_allclose(found, [expected_scores(picture)[2] for picture in pictures], rtol=1e-3, atol=1e-4)


def test_the_service_answers_what_it_answers_on_the_cpu(tmp_path: Path) -> None:
    """The model that ships, every sample in requests beside each other, in batches as they come."""
    files = sorted((MODELS / "demo/samples").glob("*.png"))
    answers = []
    for provider in ("cuda", "cpu"):
        settings: dict[str, object] = {"providers": provider, "require_cuda": provider == "cuda"}
        with running_service(MODELS, tmp_path / f"{provider}.log", **settings) as service:
            assert service.metric("duet_model_info", model="demo", provider=provider) == 1

            def score(file: Path, client: httpx.Client = service.client) -> dict[str, float]:
                response = client.post("/score", content=file.read_bytes(), headers={"Content-Type": "image/png"})
                assert response.status_code == 200, response.text
                scores: dict[str, float] = response.json()["scores"]
                return scores

            with ThreadPoolExecutor(4) as pool:
                answers.append(list(pool.map(score, files * 3)))
    for found, expected in zip(*answers, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_memory_limit_that_is_too_small_is_an_error_and_no_crash(path: Path) -> None:
    tight = EngineOptions(providers=("cuda", "cpu"), require_cuda=True, cuda_memory_mb=1, max_batch_size=1024)
    with pytest.raises(Exception, match=r"(?i)memory|alloc"):
        load_engines(path, tight)


def test_cuda_graphs_compute_what_the_same_kernels_compute_one_by_one() -> None:
    """On the model that ships: the tiny one has a loop, which cannot be captured. Twice each, captured and then replayed."""
    files = sorted((MODELS / "demo/samples").glob("*.png"))[:4]
    pictures = [model_input(decode_image(file.read_bytes(), 10**6), (112, 112)) for file in files]
    plain, reference = Engine(DEMO, CUDA), Engine(DEMO, EngineOptions(max_batch_size=4))
    options = EngineOptions(providers=("cuda", "cpu"), require_cuda=True, cuda_graphs=True, max_batch_size=4)
    (captured,) = load_engines(DEMO, options)
    for count in (1, 4, 2, 1, 4, 3):
        expected = reference.run(pictures[-count:])
        for engine in (plain, captured):
            for name, value in engine.run(pictures[-count:]).items():
                np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-3)


def test_a_model_that_cannot_be_captured_runs_without(path: Path) -> None:
    """The tiny one, for its loop."""
    (engine,) = load_engines(path, replace(CUDA, cuda_graphs=True))
    pictures = [spotted(), reddish()]
    np.testing.assert_allclose(
        engine.run(pictures)["joint_score"], [expected_scores(p)[2] for p in pictures], rtol=1e-3, atol=1e-4
    )


def test_every_way_of_computing_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_path", str(DEMO), "--rounds", "1", "--batch", "1", "--batch", "2"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=MODELS.parent).stdout
    assert "float16, CUDA graphs" in printed


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
