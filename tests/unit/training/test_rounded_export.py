"""Exports in fp16 and int8: near the float32 one, computed as they say, and never there when they lose too much."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from service.images import resize_square
from service.model_format import ModelMetadata, Precision, parse_metadata, score_threshold
from service.onnx_session import NAMES, OnnxSession
from service.openvino_session import OpenVinoSession
from training import export, rounded_export
from training.data import Sample
from training.errors import TrainingError
from training.export import export_run
from training.good_scores import HeldOutScores
from training.graph import CalibratedGraph
from training.half_precision import SUMS
from training.linear_layers import linear_layers, module_class
from training.model_constants import MATRIX
from training.recalibrate import recalibrate
from training.run_folder import RunFolder
from training.stored_weights import restore, store_half

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures(good_pictures: Callable[[int, int], Pixels]) -> list[Pixels]:
    """Five pictures that nobody has seen, the last of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    return [resize_square(picture, 56) for picture in np.concatenate((good_pictures(4, 9), noise))]


@pytest.fixture
def rounded(
    monkeypatch: pytest.MonkeyPatch, exported: Path, finished_run: RunFolder, tmp_path: Path
) -> Callable[[Precision], Path]:
    """Export the finished run in a precision; torch's exporter takes long, and has made the float32 graph before."""

    def copy(_graph: CalibratedGraph, _shape: object, file: Path) -> None:
        shutil.copyfile(exported, file)

    monkeypatch.setattr(export, "write_graph", copy)
    # random weights round worse than trained ones do
    monkeypatch.setattr(rounded_export, "HALF_TOLERANCE", 0.2)
    monkeypatch.setattr(rounded_export, "RANKING_KEPT", 0.9)
    monkeypatch.setattr(rounded_export, "AUROC_LOST_AT_MOST", 0.1)
    return lambda precision: export_run(finished_run, "rounded", tmp_path / "models", precision=precision)


def run(file: Path, pictures: list[Pixels], provider: str = "cpu") -> dict[str, npt.NDArray[np.float32]]:
    session = OnnxSession(file, [(NAMES["cpu"], {})]) if provider == "cpu" else OpenVinoSession(file, "openvino")
    return session.compute(np.stack(pictures))


def described(file: Path) -> ModelMetadata:
    return parse_metadata(OnnxSession(file, [(NAMES["cpu"], {})]).properties, file)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_fp16_scores_are_near_those_of_float32(
    rounded: Callable[[Precision], Path], exported: Path, pictures: list[Pixels], provider: str
) -> None:
    """OpenVINO computes it in float32, as the CPU has no other: it has to read it all the same."""
    file = rounded("fp16")
    expected, found = run(exported, pictures), run(file, pictures, provider)
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    for name, tolerance in (("local_score", 5e-3), ("anomaly_map", 5e-3), ("semantic_score", 5e-2)):
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def test_fp16_is_in_the_networks_and_not_in_the_scores(rounded: Callable[[Precision], Path]) -> None:
    file = rounded("fp16")
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.name in linear_layers(model)]
    assert {types[name] for node in layers for name in node.input if name in types} == {TensorProto.FLOAT16}
    assert Counter(node.op_type for node in model.graph.node)["Attention"] == 4 + 3
    assert types["logits.local.tau"] == types["raw.upsample"] == TensorProto.FLOAT
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    computed = {value.name: value.type.tensor_type.elem_type for value in inferred}
    sums = [name for node in model.graph.node if module_class(node) == SUMS for name in node.output]
    assert sums
    assert TensorProto.FLOAT16 not in {computed[name] for name in sums if name in computed}


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_int8_scores_rank_as_float32_s_do(
    rounded: Callable[[Precision], Path], exported: Path, pictures: list[Pixels], provider: str
) -> None:
    expected, found = run(exported, pictures), run(rounded("int8"), pictures, provider)
    np.testing.assert_allclose(found["local_score"], expected["local_score"], rtol=0.15)
    assert not np.array_equal(found["local_score"], expected["local_score"])
    for name in ("local_score", "semantic_score", "joint_score"):
        assert found[name].argmax() == 4


def test_int8_holds_every_linear_layer_in_bytes_and_attention_whole(
    rounded: Callable[[Precision], Path], exported: Path
) -> None:
    file, whole = rounded("int8"), onnx.load(exported)
    restore(whole)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    dequantised = {node.output[0]: types.get(node.input[0]) for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in model.graph.node if node.name in linear_layers(whole)]
    assert len(layers) == len(linear_layers(whole)) > 60
    assert {dequantised[node.input[1]] for node in layers} == {TensorProto.INT8}
    assert all(node.input[0] in dequantised for node in layers)
    # what a layer gives is not rounded
    rounded_tensors = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert rounded_tensors
    assert rounded_tensors.isdisjoint(node.output[0] for node in layers)
    assert Counter(node.op_type for node in model.graph.node)["Attention"] == 4 + 3
    assert file.stat().st_size < 0.8 * exported.stat().st_size  # whose weights take two bytes, but for the patch embeddings'


