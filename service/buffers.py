"""Host memory of one batch size, bound to a session once and used for every batch of that size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from .images import Pixels
from .model_format import INPUT, Shape
from .settings import Provider

Outputs = dict[str, npt.NDArray[np.float32]]


class Buffers:
    """Input and outputs of a bucket. Not for several threads at once."""

    def __init__(
        self, session: Any, bucket: int, input_shape: Shape, outputs: Mapping[str, Sequence[int]], pinned: Any = None
    ) -> None:
        """`outputs` holds the shape of one image's part of each; `pinned` is where `pinned_memory` says to allocate."""
        self._binding = session.io_binding()
        self._images, images = _allocate((bucket, *input_shape, 3), np.uint8, pinned)
        self._binding.bind_ortvalue_input(INPUT, images)
        self._outputs: Outputs = {}
        for name, shape in outputs.items():
            self._outputs[name], value = _allocate((bucket, *shape), np.float32, pinned)
            self._binding.bind_ortvalue_output(name, value)
        self._session = session

    def run(self, images: Sequence[Pixels]) -> Outputs:
        """Compute the images, uint8 [H, W, 3], padded with black ones to the bucket; outputs [len(images), ...] are copies."""
        count = len(images)
        for row, image in zip(self._images, images, strict=False):
            row[...] = image
        self._images[count:] = 0
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return {name: value[:count].copy() for name, value in self._outputs.items()}


def pinned_memory(provider: Provider, device_id: int) -> Any:
    """Where to allocate host memory that the device copies from by itself; None where there is none."""
    if provider == "cpu":
        return None
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "CUDAExecutionProvider"]
    if device_id >= len(devices):
        return None
    return devices[device_id].memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)


def _allocate(shape: tuple[int, ...], kind: type, pinned: Any) -> tuple[npt.NDArray[Any], ort.OrtValue]:
    """An array, and ONNX Runtime's view of the same memory."""
    if pinned is not None:
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, memory_info=pinned)
        array = value.numpy()
        # a view of that memory, or else a copy, which nothing would ever read
        if array.flags.writeable and array.ctypes.data == value.data_ptr():
            return array, value
    array = np.zeros(shape, kind)
    return array, ort.OrtValue.ortvalue_from_numpy(array)
