"""Whether traces are wanted: OpenTelemetry's own environment variables say so. Nothing of it is loaded where they do not."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from .settings import SettingsError

if TYPE_CHECKING:
    from .tracing import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")


def open_tracing() -> Tracing | None:
    """Traces to the endpoint that is configured; None without one, with OTEL_SDK_DISABLED=true or OTEL_TRACES_EXPORTER=none.

    Raises SettingsError for what cannot be done: another exporter or protocol, an endpoint without a scheme, or traces without
    the `otel` extra.
    """
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if off or exporter == "none" or not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    if exporter != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter}: Duet sends traces by 'otlp', or 'none'")
    for name in _ENDPOINTS:
        if not os.environ.get(name, "http://").startswith(("http://", "https://")):
            raise SettingsError(f"{name}={os.environ[name]} has no scheme: write http://HOST:4318")
    for name in _PROTOCOLS:
        if os.environ.get(name, "http/protobuf") != "http/protobuf":
            raise SettingsError(
                f"{name}={os.environ[name]}: Duet speaks http/protobuf, for which collectors listen on port 4318"
            )
    try:
        from .tracing import Tracing
    except ModuleNotFoundError as error:
        raise SettingsError(f"traces are configured, but {error.name} is not installed: install the `otel` extra") from error
    return Tracing(version("duet"))
