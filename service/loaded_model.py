"""A model version in memory: its engines, the queue before them, and the requests that use it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .batcher import Batcher
from .drift import DriftWindow
from .engine import load_engines
from .metrics import Metrics, ModelMetrics
from .model_format import ModelMetadata
from .providers import EngineOptions
from .settings import Settings


@dataclass(eq=False)
class LoadedModel:
    """One model version that answers requests. `bytes` is the size of its file."""

    name: str
    version: str
    provider: str
    sha256: str
    bytes: int
    metadata: ModelMetadata
    batcher: Batcher
    metrics: ModelMetrics
    drift: DriftWindow
    _users: int = 0
    _unused: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it from being closed until the block is left."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def close(self) -> None:
        """Wait for those who use it, then end its engines. New requests must not find it any more."""
        while self._users:
            self._unused.clear()
            await self._unused.wait()
        await asyncio.to_thread(self.batcher.close)


def open_model(name: str, version: str, file: Path, size: int, settings: Settings, metrics: Metrics) -> LoadedModel:
    """Load, check and warm a model file; blocks. Raises ModelFormatError or EngineError."""
    options = EngineOptions(
        providers=settings.providers,
        require_cuda=settings.require_cuda,
        device_ids=settings.device_id,
        cuda_memory_mb=settings.cuda_memory_mb,
        cuda_tf32=settings.cuda_tf32,
        cuda_graphs=settings.cuda_graphs,
        tensorrt_cache=settings.tensorrt_cache,
        intra_op_threads=settings.intra_op_threads,
        max_batch_size=settings.max_batch_size,
    )
    engines = load_engines(file, options)
    first = engines[0]
    of_model = metrics.of_model(name, version, first.sha256, first.provider, first.metadata.teacher.source)
    patience = settings.request_timeout_ms / 1000
    batcher = Batcher(engines, settings.max_queue, settings.max_batch_delay_ms / 1000, patience, of_model)
    of_model.threshold.set(first.metadata.threshold)
    of_model.ready.set_function(lambda: batcher.fault is None)
    of_model.engines_lost.set_function(lambda: batcher.lost)
    of_model.fallback.set(settings.providers[0] not in ("cpu", first.provider))  # `cpu` is whatever is best on it
    drift = DriftWindow(first.metadata.calibration.reference)
    metrics.drift.watch(name, version, drift)
    return LoadedModel(name, version, first.provider, first.sha256, size, first.metadata, batcher, of_model, drift)
