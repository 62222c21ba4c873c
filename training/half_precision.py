"""A float32 graph with its networks in half precision: inputs, outputs and all that scores are made of stay float32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto

from .linear_layers import module_class

NETWORKS = {"MatMul", "Gemm", "Attention"}
PATCHES = "training.embeddings.PatchEmbedding"  # where the networks begin
MODULES = ("torch.", "transformers.", PATCHES)  # that the networks are made of; the scores are made by Duet's other ones
# Sums over all tokens, and quotients of them: float32 in training too.
SUMS = "training.students.LinearAttention"


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, in half precision from the patch embedding to the students' features, linear attention's sums apart."""
    types = _types(model)
    half = _half_nodes(list(model.graph.node))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    precision = dict.fromkeys(types, TensorProto.FLOAT)  # of each float tensor as the new graph has it
    nodes: list[onnx.NodeProto] = []
    made: dict[tuple[str, int], str] = {}

    def converted(name: str, wanted: int) -> str:
        if types.get(name) != TensorProto.FLOAT or precision[name] == wanted:
            return name
        if (name, wanted) not in made:
            made[name, wanted] = f"{name}.{'half' if wanted == TensorProto.FLOAT16 else 'float'}"
            if name in weights:
                with np.errstate(over="ignore"):  # the scores are compared afterwards
                    rounded = onnx.numpy_helper.to_array(weights[name]).astype(np.float16)
                model.graph.initializer.append(onnx.numpy_helper.from_array(rounded, made[name, wanted]))
            else:
                nodes.append(onnx.helper.make_node("Cast", [name], [made[name, wanted]], f"cast {name}", to=wanted))
        return made[name, wanted]

    for node in model.graph.node:
        wanted = TensorProto.FLOAT16 if node.name in half else TensorProto.FLOAT
        node.input[:] = [converted(name, wanted) for name in node.input]
        precision |= {name: wanted for name in node.output if name in precision}
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return model


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    declared = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in declared} | {
        tensor.name: tensor.data_type for tensor in graph.initializer
    }


def _half_nodes(nodes: list[onnx.NodeProto]) -> set[str]:
    """Names of the nodes between the pixels and the networks' last results."""
    networks = [node for node in nodes if node.op_type in NETWORKS and module_class(node).startswith(MODULES)]
    inside = _reached([name for node in networks for name in node.input], nodes) | {node.name for node in networks}
    pixels = _reached([node.input[0] for node in networks if module_class(node) == PATCHES], nodes)
    sums = {node.name for node in nodes if module_class(node) == SUMS or node.op_type == "Cast"}
    return inside - pixels - sums


def _reached(values: Iterable[str], nodes: list[onnx.NodeProto]) -> set[str]:
    """Names of all nodes that these values are computed from."""
    maker = {output: node for node in nodes for output in node.output}
    found: set[str] = set()
    waiting = [maker[value] for value in values if value in maker]
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting += [maker[value] for value in node.input if value in maker]
    return found
