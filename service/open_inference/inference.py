"""The pictures of one request through the queue: admitted together or not at all, and given up together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ..batcher import Entry, Inference
from ..images import ImageError, Pixels, read_picture
from ..loaded_model import LoadedModel
from ..metrics import STAGES
from ..model_format import score_threshold
from ..progress import Progress
from ..runtime import Runtime
from ..scoring import compute, count, read_scores
from .model_tensors import ENCODED_INPUT, Picture


async def infer(runtime: Runtime, model: LoadedModel, pictures: Sequence[Picture], progress: Progress) -> list[Inference]:
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
    inferences = [task.result() for task in tasks]
    least = score_threshold(model.metadata.threshold)
    verdicts = [(read_scores(inference, "probability"), read_scores(inference, "score")) for inference in inferences]
    for (probabilities, raw), part in zip(verdicts, parts, strict=True):
        count(model, probabilities, raw, raw.joint >= least, part)
    return inferences


async def _infer_one(
    runtime: Runtime, model: LoadedModel, index: int, picture: Picture, entry: Entry, progress: Progress
) -> Inference:
    if isinstance(picture, memoryview):
        data = picture
        with progress.during("decode"):
            picture = await runtime.pictures.run(lambda: _decode(runtime, model, index, data))
    return await compute(model, entry, picture, progress)


def _decode(runtime: Runtime, model: LoadedModel, index: int, data: memoryview) -> Pixels:
    try:
        shape = model.metadata.input_shape
        return read_picture(bytes(data), runtime.settings.max_pixels, shape).resized(shape)
    except ImageError as error:
        raise type(error)(f"element {index} of input '{ENCODED_INPUT}': {error}") from error
