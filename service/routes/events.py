"""GET /events: results as they come, as server-sent events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from ..errors import DrainingError
from ..feed import Listener, Wanted
from ..openapi import problem_responses
from ..runtime import Runtime, runtime_of
from ..schemas import Absent, ResultEvent, ServiceEvent

router = APIRouter(tags=["results"])

_HEARTBEAT = 15.0  # seconds: proxies close what is silent for longer
_GLANCE = 0.5  # seconds between looks at whether the service is shutting down
_RETRY_MS = 2000
_STREAM = {"schema": {"type": "string", "description": "Events `service`, `earlier` and `result`, whose data are JSON."}}


@router.get(
    "/events",
    summary="Results as they come",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events, without end.", "content": {"text/event-stream": _STREAM}},
        **problem_responses(401, 422, 503),
    },
)
async def events(
    request: Request,
    model: Annotated[str | Absent, Query(description="results of this model alone")] = None,
    line: Annotated[str | Absent, Query(description="results of this line alone")] = None,
    verdict: Annotated[Literal["good", "anomalous"] | Absent, Query(description="results of this verdict alone")] = None,
    pictures: Annotated[bool, Query(description="with a small picture and heatmap each")] = False,
) -> StreamingResponse:
    """First `event: service`, then the last 200 results without pictures as `event: earlier`, then new ones as `event: result`.

    Their data are JSON; `id:` counts results from the start of the service. A listener that falls 64 results behind is let go,
    and a comment every 15 s keeps the connection. Small pictures are made only while somebody listens for them.
    """
    runtime = runtime_of(request)
    if runtime.draining:
        raise DrainingError("the service is shutting down: listen to another one")
    wanted = Wanted(model, line, None if verdict is None else verdict == "anomalous", pictures)
    held = contextlib.ExitStack()
    listener, history = held.enter_context(runtime.feed.listen(wanted))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy must not wait for more
    return StreamingResponse(_stream(runtime, listener, history, held), media_type="text/event-stream", headers=headers)


async def _stream(
    runtime: Runtime, listener: Listener, history: list[ResultEvent], held: contextlib.ExitStack
) -> AsyncIterator[bytes]:
    with held:
        service = ServiceEvent(archive=runtime.archive is not None)
        yield f"retry: {_RETRY_MS}\nevent: service\ndata: {service.model_dump_json()}\n\n".encode()
        for event in history:
            yield _event(b"earlier", event.number, event.model_dump_json().encode())
        last_sent = time.monotonic()
        while not (listener.lost or runtime.draining):
            result = await listener.next(_GLANCE)
            if result is not None:
                yield _event(b"result", *result)
            elif time.monotonic() - last_sent >= _HEARTBEAT:
                yield b": still here\n\n"
            else:
                continue
            last_sent = time.monotonic()


def _event(name: bytes, number: int, content: bytes) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name, content)
