"""What `write_graph` makes of torch's export, and that it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import Dinov2WithRegistersConfig

from service.model_format import Calibration, Sigmoid, TeacherInfo
from tests.official_dinov2 import random_pixels
from training.graph import CalibratedGraph, RawGraph
from training.linear_layers import linear_layers
from training.onnx_graph import write_graph
from training.students import DecoderStudent, EncoderStudent
from training.teacher import Teacher, new_vit
from training.whitening import Whitening

SIDE, HEADS, DEPTH, TAUGHT = 56, 3, 4, 2


@pytest.fixture(scope="module")
def graph(randomise: Callable[[nn.Module, int], None]) -> CalibratedGraph:
    """Random networks of three heads; the teacher's weights need float32, half precision holds the encoder student's."""
    vit = new_vit(
        Dinov2WithRegistersConfig(
            hidden_size=48, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=SIDE, patch_size=14
        )
    )
    randomise(vit, 1)
    teacher = Teacher(vit, SIDE, TeacherInfo(source="random", sha256="0" * 64, stand_in=True))
    decoder, encoder = DecoderStudent(teacher, dropout=0.2), EncoderStudent(teacher, depth=3, taught_blocks=TAUGHT)
    for seed, student in enumerate((decoder, encoder)):
        randomise(student, seed)
    for parameter in encoder.parameters():
        parameter.data = parameter.data.half().float()
    unit = Sigmoid(tau=0.5, sigma=0.2)
    calibration = Calibration(local=unit, semantic=unit, pixel=unit, images=1)
    return CalibratedGraph(RawGraph(teacher, decoder, (encoder, Whitening(TAUGHT * teacher.dim))), calibration).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, graph: CalibratedGraph) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "model.onnx"
    write_graph(graph, (SIDE, SIDE), path)
    return path


@pytest.fixture(scope="module")
def written(file: Path) -> onnx.ModelProto:
    return onnx.load(file)


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


@pytest.mark.parametrize("count", [1, 3])
def test_it_computes_what_torch_computes(graph: CalibratedGraph, file: Path, count: int) -> None:
    images = random_pixels(count, SIDE, seed=count)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with torch.inference_mode():
        expected = graph(images)
    assert names == list(expected)
    for name, found in zip(names, session.run(None, {"image": images.numpy()}), strict=True):
        np.testing.assert_allclose(found, expected[name].numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_attention_tells_heads_apart_by_itself(written: onnx.ModelProto) -> None:
    attentions = [node for node in written.graph.node if node.op_type == "Attention"]
    assert len(attentions) == DEPTH + 3
    made_by = makers(written)
    for node in attentions:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert attributes["q_num_heads"] == attributes["kv_num_heads"] == HEADS
        assert attributes.get("scale", 16**-0.5) == pytest.approx(16**-0.5)
        # of a linear layer each, the keys' and the values' without bias
        assert [made_by[name].op_type for name in node.input] == ["Add", "MatMul", "MatMul"]


def test_factors_are_in_the_weights_where_those_take_four_bytes_anyway(written: onnx.ModelProto) -> None:
    left = {name for node in written.graph.node if node.op_type == "Mul" for name in node.input if "layer_scale" in name}
    assert len(left) == 2 * 3, left
    assert all(name.startswith("raw.encoder.") for name in left)


def test_nothing_is_computed_of_constants(written: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in written.graph.initializer}
    assert not [node.name for node in written.graph.node if constants.issuperset(node.input)]


def test_every_linear_layer_is_still_known_as_one(graph: CalibratedGraph, written: onnx.ModelProto) -> None:
    assert len(linear_layers(written)) == sum(isinstance(module, nn.Linear) for module in graph.modules())


def test_pixels_become_floats_once_for_both_networks_and_after_their_patches_are_cut(written: onnx.ModelProto) -> None:
    casts = [node for node in written.graph.node if node.op_type == "Cast"]
    types = {value.name: value.type.tensor_type for value in onnx.shape_inference.infer_shapes(written).graph.value_info}
    pixels = [node for node in casts if types[node.input[0]].elem_type == onnx.TensorProto.UINT8]
    assert [[d.dim_value for d in types[node.input[0]].shape.dim][1:] for node in pixels] == [[16, 3 * 14 * 14]]
