"""A folder that somebody writes pictures into."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from client.camera.sources.folder import Folder
from tests.frames import PATIENCE, Remembered, Taking
from tests.pictures import encode, grey, noise


def test_folder_takes_what_is_there_and_what_comes_once_and_in_order(tmp_path: Path) -> None:
    names = ["b.png", "a.png", "deep/c.jpg", ".hidden.png", "notes.txt"]
    for age, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(noise(age), "JPEG" if name.endswith("jpg") else "PNG"))
    source = Folder(tmp_path, re.compile("^(.)"), delete=False)
    with Taking(source) as taking:
        assert [frame.part for frame in taking.wait_for(3)] == ["b", "a", "c"]
        (tmp_path / "d.png").write_bytes(encode(noise(9)))
        (tmp_path / "moved.tmp").write_bytes(encode(noise(10)))
        taking.wait_for(4)
        (tmp_path / "moved.tmp").rename(tmp_path / "e.png")
        frames = taking.wait_for(5)
        assert [frame.part for frame in frames[3:]] == ["d", "e"]
        assert frames[3].picture == (tmp_path / "d.png").read_bytes()
    with Taking(Folder(tmp_path, None, delete=False), taking.remembered) as again:
        (tmp_path / "f.png").write_bytes(encode(noise(11)))
        assert [frame.part for frame in again.wait_for(1)] == ["f"]
    assert len(again.taken) == 1


def test_folder_waits_until_a_slow_writer_is_done(tmp_path: Path) -> None:
    data = encode(noise(2, 200, 200))
    with Taking(Folder(tmp_path, None, delete=False)) as taking:
        (tmp_path / "first.png").write_bytes(data)
        taking.wait_for(1)
        with (tmp_path / "slow.png").open("wb") as file:
            for start in range(0, len(data), len(data) // 4):
                file.write(data[start : start + len(data) // 4])
                file.flush()
                time.sleep(0.3)
        assert taking.wait_for(2)[1].picture == data


def test_folder_deletes_what_is_spooled(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(grey()))
    remembered = Remembered()
    with Taking(Folder(tmp_path, None, delete=True), remembered) as taking:
        taking.wait_for(1)
        deadline = time.monotonic() + PATIENCE
        while (tmp_path / "a.png").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_folder_takes_a_name_that_is_no_text_and_goes_on_past_what_it_cannot_read(tmp_path: Path) -> None:
    strange = os.fsdecode(b"Pr\xfcfung_1.png")
    for name in (strange, "locked.png", "plain.png"):
        (tmp_path / name).write_bytes(encode(noise(1)))
    read_bytes = Path.read_bytes

    def locked(path: Path) -> bytes:
        if path.name == "locked.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_bytes(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", locked)
        with Taking(Folder(tmp_path, None, delete=False)) as taking:
            frames = taking.wait_for(2)
    assert {frame.part for frame in frames} == {"Pr\\xfcfung_1", "plain"}
    for frame in frames:
        json.dumps(frame.part).encode()
        assert frame.origin is not None
        frame.origin.encode()
    assert taking.remembered.lost == 1


def test_a_folder_that_cannot_be_read_for_a_while_brings_no_part_twice(tmp_path: Path) -> None:
    """Else its files would be forgotten, and be new ones when it is back."""
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).write_bytes(encode(noise(1)))
    remembered = Remembered()
    folder = Folder(tmp_path, None, delete=False)
    with Taking(folder, remembered) as taking:
        taking.wait_for(2)
    walk = os.walk

    def interrupted(top: Path, onerror: Callable[[OSError], object]) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(top):
            if found[0].endswith("sub"):
                onerror(OSError(errno.ESTALE, "Stale file handle"))
            else:
                yield found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "walk", interrupted)
        folder._look(remembered)
    assert len(remembered.origins) == 2


def test_folder_names_a_part_by_its_file_where_the_pattern_finds_none(tmp_path: Path) -> None:
    for number, name in enumerate(("17_washer.png", "washer.png", "gear.png")):
        (tmp_path / name).write_bytes(encode(noise(number)))
    with Taking(Folder(tmp_path, re.compile("^(?:([0-9]+)_)?w"), delete=False)) as taking:
        frames = taking.wait_for(3)
    assert {frame.part for frame in frames} == {"17", "washer", "gear"}


def test_folder_passes_over_a_folder_that_it_may_not_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as lost+found: the tests' user may watch everything, so what is asked of the watcher is looked at."""
    watched: list[dict[str, Any]] = []
    watch = watchfiles.watch

    def told(*paths: Path, **options: Any) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        watched.append(options)
        return watch(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", told)
    (tmp_path / "a.png").write_bytes(encode(noise(1)))
    with Taking(Folder(tmp_path, None, delete=False)) as taking:
        taking.wait_for(1)
    assert watched[0]["ignore_permission_denied"]
