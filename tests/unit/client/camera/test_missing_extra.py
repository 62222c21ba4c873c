"""What a source or sink needs and is not installed is named, with the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("watchfiles", ["folder", "{folder}"]), ("paho", ["simulate", "--mqtt", "mqtt://127.0.0.1"])],
)
def test_a_missing_library_is_named(module: str, arguments: list[str], tmp_path: Path) -> None:
    given = ["duet-camera", *(argument.format(folder=tmp_path) for argument in arguments), "--spool", str(tmp_path / "spool")]
    program = (
        f"import sys; sys.modules['{module}'] = None; sys.argv = {given!r}\nfrom client.camera.__main__ import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1, run.stderr
    assert run.stderr.splitlines()[-1].startswith(f"duet-camera: {module}")
    assert "pip install 'duet[camera]'" in run.stderr
    assert "Traceback" not in run.stderr
