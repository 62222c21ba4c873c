"""Which models answer requests: those that were loaded and not unloaded since, within a memory budget.

Loading, checking and warming happen on a thread, one change at a time; requests see a version only once it is warm, and keep
the one they have begun with. Of each model the highest version being served answers requests that name none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from .changes import Changes
from .errors import ModelRefusedError, NoModelError, OutOfMemoryError, UnknownModelError
from .loaded_model import LoadedModel, open_model
from .metrics import Metrics
from .model_folder import ModelFolder, Stamp
from .model_format import ModelFormatError
from .providers import EngineError
from .settings import Settings
from .stored_models import StoredModel, StoredVersion
from .worker_pool import WorkerPool

Key = tuple[str, int]

_LAST_CHANGE = 5.0  # seconds that the end waits for a change under way

log = structlog.stdlib.get_logger(__name__)


@dataclass(eq=False)
class Served:
    """A version that answers requests. `loaded` is None while it is out of memory, from where a request brings it back."""

    loaded: LoadedModel | None
    last_used: float  # time.monotonic()
    returning: asyncio.Task[None] | None = None  # what brings it back
    waiting: int = 0  # requests that wait for that


class Repository:
    """Finds, loads and unloads models. Belongs to the event loop, which it never blocks."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._patience = settings.request_timeout_ms / 1000
        self._folder = ModelFolder(settings.models)
        self._limit = settings.max_models_mb * 2**20
        self._served: dict[Key, Served] = {}
        self._failures: dict[Key, tuple[Stamp, str]] = {}
        self._default: str | None = settings.default_model
        self._started = self._closing = False
        self._loader = WorkerPool("loading", 1)
        self._changing = asyncio.Lock()
        self._changes = Changes()

    @property
    def ready(self) -> bool:
        """Whether the start is over and something is served."""
        return self._started and bool(self._served)

    @property
    def fault(self) -> str | None:
        """Why a loaded model has no engine that answers; None while each has one."""
        return next((fault for model in self._in_memory() if (fault := model.batcher.fault)), None)

    @property
    def reading(self) -> int:
        """Threads that read the models' folder, or a file in it."""
        return self._folder.reading + self._loader.busy

    @property
    def default(self) -> str | None:
        """Name of the model that answers requests naming none; None until one is loaded or configured."""
        return self._default

    async def start(self) -> None:
        """Load the highest version of every model, the default one first.

        Raises ModelRefusedError if the default one cannot be loaded, without which there is nothing to serve, and DeadlineError
        where the folder does not answer; the failure of another is logged and counted. What exceeds DUET_MAX_MODELS_MB is
        loaded on demand. `close` ends it early.
        """
        await self._changes.make(self._start())

    @contextlib.asynccontextmanager
    async def use(self, name: str | None = None, version: str | None = None) -> AsyncIterator[LoadedModel]:
        """A model, by default the default one, that stays in memory until the block is left; loads it if need be.

        Raises UnknownModelError, or NoModelError while nothing is loaded or where it cannot be loaded again.
        """
        while (model := (served := self._served[key := self._find(name, version)]).loaded) is None:
            if served.returning is None or served.returning.done():
                served.returning = self._changes.start(self._load_on_demand(key))
            served.waiting += 1
            try:
                await asyncio.shield(served.returning)
            finally:
                served.waiting -= 1
        served.last_used = time.monotonic()
        with model.in_use():
            yield model

    def find(self, name: str | None = None, version: str | None = None) -> tuple[str, str]:
        """Name and version of what would answer now; raises UnknownModelError, or NoModelError while nothing is loaded."""
        found, number = self._find(name, version)
        return found, str(number)

    def ensure_room(self, name: str | None = None, version: str | None = None) -> tuple[str, str]:
        """The same; raises what the queue would, too: a request that has a body to read first needs not send it in vain."""
        key = self._find(name, version)
        if (model := self._served[key].loaded) is not None:
            model.batcher.ensure_room()
        return key[0], str(key[1])

    def served(self, name: str | None = None, version: str | None = None) -> StoredVersion:
        """How what would answer fares; raises UnknownModelError, or NoModelError while nothing is loaded."""
        return self._stored(self._find(name, version))

    async def load(self, name: str, version: str | None = None) -> None:
        """Load a version beside those being served, or the highest on disk in place of all others of its name.

        What is being served already is read anew. Until the new one is warm the old one answers, and if it is refused the old
        one stays. The change is made whole even if the caller is cancelled meanwhile.
        Raises UnknownModelError for what is not on disk, and ModelRefusedError.
        """
        await self._changes.make(self._find_and_load(name, version))

    async def unload(self, name: str, version: str | None = None) -> None:
        """Serve a version, or all of a model, no more; requests that use it are answered first. Raises UnknownModelError."""
        await self._changes.make(self._unload(name, version))

    async def index(self) -> list[StoredModel]:
        """Every model of the repository, by name; raises DeadlineError where the folder does not answer."""
        found = await self._folder.read(lambda folder: {name: folder.versions(name) for name in folder.names()}, self._patience)
        return [StoredModel(name, tuple(self._stored((name, number)) for number in numbers)) for name, numbers in found.items()]

    async def close(self) -> None:
        """Compute what has been admitted, then unload every model; a change that hangs is left behind."""
        self._closing = True
        await self._changes.ended(_LAST_CHANGE)
        while self._served:
            await self._withdraw(next(iter(self._served)))
        self._folder.close()
        self._loader.close()

    async def _start(self) -> None:
        self._default = default = await self._folder.read(lambda folder: folder.default(self._settings.default_model))
        newest = await self._folder.read(ModelFolder.newest)
        for name in (default, *(name for name in newest if name != default)):
            if self._closing:
                return
            version, size = newest[name]
            key = (name, version)
            if name != default and self._limit and self._bytes_in_memory() + size > self._limit:
                self._served[key] = Served(None, time.monotonic())
                continue
            try:
                await self._load(key, alone=True)
            except ModelRefusedError:
                if name == default:
                    raise
        self._started = True

    def _find(self, name: str | None, version: str | None) -> Key:
        if not self._served:
            raise NoModelError("no model is loaded, or it is still loading: send the request again")
        wanted = name or self._default
        found = sorted(number for served, number in self._served if served == wanted)
        if wanted is None or not found:
            raise UnknownModelError(f"model '{wanted}' is not served: GET /models lists those that are")
        if version is None:
            return wanted, found[-1]
        if version not in map(str, found):
            others = ", ".join(map(str, found))
            raise UnknownModelError(f"version '{version}' of model '{wanted}' is not served, but {others} is")
        return wanted, int(version)

    async def _find_and_load(self, name: str, version: str | None) -> None:
        found = await self._folder.read(lambda folder: folder.find(name, version))
        await self._load((name, found), alone=version is None)

    async def _load(self, key: Key, *, alone: bool) -> None:
        async with self._changing:
            loaded = await self._read(key)
            if self._closing:
                await self._put_out(key, Served(loaded, 0.0))
                return
            before = self._served.get(key)
            self._served[key] = Served(loaded, time.monotonic())
            if before is not None and before.loaded is not None:
                await before.loaded.close()
            if alone:
                for other in [other for other in self._served if other[0] == key[0] and other != key]:
                    await self._withdraw(other)

    async def _load_on_demand(self, key: Key) -> None:
        async with self._changing:
            served = self._served.get(key)
            if served is None or served.loaded is not None:  # somebody else was faster
                return
            failure = self._failures.get(key)
            if failure is not None and failure[0] == await self._folder.read(lambda folder: folder.stamp(*key)):
                raise NoModelError(f"model '{key[0]}' cannot be loaded again: {failure[1]}")
            try:
                served.loaded = await self._read(key)
            except ModelRefusedError as error:
                raise NoModelError(f"model '{key[0]}' cannot be loaded again: {error}") from error

    async def _unload(self, name: str, version: str | None) -> None:
        async with self._changing:
            chosen = [key for key in self._served if key[0] == name and version in (None, str(key[1]))]
            if not chosen:
                described = f"model '{name}'" if version is None else f"version '{version}' of model '{name}'"
                raise UnknownModelError(f"{described} is not served: there is nothing to unload")
            for key in chosen:
                await self._withdraw(key)

    async def _read(self, key: Key) -> LoadedModel:
        """Load, check and warm a file, with room made for it; counts a failure, and remembers why."""
        stamp, size = await self._folder.read(lambda folder: (folder.stamp(*key), folder.size(*key)))
        try:
            await self._make_room(key, size)
            file, version = self._folder.file(*key), str(key[1])
            loaded = await self._loader.run(lambda: open_model(key[0], version, file, size, self._settings, self._metrics))
        except (ModelFormatError, EngineError, ModelRefusedError, OutOfMemoryError) as error:
            self._metrics.model_load_failures.labels(*key).inc()
            reason = "no memory is left for it" if isinstance(error, OutOfMemoryError) else str(error)
            self._failures[key] = (stamp, reason)
            log.error("model refused", model=key[0], version=str(key[1]), reason=reason)
            raise ModelRefusedError(reason) from error
        self._failures.pop(key, None)
        log.info("model loaded", model=key[0], version=version, provider=loaded.provider, sha256=loaded.sha256)
        if not loaded.metadata.calibration.reference:
            log.info(
                "no drift is measured: the model holds no reference for it; "
                "'duet-train calibrate' it on at least 40 good pictures",
                model=key[0], version=version,
            )  # fmt: skip
        return loaded

    async def _withdraw(self, key: Key) -> None:
        served = self._served.pop(key)
        await self._put_out(key, served)

    async def _put_out(self, key: Key, served: Served) -> None:
        """Take a version out of memory."""
        model, served.loaded = served.loaded, None
        if model is not None:
            await model.close()
            self._metrics.forget(key[0], str(key[1]))
            log.info("model unloaded", model=key[0], version=str(key[1]))

    async def _make_room(self, key: Key, size: int) -> None:
        """Put the least recently used models out of memory until `size` bytes more fit into DUET_MAX_MODELS_MB."""
        if self._limit and size > self._limit:
            megabytes = -(-size // 2**20)
            raise ModelRefusedError(f"model '{key[0]}' has {megabytes} MB: raise DUET_MAX_MODELS_MB to that or more")
        while self._limit and self._bytes_in_memory() + size > self._limit:
            in_memory = [(served.last_used, other) for other, served in self._served.items() if served.loaded is not None]
            oldest = min(in_memory)[1]
            served = self._served[oldest]
            while served.waiting:  # who has waited for it takes it first: else two models chase each other for ever
                await asyncio.sleep(0)
            await self._put_out(oldest, served)

    def _bytes_in_memory(self) -> int:
        return sum(model.bytes for model in self._in_memory())

    def _in_memory(self) -> list[LoadedModel]:
        return [served.loaded for served in self._served.values() if served.loaded is not None]

    def _stored(self, key: Key) -> StoredVersion:
        version, served = str(key[1]), self._served.get(key)
        failure = self._failures[key][1] if key in self._failures else None
        if served is None:
            return StoredVersion(version, "failed" if failure else "not_loaded", failure, None)
        if served.loaded is None:
            reason = failure or "out of memory (DUET_MAX_MODELS_MB): the next request for it brings it back"
            return StoredVersion(version, "failed" if failure else "on_demand", reason, None)
        if fault := served.loaded.batcher.fault:
            return StoredVersion(version, "failed", fault, served.loaded)
        return StoredVersion(version, "ready", failure, served.loaded)
