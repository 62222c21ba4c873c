"""The pictures of one request through the queue: admitted together or not at all, and given up together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ..batcher import Entry, Inference
from ..images import ImageError, Pixels
from ..loaded_model import LoadedModel
from ..metrics import STAGES
from ..preview import preview_picture
from ..progress import Progress
from ..runtime import Runtime
from ..scoring import Decoded, Scored, ScoreOptions, compute, count, decode, judge, with_preview
from .model_tensors import ENCODED_INPUT, Picture

_OPTIONS = ScoreOptions(threshold=None, heatmap="none", heatmap_size="model")  # a message asks for tensors alone


@dataclass(frozen=True)
class Inferred:
    """A picture's outputs, what they mean, and the file to archive it as; None where nothing is archived."""

    inference: Inference
    scored: Scored
    file: bytes | None


async def infer(runtime: Runtime, model: LoadedModel, pictures: Sequence[Picture], progress: Progress) -> list[Inferred]:
    """Compute every picture, in batches with whatever else waits, and count what came out.

    Raises what `score_image` raises. The first picture to fail takes the others out of the queue.
    """
    parts = [progress.of_image() for _ in pictures]
    with contextlib.ExitStack() as places:
        entries = [places.enter_context(model.batcher.admit(progress.deadline)) for _ in pictures]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_infer_one(runtime, model, index, picture, entry, part))
                    for index, (picture, entry, part) in enumerate(zip(pictures, entries, parts, strict=True))
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            progress.stage = max((part.stage for part in parts), key=STAGES.index)
    results = [task.result() for task in tasks]
    for result, part in zip(results, parts, strict=True):
        count(model, result.scored, part)
    return results


async def _infer_one(
    runtime: Runtime, model: LoadedModel, index: int, picture: Picture, entry: Entry, progress: Progress
) -> Inferred:
    watched = runtime.feed.wants_pictures

    def read() -> tuple[Decoded, bytes | None]:
        return _read(runtime, model, index, picture, watched)

    if isinstance(picture, memoryview):
        with progress.during("decode"):
            decoded, file = await runtime.pictures.run(read)
    else:  # nothing to do, unless somebody wants to see it
        decoded, file = await runtime.pictures.run(read) if watched or runtime.archive else read()
    inference = await compute(model, entry, decoded.inputs, progress)
    scored = judge(model, inference, decoded, threshold=None)
    return Inferred(inference, await with_preview(runtime, model, inference, decoded, scored), file)


def _read(runtime: Runtime, model: LoadedModel, index: int, picture: Picture, watched: bool) -> tuple[Decoded, bytes | None]:
    """A picture as model input, and as the file to archive it as."""
    if isinstance(picture, memoryview):
        file = bytes(picture)
        try:
            decoded = decode(file, runtime.settings.max_pixels, model.metadata.input_shape, _OPTIONS, watched)
        except ImageError as error:
            raise type(error)(f"element {index} of input '{ENCODED_INPUT}': {error}") from error
        return decoded, None if runtime.archive is None else file
    height, width = model.metadata.input_shape
    preview = preview_picture(Image.fromarray(picture)) if watched else None
    decoded = Decoded(picture, width, height, lambda: picture, preview)
    return decoded, None if runtime.archive is None else _png(picture)


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
