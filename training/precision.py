"""The arithmetic that students are trained in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16", "fp16", "fp32"]
TYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def native_precision() -> Precision:
    """bf16 where this machine computes it, else fp32: emulated, a step took 9 times as long (AVX2)."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else "fp32"
