"""VisA's layout, split by the official table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, layout_error

TABLE = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
EXPECTED = f"{TABLE} with columns {','.join(COLUMNS)}, and the files that it names, as CATEGORY/Data/{{Images,Masks}}/…"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of the categories ("objects") that `normal` names, all if empty.

    Raises DataError for a missing or damaged table, an unknown category, and files that the table names but the tree lacks.
    """
    rows = _rows(root)
    chosen = choose_classes(normal, _classes(rows))
    return [_sample(root, row) for name in chosen for row in rows if row["object"] == name and row["split"] == split]


def classes(root: Path) -> list[str]:
    """Names of the categories, as the table has them; raises DataError for a missing or damaged table."""
    return _classes(_rows(root))


def _classes(rows: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(row["object"] for row in rows))


def _rows(root: Path) -> list[dict[str, str]]:
    file = root / TABLE
    if not file.is_file():
        raise layout_error(TABLE, root, EXPECTED)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no table in UTF-8 ({error}); expected layout: {EXPECTED}") from error
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS) or row["label"] not in {"normal", "anomaly"}:
            raise DataError(f"{file}, line {number}: {dict(row)} is no row of the official table; expected layout: {EXPECTED}")
    if not rows:
        raise DataError(f"{file} has no rows; expected layout: {EXPECTED}")
    return rows


def _sample(root: Path, row: dict[str, str]) -> Sample:
    image = _existing(root, row["image"])
    if row["label"] == "normal":
        return Sample(row["image"], image, GOOD, row["object"])
    masks = (_existing(root, row["mask"]),) if row["mask"] else ()
    return Sample(row["image"], image, ANOMALOUS, row["object"], "anomaly", masks)


def _existing(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise DataError(f"{root / TABLE} names {name}, but {path} does not exist; expected layout: {EXPECTED}")
    return path
