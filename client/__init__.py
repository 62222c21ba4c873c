"""Duet's Python SDK and camera client. The SDK needs httpx and stamina; numpy and Pillow only where pictures are arrays."""

try:
    from .async_client import AsyncDuetClient
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed, which Duet's clients need: .venv/bin/pip install -e '.[camera]'", name=error.name
    ) from None
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
