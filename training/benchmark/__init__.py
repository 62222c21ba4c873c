"""A whole benchmark: every model that its table asks for, trained, measured beside nearest neighbours, and summed up."""

from .presets import PRESETS, Preset, load_preset
from .run import BenchmarkSettings, run_benchmark
from .summary import summary_table
from .tasks import Setting, Task, tasks

__all__ = [
    "PRESETS",
    "BenchmarkSettings",
    "Preset",
    "Setting",
    "Task",
    "load_preset",
    "run_benchmark",
    "summary_table",
    "tasks",
]
