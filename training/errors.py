"""The one error for faults in what the user gave: a path, a setting, a file. Its message names the remedy."""

from __future__ import annotations


class TrainingError(ValueError):
    """Shown by the command line as one clear line, without a stack trace."""
