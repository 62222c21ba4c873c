"""A float32 graph whose linear layers multiply in 8 bits: weights by channel, activations by the range good pictures show."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from service.model_format import INPUT

from .linear_layers import LINEAR_OPERATORS, linear_layers

RANGE_PICTURES = 128  # that ranges are taken from; more widen them by little
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}  # the exporter has folded constants and inferred shapes


def to_int8(model: onnx.ModelProto, pictures: npt.NDArray[np.uint8], at_once: int) -> onnx.ModelProto:
    """The same graph, quantised statically in ONNX's QDQ form, which ONNX Runtime and OpenVINO both compute in integers.

    `pictures` are good ones, uint8 [M, H, W, 3], run `at_once` at a time. What a layer gets is rounded, and what it gives is
    not, as it goes on to a bias, a sum or a norm in float32. Weights take 7 of the 8 bits: on CPUs without VNNI a sum of two
    products of 8 bits overflows (onnxruntime.ai, Quantize ONNX Models, "Performance and accuracy").
    """
    layers = linear_layers(model)
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    onnx.helper.set_model_props(prepared, _PREPARED)
    with tempfile.TemporaryDirectory(prefix="duet-int8-") as scratch:
        source, result = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        onnx.save(prepared, source)
        quantize_static(
            source,
            result,
            _Pictures(pictures, at_once),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=layers,
            extra_options={"OpTypesToExcludeOutputQuantization": LINEAR_OPERATORS},
        )
        quantised = onnx.load(result)
    del quantised.metadata_props[:]
    return quantised


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # it has no annotations
    def __init__(self, pictures: npt.NDArray[np.uint8], at_once: int) -> None:
        chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), RANGE_PICTURES)).astype(int)
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            np.array(pictures[chosen[start : start + at_once]]) for start in range(0, len(chosen), at_once)
        )

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
