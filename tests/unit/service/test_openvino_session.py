"""The engine on OpenVINO: the same graph, the same scores, the same refusals, and nobody is told."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from service import openvino_session
from service.engine import Engine, load_engines
from service.images import Pixels, decode_image, model_input
from service.model_format import ModelFormatError
from service.openvino_session import OpenVinoSession, has_bfloat16
from service.providers import EngineOptions
from tests.pictures import grey, noise, reddish, spotted
from tests.tiny_model import build_model, expected_scores, metadata, save, write_tiny_model

MODELS = Path(__file__).parents[3] / "models"
DEMO = MODELS / "demo/1/model.onnx"
OPENVINO = EngineOptions(providers=("openvino",), max_batch_size=4)


def samples() -> list[Pixels]:
    """Four of the pictures that ship, good and bad."""
    files = sorted((MODELS / "demo/samples").glob("*.png"))[::3]
    return [model_input(decode_image(file.read_bytes(), 10**6), (112, 112)) for file in files]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


def test_scores_are_those_of_the_graph(path: Path) -> None:
    pictures = [grey(), spotted(), reddish(), noise(1)]
    engine = Engine(path, OPENVINO)
    assert engine.provider == "openvino"
    assert engine.metadata == metadata()
    outputs = engine.run(pictures)
    found = np.stack([outputs[f"{branch}_score"] for branch in ("local", "semantic", "joint")], axis=1)
    np.testing.assert_allclose(found, [expected_scores(picture) for picture in pictures], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("cores", "threads", "at_once"), [(4, 0, 2), (4, 1, 4), (4, 3, 1), (4, 4, 1), (4, 9, 1), (1, 0, 1), (2, 0, 2), (3, 0, 3)]
)
def test_the_cores_are_split_between_batches(
    path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, at_once: int
) -> None:
    monkeypatch.setattr(openvino_session, "usable_cores", lambda: cores)
    session = OpenVinoSession(path, "openvino", threads)
    assert session.at_once == at_once
    assert 1 <= session._compiled.get_property("NUM_STREAMS") <= at_once  # no more than this machine has


def test_engines_of_one_session_keep_their_results_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "usable_cores", lambda: 2)
    engines = load_engines(path, OPENVINO)
    assert len(engines) == 2
    batches = [[noise(seed), noise(seed + 100)] for seed in range(60)]
    expected = [engines[0].run(batch)["joint_score"] for batch in batches]

    def compute(engine: Engine) -> list[Pixels]:
        return [engine.run(batch)["joint_score"] for batch in batches]

    with ThreadPoolExecutor(len(engines)) as pool:
        for found in pool.map(compute, engines):
            np.testing.assert_array_equal(found, expected)


def test_a_batch_that_fails_takes_nothing_from_the_next(path: Path) -> None:
    session = OpenVinoSession(path, "openvino")
    for _ in range(3 * session.at_once):
        with pytest.raises(Exception, match="shape"):
            session.compute(np.zeros((1, 2, 3, 3), np.uint8))
        assert session._requests.qsize() == session.at_once  # of none that is left, the next would wait for ever
    assert len(session.compute(np.stack([grey(), spotted()]))["joint_score"]) == 2


def test_outputs_have_one_row_an_image_whatever_the_bucket(path: Path) -> None:
    engine = Engine(path, OPENVINO)
    alone = engine.run([spotted()])
    for count in (3, 1, 4, 2):
        outputs = engine.run([*[noise(seed) for seed in range(count - 1)], spotted()])
        assert outputs.keys() == set(engine.metadata.outputs())
        for name, value in outputs.items():
            assert len(value) == count
            np.testing.assert_allclose(value[-1], alone[name][0], rtol=1e-5)


def test_the_model_that_ships_scores_in_float32_as_on_onnx_runtime() -> None:
    """Whatever the CPU can: OpenVINO would compute in bfloat16 by itself where there is any."""
    pictures = samples()
    expected = Engine(DEMO, EngineOptions(max_batch_size=4)).run(pictures)
    for name, value in Engine(DEMO, OPENVINO).run(pictures).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 arithmetic")
def test_bfloat16_is_near() -> None:
    pictures = samples()
    engine = Engine(DEMO, EngineOptions(providers=("openvino-bf16",), max_batch_size=4))
    assert engine.provider == "openvino-bf16"
    expected, found = Engine(DEMO, EngineOptions(max_batch_size=4)).run(pictures), engine.run(pictures)
    for name in ("local_score", "semantic_score"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0.2, atol=0.02)
        assert not np.array_equal(found[name], expected[name])  # it is bfloat16 indeed


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        Engine(path, OPENVINO)


def test_a_model_without_metadata_is_refused(tmp_path: Path) -> None:
    save(build_model(), None, tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="not a Duet model"):
        Engine(tmp_path / "model.onnx", OPENVINO)


def test_a_fixed_batch_and_another_size_are_refused(tmp_path: Path) -> None:
    model = build_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    save(model, metadata().model_dump_json(), tmp_path / "fixed.onnx")
    save(build_model(), metadata(size=112).model_dump_json(), tmp_path / "size.onnx")
    for name in ("fixed.onnx", "size.onnx"):
        with pytest.raises(ModelFormatError, match=r"'image' is uint8 \[.*, not uint8 \[N, "):
            Engine(tmp_path / name, OPENVINO)


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    model = build_model()
    model.graph.output.append(onnx.helper.make_tensor_value_info("reducemean_1", onnx.TensorProto.FLOAT, ["N", 1, 4, 4]))
    node = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    model.graph.output[-1].name = node.output[0]
    save(model, metadata().model_dump_json(), tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError, match="outputs are"):
        Engine(tmp_path / "model.onnx", OPENVINO)


def test_nobody_is_told_that_it_runs(path: Path) -> None:
    """OpenVINO reports its import to Google Analytics, from a thread of its own, unless it finds no telemetry package."""
    watched = """
import sys
from pathlib import Path
sys.addaudithook(lambda event, _: event.startswith("socket.") and event != "socket.__new__" and print("NETWORK", event))
from service.engine import load_engines
from service.providers import EngineOptions
engine, *_ = load_engines(Path(sys.argv[1]), EngineOptions(providers=("openvino",)))
print(engine.provider, sys.modules["openvino_telemetry"])
"""
    done = subprocess.run([sys.executable, "-c", watched, path], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "openvino None\n"


@pytest.mark.parametrize("count", [1, 2])
def test_a_thread_takes_signals_after_its_models_have_gone(path: Path, count: int) -> None:
    """OpenVINO's own bookkeeping leaves it a signal stack that is no longer mapped, and the next signal ends the process."""
    script = """
import signal, sys, threading
from pathlib import Path
from service.openvino_session import OpenVinoSession
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
held = [OpenVinoSession(Path(sys.argv[1]), "openvino") for _ in range(int(sys.argv[2]))]
if len(held) == 1:
    gone = threading.Thread(target=held.clear)
    gone.start()
    gone.join()
while held:
    held.pop(0)
signal.raise_signal(signal.SIGTERM)
"""
    arguments = [sys.executable, "-c", script, str(path), str(count)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
