"""The one error of the data adapters."""

from __future__ import annotations

from ..errors import TrainingError


class DataError(TrainingError):
    """Pictures that are missing, unreadable or laid out otherwise than the adapter expects; names the path and the remedy."""


class UnknownClassError(DataError):
    """A class name that the data set does not have; lists those that it has."""
