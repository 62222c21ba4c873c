"""How many cores there are to use. The real affinity; topology and quota as files that look like the kernel's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import cores
from service.cores import usable_cores
from service.settings import Settings


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four hyperthreads of two cores, without a quota."""
    monkeypatch.setattr(cores, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu in range(4):
        (tmp_path / f"cpu{cpu}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n", encoding="ascii")
    return tmp_path


def test_hyperthreads_of_a_core_count_once() -> None:
    assert usable_cores() == 2
    assert Settings().decode_threads == 2


def test_without_topology_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_TOPOLOGY", Path("/nowhere"))
    assert usable_cores() == 4


def test_only_the_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 2), ("100000 100000", 1), ("199999 100000", 1), ("20000 100000", 1), ("800000 100000", 2)],
)
def test_the_container_has_a_quota(machine: Path, quota: str, expected: int) -> None:
    (machine / "cpu.max").write_text(quota + "\n", encoding="ascii")
    assert usable_cores() == expected


def test_a_real_process_that_is_pinned_to_one_core() -> None:
    pinned = (
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from service.cores import usable_cores\n"
        "print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", pinned], check=True, capture_output=True, text=True).stdout == "1\n"
