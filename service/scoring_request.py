"""How every scoring request begins, of one picture or of many: headers, clock, options."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Request
from pydantic import Field

from .errors import DrainingError
from .progress import Progress
from .runtime import runtime_of
from .schemas import Absent, ScoreQuery
from .scoring import ScoreOptions

# OpenAPI has no parameter of this name: the media types of the answers say what may be asked for.
AcceptHeader = Annotated[str, Header(include_in_schema=False)]
TimeoutHeader = Annotated[
    Annotated[int, Field(ge=1)] | Absent,
    Header(alias="x-request-timeout-ms", description="deadline in milliseconds; the service's own if absent or longer"),
]


def begin(request: Request, timeout_ms: int | None) -> Progress:
    """Start the request's clock, which metering finds as `request.state.progress`; raises DrainingError."""
    runtime = runtime_of(request)
    own_limit = runtime.settings.request_timeout_ms
    request.state.progress = progress = Progress(
        min(timeout_ms or own_limit, own_limit) / 1000, trace=getattr(request.state, "trace", None)
    )
    if runtime.draining:
        raise DrainingError("the service is shutting down: send the request to another one")
    return progress


def options_of(query: ScoreQuery) -> ScoreOptions:
    """What the query asks of each picture."""
    return ScoreOptions(query.threshold, query.heatmap, query.heatmap_size)
