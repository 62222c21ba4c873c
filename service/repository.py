"""Models on disk and those of them that are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from .batcher import Batcher
from .engine import Engine, EngineError, EngineOptions
from .errors import NoModelError, UnknownModelError
from .metrics import Metrics, ModelMetrics
from .model_format import MODEL_FILE, ModelFormatError, ModelMetadata, versions
from .settings import Settings

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """One model version that answers requests."""

    name: str
    version: str
    provider: str
    sha256: str
    metadata: ModelMetadata
    batcher: Batcher
    metrics: ModelMetrics


@dataclass(frozen=True)
class StoredModel:
    """A model of the repository: its versions, ascending, and the one that is loaded."""

    name: str
    versions: tuple[str, ...]
    loaded: LoadedModel | None


class Repository:
    """Finds, loads and unloads models. Loading blocks; everything else is immediate."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._loaded: dict[str, LoadedModel] = {}
        self._default: str | None = settings.default_model

    @property
    def ready(self) -> bool:
        """Whether a model is loaded, and the engine of every loaded one is alive."""
        return bool(self._loaded) and all(model.batcher.alive for model in self._loaded.values())

    @property
    def default(self) -> str | None:
        """Name of the model that answers requests naming none; None until one is loaded or configured."""
        return self._default

    def load_default(self) -> None:
        """Load the highest version of DUET_DEFAULT_MODEL, or of the first model by name; raises as `load` does."""
        folder = self._settings.models
        if not folder.is_dir():
            raise ModelFormatError(f"{folder}: no such folder: set DUET_MODELS to a model repository")
        names = self._names()
        name = self._default or next(iter(names), None)
        if name is None:
            raise ModelFormatError(f"{folder}: holds no model: export one with duet-train, or set DUET_MODELS")
        if name not in names:
            raise ModelFormatError(
                f"{folder}: holds no model '{name}' (DUET_DEFAULT_MODEL), but {', '.join(names) or 'none at all'}"
            )
        self._default = name
        self.load(name, str(versions(folder, name)[-1]))

    def load(self, name: str, version: str) -> None:
        """Load, check and warm a version, then let it answer; raises ModelFormatError or EngineError and counts the failure."""
        settings = self._settings
        path = settings.models / name / version / MODEL_FILE
        options = EngineOptions(
            settings.providers, settings.require_cuda, settings.device_id, settings.intra_op_threads, settings.max_batch_size
        )
        try:
            engine = Engine(path, options)
            engine.warm_up()
        except (ModelFormatError, EngineError):
            self._metrics.model_load_failures.labels(name, version).inc()
            raise
        metrics = self._metrics.of_model(name, version)
        batcher = Batcher(engine, settings.max_queue, settings.max_batch_delay_ms / 1000, metrics)
        metrics.ready.set_function(lambda: batcher.alive)
        self._metrics.model_info.labels(name, version, engine.sha256, engine.provider, engine.metadata.teacher.source).set(1)
        self._loaded[name] = LoadedModel(name, version, engine.provider, engine.sha256, engine.metadata, batcher, metrics)
        log.info("model loaded", model=name, version=version, provider=engine.provider, sha256=engine.sha256)

    def get(self, name: str | None = None, version: str | None = None) -> LoadedModel:
        """The loaded model, by default the default one; raises UnknownModelError, or NoModelError while nothing is loaded."""
        if not self._loaded:
            raise NoModelError("the model is still loading: send the request again")
        model = self._loaded.get(name or self._default or "")
        if model is None:
            raise UnknownModelError(f"model '{name}' is not served: GET /models lists those that are")
        if version not in (None, model.version):
            raise UnknownModelError(
                f"version '{version}' of model '{model.name}' is not served, but version '{model.version}' is"
            )
        return model

    def index(self) -> list[StoredModel]:
        """Every model of the repository, by name."""
        folder = self._settings.models
        return [
            StoredModel(name, tuple(str(version) for version in versions(folder, name)), self._loaded.get(name))
            for name in self._names()
        ]

    def close(self) -> None:
        """Compute what has been admitted, then unload every model."""
        for model in self._loaded.values():
            model.batcher.close()
        self._loaded.clear()

    def _names(self) -> list[str]:
        folder: Path = self._settings.models
        return sorted(path.name for path in folder.iterdir() if versions(folder, path.name))
