"""The GPU's figures, with NVIDIA's library in front of a device that is not there."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.gpu import GpuCollector

LABELS = {"device": "1", "name": "NVIDIA L4 1"}


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Two GPUs as the library tells of them; a test may break them."""
    found = [
        SimpleNamespace(memory=SimpleNamespace(used=1000 * n, total=24 * 2**30), rates=SimpleNamespace(gpu=25 * n))
        for n in (0, 1)
    ]

    def told(what: object) -> object:
        if isinstance(what, Exception):
            raise what
        return what

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(found))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda device: f"NVIDIA L4 {device}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda device: told(found[device].memory))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda device: told(found[device].rates))
    return found


def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GpuCollector())
    return registry


def test_each_device_tells_memory_and_utilisation_in_base_units(devices: list[SimpleNamespace]) -> None:
    scrape = registry()
    assert scrape.get_sample_value("duet_gpu_memory_used_bytes", LABELS) == 1000
    assert scrape.get_sample_value("duet_gpu_memory_total_bytes", LABELS) == 24 * 2**30
    assert scrape.get_sample_value("duet_gpu_utilization_ratio", LABELS) == 0.25
    assert sum(len(family.samples) for family in scrape.collect()) == 3 * len(devices)


def test_a_slice_of_a_gpu_tells_its_memory_alone(devices: list[SimpleNamespace]) -> None:
    devices[1].rates = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    scrape = registry()
    assert scrape.get_sample_value("duet_gpu_memory_used_bytes", LABELS) == 1000
    assert scrape.get_sample_value("duet_gpu_utilization_ratio", LABELS) is None


def test_a_lost_gpu_does_not_end_the_scrape_and_is_logged(devices: list[SimpleNamespace]) -> None:
    devices[1].memory = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    with capture_logs() as lines:
        assert registry().get_sample_value("duet_gpu_memory_used_bytes", {"device": "0", "name": "NVIDIA L4 0"}) == 0
    assert lines[-1]["event"] == "a GPU does not tell how it is"
    assert "lost" in lines[-1]["reason"].lower()


def test_without_a_driver_there_are_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    families = list(registry().collect())
    assert len(families) == 3
    assert not any(family.samples for family in families)
