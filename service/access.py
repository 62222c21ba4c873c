"""Who may ask what, and how often: dependencies of the routes, which run before a body is read or a model looked up.

`app.py` says which routes want a key; a route itself says that it is limited or for administrators.
"""

from __future__ import annotations

import math
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from .api_keys import ApiKey, find_key
from .errors import ForbiddenError, RateLimitedError, UnauthorizedError
from .runtime import runtime_of

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="`X-API-Key: KEY`")


async def require_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> None:
    """Let a request with a known key pass, and put the key's name into its log lines; raises UnauthorizedError."""
    given = bearer.credentials if bearer else header
    if not given:
        raise UnauthorizedError("no API key: send the header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    key = find_key(runtime_of(request).settings.api_keys, given)
    if key is None:
        raise UnauthorizedError("unknown API key: ask the service's operator for one (DUET_API_KEYS)")
    request.state.key = key
    structlog.contextvars.bind_contextvars(client=key.name)


async def require_admin(request: Request) -> None:
    """Let a request with an administrator's key pass; raises ForbiddenError, also where there are no keys at all."""
    key = _key_of(request)
    if key is None or not key.admin:
        raise ForbiddenError("this takes an administrator's key: name one in DUET_API_KEYS as NAME:SHA256:admin")


async def limit_rate(request: Request) -> None:
    """Count a request against its key, or its address where there are no keys; raises RateLimitedError."""
    runtime = runtime_of(request)
    if runtime.rate_limit is None:
        return
    key = _key_of(request)
    wait = runtime.rate_limit.take(key.name if key else request.client.host if request.client else "")
    if wait > 0:
        raise RateLimitedError(
            f"more than {runtime.settings.rate_limit:g} requests a second (DUET_RATE_LIMIT): wait and send it again",
            retry_after=math.ceil(wait),
        )


def client_name(request: Request) -> str | None:
    """The name of the key that a request came with; None where there are no keys."""
    key = _key_of(request)
    return key.name if key else None


def _key_of(request: Request) -> ApiKey | None:
    return getattr(request.state, "key", None)
