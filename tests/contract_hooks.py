"""What schemathesis cannot read out of the OpenAPI description. It loads this module itself (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import zlib

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from tests.pictures import encode, grey, noise, reddish, spotted

# What `format: binary` means here. Bytes that are no picture are the business of other tests.
PICTURES = st.sampled_from(
    [
        encode(grey()),
        encode(spotted()),
        encode(reddish(), "JPEG"),
        encode(noise(1, 40, 30), "TIFF"),
        encode(noise(2, 30, 40), "WEBP", lossless=True),
        encode(noise(3, 1, 1), "BMP"),
    ]
)
_NAMES = {"model": "tiny", "version": "3"}
schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.media_type("image/*", PICTURES)
schemathesis.openapi.media_type("application/octet-stream", PICTURES)


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:  # noqa: ARG001
    """Most valid requests that name a model name the one that is there, and each asks for a form that its answer can have.

    What is asked for depends on the request alone, so that a run repeats itself.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    query = dict(case.query or {})
    chance = zlib.crc32(repr((query, case.headers)).encode())
    if chance % 4:
        case.query = {name: _NAMES.get(name, value) for name, value in query.items()}
        case.path_parameters = {name: _NAMES.get(name, value) for name, value in (case.path_parameters or {}).items()}
    if case.operation.path.endswith("/infer"):
        # No schema can tie a tensor's data to its shape, nor a header to the body's length: what it allows would be refused.
        case.path_parameters = dict(case.path_parameters or {}) | {"model": "absent"}
    answers = case.operation.definition.raw["responses"].get("200", {}).get("content", {})
    forms = ["*/*", *(form for form in answers if form != "image/png" or query.get("heatmap") != "none")]
    case.headers["Accept"] = forms[chance // 4 % len(forms)]
    return case


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:  # noqa: ARG001
    """Leave out bodies that violate a form's schema by the type of `image` alone: on the wire they are forms of pictures."""
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if not body or body.mode.is_positive or case.operation.path != "/score/batch" or not isinstance(case.body, dict):
        return True
    return set(case.body) != {"image"} or case.body["image"] == []
