"""The ONNX graph of a calibrated model: what torch exports, made lean for the run times that compute it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from onnxscript import ir
from onnxscript.optimizer import fold_constants, optimize
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from service.model_format import INPUT, Shape

from .graph import CalibratedGraph
from .stored_weights import is_half

OPSET = 23  # the first with Attention as one operator
NO_LIMIT = 2**62  # bytes of a constant that is computed here: of weights all are
HEADS_FIRST = [0, 2, 1, 3]  # [N, tokens, heads, d] <-> [N, heads, tokens, d]


def write_graph(graph: CalibratedGraph, shape: Shape, file: Path) -> None:
    """Write the ONNX graph for pictures of `shape`, without metadata."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision's operators, which no graph here has
    example = torch.zeros(2, *shape, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # torch.export on its own code
        names = list(graph(example))
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    for rule in RULES:  # one by one, as each asks for constants that the one before may have made
        rule.rule().apply_to_model(program.model)  # type: ignore[no-untyped-call]
        fold_constants(program.model, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT)
    optimize(program.model)
    program.save(str(file), external_data=False)


class HeadsInside(RewriteRuleClassBase):
    """Attention of [N, tokens, heads * d], which tells heads apart by itself, in place of reshapes and transposes around it."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any, q_shape: Any, k_shape: Any, v_shape: Any, shape: Any) -> Any:
        heads = op.Reshape(q, q_shape, _outputs=["heads"]), op.Reshape(k, k_shape), op.Reshape(v, v_shape)
        attended = op.Attention(*(op.Transpose(part, perm=HEADS_FIRST) for part in heads), _outputs=["attended"])
        return op.Reshape(op.Transpose(attended, perm=HEADS_FIRST), shape)

    def rewrite(self, op: Any, q: Any, k: Any, v: Any, heads: Any, attended: Any, **_: Any) -> Any:
        count = heads.shape[2]
        attributes = attended.producer().attributes
        return _like(attended, op.Attention(q, k, v, **attributes, q_num_heads=count, kv_num_heads=count))


class WithoutKeyBias(RewriteRuleClassBase):
    """Attention of keys without their bias: it adds the same to all logits of a query, which softmax does not see."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any, bias: Any) -> Any:
        return op.Attention(q, op.Add(k, bias), v, _outputs=["attended"])

    def check(self, op: Any, bias: Any, **_: Any) -> MatchResult:  # noqa: ARG002
        return _where(_is_vector(bias))

    def rewrite(self, op: Any, q: Any, k: Any, v: Any, attended: Any, **_: Any) -> Any:
        return _like(attended, op.Attention(q, k, v, **attended.producer().attributes))


class ValueBiasBehind(RewriteRuleClassBase):
    """Attention of values without their bias, which the projection's takes in: the weights of attention sum to 1."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any, bias: Any, weight: Any, projection_bias: Any) -> Any:
        attended = op.Attention(q, k, op.Add(v, bias), _outputs=["attended"])
        return op.Add(op.MatMul(attended, weight, _outputs=["product"]), projection_bias)

    def check(self, op: Any, bias: Any, weight: Any, projection_bias: Any, **_: Any) -> MatchResult:  # noqa: ARG002
        return _where(_is_vector(bias) and _is_vector(projection_bias) and weight.const_value is not None)

    def rewrite(
        self, op: Any, q: Any, k: Any, v: Any, bias: Any, weight: Any, projection_bias: Any, attended: Any, product: Any
    ) -> Any:
        lean = _like(attended, op.Attention(q, k, v, **attended.producer().attributes))
        return op.Add(_like(product, op.MatMul(lean, weight)), op.Add(projection_bias, op.MatMul(bias, weight)))


class LayerScaleInside(RewriteRuleClassBase):
    """A linear layer whose weights have taken in the factors behind it, but for weights that are stored in half precision:
    their file would grow by more than this gains.
    """

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any, factors: Any) -> Any:
        return op.Mul(op.Add(op.MatMul(x, weight, _outputs=["product"]), bias), factors)

    def check(self, op: Any, weight: Any, bias: Any, factors: Any, **_: Any) -> MatchResult:  # noqa: ARG002
        values = weight.const_value
        return _where(_is_vector(bias) and _is_vector(factors) and values is not None and not is_half(values.numpy()))

    def rewrite(self, op: Any, x: Any, weight: Any, bias: Any, factors: Any, product: Any) -> Any:
        return op.Add(_like(product, op.MatMul(x, op.Mul(weight, factors))), op.Mul(bias, factors))


def _like(old: Any, new: Any) -> Any:
    """`new`, said to come from the module that `old` came from: by that, `linear_layers` knows what to quantise."""
    new.producer().metadata_props.update(old.producer().metadata_props)
    return new


def _is_vector(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.shape.rank() == 1


def _where(matches: bool) -> MatchResult:
    return MatchResult() if matches else MatchResult().fail("not constants of the expected shape")


RULES: tuple[type[RewriteRuleClassBase], ...] = (HeadsInside, WithoutKeyBias, ValueBiasBehind, LayerScaleInside)
