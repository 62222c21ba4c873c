"""GigE Vision and USB3 Vision cameras through a GenTL producer, with harvesters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ...pictures import picture_bytes
from ..frame import Frame
from . import Host, SourceError

_AGAIN = 2.0  # seconds until a lost camera is opened again
_FETCH = 1.0  # seconds between looks at `stop` while no picture comes
_GREY = {"Mono8": 8, "Mono10": 10, "Mono12": 12, "Mono16": 16}
_COLOUR = {"RGB8": (0, 1, 2), "BGR8": (2, 1, 0)}

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class GenICam:
    """One camera of a GenTL producer, which triggers itself or is triggered by its own inputs, as it is set up."""

    producer: Path
    serial: str | None

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:
        """Give every picture; a camera that is lost is opened again. Raises SourceError for a producer that is not there."""
        if not self.producer.is_file():
            raise SourceError(f"{self.producer} is no GenTL producer: name the maker's .cti file")
        while not stop.is_set():
            try:
                with self._acquirer() as acquirer:
                    yield from _pictures(acquirer, stop)
            except SourceError:
                raise
            except Exception as error:  # GenTL's errors and harvesters' own share no class
                host.lost()
                log.warning("the camera is lost, opened again", reason=f"{type(error).__name__}: {error}")
                stop.wait(_AGAIN)

    @contextmanager
    def _acquirer(self) -> Iterator[Any]:
        try:
            from harvesters.core import Harvester
        except ImportError as error:
            raise SourceError("harvesters is not installed: .venv/bin/pip install -e '.[genicam]'") from error
        with Harvester() as harvester:
            harvester.add_file(str(self.producer))
            harvester.update()
            acquirer = harvester.create({"serial_number": self.serial} if self.serial else 0)
            try:
                acquirer.start()
                yield acquirer
            finally:
                acquirer.stop()
                acquirer.destroy()


def _pictures(acquirer: Any, stop: threading.Event) -> Iterator[Frame]:
    while not stop.is_set():
        buffer = acquirer.try_fetch(timeout=_FETCH)
        if buffer is None:
            continue
        taken = time.time()
        with buffer:
            component = buffer.payload.components[0]
            picture = _png(component)
        yield Frame(picture, taken)


def _png(component: Any) -> bytes:
    """The picture; deep grey keeps its range: its highest bit becomes that of 16."""
    import numpy as np

    form, shape = component.data_format, (component.height, component.width)
    if form in _GREY:
        pixels = component.data.reshape(shape)
        return picture_bytes(pixels if form == "Mono8" else (pixels.astype(np.uint16) << (16 - _GREY[form])))
    if form in _COLOUR:
        return picture_bytes(component.data.reshape(*shape, 3)[..., list(_COLOUR[form])])
    raise SourceError(f"the camera gives {form}: set its PixelFormat to {', '.join((*_GREY, *_COLOUR))}")
