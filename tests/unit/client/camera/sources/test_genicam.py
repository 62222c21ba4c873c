"""GenICam's pixel formats, behind a mocked acquirer: no GenTL producer can be had here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.camera.sources import SourceError
from client.camera.sources.genicam import _pictures
from tests.frames import pixels_of


class Acquirer:
    """What harvesters hands over, at that seam: no GenTL producer can be had here. Nothing comes at first, then a picture."""

    def __init__(self, form: str, values: list[int], dtype: type) -> None:
        self.component = SimpleNamespace(data_format=form, width=2, height=1, data=np.array(values, dtype))
        self.payload = SimpleNamespace(components=[self.component])
        self._come: Iterator[Acquirer | None] = iter([None, self])

    def try_fetch(self, *, timeout: float) -> Acquirer | None:
        assert timeout > 0
        return next(self._come)

    def __enter__(self) -> Acquirer:
        return self

    def __exit__(self, *_: object) -> None:
        self.component.data[:] = 0  # the camera fills it anew


@pytest.mark.parametrize(
    ("form", "values", "dtype", "expected"),
    [
        ("Mono8", [0, 255], np.uint8, [[0, 255]]),
        ("Mono12", [0, 4095], np.uint16, [[0, 65520]]),
        ("RGB8", [1, 2, 3, 4, 5, 6], np.uint8, [[[1, 2, 3], [4, 5, 6]]]),
        ("BGR8", [1, 2, 3, 4, 5, 6], np.uint8, [[[3, 2, 1], [6, 5, 4]]]),
    ],
)
def test_genicam_pictures(form: str, values: list[int], dtype: type, expected: list[Any]) -> None:
    frame = next(_pictures(Acquirer(form, values, dtype), threading.Event()))
    assert pixels_of(frame).tolist() == expected


def test_genicam_names_a_format_that_it_cannot_read() -> None:
    with pytest.raises(SourceError, match="BayerRG8: set its PixelFormat to Mono8"):
        next(_pictures(Acquirer("BayerRG8", [1, 2], np.uint8), threading.Event()))
