"""A service's archive → a data set in the `folder` layout: what people labelled, in good/ and bad/."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from service.archive_format import RECORD_SUFFIX, ArchiveRecord, day_folders

from .errors import TrainingError
from .files import write_beside

log = logging.getLogger(__name__)

MOSTLY = 0.5  # of the good pictures


@dataclass(frozen=True)
class Exported:
    """How many pictures went where, and how many nobody has labelled."""

    good: int
    bad: int
    unlabelled: int


def export_archive(archive: Path, output: Path, model: str | None = None, line: str | None = None) -> Exported:
    """Copy the labelled pictures of an archive into `output`, of one model or line if named, as DAY-NAME.

    Files that `output` has already are written over, so that a second export brings what is new; a picture whose label was
    changed moves. Damaged records are left out, with a warning. Raises TrainingError for a folder that is no archive, or in
    which nothing is labelled.
    """
    if not archive.is_dir():
        raise TrainingError(f"{archive} is no folder: name the one that DUET_ARCHIVE names for the service")
    counted: Counter[str] = Counter(good=0, bad=0, unlabelled=0)
    alarms = 0
    for picture, record in _pictures(archive):
        if model not in (None, record.model.name) or line not in (None, record.line):
            continue
        if record.feedback is None:
            counted["unlabelled"] += 1
            continue
        label = record.feedback.label
        name = f"{picture.parent.name}-{picture.name}"
        write_beside(output / label / name, partial(shutil.copyfile, picture))
        (output / ("bad" if label == "good" else "good") / name).unlink(missing_ok=True)
        counted[label] += 1
        alarms += label == "good" and record.anomalous
    if not counted["good"] + counted["bad"]:
        raise TrainingError(f"{archive} has no labelled picture that was asked for: label some on the service's page first")
    if alarms > MOSTLY * counted["good"]:
        log.warning(
            "%d of the %d good pictures were called anomalous: where most parts pass, these are the strangest good ones of the "
            "line, and a model calibrated on them alone lets defects pass; add ordinary good ones with another --data",
            alarms, counted["good"],
        )  # fmt: skip
    return Exported(**counted)


def _pictures(archive: Path) -> Iterator[tuple[Path, ArchiveRecord]]:
    for _, folder in day_folders(archive):
        for file in sorted(folder.glob(f"*{RECORD_SUFFIX}")):
            if file.name.startswith("."):
                continue
            try:
                record = ArchiveRecord.model_validate_json(file.read_bytes())
            except FileNotFoundError:  # the service keeps to its limits meanwhile
                continue
            except ValidationError as error:
                log.warning("%s is damaged or from another version, and left out: %s", file, error.errors()[0]["msg"])
                continue
            picture = folder / record.picture
            if picture.is_file():
                yield picture, record
