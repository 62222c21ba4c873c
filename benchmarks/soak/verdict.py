"""Whether everything that happened was allowed to happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from .clients import SWAP
from .records import Answer, Recording, Sample
from .server import DEADLINE, GRACE

RSS_GROWTH = 0.02
MORE_DESCRIPTORS, MORE_THREADS = 3, 0  # open connections come and go
AFTER_BURST = 1.0, 6.0  # seconds
_OVERLOAD = {"503 queue-full", "503 uploads-full", "504 deadline-passed"}
_EXPECTED = {
    "good": {"200"},
    "12 megapixels": {"200"},
    "slow sender": {"200"},
    "stalled sender": {"504 deadline-passed"},
    "too many bytes": {"413 too-many-bytes", "closed while sending"},
    "vanishing client": {"left"},
    "measuring": {"200"},
    "burst": {"200"},
    "probe: live": {"200"},
    "probe: ready": {"200"},
    "probe: metrics": {"200"},
    "swap: load second": {"200"},
    "loaded model": {"200"},
    "swap: unload second": {"200"},
    "unloaded model": {"404 unknown-model"},
    "swap: load demo": {"200"},
}


@dataclass(frozen=True)
class Check:
    """One thing that was judged."""

    name: str
    passed: bool
    detail: str


def unexpected_answers(recording: Recording) -> list[Answer]:
    """Every answer that its kind of request may not get."""
    return [answer for answer in recording.answers if not _allowed(answer, recording)]


def judge(recording: Recording) -> list[Check]:
    """Every check, in the order of a report."""
    unexpected = unexpected_answers(recording)
    return [
        Check("every answer is one that its request may get", not unexpected, f"{len(unexpected)} unexpected"),
        Check(
            f"every answer within {DEADLINE:g} + {GRACE:g} s of its acceptance",
            recording.slowest <= DEADLINE + GRACE,
            f"slowest {recording.slowest:.1f} s by the server's log",
        ),
        _growth("resident memory", recording, lambda s: s.rss / 2**20, "MB", share=RSS_GROWTH),
        _growth("file descriptors", recording, lambda s: s.descriptors, "", more=MORE_DESCRIPTORS),
        _growth("threads", recording, lambda s: s.threads, "", more=MORE_THREADS),
        *_after_bursts(recording),
        Check("no error in the log", not recording.log_errors, f"{len(recording.log_errors)} lines"),
        Check("exit code 0 after SIGTERM", recording.exit_code == 0, f"exit code {recording.exit_code}"),
    ]


def _allowed(answer: Answer, recording: Recording) -> bool:
    expected = {answer.kind.removeprefix("bad: ")} if answer.kind.startswith("bad: ") else _EXPECTED[answer.kind]
    if answer.outcome in expected:
        return True
    scores = not answer.kind.startswith(("probe", "vanishing", SWAP))
    overloaded = scores and recording.during_burst(answer.started, answer.started + answer.seconds)
    return overloaded and answer.outcome in _OVERLOAD and answer.retry_after == (answer.status == 503)


def _growth(
    name: str, recording: Recording, value: Callable[[Sample], float], unit: str, *, share: float = 0.0, more: float = 0.0
) -> Check:
    """Median of the last third of the calm samples against that of the first third."""
    values = [value(sample) for sample in recording.calm_samples()]
    third = len(values) // 3
    if not third:
        return Check(f"no growth of {name}", False, "too few samples: let it run for longer")
    first, last = median(values[:third]), median(values[-third:])
    limit = first * (1 + share) + more
    detail = f"{first:.0f} → {last:.0f} {unit} ({(last / first - 1):+.1%}), {third} samples each; limit {limit:.0f}"
    return Check(f"no growth of {name}", last <= limit, detail)


def _after_bursts(recording: Recording) -> list[Check]:
    """After the warm-up: a burst's followers are as fast as the slowest twentieth of pictures in calm times, or faster."""
    good = [answer for answer in recording.answers if answer.kind == "good" and answer.started >= recording.warm]
    calm = [a.seconds for a in good if not recording.during_burst(a.started, a.started + a.seconds, AFTER_BURST[1])]
    bursts = [burst for burst in recording.bursts if burst.start >= recording.warm]
    if len(calm) < 20 or not bursts:
        return [Check("latency normal a second after each burst", False, "too few bursts: let it run for longer")]
    usual, slow = median(calm), quantiles(calm, n=20)[-1]
    followers = [_within(good, burst.end + AFTER_BURST[0], burst.end + AFTER_BURST[1]) for burst in bursts]
    medians = [median(seconds) if seconds else float("inf") for seconds in followers]
    detail = (
        f"medians up to {1000 * max(medians):.0f} ms after {len(bursts)} bursts; calm median {1000 * usual:.0f} ms, "
        f"95th percentile {1000 * slow:.0f} ms"
    )
    return [
        Check("latency normal a second after each burst", max(medians) <= slow, detail),
        Check("bursts were an overload", min(b.overload for b in bursts) > 2, _overloads([b.overload for b in bursts])),
    ]


def _within(answers: Sequence[Answer], start: float, end: float) -> list[float]:
    return [answer.seconds for answer in answers if start <= answer.started <= end]


def _overloads(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f} times the sustainable rate"
