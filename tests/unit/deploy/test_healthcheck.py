"""The container's health check, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy/healthcheck.py"


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a service that is ready."""
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_it_asks_the_service_and_no_proxy(port: int) -> None:
    """Docker hands the proxy that its client is configured with to every container."""
    environment = os.environ | {"DUET_PORT": str(port), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    assert subprocess.run([sys.executable, SCRIPT], env=environment, check=False, timeout=60).returncode == 0


def test_it_says_why_the_service_is_not_healthy() -> None:
    environment = os.environ | {"DUET_PORT": "9"}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/health/ready" in done.stderr
