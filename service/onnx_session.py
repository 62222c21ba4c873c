"""A model file in ONNX Runtime: on the CPU, on CUDA, or on TensorRT."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from .buffers import Buffers, Outputs
from .cores import usable_cores
from .model_format import INPUT, Shape
from .session import Bind, TensorType
from .settings import Provider

NAMES: dict[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_FATAL = 4  # what fails is raised, too, and is no line of JSON where ONNX Runtime prints it
_ELEMENTS = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxSession:
    """An ONNX Runtime session on the first of `providers`, names with their options, that starts; see `provider`.

    `said` is what ONNX Runtime printed about those that did not. With `cuda_graphs` each bucket is captured as a CUDA graph.

    On the CPU a thread of ours computes each batch, with the help of `threads` - 1 that all batches share. So many of ours
    that there is a thread for each core: one that waits for others costs more than a second batch beside it.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[tuple[str, dict[str, str]]],
        threads: int = 0,
        device_id: int = 0,
        cuda_graphs: bool = False,
    ) -> None:
        settings = ort.SessionOptions()
        cores = usable_cores()
        settings.intra_op_num_threads = threads = threads or max(1, cores - 1)
        # Threads that spin while they wait keep the cores from the next pictures, which are being decoded meanwhile.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        gpu = len(providers) > 1  # the CPU comes after it
        # A plan of memory for each batch size pays where sizes are few, as a GPU's are; on a CPU it held twice as much.
        settings.enable_mem_pattern = gpu
        # ONNX Runtime prints why a provider does not start, and goes on without it.
        with contextlib.redirect_stdout(io.StringIO()) as said:
            if gpu:
                ort.preload_dlls()  # CUDA and cuDNN as pip installs them, where the loader does not look
            self._session = ort.InferenceSession(path, settings, providers=list(providers))
        self.said = said.getvalue()
        names = {name: provider for provider, name in NAMES.items()}
        self.provider: Provider = names[self._session.get_providers()[0]]
        self._at_once_on_cpu = max(1, cores - threads + 1)
        self.properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs, self.outputs = _types(self._session.get_inputs()), _types(self._session.get_outputs())
        self._device, self._device_id = "cpu" if self.provider == "cpu" else "cuda", device_id
        self._graphs = cuda_graphs and self.provider == "cuda"

    @property
    def at_once(self) -> int:
        """See Session."""
        return self._at_once_on_cpu if self.provider == "cpu" else 1

    @property
    def bind(self) -> Bind | None:
        """See Session."""
        return None if self.provider == "cpu" else self._bind

    def compute(self, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """See Session."""
        names = list(self.outputs)
        # memory that is not bound cannot be captured
        options = _run_options(graph=-1 if self._graphs else None)
        return dict(zip(names, self._session.run(names, {INPUT: pixels}, options), strict=True))

    def _bind(self, bucket: int, input_shape: Shape, outputs: Mapping[str, Sequence[int]]) -> Buffers:
        """The same memory of the device every time, which is what a CUDA graph reads and writes (onnxruntime.ai, CUDA provider,
        CUDA Graphs). A batch is copied there by hand: ONNX Runtime copies host memory when it is bound, and never again."""
        device = self._device, self._device_id
        binding, options = self._session.io_binding(), _run_options(graph=bucket if self._graphs else None)
        images = np.zeros((bucket, *input_shape, 3), np.uint8)
        given = ort.OrtValue.ortvalue_from_numpy(images, *device)
        binding.bind_ortvalue_input(INPUT, given)
        found = {
            name: ort.OrtValue.ortvalue_from_shape_and_type((bucket, *shape), np.float32, *device)
            for name, shape in outputs.items()
        }
        for name, value in found.items():
            binding.bind_ortvalue_output(name, value)

        def compute() -> Outputs:
            given.update_inplace(images)
            self._session.run_with_iobinding(binding, options)
            binding.synchronize_outputs()
            return {name: value.numpy() for name, value in found.items()}

        return Buffers(images, compute)


def _run_options(graph: int | None = None) -> ort.RunOptions:
    """Capture and replay as the CUDA graph of this number; -1 computes without one where others are captured."""
    options = ort.RunOptions()
    options.log_severity_level = _FATAL
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def _types(tensors: Sequence[Any]) -> dict[str, TensorType]:
    return {
        tensor.name: TensorType(
            _ELEMENTS.get(tensor.type, tensor.type), tuple(d if isinstance(d, int) else None for d in tensor.shape)
        )
        for tensor in tensors
    }
