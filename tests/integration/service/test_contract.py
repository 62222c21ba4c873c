"""A real process against its own OpenAPI description: schemathesis posts what that allows and what it forbids.

Every check of schemathesis is on: documented statuses, media types, headers and schemas, valid requests accepted, invalid ones
refused, methods, `Allow`, no server error. The long form is `make test-long`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import running_service

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("examples", "cases"), [(15, 250), pytest.param(1000, 5000, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_service_keeps_what_its_description_promises(models: Path, tmp_path: Path, examples: int, cases: int) -> None:
    with running_service(models, tmp_path / "service.log") as service:
        description = f"{service.client.base_url}/openapi.json"
        service.client.get("/openapi.json").raise_for_status()  # made once, on a busy machine not in schemathesis's ten seconds
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(TESTS / "contract.toml"), "run", description),
                *("--exclude-path", "/events"),  # its answer has no end: test_events.py
                *("--checks", "all", "--max-examples", str(examples)),
                *("--no-color", "--report", "json", "--report-json-path", "report.json"),
            ],
            env=os.environ | {"PYTHONPATH": str(TESTS.parent), "SCHEMATHESIS_HOOKS": "tests.contract_hooks"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
        assert service.client.get("/health/ready").status_code == 200
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] - 1
    assert report["test_cases"]["generated"] >= cases
    assert report["test_cases"]["with_failures"] == report["test_cases"]["errored"] == 0
    assert "Traceback" not in (tmp_path / "service.log").read_text()
