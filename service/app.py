"""Application factory: what is mounted where, and what happens at start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
from fastapi import Depends, FastAPI

from .access import require_key
from .errors import DeadlineError, ModelRefusedError, install_error_handlers
from .middleware import RequestMiddleware
from .routes import events, feedback, health, infer, model_changes, open_inference, page, repository, score, score_batch
from .routes.docs import add_docs
from .runtime import Runtime
from .security_headers import SecurityHeadersMiddleware
from .settings import Settings
from .trace_middleware import TraceMiddleware
from .upload_budget import UploadBudgetMiddleware

if TYPE_CHECKING:
    from .tracing import Tracing

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings, tracing: Tracing | None = None) -> FastAPI:
    """The service as an ASGI application. It loads its models in the background and is ready once they are warm."""
    app = FastAPI(
        title="Duet",
        summary="Finds what is wrong in a picture.",
        description="Errors are RFC 9457 problems with a stable `type`. `X-Request-ID` is echoed, and made if absent.",
        version=version("duet"),
        lifespan=_lifespan,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # its files would come from a public server
        swagger_ui_oauth2_redirect_url=None,
        redoc_url=None,
    )
    app.state.runtime = runtime = Runtime(settings, tracing)
    install_error_handlers(app)
    app.add_middleware(UploadBudgetMiddleware, budget=runtime.uploads)
    if tracing is not None:
        app.add_middleware(TraceMiddleware, tracing=tracing)
    app.add_middleware(RequestMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    for router in (  # scoring first: routes are tried in this order
        score.router,
        score_batch.router,
        repository.router,
        open_inference.router,
        infer.router,
        model_changes.router,
        events.router,
        feedback.router,
    ):
        app.include_router(router, dependencies=[Depends(require_key)] if settings.api_keys else [])
    # open to everybody: probes, Prometheus and the page's own address carry no key
    for router in (health.router, open_inference.health_router, page.router):
        app.include_router(router)
    if settings.docs:
        add_docs(app)
    app.mount("/static", page.PageFiles(directory=page.STATIC))
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    loading = asyncio.create_task(_load(runtime))
    tidying = asyncio.create_task(runtime.archive.keep_within_limits()) if runtime.archive else None
    yield
    if tidying:
        tidying.cancel()
    await runtime.close()
    loading.cancel()  # if it is not over yet, it hangs


async def _load(runtime: Runtime) -> None:
    """Load the models. Without the default one there is nothing to serve: failing stops the process as an operator would."""
    try:
        await runtime.repository.start()
    except Exception as error:
        foreseen = isinstance(error, ModelRefusedError | DeadlineError)
        log.critical("cannot start", reason=str(error), exc_info=None if foreseen else error)
        runtime.failed = True
        signal.raise_signal(signal.SIGTERM)
