"""What one task of a benchmark came to."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class TaskResult(BaseModel):
    """result.json: figures of the two students and of nearest neighbours, named as in measures.py."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    name: str
    seed: int
    folder: str  # below the benchmark's
    students: dict[str, float]
    neighbours: dict[str, float]

    @classmethod
    def read(cls, file: Path) -> TaskResult:
        """Raises ValidationError for a damaged file."""
        return cls.model_validate_json(file.read_bytes())
