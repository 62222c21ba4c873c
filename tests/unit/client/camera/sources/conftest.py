"""A film of six grey frames, which opens as a camera does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames, each of one grey level."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in range(20, 140, 20):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path
