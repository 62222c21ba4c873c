"""The spool: what is committed stays until every sink has its verdict, whoever is killed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.camera.frame import Frame, Spooled
from client.camera.spool import FullPolicy, Spool, SpoolError

Open = Callable[..., Spool]
RUNNING = threading.Event()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the same spool, closing the one before."""
    spools: list[Spool] = []

    def open_spool(capacity: int = 1000, full: FullPolicy = "stop", sinks: tuple[str, ...] = ("a", "b")) -> Spool:
        if spools:
            spools.pop().close()
        spools.append(Spool(tmp_path / "spool", capacity, full, sinks))
        return spools[0]

    yield open_spool
    spools[0].close()


def put(spool: Spool, picture: bytes = b"picture", **members: str) -> Spooled:
    spooled = spool.put(Frame(picture, 1.5, **members), RUNNING)
    assert spooled is not None
    return spooled


def test_frames_wait_in_order_with_their_pictures(opened: Open) -> None:
    spool = opened()
    first, second = put(spool, b"one"), put(spool, b"two", part="P2")
    spool = opened()
    assert spool.waiting(0, 9) == [first, second]
    assert spool.waiting(first.sequence, 9) == [second]
    assert spool.waiting(0, 1) == [first]
    assert (spool.picture(first.sequence), spool.picture(second.sequence)) == (b"one", b"two")
    assert (first.part, second.part) == ("1", "P2")
    assert first.id != second.id
    assert (spool.frames, spool.bytes, spool.oldest()) == (2, 6, 1.5)


def test_a_frame_leaves_when_every_sink_has_its_final_verdict(opened: Open) -> None:
    spool = opened()
    frame = put(spool)
    assert spool.decide(frame.sequence, "late", final=False)
    assert spool.waiting(0, 9) == [frame]
    assert spool.decide(frame.sequence, "score", final=True)
    assert not spool.decide(frame.sequence, "again", final=True)
    assert spool.waiting(0, 9) == []
    for sink in ("a", "b"):
        for body in ("late", "score"):
            spool = opened()
            assert spool.frames == 1
            number, found = spool.next_verdict(sink) or (0, "")
            assert found == body
            assert spool.picture(frame.sequence) is None  # it is of no use any more
            spool.delivered(sink, number)
        assert spool.next_verdict(sink) is None
    assert (spool.frames, spool.bytes, spool.oldest(), spool.picture(frame.sequence)) == (0, 0, None, None)
    assert put(spool).sequence == frame.sequence + 1


def test_a_sink_that_is_taken_away_keeps_nothing(opened: Open) -> None:
    spool = opened()
    frame = put(spool)
    spool.decide(frame.sequence, "score", final=True)
    spool.delivered("a", 1)
    assert opened(sinks=("a",)).frames == 0


def test_without_a_sink_a_frame_leaves_with_its_verdict(opened: Open) -> None:
    spool = opened(sinks=())
    frame = put(spool)
    assert spool.frames == 1
    assert spool.decide(frame.sequence, "late", final=False)
    assert spool.frames == 1
    assert spool.decide(frame.sequence, "score", final=True)
    assert (spool.frames, spool.bytes, spool.picture(frame.sequence)) == (0, 0, None)


def test_an_origin_is_spooled_once(opened: Open) -> None:
    spool = opened()
    put(spool, origin="a.png")
    put(spool, origin="b.png")
    assert spool.put(Frame(b"", 0, origin="a.png"), RUNNING) is None
    spool = opened()
    assert spool.knows("a.png")
    spool.forget_origins_but({"b.png"})
    assert not spool.knows("a.png")
    assert spool.knows("b.png")


