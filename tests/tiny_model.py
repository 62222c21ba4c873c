"""A real, tiny ONNX model that obeys the contract of the model file: what a test posts decides what it scores.

Patches far from mid-grey are a local anomaly, a picture redder than blue (or bluer than red) is a semantic one. A picture
whose first pixel is slow_pixel(n) makes its batch compute for long, one whose first pixel is FAILING_PIXEL makes the engine
raise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.model_format import (
    BRANCH_OUTPUTS,
    INPUT,
    MAP_SIZE,
    METADATA_KEY,
    MODEL_FILE,
    Branch,
    Calibration,
    ModelMetadata,
    Parity,
    Shape,
    Sigmoid,
    TeacherInfo,
    Tiles,
    TrainingData,
)

SIZE = 56
PATCH = 14
LOCAL = Sigmoid(tau=0.2, sigma=0.05)
SEMANTIC = Sigmoid(tau=0.3, sigma=0.1)
PIXEL = Sigmoid(tau=0.25, sigma=0.05)
BOTH: tuple[Branch, ...] = ("local", "semantic")

FAILING_PIXEL = (3, 4, 5)
_SLOW = (1, 2)
_ROUNDS = 6000  # of work for each step of slow_pixel
_WORK = 32  # side of the matrix multiplied in each round: too small for a second thread, so that other cores stay free
_WEIGHTS = 2**17  # float32 numbers: two models take more than the least that DUET_MAX_MODELS_MB can allow


def slow_pixel(steps: int) -> tuple[int, int, int]:
    """First pixel of a picture that computes about `steps` times 10 ms; steps at most 255."""
    return (*_SLOW, steps)


def metadata(
    branches: tuple[Branch, ...] = BOTH, threshold: float = 0.5, size: int = SIZE, tiles: Tiles | None = None
) -> ModelMetadata:
    """Valid metadata of the tiny model."""
    return ModelMetadata(
        name="tiny",
        teacher=TeacherInfo(source="tiny", sha256="0" * 64, stand_in=True),
        branches=branches,
        input_size=size,
        tiles=tiles,
        calibration=Calibration(
            local=LOCAL if "local" in branches else None,
            semantic=SEMANTIC if "semantic" in branches else None,
            pixel=PIXEL if "local" in branches else None,
            images=100,
        ),
        threshold=threshold,
        alpha=0.01,
        training_data=TrainingData(layout="folder", normal=("grey",), images=100, fingerprint="0" * 64),
        parity=Parity(max_abs_difference=0.0, batch_sizes=(1,)),
        created=datetime(2026, 1, 1, tzinfo=UTC),
        licence="Apache-2.0",
    )


def expected_scores(pixels: npt.NDArray[np.uint8]) -> tuple[float, float, float]:
    """Local, semantic and joint raw score of model input [SIZE, SIZE, 3], computed without the graph."""
    values = pixels.astype(np.float64) / 255
    patches = values.reshape(SIZE // PATCH, PATCH, SIZE // PATCH, PATCH, 3).mean(axis=(1, 3, 4))
    local = float(np.abs(patches - 0.5).max())
    colour = values.mean(axis=(0, 1))
    semantic = abs(float(colour[0] - colour[2]))
    joint = sum(math.log1p(math.exp((s - c.tau) / c.sigma)) for s, c in ((local, LOCAL), (semantic, SEMANTIC)))
    return local, semantic, joint


def write_tiny_model(
    models: Path,
    name: str = "tiny",
    version: int = 1,
    *,
    branches: tuple[Branch, ...] = BOTH,
    threshold: float = 0.5,
    tiles: Tiles | None = None,
) -> Path:
    """Write models/name/version/model.onnx and return its path."""
    path = models / name / str(version) / MODEL_FILE
    described = metadata(branches, threshold, tiles=tiles)
    save(build_model(branches, described.input_shape), described.model_dump_json(), path)
    return path


def save(model: onnx.ModelProto, properties: str | None, path: Path) -> None:
    """Write a model with this `duet` metadata property."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if properties is not None:
        helper.set_model_props(model, {METADATA_KEY: properties})
    onnx.save(model, path)


