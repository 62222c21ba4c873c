"""What the run times are asked for, and what happens where a device does not start. The device is faked: there is none here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from service import engine as engine_module
from service import onnx_session as onnx_session_module
from service import openvino_session as openvino_session_module
from service import providers as providers_module
from service.engine import load_engines
from service.loaded_model import open_model
from service.metrics import Metrics
from service.onnx_session import OnnxSession
from service.openvino_session import OpenVinoSession
from service.providers import EngineError, EngineOptions, open_session, provider_options
from service.session import Session
from service.settings import Provider, Settings
from tests.tiny_model import build_model, metadata, save, write_tiny_model

CUDA = ("cuda", "cpu")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


def test_options_of_cuda() -> None:
    options = provider_options("cuda", EngineOptions(providers=CUDA, cuda_memory_mb=1024), device_id=3)
    assert options["device_id"] == "3"
    assert options["gpu_mem_limit"] == str(2**30)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["use_tf32"] == "0"


def test_options_that_were_asked_for() -> None:
    options = provider_options("cuda", EngineOptions(providers=CUDA, cuda_tf32=True), device_id=0)
    assert options["use_tf32"] == "1"
    assert "gpu_mem_limit" not in options
    assert provider_options("cpu", EngineOptions(), device_id=0) == {}


def test_cuda_graphs_and_the_cache_of_tensorrt_are_off_unless_asked_for() -> None:
    plain = EngineOptions(providers=("tensorrt", *CUDA))
    assert provider_options("tensorrt", plain, device_id=1) == {"device_id": "1"}
    assert "enable_cuda_graph" not in provider_options("cuda", plain, device_id=1)
    asked = EngineOptions(providers=("tensorrt", *CUDA), cuda_graphs=True, tensorrt_cache=Path("/var/cache/duet"))
    assert provider_options("cuda", asked, device_id=1)["enable_cuda_graph"] == "1"
    assert provider_options("tensorrt", asked, device_id=1) == {
        "device_id": "1",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/var/cache/duet",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": "/var/cache/duet",
    }


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime where CUDA is built in and does not start: it prints why, and goes on with the CPU."""
    real = onnxruntime.InferenceSession

    def session(path: Path, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        if len(providers) == 1:
            return real(path, settings, providers=providers)
        assert [name for name, _ in providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
        print("*************** EP Error ***************")
        print("EP Error CUDA failure 35: CUDA driver version is insufficient")
        return real(path, settings, providers=providers[1:])

    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_session_module.ort, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnx_session_module.ort, "InferenceSession", session)


@pytest.mark.usefixtures("broken_cuda")
def test_a_session_that_fails_on_cuda_falls_back_and_says_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = open_session(path, EngineOptions(providers=CUDA), 0)
    assert session.provider == "cpu"
    assert list(session.inputs) == ["image"]
    said = capsys.readouterr().out
    assert "fallback" in said
    assert "CUDA failure 35" in said


@pytest.mark.usefixtures("broken_cuda")
def test_or_is_refused_with_the_reason_where_cuda_is_required(path: Path) -> None:
    with pytest.raises(EngineError, match=r"DUET_REQUIRE_CUDA .*CUDA failure 35"):
        open_session(path, EngineOptions(providers=CUDA, require_cuda=True), 0)


def test_a_model_that_cannot_be_captured_runs_without(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exported before opset 23's Elu was avoided: as ONNX Runtime 1.31 refused it on an H200."""
    real = onnxruntime.InferenceSession
    asked: list[str | None] = []

    def session(path: Path, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        asked.append(providers[0][1].get("enable_cuda_graph"))
        if asked[-1]:
            raise RuntimeError(
                "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested by the user "
                " as all compute graph nodes have not been partitioned to the CUDAExecutionProvider"
            )
        opened = real(path, settings, providers=providers[1:])
        monkeypatch.setattr(opened, "get_providers", lambda: ["CUDAExecutionProvider"])
        return opened

    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_session_module.ort, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnx_session_module.ort, "InferenceSession", session)
    found = open_session(path, EngineOptions(providers=CUDA, cuda_graphs=True), 0)
    assert (found.provider, asked) == ("cuda", ["1", None])
    assert "no CUDA graphs of this model" in capsys.readouterr().out


def pretend_devices(monkeypatch: pytest.MonkeyPatch, devices: dict[int, Provider]) -> list[int]:
    """Sessions on the CPU that call themselves what `devices` says; the device ids asked for are appended to the list."""
    asked: list[int] = []

    def session(path: Path, _options: EngineOptions, device_id: int) -> Session:
        asked.append(device_id)
        opened = open_session(path, EngineOptions(), 0)
        assert isinstance(opened, OnnxSession)
        opened.provider = devices[device_id]
        return opened

    monkeypatch.setattr(engine_module, "open_session", session)
    return asked


def test_every_gpu_has_an_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_devices(monkeypatch, {0: "cuda", 2: "cuda"})
    engines = load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 2)))
    assert asked == [0, 2]
    assert [(engine.provider, engine.max_batch_size) for engine in engines] == [("cuda", 8), ("cuda", 8)]


def test_the_cpu_has_one_session_however_many_gpus_were_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_devices(monkeypatch, {0: "cpu", 1: "cpu"})
    load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 1)))
    assert asked == [0]


