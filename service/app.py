"""Application factory: what is mounted where, and what happens at start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from .engine import EngineError
from .errors import install_error_handlers
from .middleware import RequestMiddleware
from .model_format import ModelFormatError
from .routes import health, repository, score, score_batch
from .runtime import Runtime
from .settings import Settings

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. It loads its model in the background and is ready once that is warm."""
    app = FastAPI(
        title="Duet",
        summary="Finds what is wrong in a picture.",
        description="Errors are RFC 9457 problems with a stable `type`. `X-Request-ID` is echoed, and made if absent.",
        version=version("duet"),
        lifespan=_lifespan,
    )
    app.state.runtime = Runtime(settings)
    install_error_handlers(app)
    app.add_middleware(RequestMiddleware)
    for router in (score.router, score_batch.router, health.router, repository.router):
        app.include_router(router)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    loading = asyncio.create_task(_load(runtime))
    yield
    await loading
    await asyncio.to_thread(runtime.close)


async def _load(runtime: Runtime) -> None:
    """Load the default model, without which there is nothing to serve: failing stops the process as an operator would."""
    try:
        await asyncio.to_thread(runtime.repository.load_default)
    except Exception as error:
        foreseen = isinstance(error, ModelFormatError | EngineError)
        log.critical("cannot start", reason=str(error), exc_info=None if foreseen else error)
        runtime.failed = True
        signal.raise_signal(signal.SIGTERM)
