"""A line that does not exist: rendered parts at a given pace, some of them defective, under a lamp that grows old."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from ..frame import Frame
from . import Host, SourceError


@dataclass(frozen=True)
class SimulatedLine:
    """`rate` parts a second, of which a share `defect_rate` is defective; the light halves every `lamp_hours` (0: never).

    A defective part's name ends with its defect, so that verdicts can be checked. `size` is the side of a picture in pixels.
    The same `seed` gives the same parts. They end after `count`, or never (0).
    """

    kinds: tuple[str, ...]
    rate: float
    defect_rate: float
    lamp_hours: float
    size: int
    seed: int
    count: int

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:  # noqa: ARG002
        """Give the parts as PNG; a part that could not be taken in time comes late, and none is left out."""
        import numpy as np
        from PIL import Image

        from training.data.parts import DEFECTS, KINDS, render_part

        for kind in self.kinds:
            if kind not in KINDS:
                raise SourceError(f"no part is called {kind!r}: use {', '.join(KINDS)}")
        rng = np.random.default_rng(self.seed)
        started = time.monotonic()
        number = 0
        while not (self.count and number == self.count):
            kind = str(rng.choice(self.kinds))
            defect = str(rng.choice(DEFECTS[kind])) if rng.random() < self.defect_rate else None
            part = render_part(kind, defect, self.size, int(rng.integers(2**63)))
            age = (time.monotonic() - started) / 3600
            light = 0.5 ** (age / self.lamp_hours) if self.lamp_hours else 1.0
            buffer = BytesIO()
            Image.fromarray((part.pixels * light + 0.5).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
            number += 1
            if stop.wait(max(0.0, started + number / self.rate - time.monotonic())):
                return
            part_name = f"{kind}-{number:06d}" + (f"-{defect}" if defect else "")
            yield Frame(buffer.getvalue(), time.time(), part_name)