@pytest.mark.parametrize(("threads", "at_once"), [(0, 2), (1, 4), (3, 2), (4, 1), (9, 1)])
def test_the_cpu_has_an_engine_for_each_core_that_no_thread_is_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, at_once: int
) -> None:
    monkeypatch.setattr(onnx_session_module, "usable_cores", lambda: 4)
    assert len(load_engines(path, EngineOptions(intra_op_threads=threads))) == at_once


def test_a_single_core_has_a_single_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session_module, "usable_cores", lambda: 1)
    assert len(load_engines(path, EngineOptions())) == 1


def test_a_gpu_that_does_not_start_beside_one_that_does_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_devices(monkeypatch, {0: "cuda", 1: "cpu"})
    with pytest.raises(EngineError, match=r"device 1 .*does not start"):
        load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 1)))


@pytest.mark.usefixtures("broken_cuda")
def test_what_comes_next_in_the_list_is_tried_next(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = open_session(path, EngineOptions(providers=("cuda", "openvino", "cpu")), 0)
    assert session.provider == "openvino"
    assert "CUDA failure 35" in capsys.readouterr().out


def test_without_openvino_the_log_says_what_is_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openvino_session_module.importlib.util, "find_spec", lambda _name: None)
    assert open_session(path, EngineOptions(providers=("openvino", "cpu")), 0).provider == "cpu"
    assert "OpenVINO is not installed (the `openvino` extra)" in capsys.readouterr().out
    assert open_session(path, EngineOptions(providers=("openvino",)), 0).provider == "cpu"


@pytest.mark.parametrize("kept", ["fpu avx2", "fpu avx512f avx512bw avx512_vnni"])
def test_a_cpu_that_would_emulate_bfloat16_is_not_asked_to(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: str
) -> None:
    monkeypatch.setattr(openvino_session_module, "_CPU_FLAGS", _cpuinfo(tmp_path, kept))
    session = open_session(path, EngineOptions(providers=("openvino-bf16", "openvino", "cpu")), 0)
    assert session.provider == "openvino"
    assert "openvino-bf16: this CPU has no bfloat16 arithmetic" in capsys.readouterr().out


@pytest.mark.parametrize("flags", ["fpu avx512f avx512_bf16", "fpu avx512f amx_tile amx_bf16"])
def test_a_cpu_that_has_it_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr(openvino_session_module, "_CPU_FLAGS", _cpuinfo(tmp_path, flags))
    assert openvino_session_module.has_bfloat16()


def test_no_bfloat16_where_nothing_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session_module, "_CPU_FLAGS", tmp_path / "absent")
    assert not openvino_session_module.has_bfloat16()


@pytest.mark.parametrize(
    ("precision", "flags", "expected"),
    [
        ("int8", "fpu avx512f avx512_vnni", "openvino"),
        ("int8", "fpu avx2 avx_vnni", "openvino"),
        ("int8", "fpu avx2", "cpu"),
        ("fp32", "fpu avx512f avx512_vnni avx512_bf16", "cpu"),
    ],
)
@pytest.mark.parametrize("providers", [("cpu",), ("cuda", "cpu"), ("cuda",)])
def test_an_int8_file_goes_to_whatever_multiplies_8_bits_sooner(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    flags: str,
    expected: Provider,
    providers: tuple[Provider, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "model.onnx"
    save(build_model(), metadata().model_copy(update={"precision": precision}).model_dump_json(), path)
    monkeypatch.setattr(openvino_session_module, "_CPU_FLAGS", _cpuinfo(tmp_path, flags))
    assert open_session(path, EngineOptions(providers=providers), 0).provider == expected
    assert (f"provider={expected}" in capsys.readouterr().out) == (providers != ("cpu",))
    monkeypatch.setattr(openvino_session_module.importlib.util, "find_spec", lambda _name: None)
    assert open_session(path, EngineOptions(providers=providers), 0).provider == "cpu"


@pytest.mark.parametrize("when", ["__init__", "compute"])
def test_an_int8_file_that_openvino_cannot_compute_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("unsupported operation")

    path = tmp_path / "model.onnx"
    save(build_model(), metadata().model_copy(update={"precision": "int8"}).model_dump_json(), path)
    monkeypatch.setattr(openvino_session_module, "_CPU_FLAGS", _cpuinfo(tmp_path, "fpu avx512_vnni"))
    monkeypatch.setattr(OpenVinoSession, when, refuse)
    assert open_session(path, EngineOptions(), 0).provider == "cpu"
    assert "unsupported operation" in capsys.readouterr().out


@pytest.mark.parametrize(("providers", "fallback"), [(("cpu",), 0), (("openvino", "cpu"), 0), (("cuda", "cpu"), 1)])
def test_the_best_of_a_cpu_is_no_fallback(
    path: Path, monkeypatch: pytest.MonkeyPatch, providers: tuple[Provider, ...], fallback: int
) -> None:
    monkeypatch.setattr(providers_module, "_on_cpu", lambda path, _options: OpenVinoSession(path, "openvino"))
    metrics = Metrics()
    model = open_model("tiny", "1", path, 1, Settings.model_validate({"providers": providers}), metrics)
    try:
        assert model.provider == "openvino"
        found = metrics.registry.get_sample_value("duet_model_fallback", {"model": "tiny", "version": "1"})
        assert found == fallback
    finally:
        model.batcher.close()


def _cpuinfo(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    return file
