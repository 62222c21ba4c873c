"""What one picture scored, as its client reads it: the JSON answer, or the headers beside a PNG."""

from __future__ import annotations

import base64

from .loaded_model import LoadedModel
from .metrics import STAGES
from .progress import Progress
from .schemas import BranchScores, Heatmap, ImageSize, ModelReference, ScoreResponse, Timing
from .scoring import HeatmapImage, Scored


def score_answer(request_id: str, model: LoadedModel, scored: Scored, progress: Progress) -> ScoreResponse:
    """The JSON answer for one picture, whose stages `progress` has timed."""
    milliseconds = {stage: round(1000 * progress.seconds.get(stage, 0.0), 3) for stage in STAGES}
    return ScoreResponse(
        id=request_id,
        model=ModelReference(name=model.name, version=model.version),
        scores=scored.probabilities,
        raw=scored.raw,
        threshold=scored.threshold,
        anomalous=scored.anomalous,
        image=ImageSize(width=scored.width, height=scored.height),
        heatmap=_heatmap(scored.heatmap) if scored.heatmap else None,
        timing_ms=Timing(**milliseconds, total=round(1000 * progress.total, 3)),
    )


def score_headers(model: LoadedModel, scored: Scored) -> dict[str, str]:
    """The same as `X-Duet-*` headers, for an answer whose body is the heatmap itself."""
    headers = {
        "X-Duet-Model": model.name,
        "X-Duet-Version": model.version,
        "X-Duet-Threshold": str(scored.threshold),
        "X-Duet-Anomalous": str(scored.anomalous).lower(),
        "X-Duet-Image-Width": str(scored.width),
        "X-Duet-Image-Height": str(scored.height),
    }
    return headers | _branch_headers(scored.probabilities, "Probability") | _branch_headers(scored.raw, "Score")


def _heatmap(image: HeatmapImage) -> Heatmap:
    return Heatmap(width=image.width, height=image.height, data=base64.b64encode(image.png).decode())


def _branch_headers(scores: BranchScores, kind: str) -> dict[str, str]:
    return {f"X-Duet-{branch.title()}-{kind}": str(value) for branch, value in scores if value is not None}
