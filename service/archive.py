"""Pictures kept for the next training: anomalous ones, and those that somebody labels. Off unless DUET_ARCHIVE names a folder.

Everything is written by one thread, off the requests' path: a full or slow disk costs pictures of the archive, never an answer.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from .archive_format import RECORD_SUFFIX, ArchiveRecord, Feedback, day_folders, file_stem
from .archive_limits import delete_unfinished, keep_within, part_file
from .errors import ArchiveFailedError, UnknownResultError
from .metrics import Metrics
from .settings import Settings, SettingsError

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

_MAX_WAITING = 256  # pictures that wait to be written
_PATIENCE = 5.0  # seconds that the end waits for the disk
_HOUR = 3600.0


@dataclass(frozen=True)
class ArchivedPicture:
    """An encoded picture and what it scored."""

    record: ArchiveRecord
    data: bytes


class Archive:
    """The folder, and the pictures that may still be labelled. Its methods belong to the event loop.

    Beside what waits to be written, good pictures are remembered for as long as DUET_MAX_BYTES hold them, so that the label
    `bad` finds its picture.
    """

    def __init__(self, folder: Path, settings: Settings, metrics: Metrics) -> None:
        """Raises SettingsError for a folder that cannot be written to."""
        self._folder, self._settings, self._metrics = folder, settings, metrics
        self._remembered: OrderedDict[str, ArchivedPicture] = OrderedDict()
        self._remembered_bytes = self._waiting_bytes = 0
        self._bytes = 0  # in the folder; belongs to the thread
        self._failing = False
        self._writing: set[asyncio.Future[Any]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = part_file(folder / "probe")
            probe.write_bytes(b"")
            probe.unlink()
            delete_unfinished(folder)
        except OSError as error:
            raise SettingsError(f"DUET_ARCHIVE={folder}: cannot be written to: {error}") from error

    @property
    def busy(self) -> int:
        """Writes that have not ended."""
        return len(self._writing)

    def offer(self, picture: ArchivedPicture) -> None:
        """Keep an anomalous picture, and remember another one in case that it is labelled. Never waits, never raises."""
        self._forget(picture.record.id)  # what is remembered is newer than what the folder holds
        if not picture.record.anomalous:
            self._remember(picture)
        elif len(self._writing) >= _MAX_WAITING or self._waiting_bytes + len(picture.data) > self._settings.max_bytes:
            self._metrics.archive_failures.labels("queue-full").inc()
        else:
            writing = self._submit(lambda: self._write(picture), len(picture.data))
            writing.add_done_callback(lambda done: self._count(done, picture.record, "anomalous"))

    async def label(self, result_id: str, feedback: Feedback) -> ArchiveRecord:
        """Put feedback beside a picture, which is kept if it was not; returns its record.

        Raises UnknownResultError where the picture is neither in the folder nor remembered any more, and ArchiveFailedError.
        """
        remembered = self._remembered.get(result_id)
        writing = self._submit(lambda: self._label(result_id, remembered, feedback), 0)
        await asyncio.wait([writing])
        if isinstance(error := writing.exception(), OSError | ValueError):
            self._count(writing, None, "feedback")
            raise ArchiveFailedError(f"the label cannot be written: {error}: tell whoever runs the service")
        record = writing.result()
        self._metrics.feedback.labels(
            record.model.name, record.model.version, feedback.label, "anomalous" if record.anomalous else "good"
        ).inc()
        if remembered is not None:
            if self._remembered.get(result_id) is remembered:  # and not one that came meanwhile
                self._forget(result_id)
            self._count(writing, record, "feedback")
        return record

    async def keep_within_limits(self) -> None:
        """Delete what is too old, now and every hour."""
        while True:
            writing = self._submit(self._keep_within_limits, 0)
            writing.add_done_callback(lambda done: self._count(done, None, "limits"))
            await asyncio.wait([writing])
            await asyncio.sleep(_HOUR)

    async def close(self) -> None:
        """Write what waits, unless the disk hangs."""
        if self._writing:
            await asyncio.wait(self._writing, timeout=_PATIENCE)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T], size: int) -> asyncio.Future[T]:
        writing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._writing.add(writing)
        self._waiting_bytes += size

        def ended(done: asyncio.Future[T]) -> None:
            self._writing.discard(done)
            self._waiting_bytes -= size

        writing.add_done_callback(ended)
        return writing

    def _count(self, done: asyncio.Future[Any], record: ArchiveRecord | None, reason: str) -> None:
        """Count how a write ended. The log tells when writing begins to fail and when it works again, not every picture."""
        if done.cancelled():
            return
        self._metrics.archive_bytes.set(self._bytes)
        error = done.exception()
        if error is None and record is not None:
            self._metrics.archived.labels(record.model.name, record.model.version, reason).inc()
        if error is not None:
            self._metrics.archive_failures.labels("write").inc()
        if (error is not None) != self._failing:
            self._failing = error is not None
            if error is None:
                log.info("the archive can be written again", folder=str(self._folder))
            else:
                log.error("the archive cannot be written", folder=str(self._folder), reason=str(error))

    def _remember(self, picture: ArchivedPicture) -> None:
        self._remembered[picture.record.id] = picture
        self._remembered_bytes += len(picture.data)
        while self._remembered_bytes > self._settings.max_bytes:
            self._forget(next(iter(self._remembered)))

    def _forget(self, result_id: str) -> None:
        if picture := self._remembered.pop(result_id, None):
            self._remembered_bytes -= len(picture.data)

    # What follows runs on the thread.

    def _write(self, picture: ArchivedPicture) -> None:
        folder = self._folder / picture.record.time.astimezone(UTC).date().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        record, file = picture.record, folder / (file_stem(picture.record.id) + RECORD_SUFFIX)
        if file.is_file():
            record = self._after(file, picture)
        self._write_file(folder / record.picture, picture.data)
        self._write_record(folder, record)
        if self._bytes > self._settings.archive_max_mb * 10**6:
            self._keep_within_limits()

    def _after(self, file: Path, picture: ArchivedPicture) -> ArchiveRecord:
        """The record of a picture whose id another one had before, on the same day.

        A client that sends a part again must not undo what was said of it. Another picture, as of a counter that begins anew
        each shift, inherits nothing: the earlier one is set aside under a name of its own.
        """
        try:
            earlier = _read(file)
            same = file.with_name(earlier.picture).read_bytes() == picture.data
        except (OSError, ValueError):  # cut short by a power failure: nothing was said of it that could be read
            return picture.record
        if same:
            return picture.record.model_copy(update={"feedback": picture.record.feedback or earlier.feedback})
        aside = f"{file.stem}-{earlier.time:%H%M%S%f}"
        moved = earlier.model_copy(update={"picture": aside + Path(earlier.picture).suffix})
        file.with_name(earlier.picture).replace(file.with_name(moved.picture))
        self._write_file(file.with_name(aside + RECORD_SUFFIX), moved.model_dump_json(indent=1).encode())
        return picture.record

    def _write_record(self, folder: Path, record: ArchiveRecord) -> None:
        content = record.model_dump_json(indent=1).encode()
        self._write_file(folder / (file_stem(record.id) + RECORD_SUFFIX), content)

    def _write_file(self, path: Path, content: bytes) -> None:
        beside = part_file(path)
        try:
            with beside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())  # or a power failure leaves an empty file under the name
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        self._bytes += len(content)

    def _label(self, result_id: str, remembered: ArchivedPicture | None, feedback: Feedback) -> ArchiveRecord:
        if remembered is not None:
            record = remembered.record.model_copy(update={"feedback": feedback})
            self._write(ArchivedPicture(record, remembered.data))
            return record
        for _, folder in reversed(list(day_folders(self._folder))):
            file = folder / (file_stem(result_id) + RECORD_SUFFIX)
            if file.is_file():
                record = _read(file).model_copy(update={"feedback": feedback})
                self._write_record(folder, record)
                return record
        raise UnknownResultError(
            f"no picture of the result '{result_id}' is kept any more: label a result sooner, or score the picture again"
        )

    def _keep_within_limits(self) -> None:
        limit = self._settings.archive_max_mb * 10**6
        today = datetime.now(UTC).date()
        self._bytes = keep_within(self._folder, limit, self._settings.archive_max_days, today)


def _read(file: Path) -> ArchiveRecord:
    return ArchiveRecord.model_validate_json(file.read_bytes())
