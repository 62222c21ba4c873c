"""Duet's Python SDK and camera client. The SDK needs httpx and stamina; numpy and Pillow only where pictures are arrays."""

from .async_client import AsyncDuetClient
from .duet_client import DuetClient
from .errors import (
    BadParameterError,
    BadPictureError,
    DeadlineError,
    DuetError,
    NotAllowedError,
    ProblemError,
    RateLimitedError,
    ServiceFailedError,
    ServiceUnreachableError,
    UnavailableError,
    UnexpectedAnswerError,
    UnknownModelError,
)
from .results import BranchScores, Heatmap, ScoreResult, Timing

__all__ = [
    "AsyncDuetClient",
    "BadParameterError",
    "BadPictureError",
    "BranchScores",
    "DeadlineError",
    "DuetClient",
    "DuetError",
    "Heatmap",
    "NotAllowedError",
    "ProblemError",
    "RateLimitedError",
    "ScoreResult",
    "ServiceFailedError",
    "ServiceUnreachableError",
    "Timing",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnknownModelError",
]
