"""The semantic score: errors are weighed by how rare they are among good pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.covariance import LedoitWolf

from training.fit import fit
from training.run_folder import RunFolder
from training.students import semantic_loss
from training.tiling import StoredTiles
from training.whitening import RIDGE, Whitening, fit_whitening, residuals


def test_residuals_are_of_directions() -> None:
    target = torch.tensor([[[3.0, 0.0]], [[0.0, 5.0]]])
    predicted = torch.tensor([[[0.0, 2.0]], [[0.0, 0.1]]])
    torch.testing.assert_close(residuals(target, predicted), torch.tensor([[1.0, -1.0, 0.0, 0.0]]))


def test_without_a_fit_it_ranks_as_the_cosine_distance() -> None:
    target, predicted = torch.randn(2, 2, 9, 4, generator=torch.Generator().manual_seed(0))
    cosine = 1 - F.cosine_similarity(target, predicted, dim=-1).mean(0)
    torch.testing.assert_close(Whitening(8)(target, predicted), cosine / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pictures", [24, 3])
@torch.inference_mode()
def test_the_score_is_the_shrunk_mahalanobis_distance(finished_run: RunFolder, pictures: int) -> None:
    teacher, _, encoder = finished_run.trained()
    stored = StoredTiles(finished_run.training()[:pictures], teacher.input_size, None)
    whitening = fit_whitening(teacher, encoder, stored)

    def tokens(images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.from_numpy(np.array(images))
        return encoder.targets(teacher(pixels)), encoder(pixels)

    errors = residuals(*tokens(finished_run.training()[:pictures])).double().numpy()
    other = tokens(finished_run.held_out())
    shrunk = LedoitWolf().fit(errors)
    covariance = shrunk.covariance_ + RIDGE * np.diag(shrunk.covariance_).mean() * np.eye(errors.shape[1])
    away = residuals(*other).double().numpy() - shrunk.location_
    expected = (away @ np.linalg.inv(covariance) * away).sum(1) / errors.shape[1]
    np.testing.assert_allclose(whitening(*other).numpy(), expected, rtol=1e-3)


def test_pictures_that_are_all_alike_still_give_a_score(finished_run: RunFolder) -> None:
    teacher, _, encoder = finished_run.trained()
    alike = np.repeat(finished_run.training()[:1], 5, axis=0)
    whitening = fit_whitening(teacher, encoder, StoredTiles(alike, teacher.input_size, None))
    assert torch.isfinite(whitening.matrix).all()


def test_a_small_error_that_is_never_made_outweighs_a_large_usual_one() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([1.0, 0.0, 0.0]).expand(1, 200, 3)
    usual = target + torch.randn(1, 200, 3, generator=generator) * torch.tensor([0.0, 0.2, 0.001])
    errors = residuals(target, usual).double().numpy()
    whitening = Whitening(3)
    covariance = np.cov(errors.T) + 1e-9 * np.eye(3)
    whitening.matrix.copy_(torch.from_numpy(np.linalg.cholesky(np.linalg.inv(covariance))))
    rare = target[:, :1] + torch.tensor([0.0, 0.0, 0.05])
    assert whitening(target[:, :1], rare) > whitening(target, usual).max()


def test_the_graph_scores_by_it(finished_run: RunFolder) -> None:
    graph, batch = finished_run.raw_graph(), torch.from_numpy(np.array(finished_run.held_out()[:4]))
    assert graph.encoder is not None
    assert graph.whitening is not None
    teacher, _, encoder = finished_run.trained()
    fitted = fit_whitening(teacher, encoder, StoredTiles(finished_run.training(), teacher.input_size, None))
    torch.testing.assert_close(graph.whitening.matrix, fitted.matrix)
    with torch.inference_mode():
        expected = graph.whitening(graph.encoder.targets(graph.teacher(batch)), graph.encoder(batch))
        found = graph(batch).semantic
    torch.testing.assert_close(found, expected)


def test_unwhitened_the_score_is_the_papers(tmp_path: Path, new_run: Callable[..., RunFolder]) -> None:
    """1 - cos, the mean over the taught blocks: the very loss that the student was trained by."""
    run = new_run(tmp_path / "run", whitened=False, steps=3)
    assert fit(run)
    graph, batch = run.raw_graph(), torch.from_numpy(np.array(run.held_out()))
    assert graph.encoder is not None
    with torch.inference_mode():
        expected = semantic_loss(graph.encoder.targets(graph.teacher(batch)), graph.encoder(batch))
        torch.testing.assert_close(graph(batch).semantic, expected, rtol=1e-4, atol=1e-6)
