"""Verdicts in a file, as JSON lines or CSV, which is put aside when it is large enough."""

from __future__ import annotations

import csv
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

COLUMNS = (
    "id", "sequence", "part", "camera", "line", "station", "taken", "decided", "verdict", "reason", "late", "detail",
    "model", "version", "threshold", "local", "semantic", "joint",
)  # fmt: skip


class LineFile:
    """A file of whole lines, each on disk (fsync) before the next. FILE.1 is the file before it, up to FILE.`keep`."""

    def __init__(self, path: Path, max_bytes: int, keep: int, header: str = "") -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._header = header
        self._file: BinaryIO | None = None

    def append(self, line: str) -> None:
        """Write one line; raises OSError, and then no part of it counts: the next attempt removes it."""
        try:
            if self._file is None:
                self._file = self._open()
            data = line.encode()
            size = self._file.seek(0, os.SEEK_END)
            if size > len(self._header.encode()) and size + len(data) > self._max_bytes:
                self._rotate()
                self._file = self._open()
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _open(self) -> BinaryIO:
        """The file, without the torn line that a power cut or a full disk may have left at its end."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        _cut_torn_line(file)
        if file.seek(0, os.SEEK_END) == 0:
            file.write(self._header.encode())
        return file

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class JsonLines:
    """Each verdict as it is, one JSON object a line."""

    name = "jsonl"

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._file = LineFile(path, max_bytes, keep)

    def deliver(self, body: str) -> None:
        """Append the verdict."""
        self._file.append(body + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Csv:
    """Each verdict as a row of COLUMNS; `local`, `semantic` and `joint` are probabilities."""

    name = "csv"

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._file = LineFile(path, max_bytes, keep, _row(COLUMNS))

    def deliver(self, body: str) -> None:
        """Append the verdict."""
        verdict: dict[str, Any] = json.loads(body)
        values = verdict | (verdict["scores"] or {})
        self._file.append(_row([values.get(column) for column in COLUMNS]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _row(values: Any) -> str:
    buffer = StringIO()
    # A line break within a value would be taken for the end of a row after a power cut.
    csv.writer(buffer, lineterminator="\n").writerow(
        " ".join(value.splitlines()) if isinstance(value, str) else value for value in values
    )
    return buffer.getvalue()


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2**20)
    file.seek(start)
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        file.truncate(start + whole)
