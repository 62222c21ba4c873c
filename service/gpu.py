"""What the GPUs of this machine are doing, asked of NVIDIA's driver at a scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_DEVICE = ("device", "name")

log = structlog.stdlib.get_logger(__name__)


class GpuCollector(Collector):
    """Memory and utilisation of each GPU, numbered as nvidia-smi does; no samples without a driver or the `gpu` extra."""

    def __init__(self) -> None:
        self._nvml = _open_nvml()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a device; what a device does not tell is left out."""
        used = GaugeMetricFamily("duet_gpu_memory_used_bytes", "GPU memory in use, by whomever", labels=_DEVICE)
        total = GaugeMetricFamily("duet_gpu_memory_total_bytes", "GPU memory", labels=_DEVICE)
        busy = GaugeMetricFamily(
            "duet_gpu_utilization_ratio", "Share of the last moment in which the GPU computed anything", labels=_DEVICE
        )
        if self._nvml is not None:
            _read(self._nvml, used, total, busy)
        yield from (used, total, busy)


def _read(nvml: Any, used: GaugeMetricFamily, total: GaugeMetricFamily, busy: GaugeMetricFamily) -> None:
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            labels = (str(index), nvml.nvmlDeviceGetName(device))
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            used.add_metric(labels, memory.used)
            total.add_metric(labels, memory.total)
            with contextlib.suppress(nvml.NVMLError_NotSupported):  # a slice of a GPU (MIG) has no utilisation of its own
                busy.add_metric(labels, nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
    except nvml.NVMLError as error:
        log.warning("a GPU does not tell how it is", reason=str(error))


def _open_nvml() -> Any | None:
    """NVIDIA's management library; None where there is no GPU to manage."""
    try:
        import pynvml
    except ModuleNotFoundError:  # it comes with the `gpu` extra
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("no GPU is watched", reason=str(error))
        return None
    return pynvml
