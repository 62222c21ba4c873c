"""Models on disk: DUET_MODELS/NAME/VERSION/model.onnx."""

from __future__ import annotations

from pathlib import Path

from .errors import ModelRefusedError, UnknownModelError
from .model_format import MODEL_FILE, versions

Stamp = tuple[tuple[int, int, int], ...]


class ModelFolder:
    """What a model repository holds, read anew each time. Names from outside are only ever compared with what is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Models with at least one version, sorted; none if there is no folder."""
        if not self._path.is_dir():
            return []
        return sorted(path.name for path in self._path.iterdir() if versions(self._path, path.name))

    def versions(self, name: str) -> list[int]:
        """Versions of a model, ascending; none for a name that is not there."""
        return versions(self._path, name) if name in self.names() else []

    def file(self, name: str, version: int) -> Path:
        """The model file of a version."""
        return self._path / name / str(version) / MODEL_FILE

    def size(self, name: str, version: int) -> int:
        """Bytes of a version's file, external data included."""
        return sum(path.stat().st_size for path in self._parts(name, version))

    def stamp(self, name: str, version: int) -> Stamp:
        """Changes whenever a version's file does."""
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in (path.stat() for path in self._parts(name, version)))

    def default(self, wanted: str | None) -> str:
        """The model that answers requests naming none: `wanted`, or the first by name; raises ModelRefusedError without."""
        names = self.names()
        if not self._path.is_dir():
            raise ModelRefusedError(f"{self._path}: no such folder: set DUET_MODELS to a model repository")
        if wanted is not None and wanted not in names:
            others = ", ".join(names) or "none at all"
            raise ModelRefusedError(f"{self._path}: holds no model '{wanted}' (DUET_DEFAULT_MODEL), but {others}")
        if not names:
            raise ModelRefusedError(f"{self._path}: holds no model: export one with duet-train, or set DUET_MODELS")
        return wanted or names[0]

    def find(self, name: str, version: str | None) -> int:
        """A version on disk, the highest if None; raises UnknownModelError."""
        stored = self.versions(name)
        if not stored or (version is not None and version not in map(str, stored)):
            described = f"model '{name}'" if version is None else f"version '{version}' of model '{name}'"
            raise UnknownModelError(f"{described} is not in {self._path}: export it there as NAME/VERSION/{MODEL_FILE}")
        return stored[-1] if version is None else int(version)

    def _parts(self, name: str, version: int) -> list[Path]:
        return sorted(self.file(name, version).parent.glob(MODEL_FILE + "*"))
