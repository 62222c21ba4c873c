"""Pictures that appear in a folder, each once, and only when it is complete."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import structlog

from ..frame import Frame
from . import Host, Origins, SourceError
from .completeness import looks_complete

log = structlog.stdlib.get_logger(__name__)

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))

_TICK_MS = 50
_LOOK_AGAIN = 60.0  # seconds: the system may lose notices, and gives none for files on a network
_UNCHANGED = {True: 0.03, False: 10.0, None: 1.0}  # seconds until a file that looks whole, cut off, or neither, is taken


@dataclass
class _Candidate:
    size: int
    modified: int  # nanoseconds
    since: float  # monotonic, of the last change


@dataclass(frozen=True)
class Folder:
    """Watches a folder and the folders in it. A file's part is the first group of `part_pattern` in its name."""

    path: Path
    part_pattern: re.Pattern[str] | None
    delete: bool
    _candidates: dict[Path, _Candidate] = field(default_factory=dict, init=False)

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:
        """Give the files that are there, then those that come, by the time of their last change; raises SourceError."""
        import watchfiles

        origins = host.origins
        if not self.path.is_dir():
            raise SourceError(f"{self.path} is no folder: create it first")
        changes = watchfiles.watch(
            self.path,
            watch_filter=lambda _, path: _is_picture(path),
            debounce=_TICK_MS,
            step=_TICK_MS // 2,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,  # of a folder such as lost+found; `_look` tells of it
            stop_event=stop,
        )
        looked = -_LOOK_AGAIN
        for changed in changes:
            for _, name in changed:
                self._note(Path(name), origins)
            if time.monotonic() - looked >= _LOOK_AGAIN:  # the first time after the watch has begun, so that no file is missed
                looked = time.monotonic()
                self._look(origins)
                continue  # a file that came during the look may be missing in it; the notice of it comes next
            for path, candidate in self._settled():
                if stop.is_set():
                    return
                yield from self._take(path, candidate, host)

    def _look(self, origins: Origins) -> None:
        """Note every picture of the folder."""
        present: set[str] = set()
        unread: list[OSError] = []
        for folder, _, names in os.walk(self.path, onerror=unread.append):
            for name in filter(_is_picture, names):
                path = Path(folder, name)
                self._note(path, origins)
                if stat := _stat(path):
                    present.add(self._origin(path, stat.st_size, stat.st_mtime_ns))
        for error in unread:
            log.warning("a folder cannot be read, tried again", reason=str(error))
        if (present or self.delete) and not unread:  # an empty folder may be one whose network drive is gone
            origins.forget_origins_but(present)

    def _note(self, path: Path, origins: Origins) -> None:
        stat = _stat(path)
        if stat is None:
            self._candidates.pop(path, None)
        elif not origins.knows(self._origin(path, stat.st_size, stat.st_mtime_ns)):
            self._candidates.setdefault(path, _Candidate(stat.st_size, stat.st_mtime_ns, time.monotonic()))
        elif self.delete:  # the process was killed between spooling and deleting
            path.unlink(missing_ok=True)

    def _settled(self) -> list[tuple[Path, _Candidate]]:
        """Files that have stopped changing, oldest change first, up to the first that may not have: none overtakes it."""
        settled = []
        for path, candidate in sorted(self._candidates.items(), key=lambda item: (item[1].modified, str(item[0]))):
            stat = _stat(path)
            if stat is None:
                del self._candidates[path]
            elif (stat.st_size, stat.st_mtime_ns) != (candidate.size, candidate.modified):
                self._candidates[path] = _Candidate(stat.st_size, stat.st_mtime_ns, time.monotonic())
            elif time.monotonic() - candidate.since < _UNCHANGED[True]:
                break
            else:
                settled.append((path, candidate))
        return settled

    def _take(self, path: Path, candidate: _Candidate, host: Host) -> Iterator[Frame]:
        origins = host.origins
        try:
            picture = path.read_bytes()
        except OSError as error:
            del self._candidates[path]
            if not isinstance(error, FileNotFoundError):  # the next look finds it again; it must not hold up the others
                host.lost()
                log.warning("a file cannot be read, tried again within a minute", file=_readable(path), reason=error.strerror)
            return
        if len(picture) != candidate.size or time.monotonic() - candidate.since < _UNCHANGED[looks_complete(picture)]:
            return
        origin = self._origin(path, candidate.size, candidate.modified)
        found = self.part_pattern.search(path.name) if self.part_pattern else None
        del self._candidates[path]
        if not origins.knows(origin):
            yield Frame(picture, candidate.modified / 1e9, _readable(found[1] if found and found[1] else path.stem), origin)
        if self.delete:
            path.unlink(missing_ok=True)

    def _origin(self, path: Path, size: int, modified: int) -> str:
        return f"{_readable(path.relative_to(self.path))}\t{size}\t{modified}"


def _is_picture(path: str) -> bool:
    """Hidden files are those that a program has not finished and renames."""
    file = PurePath(path)
    return not file.name.startswith(".") and file.suffix.lower() in SUFFIXES


def _readable(name: object) -> str:
    """A file's name as text; bytes of it that are no UTF-8 are spelled out, as no database and no JSON takes them."""
    return os.fsencode(str(name)).decode(errors="backslashreplace")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
