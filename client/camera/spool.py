"""Frames and verdicts on disk until every sink has them: one SQLite file in WAL mode.

A frame counts as taken once it is committed with fsync (synchronous=FULL). Verdicts and what the sinks have taken are committed
without (synchronous=NORMAL): a power cut can only take the last of them back, and then the frame is scored, or the verdict
delivered, once more under the same id.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from ..calls import printable
from .frame import Frame, Spooled

FullPolicy = Literal["stop", "drop-oldest"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frames (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, part TEXT NOT NULL, taken REAL NOT NULL,
    size INTEGER NOT NULL, decided INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS waiting ON frames (sequence) WHERE NOT decided;
CREATE INDEX IF NOT EXISTS decided_pictures ON frames (sequence) WHERE decided AND size;
CREATE TABLE IF NOT EXISTS pictures (sequence INTEGER PRIMARY KEY, picture BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, sequence INTEGER NOT NULL, final INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS verdict_of ON verdicts (sequence);
CREATE TABLE IF NOT EXISTS sinks (name TEXT PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (origin TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_PATIENCE = 60.0  # seconds that one connection waits for the other's write


class SpoolError(Exception):
    """A spool that cannot be used; the message names it and the remedy."""


class Spool:
    """The spool in a folder of its own. Safe for threads; one process at a time.

    `capacity` in bytes of pictures. When it is reached, `put` waits ("stop"), or the oldest pictures go ("drop-oldest"), and
    their frames wait for a verdict without one. A picture goes with its final verdict, which alone waits for the sinks: one
    that fails must not stop the inspection.
    """

    def __init__(self, folder: Path, capacity: int, full: FullPolicy, sinks: Iterable[str]) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._full = full
        self._sinks = tuple(sinks)
        self.changed = threading.Condition(threading.RLock())  # guards both connections; told of every change
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock_file.close()
            raise SpoolError(
                f"{folder} is the spool of a duet-camera that runs: give each camera its own with --spool"
            ) from error
        try:
            self._durable = _connect(folder / "spool.db", "FULL")
            self._quick = _connect(folder / "spool.db", "NORMAL")
            with self._writing(self._durable) as connection:
                self._prepare(connection)
        except sqlite3.DatabaseError as error:
            self._lock_file.close()
            raise SpoolError(f"{folder / 'spool.db'} cannot be used ({error}): move the folder away to begin anew") from error

    def put(self, frame: Frame, stop: threading.Event) -> Spooled | None:
        """Commit a frame; None if its origin has been spooled before, or if the spool is full and `stop` is set meanwhile."""
        size, identity, named = len(frame.picture), uuid.uuid4().hex, printable(frame.part or "")
        with self.changed:
            while self.bytes and self.bytes + size > self.capacity:
                if self._full == "drop-oldest":
                    self._drop_oldest()
                    continue
                if stop.is_set():
                    return None
                self.changed.wait(0.5)
            with self._writing(self._durable) as connection:
                if frame.origin is not None:
                    cursor = connection.execute("INSERT OR IGNORE INTO origins VALUES (?)", (frame.origin,))
                    if cursor.rowcount == 0:
                        return None
                cursor = connection.execute(
                    "INSERT INTO frames (id, part, taken, size) VALUES (?, ?, ?, ?)",
                    (identity, named, frame.taken, size),
                )
                sequence = cursor.lastrowid or 0
                part = named or str(sequence)
                connection.execute("UPDATE frames SET part = ? WHERE sequence = ?", (part, sequence))
                connection.execute("INSERT INTO pictures VALUES (?, ?)", (sequence, frame.picture))
            self._count(1, size)
        return Spooled(sequence, identity, part, frame.taken)

    def waiting(self, after: int, limit: int) -> list[Spooled]:
        """The next frames without a final verdict, of a sequence above `after`, in order."""
        with self.changed:
            rows = self._quick.execute(
                "SELECT sequence, id, part, taken FROM frames WHERE NOT decided AND sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Spooled(*row) for row in rows]

    def picture(self, sequence: int) -> bytes | None:
        """The picture of a frame; None if it has been dropped."""
        with self.changed:
            row = self._quick.execute("SELECT picture FROM pictures WHERE sequence = ?", (sequence,)).fetchone()
        return row and bytes(row[0])

    def decide(self, sequence: int, body: str, *, final: bool) -> bool:
        """Record a verdict for the sinks; False if the frame has its final verdict already."""
        with self.changed:  # until it is counted: `put` looks for room by these counts
            with self._writing(self._quick) as connection:
                cursor = connection.execute(
                    "UPDATE frames SET decided = ? WHERE sequence = ? AND NOT decided", (int(final), sequence)
                )
                if cursor.rowcount == 0:
                    return False
                connection.execute(
                    "INSERT INTO verdicts (sequence, final, body) VALUES (?, ?, ?)", (sequence, int(final), body)
                )
                size = self._remove_decided_pictures(connection) if final else 0
                frames = 0 if self._sinks else self._remove_delivered(connection)
            self._count(-frames, -size)
        return True

    def next_verdict(self, sink: str) -> tuple[int, str] | None:
        """Number and body of the first verdict that this sink has not taken."""
        with self.changed:
            row = self._quick.execute(
                "SELECT number, body FROM verdicts WHERE number > (SELECT delivered FROM sinks WHERE name = ?) "
                "ORDER BY number LIMIT 1",
                (sink,),
            ).fetchone()
        return row and (row[0], row[1])

    def delivered(self, sink: str, number: int) -> None:
        """Note that the sink has this verdict, and remove what every sink has."""
        with self._writing(self._quick) as connection:
            connection.execute("UPDATE sinks SET delivered = ? WHERE name = ?", (number, sink))
            frames = self._remove_delivered(connection)
        self._count(-frames, 0)

    def oldest(self) -> float | None:
        """When the oldest frame of the spool was taken."""
        with self.changed:
            row = self._quick.execute("SELECT taken FROM frames ORDER BY sequence LIMIT 1").fetchone()
        return row and float(row[0])

    def knows(self, origin: str) -> bool:
        """Whether a frame of this origin has been spooled."""
        with self.changed:
            return self._quick.execute("SELECT 1 FROM origins WHERE origin = ?", (origin,)).fetchone() is not None

    def forget_origins_but(self, present: set[str]) -> None:
        """Keep the table of origins as small as the folder that they are files of."""
        with self._writing(self._quick) as connection:
            gone = [row for row in connection.execute("SELECT origin FROM origins") if row[0] not in present]
            connection.executemany("DELETE FROM origins WHERE origin = ?", gone)

    def close(self) -> None:
        """Close the file, and let another process have the spool."""
        with self.changed:
            self._quick.close()
            self._durable.close()
            self._lock_file.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        names = ",".join("?" * len(self._sinks))
        connection.execute(f"DELETE FROM sinks WHERE name NOT IN ({names})", self._sinks)
        connection.executemany("INSERT OR IGNORE INTO sinks VALUES (?, 0)", [(name,) for name in self._sinks])
        self._remove_decided_pictures(connection)
        self._remove_delivered(connection)
        self.frames, self.bytes = connection.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM frames").fetchone()

    def _remove_decided_pictures(self, connection: sqlite3.Connection) -> int:
        """Remove the pictures of frames that have their final verdict; how many bytes."""
        done = connection.execute("SELECT sequence, size FROM frames WHERE decided AND size").fetchall()
        self._remove_pictures(connection, [sequence for sequence, _ in done])
        return sum(size for _, size in done)

    def _remove_pictures(self, connection: sqlite3.Connection, sequences: list[int]) -> None:
        for table in ("UPDATE frames SET size = 0", "DELETE FROM pictures"):
            connection.executemany(f"{table} WHERE sequence = ?", [(sequence,) for sequence in sequences])

    def _remove_delivered(self, connection: sqlite3.Connection) -> int:
        """Remove frames whose final verdict every sink has, and such verdicts; how many frames."""
        # Without any sink, as where the service's own page shows the verdicts, there is nobody to wait for.
        (floor,) = connection.execute("SELECT COALESCE(MIN(delivered), 9e18) FROM sinks").fetchone()
        done = connection.execute(
            "SELECT sequence FROM frames WHERE sequence IN (SELECT sequence FROM verdicts WHERE final AND number <= ?)",
            (floor,),
        ).fetchall()
        connection.execute("DELETE FROM verdicts WHERE number <= ?", (floor,))
        self._delete(connection, [sequence for (sequence,) in done])
        return len(done)

    def _drop_oldest(self) -> None:
        with self._writing(self._quick) as connection:
            sequence, size = connection.execute(
                "SELECT sequence, size FROM frames WHERE NOT decided AND size ORDER BY sequence LIMIT 1"
            ).fetchone()
            self._remove_pictures(connection, [sequence])
        self.dropped += 1
        self._count(0, -size)

    def _delete(self, connection: sqlite3.Connection, sequences: list[int]) -> None:
        for table in ("frames", "pictures"):
            connection.executemany(f"DELETE FROM {table} WHERE sequence = ?", [(sequence,) for sequence in sequences])

    def _count(self, frames: int, size: int) -> None:
        with self.changed:
            self.frames += frames
            self.bytes += size
            self.changed.notify_all()

    @contextmanager
    def _writing(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """One transaction, committed or undone as a whole."""
        with self.changed:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection, synchronous)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, synchronous: str) -> None:
    with closing(connection.execute("PRAGMA journal_mode = WAL")) as cursor:
        (mode,) = cursor.fetchone()
    if mode != "wal":
        raise sqlite3.DatabaseError(f"the file system allows no write-ahead log, but {mode}: use a local disk")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA journal_size_limit = 67108864")
