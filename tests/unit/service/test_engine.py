"""The engine on a real graph: scores, buckets, and the contract of the model file."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from service.engine import Engine, buckets
from service.model_format import ModelFormatError, Tiles
from service.providers import EngineError, EngineOptions
from tests.pictures import grey, noise, reddish, spotted
from tests.tiny_model import build_model, expected_scores, metadata, save, write_tiny_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


def test_scores_are_those_of_the_graph(path: Path) -> None:
    pictures = [grey(), spotted(), reddish(), noise(1), noise(2)]
    outputs = Engine(path, EngineOptions()).run(pictures)
    found = np.stack([outputs[f"{branch}_score"] for branch in ("local", "semantic", "joint")], axis=1)
    np.testing.assert_allclose(found, [expected_scores(picture) for picture in pictures], rtol=1e-4, atol=1e-5)


def test_outputs_have_one_row_an_image_whatever_the_bucket(path: Path) -> None:
    engine = Engine(path, EngineOptions(max_batch_size=6))
    assert engine.buckets == (1, 2, 4, 6)
    alone = engine.run([spotted()])
    for count in range(1, 7):
        outputs = engine.run([*[noise(seed) for seed in range(count - 1)], spotted()])
        assert outputs.keys() == set(engine.metadata.outputs())
        for name, value in outputs.items():
            assert len(value) == count
            np.testing.assert_allclose(value[-1], alone[name][0], rtol=1e-5)


def test_a_batch_on_the_cpu_is_not_padded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, sizes = Engine(path, EngineOptions(max_batch_size=8)), []
    compute = engine._session.compute

    def counted(pixels: Any) -> Any:
        sizes.append(len(pixels))
        return compute(pixels)

    monkeypatch.setattr(engine._session, "compute", counted)
    engine.run([noise(seed) for seed in range(5)])
    assert sizes == [5]


def test_engines_of_one_session_compute_at_the_same_time(path: Path) -> None:
    first = Engine(path, EngineOptions(max_batch_size=4))
    engines = [first, first.beside(), first.beside()]
    batches = [[noise(seed), noise(seed + 100)] for seed in range(60)]
    expected = [first.run(batch)["joint_score"] for batch in batches]

    def compute(engine: Engine) -> list[Any]:
        return [engine.run(batch)["joint_score"] for batch in batches]

    with ThreadPoolExecutor(len(engines)) as pool:
        for found in pool.map(compute, engines):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("largest", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_buckets(largest: int, expected: tuple[int, ...]) -> None:
    assert buckets(largest) == expected


@pytest.mark.parametrize(("cores", "asked", "found"), [(1, None, 2), (2, None, 2), (4, None, 4), (64, None, 8), (2, 16, 16)])
def test_a_batch_on_a_cpu_holds_what_its_cores_can_do_at_once_unless_told_otherwise(
    path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, asked: int | None, found: int
) -> None:
    monkeypatch.setattr("service.engine.usable_cores", lambda: cores)
    assert Engine(path, EngineOptions(max_batch_size=asked)).max_batch_size == found


def test_identity_and_provider(path: Path) -> None:
    engine = Engine(path, EngineOptions())
    assert engine.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert engine.provider == "cpu"


def test_one_branch_alone(tmp_path: Path) -> None:
    outputs = Engine(write_tiny_model(tmp_path, branches=("semantic",)), EngineOptions()).run([reddish()])
    assert outputs.keys() == {"semantic_score", "semantic_probability", "joint_probability", "joint_score"}


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_cuda_falls_back_loudly_or_not_at_all(
    path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Engine(path, EngineOptions(providers=("cuda", "cpu"))).provider == "cpu"
    assert "fallback" in capsys.readouterr().out + caplog.text
    with pytest.raises(EngineError, match="DUET_REQUIRE_CUDA"):
        Engine(path, EngineOptions(providers=("cuda", "cpu"), require_cuda=True))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"model\.onnx: cannot be loaded"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        Engine(path, EngineOptions())


def test_truncated_model(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFormatError):
        Engine(path, EngineOptions())


def test_model_without_metadata(tmp_path: Path) -> None:
    save(build_model(), None, tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="not a Duet model"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_metadata_of_another_size(tmp_path: Path) -> None:
    save(build_model(), metadata(size=112).model_dump_json(), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match=r"'image' is .*uint8 \[N, 112, 112, 3\]"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_metadata_that_promises_another_branch(tmp_path: Path) -> None:
    save(build_model(("local",)), metadata().model_dump_json(), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="outputs are"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_branch_without_calibration(tmp_path: Path) -> None:
    described = json.loads(metadata().model_dump_json())
    described["calibration"]["pixel"] = None
    save(build_model(), json.dumps(described), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="'local' has no calibration"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_fixed_batch_is_refused(tmp_path: Path) -> None:
    model = build_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    save(model, metadata().model_dump_json(), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="'image' is"):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_wrong_output_shape_shows_in_warm_up(tmp_path: Path) -> None:
    """A map of 128 x 128 whose size ONNX Runtime cannot know beforehand, because it is computed from the pixels."""
    model = build_model()
    nodes = model.graph.node
    position = next(index for index, node in enumerate(nodes) if node.op_type == "Resize")
    zero = next(node.output[0] for node in nodes if node.op_type == "Add")
    half = onnx.numpy_helper.from_array(np.array([1, 1, 32, 32], dtype=np.float32), "half")
    model.graph.initializer.append(half)
    nodes[position].input[2] = "computed"
    nodes.insert(position, onnx.helper.make_node("Add", ["half", zero], ["computed"]))
    for dimension in next(tensor for tensor in model.graph.output if tensor.name == "anomaly_map").type.tensor_type.shape.dim[
        1:
    ]:
        dimension.dim_param = "side"
    save(model, metadata().model_dump_json(), tmp_path / "model.onnx")
    engine = Engine(tmp_path / "model.onnx", EngineOptions())
    with pytest.raises(ModelFormatError, match="'anomaly_map' has shape"):
        engine.warm_up()


def test_a_model_of_tiles_takes_whole_pictures_and_fewer_of_them(tmp_path: Path) -> None:
    """Eight tiles a picture: of 20 in a batch two pictures are left, and never less than one."""
    path = write_tiny_model(tmp_path, tiles=Tiles(rows=2, columns=4, overlap=0))
    engine = Engine(path, EngineOptions(max_batch_size=20))
    assert (engine.metadata.input_shape, engine.buckets, engine.max_batch_size) == ((112, 224), (1, 2), 2)
    engine.warm_up()
    spotted_picture = np.full((112, 224, 3), 128, dtype=np.uint8)
    spotted_picture[98:, 196:210] = 255
    outputs = engine.run([np.full_like(spotted_picture, 128), spotted_picture])
    assert outputs["anomaly_map"].shape == (2, 256, 256)
    row, column = np.unravel_index(outputs["anomaly_map"][1].argmax(), (256, 256))
    assert (row, column) == (7 * 32, 14 * 16)
    assert outputs["local_score"][0] < 0.1 < 0.4 < outputs["local_score"][1]
    assert Engine(path, EngineOptions(max_batch_size=7)).buckets == (1,)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ({"rows": 1, "columns": 2, "overlap": 56}, "tiles of 56 pixels cannot overlap by 56"),
        ({"rows": 1, "columns": 2, "overlap": 7}, r"tiles\.overlap: .*multiple of 14"),
        ({"rows": 1, "columns": 1, "overlap": 14}, "one tile is the whole picture: leave tiles out"),
        ({"rows": 0, "columns": 2, "overlap": 14}, r"tiles\.rows"),
        ({"rows": 1, "columns": 2, "overlap": 0}, r"'image' is .*uint8 \[N, 56, 112, 3\]"),
    ],
)
def test_tiles_that_cannot_be_are_refused(tmp_path: Path, tiles: dict[str, int], message: str) -> None:
    described = json.loads(metadata().model_dump_json()) | {"tiles": tiles}
    save(build_model(), json.dumps(described), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match=message):
        Engine(tmp_path / "model.onnx", EngineOptions())


def test_a_file_from_before_tiles_is_still_read(tmp_path: Path) -> None:
    described = json.loads(metadata().model_dump_json())
    del described["tiles"]
    save(build_model(), json.dumps(described), tmp_path / "model.onnx")
    assert Engine(tmp_path / "model.onnx", EngineOptions()).metadata.input_shape == (56, 56)
