"""The exported file: run by ONNX Runtime, read back by the service's own engine, and never there when it is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from service.engine import Engine, EngineOptions, load_engines
from service.images import resize_square
from service.model_format import BRANCH_OUTPUTS, Branch, parse_metadata, score_threshold, versions
from training import export, model_file
from training.data import Sample
from training.errors import TrainingError
from training.evaluate import evaluate
from training.export import check_parity, export_run
from training.graph import CalibratedGraph
from training.run_folder import RunFolder
from training.scorers import OnnxScorer

Pixels = npt.NDArray[np.uint8]
SIZE = 56
SHIPPED = Path(__file__).parents[3] / "models/demo/1/model.onnx"


@pytest.fixture(scope="module")
def pictures(good_pictures: Callable[[int, int], Pixels]) -> Pixels:
    """Nine pictures [9, 56, 56, 3] that nobody has seen, the last of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    return np.stack([resize_square(picture, SIZE) for picture in np.concatenate((good_pictures(8, 9), noise))])


@pytest.fixture
def copying_exporter(monkeypatch: pytest.MonkeyPatch, exported: Path) -> None:
    """In place of torch's exporter, which takes long: the graph that it made of the finished run."""

    def copy(_graph: CalibratedGraph, _size: int, file: Path) -> None:
        shutil.copyfile(exported, file)

    monkeypatch.setattr(export, "write_graph", copy)


def run_onnx(file: Path, batch: Pixels) -> dict[str, npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": batch}), strict=True))


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_it_scores_as_torch_does_at_any_batch_size(
    finished_run: RunFolder, exported: Path, pictures: Pixels, size: int
) -> None:
    found = run_onnx(exported, pictures[-size:])
    with torch.inference_mode():
        expected = finished_run.calibrated_graph()(torch.from_numpy(pictures[-size:]))
    assert list(found) == [*BRANCH_OUTPUTS["local"], *BRANCH_OUTPUTS["semantic"], "joint_probability", "joint_score"]
    for name, values in found.items():
        assert values.dtype == np.float32
        assert values.shape == ((size, 256, 256) if name == "anomaly_map" else (size,))
        np.testing.assert_allclose(values, expected[name].numpy(), rtol=1e-4, atol=5e-5, err_msg=name)


def test_a_picture_s_score_does_not_depend_on_its_company(exported: Path, pictures: Pixels) -> None:
    together = run_onnx(exported, pictures)
    for index in range(len(pictures)):
        for name, values in run_onnx(exported, pictures[index : index + 1]).items():
            np.testing.assert_allclose(values[0], together[name][index], rtol=1e-4, atol=5e-5, err_msg=name)


def test_the_graph_keeps_attention_whole_and_carries_its_weights(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)
    onnx.checker.check_model(model)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] >= [23]
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Attention") == 4 + 3  # the teacher's blocks and the encoder student's
    assert operators.count("Gelu") == 4 + 3 + 8 + 1  # and the decoder's, and its bottleneck
    assert "Resize" not in operators  # positions are a constant, the map's upsampling two products
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx.ml"} or not [n for n in model.graph.node if n.domain]
    assert [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim][1:] == [SIZE, SIZE, 3]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    beside = sorted(path.name for path in exported.parent.iterdir())
    assert beside == ["README.md", "calibration.png", "model.onnx", "pictures.csv", "sheet.png"]  # no weights of its own


@pytest.mark.parametrize("model", ["exported", "shipped"])
def test_the_graph_has_no_operator_that_cuda_is_slow_at(exported: Path, model: str) -> None:
    """Elu of this opset is computed on the CPU, there and back; a convolution is planned anew for each change of batch size."""
    graph = onnx.load(exported if model == "exported" else SHIPPED).graph
    assert not {node.op_type for node in graph.node} & {"Conv", "Elu"}


