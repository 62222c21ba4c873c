"""Films, and cameras that are lost and come back."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.camera.sources import Host
from client.camera.sources.opencv import Film, VideoDevice
from tests.frames import PATIENCE, Remembered, Taking, pixels_of


def test_film(film: Path) -> None:
    frames = list(Film(film, None).frames(threading.Event(), Host(Remembered(), lambda: None)))
    assert [frame.part for frame in frames] == [f"film-{number:06d}" for number in range(1, 7)]
    assert [round(float(pixels_of(frame).mean()), -1) for frame in frames] == [20, 40, 60, 80, 100, 120]


def test_a_camera_that_is_lost_is_opened_again(film: Path) -> None:
    """A film opens as a camera does, and is 'lost' at its end."""
    with Taking(VideoDevice(str(film), None)) as taking:
        deadline = time.monotonic() + PATIENCE
        while taking.remembered.lost < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert pixels_of(taking.taken[0]).shape == (48, 64, 3)


def test_a_camera_whose_driver_raises_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        opened = 0

        def __init__(self) -> None:
            Camera.opened += 1

        def read(self) -> tuple[bool, Any]:
            if Camera.opened < 2:
                raise RuntimeError("the driver is confused")
            return True, np.zeros((4, 4, 3), np.uint8)

        def release(self) -> None:
            pass

    pytest.importorskip("cv2")
    monkeypatch.setattr("client.camera.sources.opencv._AGAIN", 0.01)
    answers = iter([Camera()])  # confused; the next one is well
    monkeypatch.setattr("client.camera.sources.opencv._open", lambda _: next(answers, None) or Camera())
    with Taking(VideoDevice("7", None)) as taking:
        taking.wait_for(1)
    assert taking.remembered.lost == 1


def test_a_camera_that_is_not_there_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setattr("client.camera.sources.opencv._AGAIN", 0.01)
    with Taking(VideoDevice("/dev/no-camera", None)) as taking:
        deadline = time.monotonic() + PATIENCE
        while taking.remembered.lost < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
