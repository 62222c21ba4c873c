"""Models on disk: DUET_MODELS/NAME/VERSION/model.onnx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from .errors import DeadlineError, ModelRefusedError, UnknownModelError
from .model_format import MODEL_FILE, MODEL_NAME, versions
from .worker_pool import WorkerPool

Stamp = tuple[tuple[int, int, int], ...]
T = TypeVar("T")

_SLOW_DISK = 30.0  # seconds; a request that only lists what is there has less

log = structlog.stdlib.get_logger(__name__)


class ModelFolder:
    """What a model repository holds, read anew each time. Names from outside are only ever compared with what is there.

    Its methods block for as long as the disk does, and a network share may hang for ever: the event loop asks by `read`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = WorkerPool("models", 1)
        self._passed_over: set[str] = set()

    @property
    def reading(self) -> int:
        """Reads that have begun and not ended."""
        return self._thread.busy

    async def read(self, question: Callable[[ModelFolder], T], patience: float | None = None) -> T:
        """Ask on a thread, one question after the other; a cancelled one that has not begun is never asked.

        Raises DeadlineError where the disk takes longer than `patience` seconds, by default _SLOW_DISK.
        """
        try:
            async with asyncio.timeout(patience or _SLOW_DISK):
                return await self._thread.run(lambda: question(self))
        except TimeoutError as error:
            raise DeadlineError(f"{self._path} does not answer: look after the disk or the network share") from error

    def close(self) -> None:
        """Take no more questions, and do not wait for one whose answer hangs."""
        self._thread.close()

    def names(self) -> list[str]:
        """Models with at least one version, sorted; none if there is no folder."""
        if not self._path.is_dir():
            return []
        return sorted(path.name for path in self._path.iterdir() if self._versions(path.name))

    def versions(self, name: str) -> list[int]:
        """Versions of a model, ascending; none for a name that is not there."""
        return self._versions(name) if name in self.names() else []

    def newest(self) -> dict[str, tuple[int, int]]:
        """Each model's highest version, and its bytes."""
        highest = {name: self.versions(name)[-1] for name in self.names()}
        return {name: (version, self.size(name, version)) for name, version in highest.items()}

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
            raise ModelRefusedError(
                f"{self._path}: holds no model at NAME/NUMBER/{MODEL_FILE}{self._astray()}: export one with duet-train, or set "
                "DUET_MODELS"
            )
        return wanted or names[0]

    def find(self, name: str, version: str | None) -> int:
        """A version on disk, the highest if None; raises UnknownModelError."""
        stored = self.versions(name)
        if not stored or (version is not None and version not in map(str, stored)):
            described = f"model '{name}'" if version is None else f"version '{version}' of model '{name}'"
            raise UnknownModelError(f"{described} is not in {self._path}: export it there as NAME/VERSION/{MODEL_FILE}")
        return stored[-1] if version is None else int(version)

    def _astray(self) -> str:
        """A model file that lies elsewhere, such as in a version called `v1`."""
        found = (path for depth in range(4) for path in sorted(self._path.glob("*/" * depth + "*.onnx")))
        return next((f", but {path.relative_to(self._path)}" for path in found), "")

    def _versions(self, name: str) -> list[int]:
        """Of a folder that is no model's, such as a disk's `lost+found`, none; why is logged once."""
        try:
            found, reason = versions(self._path, name), None
        except PermissionError as error:
            found, reason = [], str(error)
        if found and not MODEL_NAME.fullmatch(name):
            found, reason = [], f"no name of a model, which is {MODEL_NAME.pattern}"
        if reason is not None and name not in self._passed_over:
            self._passed_over.add(name)
            log.warning("folder passed over", folder=str(self._path / name), reason=reason)
        return found

    def _parts(self, name: str, version: int) -> list[Path]:
        return sorted(self.file(name, version).parent.glob(MODEL_FILE + "*"))
