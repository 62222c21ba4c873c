"""Figures of one table are measured with the same options."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.resume import claim
from training.errors import TrainingError


def test_a_folder_is_gone_on_with_by_the_same_options_alone(tmp_path: Path) -> None:
    options = {"data": tmp_path / "tiles", "steps": 300}
    claim(tmp_path / "runs", options)
    claim(tmp_path / "runs", options)
    with pytest.raises(TrainingError, match=r"written with other options \(steps 300\): choose another --output"):
        claim(tmp_path / "runs", options | {"steps": 400})
