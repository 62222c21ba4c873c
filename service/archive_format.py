"""What lies in an archive: the JSON beside each picture, and the names of both. Shared with training, which exports archives.

An archive is a folder with a folder for each day (UTC), such as `2026-11-25/ID.png` and `2026-11-25/ID.json`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .schemas import BranchScores, ImageSize, ModelReference

RECORD_SUFFIX = ".json"
FeedbackLabel = Literal["good", "bad"]

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_MAGIC = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif", b"RIFF": ".webp"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Feedback(_Strict):
    """What somebody said of a picture."""

    label: FeedbackLabel
    time: datetime
    client: str | None = Field(description="name of the API key that it came with; null where there are no keys")


class ArchiveRecord(_Strict):
    """The JSON beside an archived picture."""

    format_version: Literal[1] = 1
    id: str = Field(description="the result's id, as `/events` and `/score` tell it")
    time: datetime = Field(description="when it was scored")
    picture: str = Field(description="name of the picture file beside this one", pattern=r"^[^/\\]+$")
    model: ModelReference
    line: str | None
    station: str | None
    part: str | None
    scores: BranchScores
    raw: BranchScores
    threshold: float
    anomalous: bool
    image: ImageSize
    feedback: Feedback | None


def file_stem(result_id: str) -> str:
    """The name under which a result's files lie: its id, or the id's digest where that would be no plain file name."""
    return result_id if _PLAIN_ID.fullmatch(result_id) else hashlib.sha256(result_id.encode()).hexdigest()


def picture_suffix(data: bytes) -> str:
    """The suffix of an encoded picture that has been decoded, and so is of an accepted format."""
    return next(suffix for magic, suffix in _MAGIC.items() if data.startswith(magic))


def day_folders(archive: Path) -> Iterator[tuple[date, Path]]:
    """The days of an archive, oldest first; whatever else lies there is left alone."""
    for folder in sorted(archive.iterdir()):
        try:
            day = date.fromisoformat(folder.name)
        except ValueError:
            continue
        if folder.is_dir() and folder.name == day.isoformat():
            yield day, folder
