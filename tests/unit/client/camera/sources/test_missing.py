"""Sources that are not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from client.camera.sources import Host, Source, SourceError
from client.camera.sources.folder import Folder
from client.camera.sources.genicam import GenICam
from client.camera.sources.opencv import Film
from client.camera.sources.simulated import SimulatedLine
from tests.frames import Remembered


def test_missing_sources_are_named(tmp_path: Path) -> None:
    sources: list[Source] = [
        Folder(tmp_path / "no", None, False),
        Film(tmp_path / "no.avi", None),
        GenICam(tmp_path / "no.cti", None),
        SimulatedLine(("spoon",), 1, 0, 0, 64, 0, 1),
    ]
    for source in sources:
        with pytest.raises(SourceError, match="no"):
            next(source.frames(threading.Event(), Host(Remembered(), lambda: None)))
