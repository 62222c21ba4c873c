"""How problems, and bodies that are read by hand, appear in the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .errors import PROBLEM_MEDIA_TYPE, PROBLEMS
from .open_inference.messages import ErrorBody
from .schemas import ProblemBody


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for these statuses: each kind of problem as an example."""
    return {status: _response(status) for status in statuses}


def protocol_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route of the Open Inference Protocol."""
    content = {"application/json": {"schema": ErrorBody.model_json_schema()}}
    return {status: _response(status) | {"content": content} for status in statuses}


def json_body(kind: type[BaseModel], required: bool = False) -> dict[str, Any]:
    """A route's `openapi_extra` for a body of this kind of JSON."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})
    content = {"application/json": {"schema": _inline(schema, definitions)}}
    return {"requestBody": {"required": required, "content": content}}


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """References to `$defs` replaced by what they stand for: inside an OpenAPI document they would point nowhere."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(value, definitions) for key, value in schema.items()}


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
