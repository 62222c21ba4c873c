"""A real Prometheus that scrapes every second."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.service_process import PATIENCE

INSTALLED = shutil.which("prometheus") is not None


class PrometheusProcess:
    """Prometheus on a free port; `folder` holds its data."""

    def __init__(self, folder: Path, *ports: int) -> None:
        own = free_port()
        scrape = {"job_name": "duet", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))  # JSON is YAML
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{own}",
                ],
                stderr=log,
            )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{own}/api/v1", timeout=PATIENCE)

    def wait_until_scraped(self) -> None:
        """Return once every target has been scraped."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.query("min(up) == 1"):
                    return
            except (httpx.TransportError, httpx.HTTPStatusError):
                pass  # it is still starting
            time.sleep(0.2)
        raise RuntimeError(f"Prometheus did not scrape the service:\n{self._log.read_text()}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, each with its `value` now."""
        return self._ask("query", query=expression)

    def query_range(self, expression: str, seconds: float, step: float = 1) -> list[dict[str, Any]]:
        """The series of an expression, each with its `values` of the last seconds."""
        now = time.time()
        return self._ask("query_range", query=expression, start=now - seconds, end=now, step=step)

    def _ask(self, path: str, **params: str | float) -> list[dict[str, Any]]:
        answer = self._client.get(f"/{path}", params=params)
        if answer.status_code == 400:
            raise ValueError(f"{params['query']}: {answer.json()['error']}")
        return list(answer.raise_for_status().json()["data"]["result"])

    def close(self) -> None:
        """End the process."""
        self._client.close()
        self.process.terminate()
        self.process.wait(PATIENCE)


@contextmanager
def running_prometheus(folder: Path, *ports: int) -> Iterator[PrometheusProcess]:
    """A Prometheus that has scraped the targets on these ports."""
    prometheus = PrometheusProcess(folder, *ports)
    try:
        prometheus.wait_until_scraped()
        yield prometheus
    finally:
        prometheus.close()
