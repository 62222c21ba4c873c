"""What the service answers, typed."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, Self

from .drawing import result_html
from .errors import UnexpectedAnswerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

HeatmapKind = Literal["none", "map", "overlay"]
HeatmapSize = Literal["model", "source"]


@dataclass(frozen=True)
class BranchScores:
    """One number a branch; None for a branch that the model does not have."""

    local: float | None
    semantic: float | None
    joint: float


@dataclass(frozen=True)
class Timing:
    """Milliseconds that the service spent."""

    decode: float
    queue: float
    inference: float
    heatmap: float
    total: float


@dataclass(frozen=True)
class Heatmap:
    """A PNG of `width` x `height` pixels: `map`, whose palette index is round(255 * probability), or `overlay`, a picture."""

    kind: HeatmapKind
    width: int
    height: int
    png: bytes

    def image(self) -> Image:
        """As a Pillow image: mode P of `map`, RGB of `overlay`."""
        from PIL import Image

        return Image.open(BytesIO(self.png), formats=("PNG",))

    def array(self) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
        """Of `map` the probability of each pixel, float32 [H, W] in [0, 1]; of `overlay` the picture, uint8 [H, W, 3]."""
        import numpy as np

        values: npt.NDArray[np.uint8] = np.asarray(self.image(), dtype=np.uint8)
        return values if self.kind == "overlay" else values.astype(np.float32) / np.float32(255)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class ScoreResult:
    """What one picture scored.

    `scores` are calibrated probabilities; `raw` the model's own numbers, of which `joint` ranks pictures without ever
    saturating. `threshold` is the joint probability that was applied. `width` and `height` are those of the upright picture.
    """

    id: str
    model: str
    version: str
    scores: BranchScores
    raw: BranchScores
    threshold: float
    anomalous: bool
    width: int
    height: int
    heatmap: Heatmap | None
    timing_ms: Timing

    @classmethod
    def from_json(cls, body: bytes, heatmap: HeatmapKind) -> Self:
        """Read the answer to a request for this kind of heatmap; unknown members are left. Raises UnexpectedAnswerError."""
        try:
            answer = json.loads(body)
            return cls(
                id=answer["id"],
                model=answer["model"]["name"],
                version=answer["model"]["version"],
                scores=_branches(answer["scores"]),
                raw=_branches(answer["raw"]),
                threshold=float(answer["threshold"]),
                anomalous=answer["anomalous"],
                width=answer["image"]["width"],
                height=answer["image"]["height"],
                heatmap=_heatmap(answer["heatmap"], heatmap),
                timing_ms=Timing(**{stage: float(answer["timing_ms"][stage]) for stage in Timing.__dataclass_fields__}),
            )
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            start = body[:80].decode(errors="replace")
            raise UnexpectedAnswerError(
                f"the answer is none of Duet's ({type(error).__name__}: {error}): does the address lead to the service? "
                f"It begins with {start!r}"
            ) from error

    def _repr_html_(self) -> str:
        return result_html(self)


def _branches(numbers: dict[str, Any]) -> BranchScores:
    local, semantic = (None if numbers[branch] is None else float(numbers[branch]) for branch in ("local", "semantic"))
    return BranchScores(local, semantic, float(numbers["joint"]))


def _heatmap(answer: dict[str, Any] | None, kind: HeatmapKind) -> Heatmap | None:
    if answer is None:
        return None
    return Heatmap(kind, answer["width"], answer["height"], base64.b64decode(answer["data"], validate=True))
