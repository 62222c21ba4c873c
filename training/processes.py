"""What is computed on, CUDA or else the CPU, and the processes that train together, if torchrun started several."""

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


def scoring_device() -> torch.device:
    """Where a trained model is measured, in whole float32: TensorFloat-32's scores would not be those that are served."""
    torch.backends.cudnn.allow_tf32 = False
    device: torch.device = processes().device
    return device
