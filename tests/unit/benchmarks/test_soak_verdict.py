"""The soak's judgement: what it must notice in a recording, and what it must let pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.soak.records import Answer, Burst, Recording, Sample
from benchmarks.soak.verdict import judge, unexpected_answers

LENGTH = 600


def quiet_recording() -> Recording:
    """Ten minutes without a fault, two bursts among them."""
    recording = Recording(LENGTH, capacity=30.0, bursts=[Burst(200, 210, 10), Burst(400, 410, 9)], exit_code=0)
    recording.answers = [Answer("good", second, 0.05 + 0.01 * (second % 5), 200) for second in range(LENGTH)]
    recording.samples = [Sample(second, 400 * 2**20, 20, 11, 0, True, 0.01) for second in range(LENGTH)]
    return recording


def failed(recording: Recording) -> list[str]:
    return [check.name for check in judge(recording) if not check.passed]


def test_quiet_recording_passes() -> None:
    assert failed(quiet_recording()) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [({"rss": 410 * 2**20}, "resident memory"), ({"descriptors": 24}, "file descriptors"), ({"threads": 12}, "threads")],
)
def test_growth_is_noticed(change: dict[str, int], name: str) -> None:
    recording = quiet_recording()
    recording.samples = [replace(s, **change) if s.at > 350 else s for s in recording.samples]
    assert failed(recording) == [f"no growth of {name}"]


def test_growth_during_a_burst_is_none() -> None:
    recording = quiet_recording()
    recording.samples = [replace(s, descriptors=300) if recording.during_burst(s.at, s.at) else s for s in recording.samples]
    assert failed(recording) == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer("good", 300, 0.1, 500, "internal-error"),
        Answer("good", 300, 0.1, 503, "queue-full", retry_after=True),  # nothing was bursting
        Answer("burst", 205, 0.1, 503, "queue-full"),  # without Retry-After
        Answer("burst", 205, 0.1, 500, "inference-failed"),
        Answer("burst", 205, 1.0, 0, note="ReadError"),
        Answer("bad: 400 unreadable-image", 300, 0.1, 500, "internal-error"),
        Answer("bad: 400 unreadable-image", 300, 0.1, 200),
        Answer("probe: ready", 205, 0.1, 503, "no-model", retry_after=True),
        Answer("swap: load demo", 300, 1.0, 400),
        Answer("stalled sender", 300, 1.0, 200),
    ],
)
def test_unexpected_answer_is_noticed(answer: Answer) -> None:
    recording = quiet_recording()
    recording.answers.append(answer)
    assert unexpected_answers(recording) == [answer]
    assert failed(recording) == ["every answer is one that its request may get"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer("good", 205, 0.1, 503, "queue-full", retry_after=True),
        Answer("burst", 205, 10.0, 504, "deadline-passed"),
        Answer("bad: 413 too-many-pixels", 300, 0.1, 413, "too-many-pixels"),
        Answer("stalled sender", 300, 1.0, 504, "deadline-passed"),
        Answer("vanishing client", 300, 0.1, 0, note="left"),
        Answer("swap: load demo", 300, 40.0, 200),
    ],
)
def test_allowed_answer_passes(answer: Answer) -> None:
    recording = quiet_recording()
    recording.answers.append(answer)
    assert failed(recording) == []


def test_late_answer_is_noticed() -> None:
    recording = quiet_recording()
    recording.slowest = 15.1
    assert failed(recording) == ["every answer within 10 + 5 s of its acceptance"]


def test_slowness_after_a_burst_is_noticed() -> None:
    recording = quiet_recording()
    recording.answers = [replace(a, seconds=1.0) if 411 <= a.started <= 416 else a for a in recording.answers]
    assert failed(recording) == ["latency normal a second after each burst"]


def test_error_in_the_log_and_a_bad_exit_are_noticed() -> None:
    recording = quiet_recording()
    recording.log_errors, recording.exit_code = ["Traceback"], 1
    assert failed(recording) == ["no error in the log", "exit code 0 after SIGTERM"]
