"""Films, and USB, V4L2 and RTSP cameras, through OpenCV. Frames become PNG: no pixel is changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ..frame import Frame
from . import Host, SourceError

if TYPE_CHECKING:
    import cv2
    import numpy.typing as npt

    Seen = tuple[float, npt.NDArray[Any]]  # seconds since 1970, and pixels

_AGAIN = 2.0  # seconds until a lost camera is opened again

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Film:
    """A video file, from its first frame to its last; `rate` in frames a second."""

    path: Path
    rate: float | None

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:  # noqa: ARG002
        """Give every frame, numbered from 1 as FILE-NUMBER; raises SourceError."""
        capture = _open(str(self.path))
        if capture is None:
            raise SourceError(f"{self.path} is no film that OpenCV can read")
        started, number = time.monotonic(), 0
        try:
            while not stop.is_set():
                seen, pixels = capture.read()
                if not seen:
                    return
                number += 1
                if self.rate:
                    stop.wait(max(0.0, started + number / self.rate - time.monotonic()))
                yield Frame(_png(pixels), time.time(), f"{self.path.stem}-{number:06d}")
        finally:
            capture.release()


@dataclass(frozen=True)
class VideoDevice:
    """A camera, by number, path or address, that is opened again whenever it is lost; `rate` in frames a second."""

    device: str
    rate: float | None

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:
        """Give the newest picture each time; what the camera sees while the spool is full is not kept."""
        with LatestPicture(self, stop, host.lost) as latest:
            due = time.monotonic()
            while (seen := latest.next(stop)) is not None:
                yield Frame(_png(seen[1]), seen[0])
                if self.rate:
                    due = max(due + 1 / self.rate, time.monotonic() - 1 / self.rate)
                    stop.wait(max(0.0, due - time.monotonic()))

    def open(self) -> cv2.VideoCapture | None:
        """The camera, or None while it is not there."""
        return _open(int(self.device) if self.device.isdigit() else self.device)


class LatestPicture:
    """Reads a camera without pause, so that what is taken is what it sees now and not what its buffer kept."""

    def __init__(self, device: VideoDevice, stop: threading.Event, lost: Callable[[], None]) -> None:
        self._device = device
        self._stop = stop
        self._lost = lost
        self._left = threading.Event()
        self._fresh = threading.Condition()
        self._seen: Seen | None = None
        self._thread = threading.Thread(target=self._read, name="duet-capture", daemon=True)

    def __enter__(self) -> LatestPicture:
        _opencv()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(5)

    def next(self, stop: threading.Event, timeout: float | None = None) -> Seen | None:
        """A picture [H, W, 3] (BGR) newer than this call, and when it was taken; None at `stop` or after `timeout` seconds."""
        ends = None if timeout is None else time.monotonic() + timeout
        with self._fresh:
            self._seen = None
            while self._seen is None:
                if stop.is_set() or (ends is not None and time.monotonic() > ends):
                    return None
                self._fresh.wait(0.2)
            return self._seen

    def _read(self) -> None:
        while not (self._left.is_set() or self._stop.is_set()):
            capture = self._device.open()
            if capture is None:
                self._lost()
                log.warning("the camera cannot be opened, tried again", device=self._device.device)
                self._stop.wait(_AGAIN)
                continue
            log.info("camera opened", device=self._device.device)
            try:
                self._read_from(capture)
            except Exception as error:  # drivers raise what they like; this thread's end would be the camera's
                self._lost()
                log.exception("the camera fails, opened again", device=self._device.device, reason=str(error))
                self._stop.wait(_AGAIN)
            finally:
                capture.release()

    def _read_from(self, capture: cv2.VideoCapture) -> None:
        while not (self._left.is_set() or self._stop.is_set()):
            seen, pixels = capture.read()
            if not seen:
                self._lost()
                log.warning("the camera is lost, opened again", device=self._device.device)
                self._stop.wait(_AGAIN)
                return
            with self._fresh:
                self._seen = (time.time(), pixels)
                self._fresh.notify_all()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise SourceError("OpenCV is not installed: .venv/bin/pip install -e '.[opencv]'") from error
    return cv2


def _open(what: str | int) -> cv2.VideoCapture | None:
    capture: cv2.VideoCapture = _opencv().VideoCapture(what)
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _png(pixels: npt.NDArray[Any]) -> bytes:
    import cv2

    written, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise SourceError(f"OpenCV cannot encode a picture {pixels.dtype} {list(pixels.shape)}")
    return bytes(data)


def encoded(seen: Seen, part: str | None) -> Frame:
    """A picture of LatestPicture as a frame."""
    return Frame(_png(seen[1]), seen[0], part)
