"""Nearest neighbours on the teacher's own features: the baseline that shows what the students are worth.

Semantic: distance of the class token to its nearest neighbour among the good training pictures. Local: distance of each patch
to its nearest neighbour among a random memory of good patches (PatchCore, arXiv 2106.08265, without its coreset), then the same
smoothing and top 1 % as Duet's local score. Nothing is trained.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.model_format import MAP_SIZE, input_shape

from ..distance import unit
from ..graph import SMOOTHING_REACH, smooth_upsampling
from ..processes import scoring_device
from ..progress import Progress
from ..scorers import Outputs
from ..students import GROUPS, TOP_SHARE
from ..teacher import Teacher
from ..tiling import pictures_at_once

BATCH = 32
QUERIES = 1024  # at once: their distances to the whole memory take 200 MB
MEMORY = 50_000  # patches: a tenth as many made the baseline look five points worse than it is
MOST_PICTURES = 2_000  # for each normal class, on average


class NeighbourScorer:
    """Scores pictures by their distance to training pictures uint8 [M, S, S, 3] of so many classes."""

    def __init__(
        self,
        teacher: Teacher,
        training: npt.NDArray[np.uint8],
        classes: int,
        seed: int,
        smoothing_reach: float = SMOOTHING_REACH,
    ) -> None:
        self._device = scoring_device()
        self.teacher = teacher.to(self._device)
        self.input_shape, self.at_once = input_shape(teacher.input_size, None), pictures_at_once(None)
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(training))[: MOST_PICTURES * classes])
        tokens, patches = [], []
        share = min(1.0, MEMORY / (len(chosen) * teacher.grid**2))
        with Progress("remembering good pictures", len(chosen)) as bar:
            for start in range(0, len(chosen), BATCH):
                class_tokens, grids = self._features(training[chosen[start : start + BATCH]])
                tokens.append(class_tokens)
                flat = grids.reshape(-1, grids.shape[-1])
                kept = np.flatnonzero(rng.random(len(flat)) < share)
                patches.append(flat[torch.from_numpy(kept).to(self._device)])
                for _ in class_tokens:
                    bar.advance()
        self._tokens, self._patches = torch.cat(tokens), torch.cat(patches)
        self._upsample = smooth_upsampling(teacher.grid, reach=smoothing_reach).numpy()

    def score(self, batch: npt.NDArray[np.uint8]) -> Outputs:
        """Pictures uint8 [N, S, S, 3] to local_score and semantic_score [N] and anomaly_map [N, 256, 256]."""
        tokens, patches = self._features(batch)
        grids = _distance(self._patches, patches.flatten(0, 1))
        maps = self._upsample @ grids.reshape(-1, self.teacher.grid, self.teacher.grid) @ self._upsample.T
        top = int(TOP_SHARE * MAP_SIZE**2)
        local = np.partition(maps.reshape(len(maps), -1), -top, axis=1)[:, -top:].mean(axis=1)
        return {"local_score": local, "semantic_score": _distance(self._tokens, tokens), "anomaly_map": maps}

    @torch.inference_mode()
    def _features(self, pictures: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Unit class tokens [N, d] of the last block, and unit patch features [N, patches, groups * d] of the middle ones."""
        hidden = self.teacher(torch.from_numpy(np.array(pictures)).to(self._device))
        middle = torch.stack([hidden[i][:, 1 + self.teacher.registers :] for i in self.teacher.middle])
        groups = torch.stack([group.mean(0) for group in middle.chunk(GROUPS)])
        return unit(hidden[-1][:, 0]), torch.cat(list(unit(groups)), dim=-1)


@torch.inference_mode()
def _distance(memory: Tensor, queries: Tensor) -> npt.NDArray[np.float32]:
    """Of each query to its nearest neighbour in memory, [N]."""
    parts = [torch.cdist(queries[start : start + QUERIES], memory).amin(1) for start in range(0, len(queries), QUERIES)]
    found: npt.NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return found
