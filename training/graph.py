"""The merged graph: teacher, both students and calibration in one module, uint8 pixels in, calibrated scores out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from service.model_format import MAP_SIZE, Branch, Calibration, Sigmoid, Tiles

from .class_levels import ClassLevels, LevelScale
from .distance import cosine_distance
from .noisy_or import hazard_of_logit, joint_hazard, probability
from .students import TOP_SHARE, DecoderStudent, EncoderStudent
from .teacher import Teacher
from .whitening import Whitening

SMOOTHING_SIGMA = 4.0  # pixels of the 256 x 256 map
SMOOTHING_REACH = 4.0  # standard deviations from which the Gaussian counts as 0


class RawScores(NamedTuple):
    """What the students say before calibration; None for an absent branch."""

    local: Tensor | None  # [N], s_l
    semantic: Tensor | None  # [N], s_s
    anomaly_map: Tensor | None  # [N, 256, 256], distance units


class RawGraph(nn.Module):
    """uint8 RGB pixels [N, S, S, 3] to raw scores. The teacher runs once for both students.

    With `levels`, local score and map are scaled to the level of the class that the picture looks like.
    """

    upsample: Tensor
    tiles: Tiles | None = None

    def __init__(
        self,
        teacher: Teacher,
        decoder: DecoderStudent | None,
        semantic: tuple[EncoderStudent, Whitening] | None,
        levels: ClassLevels | None = None,
        smoothing_reach: float = SMOOTHING_REACH,
    ) -> None:
        super().__init__()
        self.scale = None if levels is None else LevelScale(levels)
        self.teacher, self.decoder = teacher, decoder
        self.encoder = semantic[0] if semantic else None
        self.whitening = semantic[1] if semantic else None
        self.register_buffer("upsample", smooth_upsampling(teacher.grid, reach=smoothing_reach))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches present, in the order of the outputs."""
        present: list[Branch] = []
        if self.decoder is not None:
            present.append("local")
        if self.encoder is not None:
            present.append("semantic")
        return tuple(present)

    def forward(self, image: Tensor) -> RawScores:
        hidden = self.teacher(image)
        local = semantic = anomaly_map = None
        if self.decoder is not None:
            anomaly_map = self.upsample @ self.patch_distances(self.decoder, hidden) @ self.upsample.T
            local = anomaly_map.flatten(1).topk(int(TOP_SHARE * MAP_SIZE**2)).values.mean(1)
        if self.encoder is not None and self.whitening is not None:
            semantic = self.whitening(self.encoder.targets(hidden), self.encoder(image))
        return RawScores(local, semantic, anomaly_map)

    def patch_distances(self, decoder: DecoderStudent, hidden: list[Tensor]) -> Tensor:
        """How far the decoder student's features are from the teacher's, [N, g, g], in units of the class's level."""
        distances = cosine_distance(decoder.targets(hidden), decoder(hidden)).mean(0)
        if self.scale is not None:
            distances = distances * self.scale(hidden[-1][:, 0])[:, None]
        return torch.unflatten(distances, 1, (self.teacher.grid, self.teacher.grid))


class CalibratedGraph(nn.Module):
    """A raw graph followed by its calibration: every output tensor of the model file (design, section 4)."""

    def __init__(self, raw: RawGraph, calibration: Calibration) -> None:
        super().__init__()
        self.raw = raw
        given = {"local": calibration.local, "semantic": calibration.semantic}
        self.logits = nn.ModuleDict({branch: Logit(sigmoid) for branch, sigmoid in given.items() if sigmoid is not None})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        scores = self.raw(image)
        outputs: dict[str, Tensor] = {}
        hazards = []
        if scores.local is not None and scores.anomaly_map is not None:
            hazard = hazard_of_logit(self.logits["local"](scores.local))
            hazards.append(hazard)
            outputs |= {
                "local_score": scores.local,
                "local_probability": probability(hazard),
                "anomaly_map": scores.anomaly_map,
            }
        if scores.semantic is not None:
            hazard = hazard_of_logit(self.logits["semantic"](scores.semantic))
            hazards.append(hazard)
            outputs |= {"semantic_score": scores.semantic, "semantic_probability": probability(hazard)}
        joint = joint_hazard(hazards)
        return outputs | {"joint_probability": probability(joint), "joint_score": joint}


class Logit(nn.Module):
    """u = (s - tau) / sigma. Both are buffers, so that an exported file has them by name and can be calibrated anew."""

    tau: Tensor
    sigma: Tensor

    def __init__(self, sigmoid: Sigmoid) -> None:
        super().__init__()
        self.register_buffer("tau", torch.tensor(sigmoid.tau))
        self.register_buffer("sigma", torch.tensor(sigmoid.sigma))

    def forward(self, score: Tensor) -> Tensor:
        return (score - self.tau) / self.sigma


def smooth_upsampling(grid: int, sigma: float = SMOOTHING_SIGMA, reach: float = SMOOTHING_REACH) -> Tensor:
    """Matrix U [256, grid] for which U a U^T is map a, bilinear to 256 x 256 and then smoothed by a Gaussian of `sigma` pixels,
    cut off at `reach` sigmas.

    Both steps are linear and separable, so two small products do the work of a resize and a convolution on every pixel.
    """
    identity = torch.eye(grid)[None]
    bilinear = F.interpolate(identity, size=MAP_SIZE, mode="linear", align_corners=False)[0].T
    smoothed = gaussian_filter1d(bilinear.double().numpy(), sigma, axis=0, mode="nearest", truncate=reach)
    return torch.from_numpy(smoothed.astype(np.float32))