def test_the_metadata_say_what_the_run_was(finished_run: RunFolder, exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    metadata = parse_metadata(session.get_modelmeta().custom_metadata_map, exported)
    description, outcome = finished_run.description(), finished_run.calibration()
    assert (metadata.name, metadata.branches, metadata.input_size) == ("stripes", ("local", "semantic"), SIZE)
    assert (metadata.calibration, metadata.threshold, metadata.alpha) == (outcome.calibration, outcome.threshold, 0.1)
    assert (metadata.training_data, metadata.teacher.sha256) == (description.training_data, description.teacher_sha256)
    assert (metadata.teacher.source, metadata.teacher.stand_in) == ("tiny-registers", False)
    assert (metadata.metrics["image_auroc/joint"], metadata.licence, metadata.format_version) == (0.9, "Apache-2.0", 1)
    assert metadata.parity.batch_sizes == (1, 2, 5)
    assert 0 <= metadata.parity.max_abs_difference <= 1e-4
    assert timedelta(0) <= datetime.now(UTC) - metadata.created < timedelta(hours=1)


def test_the_service_s_engine_takes_it(exported: Path, pictures: Pixels) -> None:
    engine = Engine(exported, EngineOptions(intra_op_threads=1))
    engine.warm_up()
    found, expected = engine.run(list(pictures[:3])), run_onnx(exported, pictures[:3])
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("branch", ["local", "semantic"])
def test_a_branch_can_go_alone(
    tmp_path: Path,
    finished_run: RunFolder,
    exported: Path,
    pictures: Pixels,
    labelled_samples: list[Sample],
    branch: Branch,
) -> None:
    file = export_run(finished_run, "alone", tmp_path, (branch,))
    assert file == tmp_path / "alone" / "1" / "model.onnx"
    engine = Engine(file, EngineOptions(intra_op_threads=1))  # checks names, types and shapes against the metadata
    assert engine.metadata.branches == (branch,)
    calibration = engine.metadata.calibration
    absent = (calibration.semantic,) if branch == "local" else (calibration.local, calibration.pixel)
    assert set(absent) == {None}
    found, whole = run_onnx(file, pictures), run_onnx(exported, pictures)
    assert list(found) == [*BRANCH_OUTPUTS[branch], "joint_probability", "joint_score"]
    for name in BRANCH_OUTPUTS[branch]:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["joint_probability"], found[f"{branch}_probability"], rtol=1e-6)
    metrics = evaluate(OnnxScorer(file), labelled_samples).metrics
    assert {name.split("/")[1] for name in metrics if name.startswith("image_auroc")} == {branch, "joint"}
    assert metrics["image_auroc/joint"] == metrics[f"image_auroc/{branch}"]
    of_good = run_onnx(file, np.array(finished_run.held_out()))["joint_score"]
    # of twelve pictures the largest score is the limit for alpha 0.1, and it is this branch's own
    assert score_threshold(engine.metadata.threshold) == pytest.approx(of_good.max(), rel=1e-3)


