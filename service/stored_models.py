"""What the model repository tells of the models on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .loaded_model import LoadedModel

State = Literal["ready", "on_demand", "not_loaded", "failed"]


@dataclass(frozen=True)
class StoredVersion:
    """A version on disk, and why it is not ready if it is not."""

    version: str
    state: State
    reason: str | None
    loaded: LoadedModel | None


@dataclass(frozen=True)
class StoredModel:
    """A model of the repository with its versions, ascending."""

    name: str
    versions: tuple[StoredVersion, ...]
