"""One picture's way: decode → queue → inference → heatmap, each stage timed, all of it under one deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from .batcher import Entry, Inference
from .errors import InferenceError
from .heatmap import encode_map, encode_overlay, pixel_probability, resize_map
from .images import Pixels, decode_image, read_picture
from .loaded_model import LoadedModel
from .model_format import MAP_SIZE, Shape, score_threshold
from .preview import Preview, preview_heatmap, preview_picture
from .progress import Progress, Verdict
from .runtime import Runtime
from .schemas import BranchScores, HeatmapKind, HeatmapSize


@dataclass(frozen=True)
class HeatmapImage:
    """An encoded PNG and its size in pixels."""

    png: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Scored:
    """What one picture scored; width and height are those of the upright picture."""

    probabilities: BranchScores
    raw: BranchScores
    threshold: float
    anomalous: bool
    width: int
    height: int
    heatmap: HeatmapImage | None
    preview: Preview | None  # if somebody listens for it


@dataclass(frozen=True)
class ScoreOptions:
    """What the client asks for. `threshold` None takes the model's own."""

    threshold: float | None
    heatmap: HeatmapKind
    heatmap_size: HeatmapSize


@dataclass(frozen=True)
class Decoded:
    """What is kept of a picture while it waits: not its pixels, of which a full queue would hold gigabytes."""

    inputs: Pixels
    width: int
    height: int
    beneath: Callable[[], Pixels]  # what lies beneath an overlay
    preview: bytes | None


async def score_image(runtime: Runtime, model: LoadedModel, data: bytes, options: ScoreOptions, progress: Progress) -> Scored:
    """Score one encoded picture, and count what came out.

    Raises ImageError's kinds, QueueFullError, NoModelError, DrainingError, InferenceError or DeadlineError.
    """
    with model.batcher.admit(progress.deadline) as entry:
        with progress.during("decode"):
            watched = runtime.feed.wants_pictures
            decoded = await runtime.pictures.run(
                lambda: decode(data, runtime.settings.max_pixels, model.metadata.input_shape, options, watched)
            )
        inference = await compute(model, entry, decoded.inputs, progress)
    scored = judge(model, inference, decoded, options.threshold)
    if options.heatmap != "none" and "local" in model.metadata.branches:
        with progress.during("heatmap"):
            image = await runtime.pictures.run(lambda: _heatmap(model, inference, decoded, options))
        scored = replace(scored, heatmap=image)
    count(model, scored, progress)
    return await with_preview(runtime, model, inference, decoded, scored)


async def compute(model: LoadedModel, entry: Entry, inputs: Pixels, progress: Progress) -> Inference:
    """Queue → inference of one admitted picture's model input; leaves in `progress` how far it came, cancelled or not."""
    progress.stage = "queue"
    entry.trace = progress.trace
    try:
        inference = await model.batcher.compute(entry, inputs)
    except asyncio.CancelledError:
        progress.stage = "inference" if entry.taken else "queue"
        raise
    taken = entry.enqueued + inference.queue_seconds
    progress.passed("queue", entry.enqueued, taken)
    progress.passed("inference", taken, taken + inference.inference_seconds, inference.batch)
    return inference


def judge(model: LoadedModel, inference: Inference, decoded: Decoded, threshold: float | None) -> Scored:
    """What the model says of a picture, as yet without pictures; `threshold` None takes the model's own.

    Raises InferenceError for a number that is not finite.
    """
    probabilities, raw = _read_scores(inference, "probability"), _read_scores(inference, "score")
    least = model.metadata.threshold if threshold is None else threshold
    return Scored(probabilities, raw, least, raw.joint >= score_threshold(least), decoded.width, decoded.height, None, None)


def count(model: LoadedModel, scored: Scored, progress: Progress) -> None:
    """Count one scored picture and how long its stages took; drift is seen by the model's own threshold."""
    for stage, seconds in progress.seconds.items():
        model.metrics.stages[stage].observe(seconds)
    for branch, probability in scored.probabilities:
        if probability is not None:
            model.metrics.scores[branch].observe(probability)
    if scored.anomalous:
        model.metrics.anomalous.inc()
    progress.verdicts.append(Verdict(scored.probabilities, scored.anomalous))
    model.drift.add(scored.probabilities, scored.raw.joint >= score_threshold(model.metadata.threshold))


async def with_preview(runtime: Runtime, model: LoadedModel, inference: Inference, decoded: Decoded, scored: Scored) -> Scored:
    """The same with small pictures, if somebody listened when it was decoded."""
    if decoded.preview is None:
        return scored
    return replace(scored, preview=await runtime.pictures.run(lambda: _preview(model, inference, decoded)))


def decode(data: bytes, max_pixels: int, shape: Shape, options: ScoreOptions, watched: bool) -> Decoded:
    """An encoded picture as model input; with a small JPEG if somebody watches. Raises ImageError's kinds."""
    picture = read_picture(data, max_pixels, shape)
    inputs = picture.resized(shape)
    preview = preview_picture(picture.image) if watched else None
    if options.heatmap == "overlay" and options.heatmap_size == "model":
        small = picture.resized((MAP_SIZE, MAP_SIZE))
        return Decoded(inputs, picture.width, picture.height, lambda: small, preview)
    return Decoded(inputs, picture.width, picture.height, lambda: decode_image(data, max_pixels), preview)


def _read_scores(inference: Inference, kind: str) -> BranchScores:
    found = {branch: inference.outputs.get(f"{branch}_{kind}") for branch in ("local", "semantic", "joint")}
    values = {branch: None if value is None else float(value) for branch, value in found.items()}
    if any(value is not None and not math.isfinite(value) for value in values.values()):
        raise InferenceError(f"the model's {kind} of this picture is not a finite number: {values}")
    return BranchScores.model_validate(values)


def _preview(model: LoadedModel, inference: Inference, decoded: Decoded) -> Preview | None:
    if decoded.preview is None:
        return None
    calibration, distances = model.metadata.calibration.pixel, inference.outputs.get("anomaly_map")
    if calibration is None or distances is None:
        return Preview(decoded.preview, None)
    return Preview(decoded.preview, preview_heatmap(pixel_probability(distances, calibration)))


def _heatmap(model: LoadedModel, inference: Inference, decoded: Decoded, options: ScoreOptions) -> HeatmapImage:
    calibration = model.metadata.calibration.pixel
    if calibration is None:
        raise InferenceError(f"model '{model.name}' has no pixel calibration")
    probability = pixel_probability(inference.outputs["anomaly_map"], calibration)
    width = height = MAP_SIZE
    if options.heatmap_size == "source":
        width, height = decoded.width, decoded.height
        probability = resize_map(probability, width, height)
    if options.heatmap == "map":
        return HeatmapImage(encode_map(probability), width, height)
    return HeatmapImage(encode_overlay(decoded.beneath(), probability), width, height)
