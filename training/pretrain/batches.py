"""What the compact teacher is shown: crops of photographs, and small pictures enlarged."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from service.images import resize_square

from ..errors import TrainingError
from ..progress import track
from .settings import PretrainSettings

log = logging.getLogger(__name__)

PHOTO_SIDE = 1536  # longer side kept of a photograph: finer detail is noise at crop sizes of 112 and 224


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
