"""Results of a real service process: what listeners hear of them, and where the archive keeps them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.service_process import PATIENCE, ServiceProcess

Event = tuple[str, dict[str, Any]]


@contextmanager
def listening(service: ServiceProcess, headers: dict[str, str] | None = None, **query: object) -> Iterator[Iterator[Event]]:
    """The events of a service, each its name and data. The first has been received, so that no result is missed."""
    with service.client.stream("GET", "/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer)
        name, data = next(events)
        assert (name, list(data)) == ("service", ["archive"])
        yield events


def _events(answer: httpx.Response) -> Iterator[Event]:
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def post(service: ServiceProcess, picture: bytes, result_id: str, **labels: str | bytes) -> None:
    headers = {"X-Request-ID": result_id} | {f"X-Duet-{name.title()}": value for name, value in labels.items()}
    assert service.client.post("/score", content=picture, headers=headers, params={"heatmap": "none"}).status_code == 200


def kept(archive: Path, name: str) -> Path:
    """The file of this name, whatever day it is of: midnight may have passed."""
    (path,) = archive.glob(f"*/{name}")
    return path


def image(encoded: str) -> Image.Image:
    """A picture of an event."""
    return Image.open(BytesIO(base64.b64decode(encoded)))
