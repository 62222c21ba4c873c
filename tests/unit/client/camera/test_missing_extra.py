"""What a source or sink needs and is not installed is named, with the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("watchfiles", "camera", ["folder", "{folder}"]),
        ("paho", "camera", ["simulate", "--mqtt", "mqtt://127.0.0.1"]),
        ("cv2", "opencv", ["camera", "0"]),
        ("cv2", "opencv", ["video", "film.mp4"]),
    ],
)
def test_a_missing_library_is_named(module: str, extra: str, arguments: list[str], tmp_path: Path) -> None:
    given = ["duet-camera", *(argument.format(folder=tmp_path) for argument in arguments), "--spool", str(tmp_path / "spool")]
    program = (
        f"import sys; sys.modules['{module}'] = None; sys.argv = {given!r}\nfrom client.camera.__main__ import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1, run.stderr
    assert run.stderr.splitlines()[-1].startswith(f"duet-camera: {'OpenCV' if module == 'cv2' else module}")
    assert f"pip install -e '.[{extra}]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_without_httpx_the_remedy_is_named() -> None:
    program = "import sys; sys.modules['httpx'] = None; import client"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: httpx is not installed, which Duet's clients need: .venv/bin/pip install -e '.[camera]'"
    )
