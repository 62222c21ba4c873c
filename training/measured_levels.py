"""Levels of the classes as a run's own good pictures have them (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .class_levels import ClassLevels, nearest_class, prototypes
from .good_scores import Scores, good_scores, parts
from .processes import scoring_device
from .run_folder import RunFolder
from .teacher import Teacher
from .tiling import BATCH, StoredTiles

PROTOTYPE_IMAGES = 200  # of each class; tiles, where pictures are cut
LEVEL_SHARE = 0.01  # of a class's good pictures lies above its level: where thresholds are looked for
TAIL = 0.2  # of a class's good pictures, by which it is known how far up its scores go
PRIOR = 5
SMALLEST = 1e-9  # of a score that a level is measured from
PARTS = 5


def class_levels(run: RunFolder) -> tuple[ClassLevels, tuple[ClassLevels, ...]]:
    """Prototypes from training pictures; levels from the held-out pictures nearest to each. First those of all pictures, then
    for each of their parts those of all others.

    Of pictures that are cut, each tile is like a class by itself, and a picture is like what its tiles are on average.
    """
    local = cast(Scores, good_scores(run, ("local",)).local)
    description, (teacher, _, _) = run.description(), run.trained()
    size, tiles, class_counts = description.settings.input_size, description.settings.tiles, description.class_counts
    training, held_out = StoredTiles(run.training(), size, tiles), StoredTiles(run.held_out(), size, tiles)
    counts = [count * training.of_each for count in class_counts]
    starts = np.cumsum([0, *counts[:-1]])
    chosen = [np.linspace(s, s + n - 1, min(n, PROTOTYPE_IMAGES)).astype(int) for s, n in zip(starts, counts, strict=True)]
    means = prototypes([class_tokens(teacher, training, indices) for indices in chosen])
    tokens = class_tokens(teacher, held_out, np.arange(len(held_out)))
    owners = nearest_class(prototypes(list(torch.unflatten(tokens, 0, (-1, held_out.of_each)))), means).numpy()
    numbers = parts(run, min(PARTS, len(local)))

    def levels(known: npt.NDArray[np.bool_]) -> ClassLevels:
        owned = (local[known & (owners == index)] for index in range(len(class_counts)))
        found = tail_quantiles([own if len(own) else local[known] for own in owned], LEVEL_SHARE)
        return ClassLevels(prototypes=tuple(map(tuple, means.tolist())), local=tuple(found))

    whole = levels(numbers >= 0)
    if len(local) == 1:  # there are no others
        return whole, (whole,)
    return whole, tuple(levels(numbers != number) for number in range(int(numbers.max()) + 1))


def tail_quantiles(classes: Sequence[Scores], share: float) -> list[float]:
    """The (1 - share) quantile of each class's good scores, by how its worst fifth is spread (Weissman, 1978; Hill's index).

    The score of that rank itself would be an accident, and of few pictures there is none. What the fewest pictures say of their
    spread is an accident as well: all classes' spread weighs as much as `PRIOR` pictures of the class.
    """
    starts, counts, spreads = [], [], []
    for scores in map(np.sort, classes):
        count = max(1, round(TAIL * len(scores)))
        start = max(float(scores[-count - 1] if count < len(scores) else scores[-1]), SMALLEST)
        starts.append(start)
        counts.append(count)
        spreads.append(np.log(np.maximum(scores[-count:], start) / start))
    usual = float(np.concatenate(spreads).mean())
    indices = [(spread.sum() + PRIOR * usual) / (len(spread) + PRIOR) for spread in spreads]
    return [
        start * float(max(1.0, count / (len(scores) * share)) ** index)
        for start, count, scores, index in zip(starts, counts, classes, indices, strict=True)
    ]


@torch.inference_mode()
def class_tokens(teacher: Teacher, tiles: StoredTiles, numbers: npt.NDArray[np.int64]) -> Tensor:
    """The teacher's last class token [len(numbers), d] of each of these tiles."""
    device = scoring_device()
    teacher = teacher.to(device)
    batches = (torch.from_numpy(tiles[numbers[i : i + BATCH]]).to(device) for i in range(0, len(numbers), BATCH))
    return torch.cat([teacher(batch)[-1][:, 0].cpu() for batch in batches])
