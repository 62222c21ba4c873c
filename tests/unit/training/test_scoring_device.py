"""Everything that a finished run computes, it computes on the device. There is no CUDA here: torch's "meta" stands for it.

That one mixes with the CPU as little as CUDA does, and has no values: what gets as far as to copy them back has computed there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from service.model_format import Tiles
from training.benchmark.neighbours import NeighbourScorer
from training.class_levels import ClassLevels
from training.good_scores import held_out_scores
from training.graph import CalibratedGraph
from training.measured_levels import class_tokens
from training.run_folder import RunFolder
from training.scorers import RunScorer
from training.tiled_graph import TiledGraph
from training.tiling import StoredTiles
from training.whitening import fit_whitening

ELSEWHERE = torch.device("meta")
LEVELS = ClassLevels(prototypes=((1.0,) * 64, (0.5,) * 63 + (2.0,)), local=(0.1, 0.2))


def whole(run: RunFolder) -> object:
    graph = CalibratedGraph(run.raw_graph(levels=LEVELS), run.calibration().calibration).to(ELSEWHERE)
    return graph(torch.zeros(2, 56, 56, 3, dtype=torch.uint8, device=ELSEWHERE))["joint_score"].cpu()


def tiled(run: RunFolder) -> object:
    (teacher, decoder, _), raw = run.trained(), run.raw_graph()
    assert raw.encoder is not None
    assert raw.whitening is not None
    graph = TiledGraph(teacher, decoder, (raw.encoder, raw.whitening), LEVELS, 4.0, Tiles(rows=2, columns=2, overlap=14))
    scores = graph.eval().to(ELSEWHERE)(torch.zeros(2, 98, 98, 3, dtype=torch.uint8, device=ELSEWHERE))
    assert scores.semantic is not None
    return scores.semantic.cpu()


def stored(run: RunFolder) -> StoredTiles:
    return StoredTiles(run.training(), 56, None)


WORK: dict[str, Callable[[RunFolder], object]] = {
    "the whole graph": whole,
    "the tiled graph": tiled,
    "calibration": lambda run: held_out_scores(run.raw_graph(), run.held_out()),
    "prototypes": lambda run: class_tokens(run.trained()[0], stored(run), np.arange(4)),
    "whitening": lambda run: fit_whitening(run.trained()[0], run.trained()[2], stored(run)),
    "evaluation": lambda run: RunScorer(run).score(np.array(run.held_out()[:2])),
    "neighbours": lambda run: NeighbourScorer(run.trained()[0], run.training(), 1, 0).score(np.array(run.held_out()[:2])),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_it_is_computed_on_the_device(
    finished_run: RunFolder, work: Callable[[RunFolder], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("good_scores", "measured_levels", "whitening", "scorers", "benchmark.neighbours"):
        monkeypatch.setattr(f"training.{module}.scoring_device", lambda: ELSEWHERE)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        work(finished_run)