def test_a_full_spool_waits_for_room_or_for_the_stop(opened: Open) -> None:
    spool, stop = opened(capacity=10, sinks=("a",)), threading.Event()
    frame = put(spool, b"12345678")
    taken: list[Spooled | None] = []
    thread = threading.Thread(target=lambda: taken.append(spool.put(Frame(b"123", 0), stop)))
    thread.start()
    time.sleep(0.1)
    assert not taken
    spool.decide(frame.sequence, "score", final=True)
    spool.delivered("a", 1)
    thread.join(30)
    assert taken[0] is not None
    assert (spool.frames, spool.bytes, spool.dropped) == (1, 3, 0)
    stop.set()
    assert spool.put(Frame(b"12345678", 0), stop) is None


def test_a_full_spool_may_drop_its_oldest(opened: Open) -> None:
    spool = opened(capacity=10, full="drop-oldest")
    first, second, third = (put(spool, b"1234") for _ in range(3))
    assert spool.waiting(0, 9) == [first, second, third]
    assert (spool.frames, spool.bytes, spool.dropped) == (3, 8, 1)
    assert [spool.picture(frame.sequence) for frame in (first, second)] == [None, b"1234"]
    put(spool, b"a frame larger than all of the spool is taken alone")
    assert (spool.frames, spool.dropped) == (4, 3)


def test_verdicts_of_a_frame_outlive_its_picture(opened: Open) -> None:
    spool = opened(capacity=10, full="drop-oldest")
    frame = put(spool, b"12345678")
    assert spool.decide(frame.sequence, "fail-safe", final=False)
    put(spool, b"12345678")
    assert spool.dropped == 1
    assert spool.next_verdict("a") == (1, "fail-safe")
    assert spool.decide(frame.sequence, "dropped", final=True)
    spool.delivered("a", 1)
    assert spool.next_verdict("a") == (2, "dropped")


def test_a_part_is_named_by_what_prints(opened: Open) -> None:
    """A PLC fills a string of fixed length with zeros."""
    spool = opened()
    assert [put(spool, part=part).part for part in ("17\0\0", "\0", "Teil 7")] == ["17", "2", "Teil 7"]


def test_a_spool_is_used_by_one(opened: Open, tmp_path: Path) -> None:
    opened()
    with pytest.raises(SpoolError, match="give each camera its own"):
        Spool(tmp_path / "spool", 1, "stop", ("a",))


def test_a_broken_spool_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SpoolError, match=r"spool\.db cannot be used .* move the folder away"):
        Spool(tmp_path, 1, "stop", ("a",))


def test_frames_are_committed_with_fsync(opened: Open) -> None:
    spool = opened()
    for connection, level in ((spool._durable, 2), (spool._quick, 1)):  # FULL, NORMAL
        assert isinstance(connection, sqlite3.Connection)
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


def test_a_sink_that_fails_does_not_fill_the_spool(opened: Open) -> None:
    """Its verdicts wait; the pictures have been looked at, and go."""
    spool = opened(capacity=10)
    frames = []
    for _ in range(5):
        frames.append(put(spool, b"12345678"))
        assert spool.decide(frames[-1].sequence, "score", final=True)
        assert spool.bytes == 0
        assert spool.picture(frames[-1].sequence) is None
    assert spool.frames == 5
    spool = opened(capacity=10, full="drop-oldest")
    undecided = put(spool, b"12345678")
    put(spool, b"12345678")
    assert spool.dropped == 1
    assert [row.sequence for row in spool.waiting(0, 9)] == [undecided.sequence, undecided.sequence + 1]
    told = []
    while (verdict := spool.next_verdict("a")) is not None:
        told.append(verdict)
        spool.delivered("a", verdict[0])
    assert len(told) == 5  # none of the verdicts was dropped


def test_pictures_that_an_earlier_version_kept_go(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    frame = put(spool, b"12345678")
    spool.close()
    with sqlite3.connect(tmp_path / "spool/spool.db") as connection:
        connection.execute("UPDATE frames SET decided = 1")
        connection.execute("INSERT INTO verdicts (sequence, final, body) VALUES (?, 1, 'score')", (frame.sequence,))
    connection.close()
    spool = opened()
    assert (spool.frames, spool.bytes, spool.picture(frame.sequence)) == (1, 0, None)
