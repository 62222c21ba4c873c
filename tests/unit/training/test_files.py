from __future__ import annotations

from pathlib import Path

import pytest

from training.files import write_beside, write_text


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "notes.txt", "größer")
    assert (tmp_path / "new" / "folder" / "notes.txt").read_bytes() == "größer\n".encode()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "notes.txt", "old")
    write_text(tmp_path / "notes.txt", "new")
    assert (tmp_path / "notes.txt").read_text() == "new\n"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "notes.txt"
    write_text(file, "old")

    def half(beside: Path) -> None:
        beside.write_text("ne")
        assert file.read_text() == "old\n"  # untouched while the new one is being written
        raise error

    with pytest.raises(type(error)):
        write_beside(file, half)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert file.read_text() == "old\n"


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    def nothing(_: Path) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised above
        write_beside(tmp_path / "notes.txt", nothing)
    assert not list(tmp_path.iterdir())
