"""Which module of the networks a node of an exported graph comes from; torch's exporter writes it down."""

from __future__ import annotations

import ast

import onnx

CLASSES = "pkg.torch.onnx.class_hierarchy"
LINEAR = "torch.nn.modules.linear.Linear"
LINEAR_OPERATORS = ["MatMul", "Gemm"]


def module_class(node: onnx.NodeProto) -> str:
    """Qualified name of the innermost module's class; empty for what the exporter added itself."""
    written = next((entry.value for entry in node.metadata_props if entry.key == CLASSES), "[]")
    classes = ast.literal_eval(written)[:-1]  # the last is the operator
    return str(classes[-1]) if classes else ""


def linear_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply by the weights of a linear layer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LINEAR_OPERATORS and module_class(node) == LINEAR and node.input[1] in weights
    ]
