"""What the engine needs of a run time: a model file opened on one device, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .buffers import Buffers
from .model_format import Shape
from .settings import Provider


class TensorType(NamedTuple):
    """Element type by NumPy's name, and a shape whose dynamic dimensions are None."""

    element: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.element} [{', '.join('N' if size is None else str(size) for size in self.shape)}]"


Bind = Callable[[int, Shape, Mapping[str, Sequence[int]]], Buffers]


class Session(Protocol):
    """A model file that a provider has loaded."""

    @property
    def provider(self) -> Provider:
        """What computes."""

    @property
    def at_once(self) -> int:
        """Batches that it computes best at the same time, each on a thread of its own."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The metadata properties of the file."""

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """Input tensors by name."""

    @property
    def outputs(self) -> Mapping[str, TensorType]:
        """Output tensors by name."""

    def compute(self, pixels: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[Any]]:
        """Every output for model input [N, H, W, 3], in whatever shape the graph gives it."""

    @property
    def bind(self) -> Bind | None:
        """Memory for batches of one size, in which the session computes from then on; given a size, the input's shape
        [H, W], and the shape of one image's part of each output.

        None where a batch of any size costs its own pictures alone, as on a CPU; else a new size costs time or memory that
        stays.
        """


class UnavailableError(RuntimeError):
    """A provider does not start here; the message says why."""
