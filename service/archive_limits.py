"""What an archive may hold: pictures of so many days, and so many bytes of them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from .archive_format import RECORD_SUFFIX, ArchiveRecord, day_folders

_LEAVE = 0.9  # of the limit: so that not every new picture has to look through all of them
_PART_SUFFIX = ".part"


@dataclass
class _Kept:
    """One picture and its record, or what is left of them."""

    files: list[Path] = field(default_factory=list)
    bytes: int = 0
    modified: float = 0.0

    @property
    def has_feedback(self) -> bool:
        """Whether somebody took the trouble to label it; a record that cannot be read is worth nothing."""
        with contextlib.suppress(OSError, ValueError):
            record = next(file for file in self.files if file.suffix == RECORD_SUFFIX)
            return ArchiveRecord.model_validate_json(record.read_bytes()).feedback is not None
        return False

    def delete(self) -> None:
        """Remove it, the record first: a picture without one is never exported."""
        for file in sorted(self.files, key=lambda file: file.suffix != RECORD_SUFFIX):
            file.unlink(missing_ok=True)


def part_file(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}{_PART_SUFFIX}")


def delete_unfinished(archive: Path) -> None:
    """Remove what a process that was killed had begun to write; call it before anything is written."""
    for _, folder in day_folders(archive):
        for path in folder.glob(f".*{_PART_SUFFIX}"):
            path.unlink(missing_ok=True)


def keep_within(archive: Path, max_bytes: int, max_days: int, today: date) -> int:
    """Delete what is too old, and while there is too much the oldest; pictures with feedback go last. Returns the bytes left.

    Raises OSError.
    """
    for day, folder in day_folders(archive):
        if day < today - timedelta(days=max_days):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    kept = _oldest_first(archive)
    total = sum(entry.bytes for entry in kept)
    if total <= max_bytes:
        return total
    for sparing in (True, False):
        for entry in list(kept):
            if total <= _LEAVE * max_bytes:
                return total
            if not (sparing and entry.has_feedback):
                entry.delete()
                total -= entry.bytes
                kept.remove(entry)
    return total


def _oldest_first(archive: Path) -> list[_Kept]:
    entries: list[_Kept] = []
    for _, folder in day_folders(archive):
        by_stem: dict[str, _Kept] = defaultdict(_Kept)
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            status, entry = path.stat(), by_stem[path.stem]
            entry.files.append(path)
            entry.bytes += status.st_size
            entry.modified = max(entry.modified, status.st_mtime)
        entries += sorted(by_stem.values(), key=lambda entry: entry.modified)
    return entries