def test_int8_is_whitened_anew(
    rounded: Callable[[Precision], Path], exported: Path, finished_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding adds to residuals where they hardly vary. Of training pictures the semantic score has to be small again."""
    training = np.array(finished_run.training())
    reference = rounded_export.scores(exported, training, 8)["semantic_score"].mean()
    whitened = rounded_export.scores(rounded("int8"), training, 8)["semantic_score"].mean()
    monkeypatch.setattr(rounded_export, "whiten_anew", lambda *_: None)
    for limit in ("AUROC_LOST", "AUROC_LOST_AT_MOST"):
        monkeypatch.setattr(rounded_export, limit, 1.0)
    magnified = rounded_export.scores(rounded("int8"), training, 8)["semantic_score"].mean()
    assert 2 * reference < whitened < 4 * reference  # half of the covariance is the float32 graph's
    assert magnified > 2 * whitened


def test_int8_is_compared_as_it_will_be_calibrated(
    rounded: Callable[[Precision], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined by the float32 graph's calibration, semantic scores of another size would drown the local ones, or be drowned."""

    def magnify(model: onnx.ModelProto, *_: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == MATRIX:
                tensor.CopyFrom(numpy_helper.from_array(1000 * numpy_helper.to_array(tensor), tensor.name))

    monkeypatch.setattr(rounded_export, "to_int8", lambda model, *_: model)
    monkeypatch.setattr(rounded_export, "whiten_anew", magnify)
    for limit in ("AUROC_LOST", "AUROC_LOST_AT_MOST"):
        monkeypatch.setattr(rounded_export, limit, 0.001)
    assert rounded("int8").exists()


def test_int8_is_calibrated_on_its_own_scores(
    rounded: Callable[[Precision], Path], finished_run: RunFolder, good_samples: Callable[[int, int], list[Sample]]
) -> None:
    file = rounded("int8")
    metadata, outcome = described(file), finished_run.calibration()
    assert metadata.precision == "int8"
    assert metadata.alpha == outcome.alpha
    assert metadata.calibration != outcome.calibration
    held_out = list(np.array(finished_run.held_out()))
    found = run(file, held_out)["joint_score"]
    # of twelve pictures the largest score is the limit for alpha 0.1
    assert score_threshold(metadata.threshold) == pytest.approx(found.max(), rel=1e-3)
    assert "int8 in the networks' linear layers" in (file.parent / "README.md").read_text()
    anew, _ = recalibrate(file, good_samples(12, 31), alpha=0.1)
    assert (described(anew).precision, described(anew).calibration.images) == ("int8", 12)


@pytest.mark.parametrize(
    ("precision", "limit", "value", "message"),
    [
        ("fp16", "HALF_TOLERANCE", 5e-3, r"in fp16 differs from float32 by .*--precision fp32"),
        ("fp16", "RANKING_KEPT", 1.1, r"fp16 ranks the held-out pictures otherwise"),
        ("int8", "AUROC_LOST_AT_MOST", 0.02, r"float32 has an AUROC of .* %, int8 .* points less .*--precision fp32"),
        ("int8", "LARGEST_FILE", 10_000, r"a model beyond 2 GB cannot be quantised .*--precision fp16"),
    ],
)
def test_what_loses_too_much_is_not_written(
    rounded: Callable[[Precision], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    precision: Precision,
    limit: str,
    value: float,
    message: str,
) -> None:
    monkeypatch.setattr(rounded_export, limit, value)
    with pytest.raises(TrainingError, match=message):
        rounded(precision)
    assert not (tmp_path / "models").exists()


def test_weights_that_overflow_half_precision_are_refused(
    rounded: Callable[[Precision], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer whose outputs are too large for float16, and small again after the next one: float32 does not mind."""
    to_half = rounded_export.to_half

    def spread(model: onnx.ModelProto) -> onnx.ModelProto:
        layers = set(linear_layers(model))
        node = next(node for node in model.graph.node if node.name in layers)
        for tensor in model.graph.initializer:
            if tensor.name == node.input[1]:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e6), tensor.name))
        return to_half(model)

    monkeypatch.setattr(rounded_export, "to_half", spread)
    with pytest.raises(TrainingError, match="in fp16 differs from float32 by"):
        rounded("fp16")


def test_int8_that_sees_less_is_refused(
    rounded: Callable[[Precision], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to_int8 = rounded_export.to_int8

    def blind(*arguments: Any) -> onnx.ModelProto:
        model = to_int8(*arguments)
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.INT8:
                tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
        return model

    monkeypatch.setattr(rounded_export, "to_int8", blind)
    with pytest.raises(TrainingError, match=r"float32 has an AUROC of .* %, int8 .* points less \(standard .*--precision fp32"):
        rounded("int8")
    assert not (tmp_path / "models").exists()


def test_int8_takes_no_report_of_other_scores(finished_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"are not those of int8: leave --report out"):
        export_run(finished_run, "rounded", tmp_path, report=tmp_path, precision="int8")


def test_weights_come_back_as_they_were(exported: Path) -> None:
    model = onnx.load(exported)
    restore(model)
    restored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    size = model.ByteSize()
    store_half(model)
    assert model.ByteSize() < 0.8 * size
    restore(model)
    assert restored.keys() == {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), restored[tensor.name])


def test_rounded_scores_are_calibrated_by_levels_that_the_pictures_had_no_part_in() -> None:
    """As float32's are, whatever the file's own levels make of them: half the level is twice the score."""
    served = {"local_score": np.array([1.0, 2.0, 0.0], np.float32), "map_maximum": np.array([2.0, 4.0, 0.0], np.float32)}
    crossed = HeldOutScores(np.array([2.0, 1.0, 0.0]), None, np.array([4.0, 2.0, 0.0]))
    rounded = HeldOutScores(np.array([1.1, 2.2, 0.1]), np.array([7.0, 8.0, 9.0]), np.array([2.2, 4.4, 0.1]))
    found = rounded_export.by_part_levels(rounded, served, crossed)
    np.testing.assert_allclose(found.local, [2.2, 1.1, 0.1])
    np.testing.assert_allclose(found.map_maximum, [4.4, 2.2, 0.1])
    assert found.semantic is rounded.semantic
