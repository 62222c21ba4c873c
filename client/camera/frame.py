"""What goes through the camera client: a frame on its way in, a verdict on its way out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ..results import ScoreResult

Judgement = Literal["good", "bad"]
Reason = Literal["score", "deadline", "refused", "dropped"]


@dataclass(frozen=True)
class Frame:
    """A picture file of one part. `taken` in seconds since 1970; a frame with an `origin` is spooled once and never again."""

    picture: bytes
    taken: float
    part: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Spooled:
    """A frame that is safe on disk, without its picture. `sequence` grows by the order in which frames came."""

    sequence: int
    id: str
    part: str
    taken: float


@dataclass(frozen=True)
class Labels:
    """Where a camera stands."""

    camera: str
    line: str | None = None
    station: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is told of one frame; docs/camera.md describes every member.

    `late`: it came after the deadline, or after a fail-safe verdict on the same frame. `score` is None unless `reason` is
    "score"; `detail` says why a picture was refused.
    """

    frame: Spooled
    labels: Labels
    verdict: Judgement
    reason: Reason
    late: bool
    decided: float
    score: ScoreResult | None = None
    detail: str | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        score = self.score
        body: dict[str, Any] = {
            "id": self.frame.id,
            "sequence": self.frame.sequence,
            "part": self.frame.part,
            "camera": self.labels.camera,
            "line": self.labels.line,
            "station": self.labels.station,
            "taken": _iso(self.frame.taken),
            "decided": _iso(self.decided),
            "verdict": self.verdict,
            "reason": self.reason,
            "late": self.late,
            "detail": self.detail,
            "model": score and score.model,
            "version": score and score.version,
            "threshold": score and score.threshold,
            "scores": score and asdict(score.scores),
            "raw": score and asdict(score.raw),
        }
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
