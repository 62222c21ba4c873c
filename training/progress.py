"""Progress bars for people who watch, plain lines for logs that nobody watches live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
SMOOTHING = 0.95
LINE_EVERY_SECONDS = 30.0


class Progress:
    """A bar on standard error with smoothed figures behind it; without a terminal, one line every half minute."""

    def __init__(self, title: str, total: int, completed: int = 0, *, shown: bool = True) -> None:
        # Only here: the camera client's simulated line renders parts where no training package is installed.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._shown = shown
        self._console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._title, self._total, self._completed = title, total, completed
        self._figures: dict[str, float] = {}
        self._task = self._bar.add_task(title, total=total, completed=completed, figures="")
        self._last_line = self._last_step = time.monotonic()
        self._stepped = False  # the first step also waits for the data: its rate would mislead

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        self._print_line(final=True)

    def advance(self, figures: dict[str, float] | None = None, images: int = 0) -> None:
        """One step further, over `images` pictures; each figure is shown as its exponential mean."""
        now = time.monotonic()
        if images:
            rate = {"images/s": images / max(now - self._last_step, 1e-6)}
            figures = (figures or {}) | (rate if self._stepped else {})
        self._last_step, self._stepped = now, True
        for name, value in (figures or {}).items():
            self._figures[name] = SMOOTHING * self._figures.get(name, value) + (1 - SMOOTHING) * value
        self._completed += 1
        self._bar.update(self._task, advance=1, figures=self._text())
        self._print_line(final=False)

    def _text(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._figures.items())

    def _print_line(self, *, final: bool) -> None:
        due = final or time.monotonic() - self._last_line > LINE_EVERY_SECONDS
        if not self._shown or self._console.is_terminal or not due:
            return
        self._last_line = time.monotonic()
        print(f"{self._title}: {self._completed}/{self._total}  {self._text()}", file=sys.stderr, flush=True)


def track(items: Sequence[T], title: str) -> Iterator[T]:
    """Iterate over the items under a bar."""
    with Progress(title, len(items)) as bar:
        for item in items:
            yield item
            bar.advance()