@pytest.mark.usefixtures("copying_exporter")
def test_versions_count_up_past_gaps_and_strangers(tmp_path: Path, finished_run: RunFolder) -> None:
    assert export_run(finished_run, "stripes", tmp_path).parent.name == "1"
    assert export_run(finished_run, "stripes", tmp_path).parent.name == "2"
    (tmp_path / "stripes" / "7").mkdir()
    (tmp_path / "stripes" / "7" / "model.onnx").write_bytes(b"")
    (tmp_path / "stripes" / "8").mkdir()
    (tmp_path / "stripes" / "8" / "README.md").write_text("of a version whose model somebody has removed")
    (tmp_path / "stripes" / "latest").mkdir()
    (tmp_path / "stripes" / "README.md").write_text("card")
    assert export_run(finished_run, "stripes", tmp_path).parent.name == "9"
    assert export_run(finished_run, "other", tmp_path).parent.name == "1"
    assert versions(tmp_path, "stripes") == [1, 2, 7, 9]
    assert not [path for path in (tmp_path / "stripes").iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("copying_exporter")
def test_weights_too_large_for_one_file_lie_beside_it(
    tmp_path: Path, finished_run: RunFolder, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of ViT-g: protobuf ends at 2 GiB, of which this test cannot have so many."""
    monkeypatch.setattr(model_file, "LARGEST_FILE", 10_000)
    file = export_run(finished_run, "stripes", tmp_path)
    assert file.with_name("model.onnx.data").stat().st_size > file.stat().st_size
    pictures = np.array(finished_run.held_out())
    for name, values in run_onnx(exported, pictures).items():
        np.testing.assert_array_equal(run_onnx(file, pictures)[name], values)
    engine, *_ = load_engines(file, EngineOptions(intra_op_threads=1, max_batch_size=1))
    assert engine.metadata.name == "stripes"
    model = onnx.load(file)
    for _ in range(2):  # the caller's keeps its weights
        model_file.save_model(model, file)
    assert run_onnx(file, pictures).keys() == run_onnx(exported, pictures).keys()
    monkeypatch.undo()
    model_file.save_model(model, file)
    assert not file.with_name("model.onnx.data").exists()


@pytest.mark.usefixtures("copying_exporter")
def test_a_graph_that_scores_otherwise_is_not_written(
    tmp_path: Path, finished_run: RunFolder, copy_run: Callable[[RunFolder], RunFolder]
) -> None:
    run = copy_run(finished_run)
    outcome = json.loads(run.calibration_file.read_text())
    outcome["calibration"]["semantic"]["tau"] *= 1.5  # what the copied graph does not know of
    run.calibration_file.write_text(json.dumps(outcome))
    message = (
        r"not exported: semantic_probability from ONNX Runtime differs from torch by .* at batch 1, over the tolerance 0\.0001"
    )
    with pytest.raises(TrainingError, match=message):
        export_run(run, "stripes", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_parity_is_checked_at_every_batch_size(finished_run: RunFolder, exported: Path) -> None:
    graph = finished_run.calibrated_graph()
    parity = check_parity(graph, exported, finished_run.held_out())
    assert parity.max_abs_difference <= 1e-4
    seen: list[int] = []
    forward = graph.forward

    def wrong_at_five(image: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(len(image))
        outputs = forward(image)
        return outputs if len(image) < 5 else outputs | {"anomaly_map": outputs["anomaly_map"] + 2e-4}

    graph.forward = wrong_at_five  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"anomaly_map from ONNX Runtime differs from torch by 0\.0002 at batch 5"):
        check_parity(graph, exported, finished_run.held_out())
    assert seen == [1, 2, 5]


def test_a_score_that_is_not_a_number_is_not_parity(finished_run: RunFolder, exported: Path) -> None:
    graph = finished_run.calibrated_graph()
    with torch.no_grad():
        next(graph.raw.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="differs from torch by nan"):
        check_parity(graph, exported, finished_run.held_out())


@pytest.mark.usefixtures("copying_exporter")
def test_a_version_folder_appears_whole_or_not_at_all(
    tmp_path: Path, finished_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        assert not (tmp_path / "stripes" / "1").exists()
        assert versions(tmp_path, "stripes") == []
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", _only_beside_models(tmp_path, disk_full))
        with pytest.raises(OSError, match="No space left"):
            export_run(finished_run, "stripes", tmp_path)
    assert list((tmp_path / "stripes").iterdir()) == []
    assert export_run(finished_run, "stripes", tmp_path).parent.name == "1"


def _only_beside_models(models: Path, fail: Callable[[Path, Path], None]) -> Callable[[Path, Path], object]:
    """shutil.copyfile, failing for copies into `models` alone."""
    copyfile = shutil.copyfile
    return lambda source, target: fail(source, target) if models in Path(target).parents else copyfile(source, target)


@pytest.mark.usefixtures("copying_exporter")
def test_two_exports_at_once_get_two_versions(tmp_path: Path, finished_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other export takes the version between our look and our rename."""
    looked: list[int] = []
    look = export._next_version

    def slow_look(folder: Path) -> int:
        found = look(folder)
        if not looked:
            (folder / "1").mkdir()
            (folder / "1" / "model.onnx").write_bytes(b"the other's")
        looked.append(found)
        return found

    monkeypatch.setattr(export, "_next_version", slow_look)
    assert export_run(finished_run, "stripes", tmp_path).parent.name == "2"
    assert (tmp_path / "stripes" / "1" / "model.onnx").read_bytes() == b"the other's"


def test_a_run_without_calibration_is_refused(
    tmp_path: Path, finished_run: RunFolder, copy_run: Callable[[RunFolder], RunFolder]
) -> None:
    run = copy_run(finished_run)
    run.calibration_file.unlink()
    with pytest.raises(TrainingError, match=r"calibration\.json does not exist"):
        export_run(run, "stripes", tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "x" * 65])
@pytest.mark.usefixtures("copying_exporter")
def test_a_name_that_is_no_folder_s_is_refused(tmp_path: Path, finished_run: RunFolder, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        export_run(finished_run, name, tmp_path / "models")
    assert not (tmp_path / "models").exists()
