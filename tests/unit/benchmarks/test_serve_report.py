"""What the side-by-side benchmark makes of its numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.serve.limit import Limit
from benchmarks.serve.load import Load
from benchmarks.serve.queueing import perfect_p99
from benchmarks.serve.report import Result, Visit, draw, print_tables, spread, write_json

LIMIT = Limit(cores=2, inference={1: 50.0, 8: 100.0, 16: 90.0}, decode={"a.jpeg": 0.004}, answer=0.001)


def visit(server: str, rate: float, p99: float) -> Visit:
    load = Load(rate, p99 / 2, p99 * 0.9, p99, answers=100)
    return Visit(server, "A", load, load, ready_seconds=2.0, peak_bytes=2**28)


def result() -> Result:
    visits = [visit("Duet", rate, 50) for rate in (70, 78, 75)] + [visit("mosec", rate, 100) for rate in (50, 40, 60)]
    return Result("demo", 8, False, [LIMIT, LIMIT], visits, {"A": "a.jpeg"})


def test_limit_is_all_cores_busy_with_the_work_alone() -> None:
    """Two cores compute a picture in 20 ms of core time at the best batch, and do 5 ms around it: 2 / 0.025."""
    assert LIMIT.best == 100
    assert LIMIT.rate("a.jpeg", cuda=False) == pytest.approx(80)


def test_with_cuda_the_cores_only_do_what_is_around_the_inference() -> None:
    assert LIMIT.rate("a.jpeg", cuda=True) == 100
    slow = Limit(cores=2, inference={1: 1000.0}, decode={"a.jpeg": 0.004}, answer=0.001)
    assert slow.rate("a.jpeg", cuda=True) == pytest.approx(400)


def test_middle_and_half_the_distance_between_extremes() -> None:
    assert spread([3.0, 1.0, 9.0]) == (3.0, 4.0)
    assert result().middle("Duet", "A", lambda found: found.saturated.rate) == (75, 4)


def test_goals_are_told_as_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(result())
    printed = " ".join(capsys.readouterr().out.split())
    assert "Duet: 0.94 of the limit, 1.50 of the best peer, p99 0.50 of the best peer's" in printed


def test_what_no_server_could_do_is_told_beside(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(result())
    printed = " ".join(capsys.readouterr().out.split())
    assert "The limit itself: 1.60 of the best peer" in printed
    assert f"at Duet's rate: p99 {perfect_p99(75, 2, 0.7):.0f} ms" in printed


def test_perfect_queue_with_little_to_do_takes_one_picture_s_time() -> None:
    assert perfect_p99(rate=100, cores=2, share=0.001) == pytest.approx(20, rel=0.01)


def test_perfect_queue_waits_as_theory_says() -> None:
    """M/D/1 at half load, in service times: the 99th percentile of Erlang's distribution of the wait is 3.336."""

    def share_that_waits_at_most(time: float) -> float:
        terms = ((0.5 * (k - time)) ** k / math.factorial(k) * math.exp(-0.5 * (k - time)) for k in range(int(time) + 1))
        return 0.5 * sum(terms)

    assert share_that_waits_at_most(3.336) == pytest.approx(0.99, abs=1e-4)
    assert perfect_p99(rate=100, cores=1, share=0.5) == pytest.approx(10 * (1 + 3.336), rel=0.05)


def test_every_round_is_kept(tmp_path: Path) -> None:
    write_json(result(), tmp_path / "demo.json")
    found = json.loads((tmp_path / "demo.json").read_text())
    assert [kept["saturated"]["rate"] for kept in found["visits"]] == [70, 78, 75, 50, 40, 60]
    assert found["limits"][0]["rates"] == {"A": pytest.approx(80)}


def test_chart(tmp_path: Path) -> None:
    draw(result(), tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
