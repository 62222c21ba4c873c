"""What a soak records. Times are seconds since its start, of time.monotonic()."""

from __future__ import annotations

from dataclasses import dataclass, field

SETTLED = 5.0  # seconds after a burst from which samples count as calm


@dataclass(frozen=True)
class Answer:
    """One request and what came back; `status` 0 if nothing did, `problem` the last word of the problem's type."""

    kind: str
    started: float
    seconds: float
    status: int
    problem: str = ""
    retry_after: bool = False
    note: str = ""

    @property
    def outcome(self) -> str:
        """Short, for tables."""
        return f"{self.status} {self.problem}".strip() if self.status else self.note or "no answer"


@dataclass(frozen=True)
class Sample:
    """The server at one moment. `rss` in bytes; `queue` images that are being decoded or wait; `scrape` in seconds."""

    at: float
    rss: int
    descriptors: int
    threads: int
    queue: float
    ready: bool
    scrape: float


@dataclass(frozen=True)
class Burst:
    """An overload: when it began, when its last answer was in, and how often the sustainable rate it offered."""

    start: float
    end: float
    overload: float


@dataclass
class Recording:
    """Everything seen; `capacity` is the sustainable rate in pictures a second."""

    length: float
    capacity: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    log_errors: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds, of scoring requests by the server's own log
    exit_code: int | None = None

    @property
    def warm(self) -> float:
        """When the warm-up, a tenth of the whole, is over."""
        return self.length / 10

    def during_burst(self, start: float, end: float, margin: float = 1.0) -> bool:
        """Whether a span overlaps a burst, or `margin` seconds after one."""
        return any(start <= burst.end + margin and end >= burst.start for burst in self.bursts)

    def calm_samples(self) -> list[Sample]:
        """Samples after the warm-up, outside bursts and the seconds after them: all under the same load."""
        return [s for s in self.samples if s.at >= self.warm and not self.during_burst(s.at, s.at, SETTLED)]
