"""How a float32 model file stores its weights: in half the bytes, where half precision holds them exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

HALF_MINIMUM = 1024  # elements from which storing in half precision is worth a node


def store_half(model: onnx.ModelProto) -> None:
    """Store weights that half precision holds exactly in half the bytes; a Cast restores them when the session is made.

    The students' weights are rounded so (see RunFolder.trained), the compact teacher's too, but for what the graph has taken a
    factor into, such as patch embeddings. What is not exact stays float32.
    """
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < HALF_MINIMUM or not is_half(values):
            continue
        half = values.astype(np.float16)
        stored = f"{tensor.name}.half"
        casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, stored))
    _set_nodes(model, casts + list(model.graph.node))


def is_half(values: npt.NDArray[np.float32]) -> bool:
    """Whether half precision holds all values exactly."""
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float16).astype(np.float32), values)


def restore(model: onnx.ModelProto) -> None:
    """Undo `store_half`: every weight is a float32 constant."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in weights:
            tensor = weights[node.input[0]]
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    _set_nodes(model, nodes)


def _set_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
