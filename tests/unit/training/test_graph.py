"""The merged graph against two-dimensional resizing and smoothing, and against the calibration's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d, gaussian_filter

from service.images import resize_square
from service.model_format import Branch
from training.calibrate import joint_score
from training.distance import cosine_distance
from training.fit import fit
from training.good_scores import HeldOutScores
from training.graph import CalibratedGraph, smooth_upsampling
from training.run_folder import RunFolder

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def batch(good_pictures: Callable[[int, int], Pixels]) -> torch.Tensor:
    """Four good pictures and one of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    pictures = np.concatenate((good_pictures(4, 5), noise))
    return torch.from_numpy(np.stack([resize_square(picture, 56) for picture in pictures]))


@pytest.mark.parametrize("grid", [4, 7, 16, 28])
def test_smooth_upsampling_is_bilinear_resizing_then_a_gaussian(grid: int) -> None:
    maps = torch.rand(3, grid, grid, generator=torch.Generator().manual_seed(grid))
    upsample = smooth_upsampling(grid)
    assert upsample.shape == (256, grid)
    resized = F.interpolate(maps[None], size=(256, 256), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([gaussian_filter(one.astype(np.float64), sigma=4, mode="nearest") for one in resized])
    np.testing.assert_allclose((upsample @ maps @ upsample.T).numpy(), expected, rtol=0, atol=2e-6)


def test_smoothing_neither_adds_nor_takes_away() -> None:
    upsample = smooth_upsampling(16)
    torch.testing.assert_close(upsample.sum(1), torch.ones(256))
    assert (upsample >= 0).all()


@torch.inference_mode()
def test_the_map_is_the_mean_distance_over_groups_and_the_local_score_its_top_percent(
    finished_run: RunFolder, batch: torch.Tensor
) -> None:
    graph = finished_run.raw_graph()
    scores = graph(batch)
    assert scores.anomaly_map is not None
    assert scores.local is not None
    assert graph.decoder is not None
    hidden = graph.teacher(batch)
    target, rebuilt = graph.decoder.targets(hidden), graph.decoder(hidden)
    distances = (cosine_distance(target[0], rebuilt[0]) + cosine_distance(target[1], rebuilt[1])) / 2
    for picture in range(len(batch)):
        grid = distances[picture].reshape(4, 4)[None, None]
        resized = F.interpolate(grid, size=(256, 256), mode="bilinear", align_corners=False)[0, 0]
        expected = gaussian_filter(resized.double().numpy(), sigma=4, mode="nearest")
        np.testing.assert_allclose(scores.anomaly_map[picture].numpy(), expected, rtol=1e-4, atol=1e-6)
        highest = np.sort(expected, axis=None)[::-1][: 256 * 256 // 100]
        assert scores.local[picture].item() == pytest.approx(highest.mean(), rel=1e-4)


@torch.inference_mode()
def test_calibrated_outputs_agree_with_the_calibration(finished_run: RunFolder, batch: torch.Tensor) -> None:
    calibration = finished_run.calibration().calibration
    raw, outputs = finished_run.raw_graph()(batch), finished_run.calibrated_graph()(batch)
    assert list(outputs) == [
        "local_score", "local_probability", "anomaly_map", "semantic_score", "semantic_probability", "joint_probability",
        "joint_score",
    ]  # fmt: skip
    assert all(tensor.dtype == torch.float32 for tensor in outputs.values())
    assert torch.equal(outputs["anomaly_map"], raw.anomaly_map)
    local, semantic = (outputs[f"{branch}_score"].double().numpy() for branch in ("local", "semantic"))
    assert torch.equal(outputs["local_score"], raw.local)
    assert torch.equal(outputs["semantic_score"], raw.semantic)
    expected = joint_score(HeldOutScores(local, semantic, None), calibration)
    np.testing.assert_allclose(outputs["joint_score"], expected, rtol=1e-4)
    for name, scores, sigmoid in (("local", local, calibration.local), ("semantic", semantic, calibration.semantic)):
        assert sigmoid is not None
        probability = 1 / (1 + np.exp(-(scores - sigmoid.tau) / sigmoid.sigma))
        np.testing.assert_allclose(outputs[f"{name}_probability"], probability, rtol=1e-3, atol=1e-7)
    p, q = outputs["local_probability"].double(), outputs["semantic_probability"].double()
    np.testing.assert_allclose(outputs["joint_probability"], 1 - (1 - p) * (1 - q), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("branch", ["local", "semantic"])
@torch.inference_mode()
def test_a_branch_alone_is_its_own_joint(finished_run: RunFolder, batch: torch.Tensor, branch: Branch) -> None:
    calibration = finished_run.calibration().calibration
    graph = CalibratedGraph(finished_run.raw_graph((branch,)), calibration).eval()
    assert graph.raw.branches == (branch,)
    outputs, whole = graph(batch), finished_run.calibrated_graph()(batch)
    maps = {"anomaly_map"} if branch == "local" else set()
    assert outputs.keys() == {f"{branch}_score", f"{branch}_probability", "joint_probability", "joint_score"} | maps
    assert torch.equal(outputs[f"{branch}_score"], whole[f"{branch}_score"])
    torch.testing.assert_close(outputs["joint_probability"], outputs[f"{branch}_probability"])


@torch.inference_mode()
def test_a_picture_s_score_does_not_depend_on_its_company(finished_run: RunFolder, batch: torch.Tensor) -> None:
    graph = finished_run.calibrated_graph()
    together = graph(batch)
    for picture in range(len(batch)):
        alone = graph(batch[picture : picture + 1])
        for name, tensor in alone.items():
            torch.testing.assert_close(tensor[0], together[name][picture], rtol=1e-4, atol=1e-6)


def test_a_short_reach_is_a_small_kernel() -> None:
    """Dinomaly smooths by a kernel of 5 x 5."""
    kernel = np.exp(-((np.arange(5) - 2) ** 2) / (2 * 4.0**2))
    bilinear = F.interpolate(torch.eye(28)[None], size=256, mode="linear", align_corners=False)[0].T.numpy()
    expected = correlate1d(bilinear, kernel / kernel.sum(), axis=0, mode="nearest")
    np.testing.assert_allclose(smooth_upsampling(28, reach=0.5).numpy(), expected, rtol=0, atol=1e-6)


def test_a_run_smooths_as_far_as_its_settings_say(tmp_path: Path, new_run: Callable[..., RunFolder]) -> None:
    run = new_run(tmp_path / "run", smoothing_reach=0.5, steps=1)
    assert fit(run)
    assert torch.equal(run.raw_graph().upsample, smooth_upsampling(4, reach=0.5))
