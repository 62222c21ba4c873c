"""The pre-training itself: targets from the source network, steps, checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import TrainingError
from ..files import write_beside
from ..optimizers import Muon, scale_learning_rates
from ..progress import Progress
from ..schedule import warmup_cosine
from .batches import PretrainBatches
from .settings import PretrainSettings
from .source import SourceNetwork, normalise
from .student import CompactPretrainer, Standardiser


def pretrain(
    photos: Sequence[npt.NDArray[np.uint8]],
    pictures: Sequence[npt.NDArray[np.uint8]],
    output: Path,
    settings: PretrainSettings,
    resume: bool = False,
) -> None:
    """Train the compact teacher and save it in hub format (half precision) in `output`.

    `photos` are large pictures, `pictures` small ones, each uint8 RGB [h, w, 3] of any size. With `resume`, go on from
    `output/checkpoint.pt`; a checkpoint of other settings is refused.
    """
    torch.manual_seed(settings.seed)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.pt"
    source = SourceNetwork()
    model = CompactPretrainer(source)
    optimizers = _optimizers(model, settings)
    batches = PretrainBatches(photos, pictures, settings)
    start = 0
    if resume:
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != vars(settings):
            raise TrainingError(f"{checkpoint} was made with {state['settings']}, not with {vars(settings)}")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]
    else:
        _measure_targets(model, source, batches)

    loader = DataLoader(batches, batch_size=None, sampler=range(start, settings.steps), num_workers=1, prefetch_factor=4)
    with Progress("pre-training", settings.steps, start) as bar:
        for step, batch in enumerate(loader, start):
            factor = warmup_cosine(step, settings.steps, settings.warmup_steps, final=1e-3)
            scale_learning_rates(optimizers, factor)
            images = normalise(batch)
            with torch.autocast("cpu", torch.bfloat16):
                patch_error, class_error = model(images, *source(images))
            model.zero_grad(set_to_none=True)
            (patch_error + class_error).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            bar.advance({f"patch@{batch.shape[1]}": patch_error.item(), f"class@{batch.shape[1]}": class_error.item()})
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                state = {
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step + 1,
                    "settings": vars(settings),
                }
                write_beside(checkpoint, partial(torch.save, state))
                vit = copy.deepcopy(model.vit)
                nn.Module.half(vit)
                vit.save_pretrained(output)


def _optimizers(model: CompactPretrainer, settings: PretrainSettings) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the blocks' matrices, AdamW for embeddings, heads and norms."""
    matrices = [p for p in model.vit.encoder.parameters() if p.ndim == 2]
    chosen = set(matrices)
    others = [p for p in model.parameters() if p not in chosen]
    decayed, plain = [p for p in others if p.ndim > 1], [p for p in others if p.ndim <= 1]
    adamw = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay, "base_lr": settings.learning_rate},
            {"params": plain, "weight_decay": 0.0, "base_lr": settings.learning_rate},
        ],
        betas=(0.9, 0.98),
    )
    return Muon(matrices, settings.matrix_learning_rate, settings.weight_decay), adamw


@torch.no_grad()
def _measure_targets(model: CompactPretrainer, source: SourceNetwork, batches: PretrainBatches) -> None:
    found: dict[str, list[Tensor]] = {name: [] for name in model.standardisers}
    for step in range(min(16, len(batches))):
        maps, pooled = source(normalise(batches[step]))
        for stride, features in maps.items():
            found[str(stride)].append(features.flatten(0, 1))
        found["pooled"].append(pooled)
    for name, features in found.items():
        cast(Standardiser, model.standardisers[name]).measure(torch.cat(features))
