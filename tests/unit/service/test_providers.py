"""What ONNX Runtime is asked for, and what happens where a device does not start. The device is faked: there is none here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from service import engine as engine_module
from service import providers as providers_module
from service.engine import load_engines
from service.providers import EngineError, EngineOptions, open_session, provider_options
from service.settings import Provider
from tests.tiny_model import write_tiny_model

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


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime where CUDA is built in and does not start: it prints why, and goes on with the CPU."""
    real = onnxruntime.InferenceSession

    def session(path: Path, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        assert [name for name, _ in providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
        print("*************** EP Error ***************")
        print("EP Error CUDA failure 35: CUDA driver version is insufficient")
        return real(path, settings, providers=providers[1:])

    monkeypatch.setattr(
        providers_module.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(providers_module.ort, "InferenceSession", session)


@pytest.mark.usefixtures("broken_cuda")
def test_a_session_that_fails_on_cuda_falls_back_and_says_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session, provider = open_session(path, EngineOptions(providers=CUDA), 0)
    assert provider == "cpu"
    assert session.get_inputs()[0].name == "image"
    said = capsys.readouterr().out
    assert "fallback" in said
    assert "CUDA failure 35" in said


@pytest.mark.usefixtures("broken_cuda")
def test_or_is_refused_with_the_reason_where_cuda_is_required(path: Path) -> None:
    with pytest.raises(EngineError, match=r"DUET_REQUIRE_CUDA .*CUDA failure 35"):
        open_session(path, EngineOptions(providers=CUDA, require_cuda=True), 0)


def pretend_devices(monkeypatch: pytest.MonkeyPatch, devices: dict[int, Provider]) -> list[int]:
    """Sessions on the CPU that call themselves what `devices` says; the device ids asked for are appended to the list."""
    asked: list[int] = []

    def session(path: Path, _options: EngineOptions, device_id: int) -> tuple[Any, Provider]:
        asked.append(device_id)
        return open_session(path, EngineOptions(), 0)[0], devices[device_id]

    monkeypatch.setattr(engine_module, "open_session", session)
    monkeypatch.setattr(engine_module, "pinned_memory", lambda _provider, _device_id: None)
    return asked


def test_every_gpu_has_an_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_devices(monkeypatch, {0: "cuda", 2: "cuda"})
    engines = load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 2)))
    assert asked == [0, 2]
    assert [engine.provider for engine in engines] == ["cuda", "cuda"]


def test_the_cpu_has_one_engine_however_many_gpus_were_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_devices(monkeypatch, {0: "cpu", 1: "cpu"})
    assert len(load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 1)))) == 1
    assert asked == [0]


def test_a_gpu_that_does_not_start_beside_one_that_does_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_devices(monkeypatch, {0: "cuda", 1: "cpu"})
    with pytest.raises(EngineError, match=r"device 1 .*does not start"):
        load_engines(path, EngineOptions(providers=CUDA, device_ids=(0, 1)))
