"""A model file in OpenVINO, on the CPU. OpenVINO reads the ONNX file itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .cores import usable_cores
from .model_format import INPUT
from .session import TensorType, UnavailableError

CpuProvider = Literal["openvino", "openvino-bf16"]
# By themselves, OpenVINO's defaults compute in bfloat16 wherever the CPU can.
_PRECISIONS: dict[CpuProvider, str] = {"openvino": "f32", "openvino-bf16": "bf16"}
# AVX-512 alone lets OpenVINO offer bfloat16 too, emulated, and slower than float32.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_VNNI_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
_CPU_FLAGS = Path("/proc/cpuinfo")


class OpenVinoSession:
    """A compiled model, which computes on several streams at the same time, each of so many threads.

    `threads` of a stream: 0 splits the cores between two, as a thread that waits for others costs more than a batch beside it.
    """

    def __init__(self, path: Path, provider: CpuProvider, threads: int = 0) -> None:
        """Raises UnavailableError where OpenVINO or the arithmetic is missing, and OpenVINO's exceptions for a bad file."""
        openvino = _openvino()
        if provider == "openvino-bf16" and not has_bfloat16():
            raise UnavailableError("this CPU has no bfloat16 arithmetic")
        core = openvino.Core()
        model = core.read_model(path)
        self.provider: CpuProvider = provider
        cores = usable_cores()
        threads = min(threads or cores // 2, cores) or 1
        self.at_once, self.bind = cores // threads, None
        self.properties: Mapping[str, str] = _properties(model)
        self.inputs, self.outputs = _types(model.inputs), _types(model.outputs)
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[provider],
            "NUM_STREAMS": self.at_once,
            "INFERENCE_NUM_THREADS": self.at_once * threads,
            "ENABLE_CPU_PINNING": False,  # several models, and several services, share the cores of a machine
        }
        # OpenVINO gives the thread that first compiles with a Core an alternate signal stack, and unmaps it when the last that
        # uses the Core goes, on whatever thread: the next signal to the first would end the process. So that thread ends here.
        with ThreadPoolExecutor(1) as passing:
            self._compiled = passing.submit(core.compile_model, model, "CPU", options).result()
        in_use = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if in_use != _PRECISIONS[provider]:
            raise UnavailableError(f"OpenVINO computes in {in_use} on this CPU, not in {_PRECISIONS[provider]}")
        # Made once: to make one waits for a stream that may be computing.
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.at_once):
            self._requests.put(self._compiled.create_infer_request())

    def compute(self, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """See Session."""
        request = self._requests.get()
        try:
            request.infer({INPUT: pixels})
            return {name: np.array(request.get_tensor(name).data) for name in self.outputs}
        finally:
            self._requests.put(request)


def has_bfloat16() -> bool:
    """Whether the CPU itself computes in bfloat16."""
    return not _BF16_FLAGS.isdisjoint(_cpu_flags())


def best_for_int8() -> bool:
    """Whether OpenVINO is here and multiplies 8 bits sooner than ONNX Runtime does: without VNNI it is slower."""
    return _installed() and not _VNNI_FLAGS.isdisjoint(_cpu_flags())


def _cpu_flags() -> list[str]:
    try:
        lines = _CPU_FLAGS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def _installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _openvino() -> Any:
    """The library, which tells nobody that it is used: its import alone would report to Google Analytics."""
    if not _installed():
        raise UnavailableError("OpenVINO is not installed (the `openvino` extra)")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes a stub of its own
    import openvino

    return openvino


def _properties(model: Any) -> dict[str, str]:
    """The ONNX file's metadata properties, which OpenVINO keeps under "framework"."""
    information = model.get_rt_info()
    found = information["framework"] if "framework" in information else {}  # noqa: SIM401 - it is no dict and has no get
    return {str(key): value.astype(str) for key, value in found.items()}


def _types(ports: Sequence[Any]) -> dict[str, TensorType]:
    return {
        name: TensorType(
            port.get_element_type().to_dtype().name,
            tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape()),
        )
        for port in ports
        for name in port.get_names()
    }
