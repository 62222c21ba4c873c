"""The processes that train together, if torchrun started several: on CUDA where there is any, else on the CPU."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator, PartialState

PATIENCE = timedelta(days=1)  # of those that wait while the first decodes all pictures; torchrun ends them if it dies


def processes() -> PartialState:
    """This process's place among them; of a training alone, the first of one."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def accelerator() -> Accelerator:
    """What they share a model and their gradients by."""
    return Accelerator(cpu=not torch.cuda.is_available())
