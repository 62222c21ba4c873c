"""Requests to change which models are loaded."""

from __future__ import annotations

import pytest

from service.errors import MalformedBodyError
from service.open_inference.messages import LoadRequest, UnloadRequest, parse_json


def test_version_is_optional() -> None:
    assert parse_json(LoadRequest, b"{}").parameters.version is None
    assert parse_json(LoadRequest, b'{"parameters": {"version": "2"}}').parameters.version == "2"
    assert parse_json(UnloadRequest, b'{"parameters": {"version": "2"}}').parameters.version == "2"


def test_what_tritons_client_sends_to_unload() -> None:
    assert parse_json(UnloadRequest, b'{"parameters": {"unload_dependents": false}}').parameters.version is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"parameters": {"config": "{}"}}', "parameters.config"),
        (b'{"parameters": {"config": "{}", "file:2/model.onnx": "AAAA"}}', "parameters.file:2/model.onnx"),
        (b'{"parameters": {"version": 2}}', "parameters.version"),
        (b'{"version": "2"}', "version"),
        (b"[]", "message"),
    ],
)
def test_no_configuration_and_no_files_over_http(body: bytes, field: str) -> None:
    with pytest.raises(MalformedBodyError) as refusal:
        parse_json(LoadRequest, body)
    assert f"{field}: " in str(refusal.value)
