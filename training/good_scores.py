"""Raw scores of good pictures by students that were not taught with them: what calibration knows of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from service.model_format import Branch

from .class_levels import ClassLevels, LevelScale
from .folds import fold_numbers, fold_runs
from .graph import RawGraph
from .processes import scoring_device
from .progress import Progress
from .run_folder import RunFolder
from .tiling import pictures_at_once

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOutScores:
    """Raw scores of held-out good images; None for an absent branch."""

    local: Scores | None  # [N]
    semantic: Scores | None  # [N]
    map_maximum: Scores | None  # [N], largest value of each anomaly map


def good_scores(
    run: RunFolder, branches: Sequence[Branch] = ("local", "semantic"), levels: Sequence[ClassLevels] = ()
) -> HeldOutScores:
    """Raw scores of the held-out pictures, each by students that were not taught with it.

    `levels` are those of the parts of the pictures (see `parts`): each is scored by levels that it had no part in, so that a
    threshold found on these scores holds for others (cross-fitting). A single one is for all, and without any none is scaled.
    """
    folds, numbers = fold_runs(run), parts(run, len(levels))
    found = []
    whole = None if folds else run.raw_graph(branches)
    for number in range(int(numbers.max(initial=0)) + 1):
        graph = whole or folds[number].raw_graph(branches)
        if levels:
            graph.scale = LevelScale(levels[number % len(levels)])
        # by slices: what is indexed is copied
        pictures = folds[number].held_out() if folds else run.held_out()[number :: max(1, len(levels))]
        found.append(held_out_scores(graph, pictures))
    order = np.argsort(np.argsort(numbers, kind="stable"))  # from part after part to the pictures' own

    def joined(name: str) -> Scores | None:
        values = [getattr(part, name) for part in found]
        return None if values[0] is None else np.concatenate(values)[order]

    return HeldOutScores(joined("local"), joined("semantic"), joined("map_maximum"))


def parts(run: RunFolder, count: int) -> npt.NDArray[np.int64]:
    """The part that each picture [M] belongs to, which a run of folds has already; else every `count`-th is of the same one."""
    description = run.description()
    return fold_numbers(description) if description.settings.folds else np.arange(len(run.held_out())) % max(1, count)


@torch.inference_mode()
def held_out_scores(graph: RawGraph, pictures: npt.NDArray[np.uint8]) -> HeldOutScores:
    """Raw scores of good pictures uint8 [M, H, W, 3], in float32 as they will be served."""
    at_once, device = pictures_at_once(graph.tiles), scoring_device()
    graph = graph.to(device)
    found: dict[str, list[npt.NDArray[np.float32]]] = {"local": [], "semantic": [], "map_maximum": []}
    with Progress("scoring held-out pictures", len(pictures)) as bar:
        for start in range(0, len(pictures), at_once):
            batch = torch.from_numpy(np.array(pictures[start : start + at_once]))
            scores = graph(batch.to(device))
            if scores.local is not None and scores.anomaly_map is not None:
                found["local"].append(scores.local.cpu().numpy())
                found["map_maximum"].append(scores.anomaly_map.flatten(1).amax(1).cpu().numpy())
            if scores.semantic is not None:
                found["semantic"].append(scores.semantic.cpu().numpy())
            for _ in range(len(batch)):
                bar.advance()
    joined = {name: np.concatenate(parts).astype(np.float64) if parts else None for name, parts in found.items()}
    return HeldOutScores(**joined)
