"""What is done with a result beside answering it: listeners are told, and the archive may keep the picture."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from .archive import ArchivedPicture
from .archive_format import ArchiveRecord, file_stem, picture_suffix
from .loaded_model import LoadedModel
from .result_labels import ResultLabels
from .runtime import Runtime
from .schemas import ImageSize, ModelReference, ResultEvent
from .scoring import Scored


def report(
    runtime: Runtime, result_id: str, labels: ResultLabels, model: LoadedModel, scored: Scored, file: bytes | None
) -> None:
    """Tell of a scored picture, and archive its encoded `file`; takes microseconds, and never raises or waits."""
    now, reference = datetime.now(UTC), ModelReference(name=model.name, version=model.version)
    size = ImageSize(width=scored.width, height=scored.height)
    preview = scored.preview
    result: dict[str, Any] = {
        "id": result_id, "time": now, "model": reference, "line": labels.line, "station": labels.station, "part": labels.part,
        "scores": scored.probabilities, "raw": scored.raw, "threshold": scored.threshold, "anomalous": scored.anomalous,
        "image": size,
    }  # fmt: skip
    runtime.feed.publish(
        ResultEvent(
            **result,
            number=runtime.feed.next_number(),
            picture=base64.b64encode(preview.picture).decode() if preview else None,
            heatmap=base64.b64encode(preview.heatmap).decode() if preview and preview.heatmap else None,
        )
    )
    if runtime.archive is not None and file is not None:
        record = ArchiveRecord(**result, picture=file_stem(result_id) + picture_suffix(file), feedback=None)
        runtime.archive.offer(ArchivedPicture(record, file))
