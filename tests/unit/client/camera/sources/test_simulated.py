"""The simulated line."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

from client.camera.frame import Frame
from client.camera.sources import Host
from client.camera.sources.simulated import SimulatedLine
from tests.frames import Remembered, pixels_of


def test_simulated_line_is_the_same_for_the_same_seed_and_grows_dark() -> None:
    def pictures(lamp_hours: float) -> list[Frame]:
        line = SimulatedLine(("washer", "gear"), 1000, 0.5, lamp_hours, 64, 5, 6)
        return list(line.frames(threading.Event(), Host(Remembered(), lambda: None)))

    bright, again = pictures(0), pictures(0)
    assert [frame.picture for frame in bright] == [frame.picture for frame in again]
    assert len({frame.part for frame in bright}) == 6
    kinds = [re.fullmatch(r"(washer|gear)-\d{6}(-[a-z_]+)?", frame.part) for frame in bright]
    assert {kind is not None and kind[2] is not None for kind in kinds} == {True, False}  # half of them are defective
    old = pictures(1e-5)  # halves every 36 ms
    assert pixels_of(old[-1]).mean() < 0.9 * pixels_of(bright[-1]).mean()


def test_simulated_line_needs_no_training_package() -> None:
    code = """
import sys
for name in ("torch", "rich", "scipy", "sklearn", "onnx", "typer", "matplotlib", "transformers", "accelerate", "fastapi"):
    sys.modules[name] = None  # as if it were not installed
import threading
from client.camera.sources.simulated import SimulatedLine
frames = SimulatedLine(("washer",), 100, 0.5, 0, 64, 0, 2).frames(threading.Event(), None)
print(len(list(frames)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "2\n"