def build_model(branches: tuple[Branch, ...] = BOTH, shape: Shape = (SIZE, SIZE)) -> onnx.ModelProto:
    """The graph of the tiny model, for inputs of `shape`, whose sides in patches divide 256."""
    graph = _Graph()
    pixels = graph.add("Cast", [INPUT], to=TensorProto.FLOAT)
    corner = graph.add("Reshape", [graph.add("Slice", [pixels, *graph.ints([0, 0], [1, 1], [1, 2])]), *graph.ints([-1, 3])])
    values = graph.add("Div", [pixels, graph.constant(np.float32(255))])
    channels_first = graph.add("Transpose", [values], perm=[0, 3, 1, 2])
    # Both terms are 0: they only make this batch slow, or fail.
    delay = graph.add("Add", [_slow(graph, corner), _failing(graph, corner)])
    logits = []
    if "local" in branches:
        patches = graph.add("AveragePool", [channels_first], kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
        grey = graph.add("ReduceMean", [patches, *graph.ints([1])], keepdims=1)
        distance = graph.add("Abs", [graph.add("Sub", [grey, graph.constant(np.float32(0.5))])])
        factors = [MAP_SIZE / (side // PATCH) for side in shape]
        scales = graph.constant(np.array([1, 1, *factors], dtype=np.float32))
        enlarged = graph.add("Resize", [distance, "", scales], mode="nearest")
        graph.add("Squeeze", [enlarged, *graph.ints([1])], output="anomaly_map")
        raw = graph.add("ReduceMax", ["anomaly_map", *graph.ints([1, 2])], keepdims=0)
        logits.append(_branch(graph, "local", graph.add("Add", [raw, delay]), LOCAL))
    if "semantic" in branches:
        # One axis after the other: a long float32 sum rounds differently at different batch sizes.
        rows = graph.add("ReduceMean", [values, *graph.ints([2])], keepdims=0)
        colour = graph.add("ReduceMean", [rows, *graph.ints([1])], keepdims=0)
        red = graph.add("Gather", [colour, graph.constant(np.int64(0))], axis=1)
        blue = graph.add("Gather", [colour, graph.constant(np.int64(2))], axis=1)
        raw = graph.add("Abs", [graph.add("Sub", [red, blue])])
        logits.append(_branch(graph, "semantic", graph.add("Add", [raw, delay]), SEMANTIC))
    hazards = [graph.add("Softplus", [logit]) for logit in logits]
    graph.add("Sum", hazards, output="joint_score")
    good = graph.add("Exp", [graph.add("Neg", ["joint_score"])])
    graph.add("Sub", [graph.constant(np.float32(1)), good], output="joint_probability")
    outputs = [name for branch in branches for name in BRANCH_OUTPUTS[branch]] + ["joint_probability", "joint_score"]
    return graph.model(outputs, shape)


def _branch(graph: _Graph, branch: str, raw: str, sigmoid: Sigmoid) -> str:
    """Name the outputs of a branch; returns its logit."""
    graph.add("Identity", [raw], output=f"{branch}_score")
    shifted = graph.add("Sub", [raw, graph.constant(np.float32(sigmoid.tau))])
    logit = graph.add("Div", [shifted, graph.constant(np.float32(sigmoid.sigma))])
    graph.add("Sigmoid", [logit], output=f"{branch}_probability")
    return logit


def _slow(graph: _Graph, corner: str) -> str:
    """0, after as many matrix products as the slowest picture of the batch asks for."""
    marked = graph.add("Equal", [graph.column(corner, 0, 2), graph.constant(np.array([_SLOW], dtype=np.float32))])
    mark = graph.add("ReduceMin", [graph.add("Cast", [marked], to=TensorProto.FLOAT), *graph.ints([1])], keepdims=1)
    steps = graph.add("ReduceMax", [graph.add("Mul", [mark, graph.column(corner, 2, 3)])], keepdims=0)
    rounds = graph.add("Cast", [graph.add("Mul", [steps, graph.constant(np.float32(_ROUNDS))])], to=TensorProto.INT64)
    matrix = graph.constant(np.eye(_WORK, dtype=np.float32))
    start = graph.constant(np.zeros((_WORK, _WORK), dtype=np.float32))
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("MatMul", ["state", matrix], ["state_out"])],
        "work",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [_WORK, _WORK]),
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [_WORK, _WORK]),
        ],
    )
    return graph.add("ReduceMax", [graph.add("Loop", [rounds, "", start], body=body)], keepdims=0)


def _failing(graph: _Graph, corner: str) -> str:
    """0, or an index out of range if a picture of the batch asks for it."""
    marked = graph.add("Equal", [corner, graph.constant(np.array([FAILING_PIXEL], dtype=np.float32))])
    mark = graph.add("ReduceMin", [graph.add("Cast", [marked], to=TensorProto.INT64), *graph.ints([1])], keepdims=0)
    index = graph.add("ReduceMax", [graph.add("Mul", [mark, graph.constant(np.int64(_WEIGHTS))])], keepdims=0)
    return graph.add("Gather", [graph.constant(np.zeros(_WEIGHTS, dtype=np.float32)), index])


class _Graph:
    """Collects nodes and constants, naming each output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Iterable[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: list[int]) -> list[str]:
        return [self.constant(np.array(value, dtype=np.int64)) for value in values]

    def column(self, matrix: str, start: int, end: int) -> str:
        return self.add("Slice", [matrix, *self.ints([start], [end], [1])])

    def model(self, outputs: list[str], shape: Shape) -> onnx.ModelProto:
        shapes: dict[str, list[str | int]] = {
            name: ["N", MAP_SIZE, MAP_SIZE] if name == "anomaly_map" else ["N"] for name in outputs
        }
        graph = helper.make_graph(
            self._nodes,
            "tiny",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *shape, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
            self._constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
