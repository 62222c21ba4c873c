"""Which pictures a run has learned from or was calibrated on: a model measured on those looks better than it is."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from .data import ANOMALOUS, GOOD, Sample, digest
from .errors import TrainingError
from .files import write_beside

log = logging.getLogger(__name__)

SEEN = "pictures.csv"
TRAINING, HELD_OUT, DEFECTS = "training", "held out", "labelled defects"
COLUMNS = ("sha256", "part", "name")
TOLERATED = 0.1  # of the good, or of the anomalous, test pictures: benchmarks have a few twice


def write_seen(file: Path, parts: Mapping[str, Sequence[Sample]]) -> None:
    """Write a line a picture: the SHA-256 of its bytes, the part of the run that it went into, and its name."""

    def write(path: Path) -> None:
        # a file's name need not be text
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            writer.writerows((digest(sample), part, sample.name) for part, samples in parts.items() for sample in samples)

    write_beside(file, write)


def replace_seen(file: Path, part: str, samples: Sequence[Sample]) -> None:
    """Write these pictures in place of those that went into a part. Does nothing where nobody knows the other parts'."""
    if not file.exists():
        return

    def write(path: Path) -> None:
        with (
            file.open(newline="", encoding="utf-8") as old,
            path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as new,
        ):
            writer = csv.writer(new)
            writer.writerows(row for row in csv.reader(old) if row[1] != part)
            writer.writerows((digest(sample), part, sample.name) for sample in samples)

    write_beside(file, write)


def read_seen(file: Path) -> dict[str, str]:
    """The part of the run by the SHA-256 of each picture, the first where it went into several, as in a run of folds.

    Raises TrainingError for a damaged file.
    """
    if not file.exists():
        log.info("%s is missing: see for yourself that no picture has been used before", file)
        return {}
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return {row["sha256"]: row["part"] for row in reversed(list(csv.DictReader(stream)))}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{file} cannot be read ({error}): remove it, and see yourself that pictures are new") from error


def refuse_seen(seen: Mapping[str, str], samples: Sequence[Sample]) -> None:
    """Warn of pictures to measure or calibrate with that the model has seen.

    Raises TrainingError where they are more than a tenth of the good or of the anomalous ones.
    """
    if not seen:
        return
    for label, kind in ((GOOD, "good"), (ANOMALOUS, "anomalous")):
        own = [sample for sample in samples if sample.label == label]
        known = [(sample.name, seen[key]) for sample in own if (key := digest(sample)) in seen]
        if not known:
            continue
        name, part = known[0]
        found = f"the run was made with {len(known)} of the {len(own)} {kind} pictures, such as {name} ({part})"
        if len(known) > TOLERATED * len(own):
            raise TrainingError(f"{found}: they would say nothing of new ones; name a folder of others with --data")
        log.warning("%s: figures flatter by so much", found)
