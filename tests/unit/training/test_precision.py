"""Half precision is the default where the machine computes it, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from training.fit_settings import FitSettings
from training.precision import native_precision


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX2", "fp32"), ("DEFAULT", "fp32"), ("AVX512", "bf16"), ("SVE256", "fp32")]
)
def test_a_cpu_s_default_is_what_it_computes(monkeypatch: pytest.MonkeyPatch, capability: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert native_precision() == expected
    assert FitSettings().precision == expected
    assert FitSettings(precision="fp16").precision == "fp16"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_s_default_is_what_it_computes(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert native_precision() == expected
