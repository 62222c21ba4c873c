"""The emulation of bfloat16 that the CPU benchmark uses where the CPU has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from benchmarks.cpu_path import _bfloat16, _rounding
from tests.pictures import noise, spotted
from tests.tiny_model import build_model


def test_rounding_is_torch_s() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32) * np.float32(1e3)
    ties = (np.arange(64, dtype=np.uint32) << 16 | 0x3F808000).view(np.float32)
    for numbers in (values, ties):
        expected = torch.from_numpy(numbers).bfloat16().float().numpy()
        np.testing.assert_array_equal(_bfloat16(numbers), expected)


def test_a_graph_that_rounds_keeps_its_outputs_and_scores_nearly_the_same(tmp_path: Path) -> None:
    """The tiny model's values are quotients of 255, most of which bfloat16 cannot hold."""
    pictures = np.stack([spotted(), noise(1)])
    scores = []
    for model in (build_model(), _rounding(build_model())):
        onnx.save(model, tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        scores.append(session.run(["local_score", "semantic_score"], {"image": pictures}))
    np.testing.assert_allclose(scores[1], scores[0], rtol=2e-2, atol=1e-2)
    assert not np.array_equal(scores[0], scores[1])
