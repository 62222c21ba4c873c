"""How problems appear in the OpenAPI description."""

from __future__ import annotations

from typing import Any

from .errors import PROBLEM_MEDIA_TYPE, PROBLEMS
from .schemas import ProblemBody


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for these statuses: each kind of problem as an example."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> dict[str, Any]:
    kinds = {problem.slug: problem for problem in PROBLEMS.values() if problem.status == status}
    examples = {
        slug: {"value": {"type": kind.type, "title": kind.title, "status": status, "detail": "…", "instance": "/score"}}
        for slug, kind in kinds.items()
    }
    content = {PROBLEM_MEDIA_TYPE: {"schema": ProblemBody.model_json_schema(), "examples": examples}}
    response: dict[str, Any] = {"description": "; ".join(kind.title for kind in kinds.values()), "content": content}
    if any(kind.retry_after for kind in kinds.values()):
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return response
