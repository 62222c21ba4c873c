"""Where frames come from: each source gives frames until `stop` is set or there are no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..frame import Frame


class SourceError(Exception):
    """A source that cannot be opened; the message says what is missing."""


class Origins(Protocol):
    """Which files have been spooled before; the spool knows."""

    def knows(self, origin: str) -> bool:
        """Whether a frame of this origin has been spooled."""

    def forget_origins_but(self, present: set[str]) -> None:
        """Keep only these."""


@dataclass(frozen=True)
class Host:
    """What a source may ask of the client; `lost` counts a camera that went away."""

    origins: Origins
    lost: Callable[[], None]


class Source(Protocol):
    """A camera, a folder, a film, a trigger."""

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:
        """Give the frames; that the next one is asked for means that the one before is safe on disk."""
