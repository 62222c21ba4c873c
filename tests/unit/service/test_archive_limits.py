"""What an archive deletes, and in which order."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from service.archive_format import ArchiveRecord, Feedback, file_stem
from service.archive_limits import delete_unfinished, keep_within, part_file
from service.schemas import BranchScores, ImageSize, ModelReference

TODAY = date(2026, 11, 25)
MOMENT = datetime(2026, 11, 25, tzinfo=UTC)
PICTURE = bytes(10_000)


def keep(archive: Path, day: str, name: str, modified: float, feedback: bool = False) -> Path:
    """Put a picture of 10,000 bytes and its record into an archive; returns the picture."""
    scores = BranchScores(local=0.9, semantic=0.1, joint=0.91)
    record = ArchiveRecord(
        id=name,
        time=MOMENT,
        picture=f"{name}.png",
        model=ModelReference(name="tiny", version="1"),
        line=None,
        station=None,
        part=None,
        scores=scores,
        raw=scores,
        threshold=0.5,
        anomalous=True,
        image=ImageSize(width=1, height=1),
        feedback=Feedback(label="bad", time=MOMENT, client=None) if feedback else None,
    )
    folder = archive / day
    folder.mkdir(exist_ok=True)
    picture = folder / record.picture
    picture.write_bytes(PICTURE)
    picture.with_suffix(".json").write_text(record.model_dump_json())
    for file in (picture, picture.with_suffix(".json")):
        os.utime(file, (modified, modified))
    return picture


def test_nothing_is_deleted_within_the_limits(tmp_path: Path) -> None:
    kept = [keep(tmp_path, "2026-11-20", "a", 1), keep(tmp_path, "2026-11-25", "b", 2)]
    left = keep_within(tmp_path, 10**6, 30, TODAY)
    assert left == sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    assert all(picture.exists() for picture in kept)


def test_old_days_go_with_all_they_hold(tmp_path: Path) -> None:
    old = keep(tmp_path, "2026-10-25", "old", 1, feedback=True)
    last = keep(tmp_path, "2026-10-26", "last", 1)
    keep_within(tmp_path, 10**6, 30, TODAY)
    assert not old.parent.exists()
    assert last.exists()


def test_the_oldest_go_first_and_those_with_feedback_last(tmp_path: Path) -> None:
    labelled = keep(tmp_path, "2026-11-20", "labelled", 1, feedback=True)
    others = [keep(tmp_path, "2026-11-21", name, time) for name, time in (("b", 3.0), ("a", 2.0), ("c", 4.0))]
    left = keep_within(tmp_path, 25_000, 30, TODAY)
    assert left <= 25_000
    assert labelled.exists()
    assert [picture.exists() for picture in others] == [False, False, True]
    assert not others[0].with_suffix(".json").exists()


def test_feedback_does_not_let_it_grow(tmp_path: Path) -> None:
    pictures = [keep(tmp_path, "2026-11-20", str(index), float(index), feedback=True) for index in range(5)]
    assert keep_within(tmp_path, 25_000, 30, TODAY) <= 25_000
    assert [picture.exists() for picture in pictures] == [False, False, False, True, True]


def test_what_is_not_the_archives_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "20200101").mkdir()
    (tmp_path / "notes.txt").write_bytes(PICTURE)
    assert keep_within(tmp_path, 1, 1, TODAY) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"lost+found", "20200101", "notes.txt"}


def test_unfinished_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    picture = keep(tmp_path, "2026-11-25", "a", 1)
    beside = part_file(picture)
    beside.write_bytes(b"half")
    delete_unfinished(tmp_path)
    assert not beside.exists()
    assert picture.exists()


@pytest.mark.parametrize("result_id", ["../../etc/passwd", "a/b", ".hidden", "*", "x" * 128, "teil 7"])
def test_ids_that_are_no_file_names_become_digests(result_id: str) -> None:
    assert len(file_stem(result_id)) == 64
    assert file_stem(result_id).isalnum()


def test_plain_ids_stay() -> None:
    assert file_stem("cam-4_000017.3") == "cam-4_000017.3"
