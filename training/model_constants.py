"""Constants of an exported graph that can be found anew: graph.Logit's calibration, and the whitening."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from service.model_format import INPUT, Calibration, Sigmoid

from .errors import TrainingError
from .whitening import whitening_of

MEAN, MATRIX = "raw.whitening.mean", "raw.whitening.matrix"


def set_calibration(model: onnx.ModelProto, calibration: Calibration, file: Path) -> None:
    """Put tau and sigma into the graph; raises TrainingError, which names `file`, for one exported before that was possible."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    branches: Mapping[str, Sigmoid | None] = {"local": calibration.local, "semantic": calibration.semantic}
    for branch, sigmoid in branches.items():
        if sigmoid is None:
            continue
        for name, value in (("tau", sigmoid.tau), ("sigma", sigmoid.sigma)):
            stored = f"logits.{branch}.{name}"
            if stored not in tensors:
                raise TrainingError(
                    f"{file} has no constant '{stored}': it is too old; export its run anew with 'duet-train export'"
                )
            tensors[stored].CopyFrom(onnx.numpy_helper.from_array(np.array(value, dtype=np.float32), stored))


def whiten_anew(model: onnx.ModelProto, exact: onnx.ModelProto, pictures: npt.NDArray[np.uint8], at_once: int) -> None:
    """Fit a rounded graph's whitening to its residuals and the float32 graph's together, on good pictures uint8 [M, H, W, 3].

    Rounding adds to residuals in directions where they hardly vary, which the whitening of the float32 graph would magnify.
    One of the rounded graph alone takes the noise that it has on these few pictures for the rule.
    Nothing is done to a graph without semantic branch.
    """
    if not any(MEAN in node.input for node in model.graph.node):
        return
    found = np.concatenate([_residuals(graph, pictures, at_once) for graph in (model, exact)])
    whitening = whitening_of(found.astype(np.float64))
    for tensor in model.graph.initializer:
        if tensor.name in (MEAN, MATRIX):
            values = (whitening.mean if tensor.name == MEAN else whitening.matrix).numpy()
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _residuals(model: onnx.ModelProto, pictures: npt.NDArray[np.uint8], at_once: int) -> npt.NDArray[np.float32]:
    """What goes into the whitening, [M, taught * d]."""
    (residuals,) = (name for node in model.graph.node if MEAN in node.input for name in node.input if name != MEAN)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info(residuals, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    starts = range(0, len(pictures), at_once)
    return np.concatenate([session.run([residuals], {INPUT: np.array(pictures[i : i + at_once])})[0] for i in starts])
