"""The order of verdicts, with a service whose answers come when the test says so."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from client.camera.frame import Frame, Labels
from client.camera.metrics import Metrics
from client.camera.sender import Deadline, Sender
from client.camera.spool import Spool
from client.errors import DeadlineError, DuetError
from client.results import BranchScores, ScoreResult, Timing

SCORES = BranchScores(0.1, 0.1, 0.2)
RESULT = ScoreResult("id", "tiny", "3", SCORES, SCORES, 0.5, False, 9, 9, None, Timing(1, 1, 1, 1, 4))


class Answers:
    """In the place of the SDK's client: each part is answered when the test sets its answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[ScoreResult | DuetError]] = {}

    async def score(self, picture: bytes, **_: Any) -> ScoreResult:
        part = picture.decode()
        self.asked.append(part)
        answer = await asyncio.shield(self.of(part))
        if isinstance(answer, DuetError):
            del self._answers[part]
            raise answer
        return answer

    def of(self, part: str) -> asyncio.Future[ScoreResult | DuetError]:
        return self._answers.setdefault(part, asyncio.get_running_loop().create_future())

    def give(self, *parts: str) -> None:
        for part in parts:
            self.of(part).set_result(RESULT)

    async def wait_until_asked(self, parts: str) -> None:
        """Return once these parts have been asked for, in any order, and no others."""
        ends = time.monotonic() + 30
        while sorted(self.asked) != sorted(parts):
            assert time.monotonic() < ends, f"{self.asked}, not {parts}"
            await asyncio.sleep(0.01)

    async def aclose(self) -> None: ...


class Line:
    """A sender over a real spool."""

    def __init__(self, folder: Path, deadline: float | None, in_flight: int) -> None:
        self.answers = Answers()
        self.spool = Spool(folder, 10**6, "stop", ("sink",))
        self._deadline = deadline
        self.sender = Sender(
            self.spool,
            self.answers,  # type: ignore[arg-type]
            Labels("top"),
            Metrics(self.spool),
            deadline=Deadline(deadline, "bad"),
            in_flight=in_flight,
            model=None,
            threshold=None,
        )

    def take(self, parts: str) -> None:
        for part in parts:
            spooled = self.spool.put(Frame(part.encode(), time.time(), part), threading.Event())
            assert spooled is not None
            self.sender.expect(spooled, None if self._deadline is None else time.monotonic() + self._deadline)

    def told(self) -> str:
        """Parts in the order of their verdicts: a letter for a score, with ! if it is late, in brackets if fail-safe."""
        rows = self.spool._quick.execute("SELECT body FROM verdicts ORDER BY number").fetchall()
        words = []
        for (body,) in rows:
            verdict = json.loads(body)
            part = verdict["part"] + "!" * verdict["late"]
            words.append(f"[{part}]" if verdict["reason"] == "deadline" else part)
        return "".join(words)

    async def wait_until_told(self, expected: str) -> None:
        ends = time.monotonic() + 30
        while (told := self.told()) != expected:
            assert time.monotonic() < ends, f"{told}, not {expected}"
            assert expected.startswith(told), f"{told}, not {expected}"
            await asyncio.sleep(0.01)


@pytest.fixture
async def line(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    line = Line(tmp_path, *request.param)
    running = asyncio.create_task(line.sender.run())
    yield line
    line.sender.stop()
    await running
    line.spool.close()


@pytest.mark.parametrize("line", [(None, 3)], indirect=True)
async def test_answers_come_in_any_order_and_verdicts_in_that_of_the_frames(line: Line) -> None:
    line.take("ABCDE")
    line.answers.give("C", "B")
    await line.answers.wait_until_asked("ABC")
    await asyncio.sleep(0.1)
    assert line.told() == ""
    assert sorted(line.answers.asked) == ["A", "B", "C"]  # no more than three in flight
    line.answers.give("A")
    await line.wait_until_told("ABC")
    line.answers.give("E")
    await asyncio.sleep(0.1)
    line.answers.give("D")
    await line.wait_until_told("ABCDE")


@pytest.mark.parametrize("line", [(2.0, 2)], indirect=True)
async def test_the_fail_safe_verdict_frees_the_frames_behind(line: Line) -> None:
    line.take("A")
    await asyncio.sleep(1)
    line.take("BC")
    line.answers.give("B")
    await line.wait_until_told("[A]B[C]")  # in time, B went on as soon as nobody owed a verdict on A
    line.take("D")
    line.answers.give("D", "C")
    # D is in flight only after C, and C's score comes after A's: late ones keep their order among themselves.
    line.answers.give("A")
    await line.wait_until_told("[A]B[C]A!C!D")


@pytest.mark.parametrize("line", [(None, 2)], indirect=True)
async def test_a_frame_is_kept_until_it_is_answered(line: Line) -> None:
    line.take("AB")
    line.answers.of("A").set_result(DeadlineError("no answer"))
    line.answers.give("B")
    await line.answers.wait_until_asked("AAB")
    assert line.told() == ""
    line.answers.give("A")
    await line.wait_until_told("AB")
