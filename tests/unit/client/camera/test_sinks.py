"""Sinks that need no other process: files, a command, the console."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import pytest

from client.camera.frame import Labels, Spooled, Verdict
from client.camera.sinks.broker import Broker
from client.camera.sinks.command import Command
from client.camera.sinks.console import Console
from client.camera.sinks.files import COLUMNS, Csv, JsonLines
from client.results import BranchScores, ScoreResult, Timing


def body(part: str = "P1", *, late: bool = False, anomalous: bool = True, taken: float = 1_700_000_000.25) -> str:
    """A verdict as sinks get it."""
    scores = BranchScores(0.25, None, 0.75)
    score = ScoreResult("id", "tiny", "3", scores, scores, 0.5, anomalous, 9, 9, None, Timing(1, 1, 1, 1, 4))
    frame = Spooled(7, "id", part, taken)
    judgement = "bad" if anomalous else "good"
    return Verdict(frame, Labels("top", "4", None), judgement, "score", late, time.time(), score).to_json()


def test_a_verdict_tells_everything() -> None:
    told = json.loads(body())
    del told["decided"]
    assert told == {
        "id": "id", "sequence": 7, "part": "P1", "camera": "top", "line": "4", "station": None,
        "taken": "2023-11-14T22:13:20.250Z", "verdict": "bad", "reason": "score", "late": False, "detail": None,
        "model": "tiny", "version": "3", "threshold": 0.5, "scores": {"local": 0.25, "semantic": None, "joint": 0.75},
        "raw": {"local": 0.25, "semantic": None, "joint": 0.75},
    }  # fmt: skip


def test_json_lines_rotate_and_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "verdicts.jsonl"
    sink = JsonLines(path, 2 * len(body()) + 10, keep=3)
    for number in range(9):
        sink.deliver(body(f"P{number}"))
    sink.close()
    files = [path, *(path.with_name(f"{path.name}.{number}") for number in (1, 2, 3))]
    parts = [[json.loads(line)["part"] for line in file.read_text().splitlines()] for file in files]
    assert parts == [["P8"], ["P6", "P7"], ["P4", "P5"], ["P2", "P3"]]
    assert not path.with_name(f"{path.name}.4").exists()


def test_a_torn_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text('{"whole":1}\n{"torn":')
    sink = JsonLines(path, 10**6, keep=1)
    sink.deliver('{"next":2}')
    sink.close()
    assert path.read_text() == '{"whole":1}\n{"next":2}\n'


def test_csv_has_a_header_in_each_file_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    sink = Csv(path, 300, keep=5)
    for part in ('with "quotes", comma\nand break', "plain"):
        sink.deliver(body(part))
    sink.close()
    for file, part in ((path.with_name("verdicts.csv.1"), 'with "quotes", comma and break'), (path, "plain")):
        (row,) = csv.DictReader(file.read_text().splitlines())
        assert tuple(row) == COLUMNS
        assert (row["part"], row["joint"], row["semantic"], row["verdict"]) == (part, "0.75", "", "bad")


def test_command_runs_once_for_what_is_not_late(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = "import os, sys; open(sys.argv[1], 'a').write(os.environ['DUET_PART'] + sys.stdin.read())"
    failures: list[int] = []
    sink = Command([sys.executable, "-c", script, str(told)], None, lambda: failures.append(1))
    verdict = body(taken=time.time())
    sink.deliver(verdict)
    sink.deliver(body("P2", late=True))
    assert told.read_text() == "P1" + verdict
    assert not failures
    Command([sys.executable, "-c", "raise SystemExit(3)"], None, lambda: failures.append(1)).deliver(verdict)
    Command(["/nonexistent/relay"], None, lambda: failures.append(1)).deliver(verdict)
    assert len(failures) == 2
    sink.deliver(body("P\0", taken=time.time()))  # which no variable can hold
    assert len(failures) == 3


@pytest.mark.parametrize(
    ("deadline", "age", "runs"), [(0.5, 1.0, True), (0.5, 4.0, False), (None, 30.0, True), (None, 70.0, False)]
)
def test_command_is_not_run_for_a_part_that_has_gone_by(
    tmp_path: Path, deadline: float | None, age: float, *, runs: bool
) -> None:
    """Its verdict has waited: for another command, or with a whole backlog for the service."""
    told = tmp_path / "told"
    failures: list[int] = []
    sink = Command(["touch", str(told)], deadline, lambda: failures.append(1))
    sink.deliver(body(taken=time.time() - age))
    assert told.exists() == runs
    assert len(failures) == (not runs)


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    Console().deliver(body())
    Console().deliver(body("P2", late=True, anomalous=False))
    assert capsys.readouterr().out == "22:13:20.250  ✗ BAD   P1  0.750\n22:13:20.250  ✓ good  P2  0.750  late\n"


def test_broker_addresses() -> None:
    assert Broker.parse("mqtt://plant") == Broker("plant", 1883, False, None, "duet")
    assert Broker.parse("mqtts://line%204@plant:9000/hall/7/") == Broker("plant", 9000, True, "line 4", "hall/7")
    for wrong in ("plant:1883", "http://plant", "mqtt://user:secret@plant", "mqtt://"):
        with pytest.raises(ValueError, match="give mqtt://"):
            Broker.parse(wrong)
