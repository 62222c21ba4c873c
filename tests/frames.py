"""Frames of a source, taken as the client takes them."""

from __future__ import annotations

import threading
import time
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from client.camera.frame import Frame
from client.camera.sources import Host, Source

PATIENCE = 60.0  # seconds, on a busy machine


class Remembered:
    """Origins in memory, as the spool keeps them on disk."""

    def __init__(self) -> None:
        self.origins: set[str] = set()
        self.lost = 0

    def knows(self, origin: str) -> bool:
        return origin in self.origins

    def forget_origins_but(self, present: set[str]) -> None:
        self.origins &= present

    def count(self) -> None:
        self.lost += 1


class Taking:
    """Takes frames of a source in a thread, as the client does."""

    def __init__(self, source: Source, remembered: Remembered | None = None) -> None:
        self.taken: list[Frame] = []
        self.stop = threading.Event()
        self.remembered = remembered or Remembered()
        self.error: BaseException | None = None
        self._source = source
        self._thread = threading.Thread(target=self._take)

    def _take(self) -> None:
        try:
            for frame in self._source.frames(self.stop, Host(self.remembered, self.remembered.count)):
                self.taken.append(frame)
                if frame.origin:
                    self.remembered.origins.add(frame.origin)
        except BaseException as error:
            self.error = error

    def wait_for(self, count: int) -> list[Frame]:
        deadline = time.monotonic() + PATIENCE
        while len(self.taken) < count:
            assert self.error is None
            assert time.monotonic() < deadline, f"{len(self.taken)} frames, not {count}"
            time.sleep(0.01)
        return self.taken

    def __enter__(self) -> Taking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def pixels_of(frame: Frame) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(frame.picture)))
